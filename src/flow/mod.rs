//! Flows: trees of jobs in which a parent runs when its children are done.
//!
//! [`FlowNode`]s make a tree, a [`FlowProducer`] adds it, and [`AddedNode`] tells what became of each job; a root that is of
//! a kind is added by [`FlowProducer::push`]. The parent reads the results of its children by
//! [`get_children_values`](crate::JobRef::get_children_values), and a running job adds more of them by
//! [`add_children`](crate::Job::add_children). [`GetFlow`] reads a tree, and [`WaitsFor`] tells why a parent waits. What a
//! failed child does to its parent: [`OnChildFailure`](crate::options::OnChildFailure).

mod added;
mod children;
mod node;
mod plan;
mod push;
mod read;
mod waits_for;

use std::collections::HashMap;
use std::sync::Arc;

use tracing::{Instrument, Span};

pub use added::AddedNode;
pub use node::FlowNode;
pub use push::{AddedFlow, PushFlow};
pub use read::{FlowTree, GetFlow};
#[cfg(feature = "doctor")]
pub(crate) use waits_for::Hold;
pub use waits_for::{WaitedChild, WaitsFor};

use crate::error::{Error, Result};
use crate::options::JobOptions;
use crate::queue::Directory;
use crate::telemetry;
use plan::Plan;

/// How many jobs a flow may have by default: Redis is busy for about 10 µs with each.
const DEFAULT_JOBS: usize = 1_000;

/// The largest limit that can be set.
const MOST_JOBS: usize = 10_000;

/// How many levels a flow may have, including the roots: a tree is dropped and serialized level within level, on the
/// stack.
pub(crate) const MOST_LEVELS: usize = 100;

/// How many bytes the names, data and options of one flow may have in all.
const MOST_BYTES: usize = 32 * 1024 * 1024;

/// Adds flows: trees of jobs in any number of queues, each stored as a whole or not at all. Cheap to clone.
///
/// ```no_run
/// use oxmq::{Client, FlowNode};
///
/// # async fn demo() -> oxmq::Result<()> {
/// let client = Client::connect("redis://127.0.0.1:6379").await?;
/// let pages = (1..=3).map(|page| FlowNode::new("pages", "render", page));
/// let flow = client.flow_producer().add(FlowNode::new("books", "bind", "Emma").children(pages)).await?;
/// println!("{} waits for {} pages", flow.id(), flow.children().len());
/// # Ok(()) }
/// ```
///
/// BullMQ: `FlowProducer`.
#[derive(Clone)]
pub struct FlowProducer {
    queues: Arc<Directory>,
    prefix: Option<String>,
    defaults: Arc<HashMap<String, JobOptions>>,
    max_jobs: usize,
}

impl FlowProducer {
    pub(crate) fn new(queues: Arc<Directory>) -> Self {
        Self { queues, prefix: None, defaults: Arc::default(), max_jobs: DEFAULT_JOBS }
    }

    /// Sets the prefix of nodes without one of their own. Default: the client's prefix.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Sets default options for all nodes of this queue, whatever their prefix; options of the node take precedence,
    /// each by itself. The default options of a [`Queue`](crate::Queue) do not apply to flows.
    ///
    /// BullMQ: `queuesOptions[queue].defaultJobOptions`.
    #[must_use]
    #[doc(alias = "queuesOptions")]
    pub fn queue_options(mut self, queue: impl Into<String>, defaults: JobOptions) -> Self {
        Arc::make_mut(&mut self.defaults).insert(queue.into(), defaults);
        self
    }

    /// Sets how many jobs one call may store. Default: 1,000; at most 10,000. Redis serves nobody else while it stores them:
    /// [for how long](https://github.com/oxmq/oxmq/blob/main/docs/performance.md#growth).
    ///
    /// For more children, let the parent's processor add some hundred at a time before it waits for them: see
    /// [`Job::add_children`](crate::Job::add_children).
    #[must_use]
    pub fn max_jobs(mut self, jobs: usize) -> Self {
        self.max_jobs = jobs;
        self
    }

    /// Adds one flow, and returns the tree of its jobs.
    ///
    /// One round trip and one atomic step, whatever the number of queues: others see the whole flow or nothing of it.
    /// Jobs without an id get a random one. A node whose id exists is linked as BullMQ links it; see its
    /// [`outcome`](AddedNode::outcome).
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidOption`] if a node breaks a rule, with the path to it from the root, or if the flow has more
    ///   than 100 levels; nothing was sent.
    /// - [`Error::Refused`] if the root was refused: with
    ///   [`Reason::MissingParent`](crate::error::Reason::MissingParent) its own parent does not exist and nothing was
    ///   stored; with [`Reason::ParentCannotBeReplaced`](crate::error::Reason::ParentCannotBeReplaced) its id is
    ///   another parent's child. If another node was refused, its outcome tells why.
    /// - [`Error::OutcomeUnknown`] if the reply was lost and the server cannot tell any more whether the flow was
    ///   stored. A flow is never stored twice. Only a flow whose ids are all the caller's own is sent again after a
    ///   lost reply: this creates no second job while the first exists, but a job that has run and was removed in the
    ///   meantime runs again, as with [`Queue::add`](crate::Queue::add).
    ///
    /// BullMQ: `FlowProducer.add`.
    pub async fn add(&self, flow: FlowNode) -> Result<AddedNode> {
        let span = telemetry::add_flow(&flow.queue, &flow.name);
        let mut trees = self.store(vec![flow], &span).instrument(span.clone()).await?;
        let root = trees.pop().ok_or(Error::Reply { op: "add_flow" })?;
        match root.outcome() {
            Ok(_) => {
                telemetry::added(&span, root.id());
                Ok(root)
            }
            Err(reason) => Err(root.refused(reason)),
        }
    }

    /// Adds several flows in one round trip and one atomic step: all of them or none. Together they have the limits of
    /// one flow.
    ///
    /// The results are in order. The [`outcome`](AddedNode::outcome) of a refused root tells why; the other flows are
    /// stored all the same.
    ///
    /// # Errors
    ///
    /// As with [`add`](Self::add), except for refused roots.
    ///
    /// BullMQ: `FlowProducer.addBulk`.
    #[doc(alias = "addBulk")]
    pub async fn add_bulk(&self, flows: impl IntoIterator<Item = FlowNode>) -> Result<Vec<AddedNode>> {
        let flows: Vec<FlowNode> = flows.into_iter().collect();
        let span = telemetry::add_bulk_flows(flows.len());
        self.store(flows, &span).instrument(span.clone()).await
    }

    async fn store(&self, flows: Vec<FlowNode>, span: &Span) -> Result<Vec<AddedNode>> {
        if flows.is_empty() {
            return Ok(Vec::new());
        }
        let prefix = self.prefix.as_deref().unwrap_or(&self.queues.prefix);
        if !(1..=MOST_JOBS).contains(&self.max_jobs) {
            return Err(Error::invalid("max_jobs", format!("it must lie between 1 and {MOST_JOBS}")));
        }
        let trace = telemetry::inject(span);
        store(Plan::of(flows, &self.queues, prefix, &self.defaults, self.max_jobs, trace.as_deref())?).await
    }
}

impl std::fmt::Debug for FlowProducer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowProducer").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

async fn store(plan: Plan) -> Result<Vec<AddedNode>> {
    let stored = plan.engine().add_flow(&plan.flow, plan.own).await?;
    plan.mend_settings(&stored.lacked_settings).await;
    Ok(plan.into_trees(stored.exceptions))
}
