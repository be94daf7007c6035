//! A node of a flow to be added.

use serde::Serialize;

use crate::kind::JobKind;
use crate::options::{JobOptions, OnChildFailure};
use crate::wire::nesting;

/// A job of a flow to be added, with the jobs that have to be done before it.
///
/// The data of each node may have another type, so that a tree can be built at run time:
///
/// ```
/// use oxmq::options::OnChildFailure;
/// use oxmq::{FlowNode, JobOptions};
///
/// let parts = ["intro.md", "body.md"];
/// let report = FlowNode::new("reports", "assemble", 2026)
///     .options(JobOptions::default().attempts(3))
///     .child(FlowNode::new("mail", "warn", "ada@example.org").on_child_failure(OnChildFailure::IgnoreDependency))
///     .children(parts.map(|part| FlowNode::new("parts", "render", part)));
/// ```
///
/// BullMQ: `FlowJob`.
#[derive(Debug)]
#[must_use = "a node does nothing until a FlowProducer adds it"]
#[doc(alias = "FlowJob")]
pub struct FlowNode {
    pub(super) queue: String,
    pub(super) prefix: Option<String>,
    pub(super) name: String,
    pub(super) data: serde_json::Result<String>,
    pub(super) options: JobOptions,
    pub(super) children: Children,
}

/// The children of a node. They are dropped without recursion: a tree that is too deep to be added may have any depth.
#[derive(Debug, Default)]
pub(super) struct Children(Vec<FlowNode>);

impl Children {
    pub(super) fn take(&mut self) -> Vec<FlowNode> {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        let mut open = self.take();
        while let Some(mut node) = open.pop() {
            open.append(&mut node.children.0);
        }
    }
}

impl FlowNode {
    /// Creates a job with this name for this queue, without options and children. Data that cannot be written as JSON
    /// is reported when the flow is added.
    pub fn new(queue: impl Into<String>, name: impl Into<String>, data: impl Serialize) -> Self {
        Self {
            queue: queue.into(),
            prefix: None,
            name: name.into(),
            data: nesting::text(&data),
            options: JobOptions::default(),
            children: Children::default(),
        }
    }

    /// Creates a job of a kind for this queue, with the options of the kind and without children. A `deduplication`
    /// among them is left out if the node has a parent or children, where there is none.
    ///
    /// ```
    /// use oxmq::{FlowNode, JobKind};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Render {
    ///     part: String,
    /// }
    /// impl JobKind for Render {
    ///     const NAME: &'static str = "render";
    ///     type Output = u64;
    /// }
    /// let parts = ["intro.md", "body.md"].map(|part| FlowNode::of("parts", Render { part: part.into() }));
    /// let report = FlowNode::new("reports", "assemble", 2026).children(parts);
    /// ```
    pub fn of<K: JobKind>(queue: impl Into<String>, job: K) -> Self {
        let options = job.options().of_kind();
        Self::new(queue, K::NAME, job).options(options)
    }

    /// Sets its options, replacing those set so far.
    ///
    /// Only the root of a flow may have a `parent`. The delay and priority of a node with children apply when they are
    /// done.
    pub fn options(mut self, options: JobOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets the prefix of this node; its children do not inherit it. Default: the producer's prefix.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// Sets its id, see [`JobOptions::job_id`]; in a flow an id has no colon. Default: a random one.
    #[doc(alias = "jobId")]
    pub fn job_id(mut self, id: impl Into<String>) -> Self {
        self.options = self.options.job_id(id);
        self
    }

    /// Sets what the final failure of this node does to its parent. Default: the parent goes on waiting.
    pub fn on_child_failure(mut self, policy: OnChildFailure) -> Self {
        self.options = self.options.on_child_failure(policy);
        self
    }

    /// Adds a job that has to be done before this one.
    pub fn child(mut self, child: FlowNode) -> Self {
        self.children.0.push(child);
        self
    }

    /// Adds jobs that have to be done before this one.
    pub fn children(mut self, children: impl IntoIterator<Item = FlowNode>) -> Self {
        self.children.0.extend(children);
        self
    }
}
