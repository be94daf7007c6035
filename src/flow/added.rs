//! A node of a flow that was added.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::error::{Error, Reason, Result};
use crate::job::Job;
use crate::queue::{Added, QueueCore, added};
use crate::script::add_jobs::{Addition, Placed};
use crate::wire::json;

/// A job of a flow that was added, with its children.
///
/// BullMQ: `JobNode`.
#[doc(alias = "JobNode")]
pub struct AddedNode {
    core: Arc<QueueCore>,
    job: Addition,
    /// What became of it, if it was not simply created.
    pub(super) exception: Option<Result<Placed, Reason>>,
    children: Vec<AddedNode>,
}

impl AddedNode {
    pub(super) fn new(core: Arc<QueueCore>, job: Addition) -> Self {
        Self { core, job, exception: None, children: Vec::new() }
    }

    /// Takes in a child, the last one first; [`put_in_order`](Self::put_in_order) ends it.
    pub(super) fn push_front(&mut self, child: AddedNode) {
        self.children.push(child);
    }

    pub(super) fn put_in_order(&mut self) {
        self.children.reverse();
        self.children.iter_mut().for_each(Self::put_in_order);
    }

    /// Returns its id, or that of the job that stands for it.
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

    /// Returns what became of it: [`Added::Existing`] where a job had its id already, which is now the parent's child. The same where
    /// it was that parent's child and has ended: one that failed by its [policy](crate::options::OnChildFailure) is not waited
    /// for again, and one that was removed at its end does not run again, nor does what stands below it.
    ///
    /// # Errors
    ///
    /// Why the server refused it: [`Reason::MissingParent`] below a node that was refused itself,
    /// [`Reason::ParentCannotBeReplaced`] for an id that is another parent's child; that node's parent goes on waiting
    /// until somebody takes the missing child away from it.
    pub fn outcome(&self) -> Result<Added, Reason> {
        match &self.exception {
            None => Ok(Added::Created),
            Some(placed) => placed.as_ref().map(Added::from).map_err(|reason| *reason),
        }
    }

    /// Refuses a tree of which a node was refused: what its parent would then do without is seldom what was meant.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`], with the first of these nodes.
    pub fn check(&self) -> Result<()> {
        self.placed()?;
        self.children.iter().try_for_each(Self::check)
    }

    /// Returns its children, in the order of the flow.
    #[must_use]
    pub fn children(&self) -> &[AddedNode] {
        &self.children
    }

    /// Returns the job, to wait for or to look at. No round trip.
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
    /// // Of a kind: who adds its root by `FlowProducer::push` has this handle already.
    /// let page: JobOf<Render> = flow.children()[0].job()?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if it was refused; [`Error::Json`] if its data is no `D`.
    pub fn job<D: DeserializeOwned, R>(&self) -> Result<Job<D, R>> {
        let placed = self.placed()?;
        Ok(self.handle(placed, json::read("data", &self.job.data)?))
    }

    pub(super) fn placed(&self) -> Result<Placed> {
        let created = || Ok(Placed::Created { id: self.job.id.clone() });
        let placed = self.exception.clone().unwrap_or_else(created);
        placed.map_err(|reason| Error::refused("add_flow", self.job.id.clone(), reason))
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
