//! Children that a processor adds to its own job.

use std::collections::HashMap;

use tracing::Instrument;

use super::plan::Plan;
use super::{AddedNode, DEFAULT_JOBS, FlowNode, store};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::options::ParentRef;
use crate::telemetry;

impl<D, R> Job<D, R> {
    /// Adds one child to this job, with children of its own if it has any, into whatever queue. As
    /// [`add_children`](Self::add_children).
    ///
    /// # Errors
    ///
    /// As there, and [`Error::Refused`] if the child was refused.
    pub async fn add_child(&self, child: FlowNode) -> Result<AddedNode> {
        let node = self.add_children([child]).await?.pop().ok_or(Error::Reply { op: "add_flow" })?;
        match node.outcome() {
            Ok(_) => Ok(node),
            Err(reason) => Err(Error::refused("add_flow", node.id().to_owned(), reason)),
        }
    }

    /// Adds children to this job, each with children of its own if it has any, into whatever queues: all of them in one
    /// atomic step, or none.
    ///
    /// The job itself stays where it is: from within its processor it goes on running, and waits for its children by
    /// ending with [`Halt::WaitingChildren`](crate::Halt::WaitingChildren), or by
    /// [`move_to_waiting_children`](Self::move_to_waiting_children). A step that may run twice, after a crash for
    /// instance, gives its children ids of their own: what exists already is not added again. That it is done is written into
    /// the job's data, since children may all have gone again by the next look. One call takes up to 1,000 jobs; a larger
    /// fan-out is added by several.
    ///
    /// ```no_run
    /// use oxmq::flow::AddedNode;
    /// use oxmq::{FlowNode, Halt, Job};
    ///
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct Split {
    ///     parts: Vec<String>,
    ///     is_done: bool,
    /// }
    ///
    /// async fn split(mut job: Job<Split, usize>) -> Result<usize, Halt> {
    ///     let mut split = job.data().clone();
    ///     if !split.is_done {
    ///         let parts = split.parts.iter().enumerate();
    ///         let children = parts.map(|(n, part)| FlowNode::new("parts", "work", part).job_id(format!("{}-{n}", job.id())));
    ///         // Killed here, it adds them again, and finds those that are there.
    ///         job.add_children(children).await?.iter().try_for_each(AddedNode::check)?;
    ///         split.is_done = true;
    ///         job.update_data(split).await?;
    ///     }
    ///     if job.get_dependencies_count().await?.unprocessed > 0 {
    ///         return Err(Halt::WaitingChildren);
    ///     }
    ///     Ok(job.get_children_values::<usize>().await?.into_iter().map(|(_, words)| words).sum())
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`FlowProducer::add`](crate::FlowProducer::add); a child that was refused says so in its outcome.
    ///
    /// BullMQ: `Queue.addBulk` with a `parent`, or `FlowProducer.addBulk`.
    pub async fn add_children(&self, children: impl IntoIterator<Item = FlowNode>) -> Result<Vec<AddedNode>> {
        let parent = ParentRef::of(self);
        let mut nodes = Vec::new();
        for mut node in children {
            if node.options.parent.is_some() {
                return Err(Error::invalid("parent", "the parent of a child is the job that it is added to"));
            }
            node.options = node.options.parent(parent.clone());
            nodes.push(node);
        }
        if nodes.is_empty() {
            return Ok(Vec::new());
        }
        let queues = self.queue_core().directory()?;
        let span = telemetry::add_bulk_flows(nodes.len());
        let trace = telemetry::inject(&span);
        let plan = Plan::of(nodes, &queues, self.prefix(), &HashMap::new(), DEFAULT_JOBS, trace.as_deref())?;
        store(plan).instrument(span).await
    }
}
