//! Adds children to the job of a processor.

use std::collections::HashMap;

use tracing::Instrument;

use super::plan::Plan;
use super::{AddedNode, DEFAULT_JOBS, FlowNode, store};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::options::ParentRef;
use crate::telemetry;

impl<D, R> Job<D, R> {
    /// Adds one child to this job, with its own children if it has any, to any queue. See
    /// [`add_children`](Self::add_children).
    ///
    /// # Errors
    ///
    /// As with [`add_children`](Self::add_children), and [`Error::Refused`] if the child was refused.
    pub async fn add_child(&self, child: FlowNode) -> Result<AddedNode> {
        let node = self.add_children([child]).await?.pop().ok_or(Error::Reply { op: "add_flow" })?;
        match node.outcome() {
            Ok(_) => Ok(node),
            Err(reason) => Err(node.refused(reason)),
        }
    }

    /// Adds children to this job, each with its own children if it has any, to any queues: all of them in one atomic
    /// step, or none.
    ///
    /// The job itself does not move: in its processor it goes on running, and waits for its children by returning
    /// [`Halt::WaitingChildren`](crate::Halt::WaitingChildren), or with
    /// [`move_to_waiting_children`](Self::move_to_waiting_children). If the step may run twice, for example after a
    /// crash, give the children ids: a child that exists is not added again. Record in the job's data that the step is
    /// done, since its children may all have been removed by the next attempt. One call takes up to 1,000 jobs; add
    /// more with several calls.
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
    ///         // If it is killed here, the next attempt adds them again, and finds those that exist.
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
    /// As with [`FlowProducer::add`](crate::FlowProducer::add); the outcome of a refused child tells why.
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
        #[cfg(any(test, feature = "testing"))]
        if let Some(notes) = &self.queue_core().engine().notes {
            let nodes = plan.into_trees(Vec::new());
            notes.added(nodes.iter().map(AddedNode::noted));
            return Ok(nodes);
        }
        store(plan).instrument(span).await
    }
}
