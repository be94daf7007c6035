//! The nodes of a flow that was added.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::error::{Error, JobPlace, Reason, Result};
use crate::job::Job;
use crate::queue::{Added, QueueCore, added};
use crate::script::add_jobs::{Addition, Placed};
use crate::wire::json;

/// A job of a flow that was added, with its children.
///
/// ```no_run
/// use std::time::Duration;
/// use oxmq::{FlowNode, FlowProducer, Job};
///
/// # async fn demo(flows: FlowProducer) -> oxmq::Result<()> {
/// let report = FlowNode::new("reports", "assemble", 2026).child(FlowNode::new("parts", "render", "intro.md"));
/// let added = flows.add(report).await?;
/// added.check()?; // whether a job below the root was refused
/// let root: Job<u32, u64> = added.job()?;
/// println!("{} bytes", root.wait_until_finished(Duration::from_secs(60)).await?);
/// # Ok(()) }
/// ```
///
/// BullMQ: `JobNode`.
#[doc(alias = "JobNode")]
pub struct AddedNode {
    core: Arc<QueueCore>,
    job: Addition,
    /// Its outcome, if it was not simply created.
    pub(super) exception: Option<Result<Placed, Reason>>,
    children: Vec<AddedNode>,
}

impl AddedNode {
    pub(super) fn new(core: Arc<QueueCore>, job: Addition) -> Self {
        Self { core, job, exception: None, children: Vec::new() }
    }

    /// Adds a child, the last one first; [`put_in_order`](Self::put_in_order) completes this.
    pub(super) fn push_front(&mut self, child: AddedNode) {
        self.children.push(child);
    }

    pub(super) fn put_in_order(&mut self) {
        self.children.reverse();
        self.children.iter_mut().for_each(Self::put_in_order);
    }

    /// Returns its id, or the id of the job that stands for it.
    #[must_use]
    pub fn id(&self) -> &str {
        match &self.exception {
            Some(Ok(Placed::Deduplicated { owner } | Placed::SetAside { owner, .. })) => owner,
            _ => &self.job.id,
        }
    }

    /// Returns the name of the job.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.job.name
    }

    /// Returns the name of its queue, without the prefix.
    #[must_use]
    pub fn queue_name(&self) -> &str {
        self.core.engine().keys.queue()
    }

    /// Returns its outcome: [`Added::Existing`] if a job with its id existed, which is now the parent's child. The same
    /// if it had been that parent's child before and has ended: one that failed by its
    /// [policy](crate::options::OnChildFailure) is not waited for again, and one that was removed when it ended does
    /// not run again, nor do the jobs below it.
    ///
    /// # Errors
    ///
    /// Why the server refused it: [`Reason::MissingParent`] below a node that was refused itself,
    /// [`Reason::ParentCannotBeReplaced`] for an id that is another parent's child; then this node's parent waits until
    /// somebody removes that dependency.
    pub fn outcome(&self) -> Result<Added, Reason> {
        match &self.exception {
            None => Ok(Added::Created),
            Some(placed) => placed.as_ref().map(Added::from).map_err(|reason| *reason),
        }
    }

    /// Checks that no node of the tree was refused: its parent would go on without it, which is seldom intended.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] for the first refused node.
    pub fn check(&self) -> Result<()> {
        self.placed()?;
        self.children.iter().try_for_each(Self::check)
    }

    /// Returns its children, in the order of the flow.
    #[must_use]
    pub fn children(&self) -> &[AddedNode] {
        &self.children
    }

    /// Returns the job, to wait for or to inspect. No round trip.
    ///
    /// ```no_run
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Render { part: String }
    /// # impl oxmq::JobKind for Render {
    /// #     const NAME: &'static str = "render";
    /// #     type Output = u64;
    /// # }
    /// # fn demo(flow: oxmq::flow::AddedNode) -> oxmq::Result<()> {
    /// use oxmq::Job;
    /// use oxmq::kind::JobOf;
    ///
    /// let bind: Job<String, ()> = flow.job()?;
    /// // A job of a kind. With `FlowProducer::push` the root has this type already.
    /// let page: JobOf<Render> = flow.children()[0].job()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if it was refused; [`Error::Json`] if its data cannot be read as `D`.
    pub fn job<D: DeserializeOwned, R>(&self) -> Result<Job<D, R>> {
        let placed = self.placed()?;
        Ok(self.handle(
            placed,
            json::read("data", &self.job.data)
                .map_err(|error| error.of_job(JobPlace::new(self.id(), self.core.engine().keys.queue())))?,
        ))
    }

    /// Returns what a test without a server shows of it.
    #[cfg(any(test, feature = "testing"))]
    pub(super) fn noted(&self) -> crate::engine::AddedChild {
        crate::engine::AddedChild {
            queue: self.core.engine().keys.queue().to_owned(),
            name: self.job.name.clone(),
            data: serde_json::from_str(&self.job.data).unwrap_or_default(),
            id: self.id().to_owned(),
            children: self.children.iter().map(Self::noted).collect(),
        }
    }

    pub(super) fn placed(&self) -> Result<Placed> {
        let created = || Ok(Placed::Created { id: self.job.id.clone() });
        let placed = self.exception.clone().unwrap_or_else(created);
        placed.map_err(|reason| self.refused(reason))
    }

    pub(super) fn refused(&self, reason: Reason) -> Error {
        let parent = self.job.parent.as_ref().map(|parent| &*parent.key);
        Error::refused("add_flow", self.id(), reason).with_parent(parent)
    }

    pub(super) fn handle<D, R>(&self, placed: Placed, data: D) -> Job<D, R> {
        added(&self.core, self.job.clone(), placed, data).0
    }
}

impl std::fmt::Debug for AddedNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AddedNode")
            .field("queue", &self.queue_name())
            .field("id", &self.id())
            .field("outcome", &self.outcome())
            .field("children", &self.children)
            .finish()
    }
}
