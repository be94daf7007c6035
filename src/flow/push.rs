//! Adds flows whose root is of a kind.

use std::future::IntoFuture;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{AddedNode, FlowNode, FlowProducer};
use crate::error::Result;
use crate::kind::{JobKind, JobOf};
use crate::options::{JobOptions, ParentRef};

impl FlowProducer {
    /// Adds a flow whose root is a job of a kind, with the options of the kind, and returns a typed handle of the root.
    /// Awaiting the builder sends it.
    ///
    /// Everything else is as with [`add`](Self::add): one round trip and one atomic step.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    ///
    /// # Example
    ///
    /// ```no_run
    /// use std::time::Duration;
    /// use oxmq::{Client, FlowNode, JobKind};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Assemble {
    ///     year: u32,
    /// }
    /// impl JobKind for Assemble {
    ///     const NAME: &'static str = "assemble";
    ///     type Output = u64;
    /// }
    ///
    /// # async fn demo(client: Client) -> oxmq::Result<()> {
    /// let parts = ["intro.md", "body.md"].map(|part| FlowNode::new("parts", "render", part));
    /// let flow = client.flow_producer().push("reports", Assemble { year: 2026 }).children(parts).await?;
    /// println!("{} waits for {} parts", flow.root().id(), flow.children().len());
    /// // A `u64`, the output of the kind.
    /// let pages = flow.root().wait_until_finished(Duration::from_secs(60)).await?;
    /// println!("{pages} pages");
    /// # Ok(()) }
    /// ```
    pub fn push<K: JobKind>(&self, queue: impl Into<String>, root: K) -> PushFlow<K> {
        let options = root.options().of_kind();
        let node = FlowNode::new(queue, K::NAME, &root).options(options);
        PushFlow { producer: self.clone(), root, node }
    }
}

/// A flow to be added, whose root is of a kind; await it.
///
/// See [`FlowProducer::push`].
#[must_use = "a flow is not added until it is awaited"]
pub struct PushFlow<K> {
    producer: FlowProducer,
    root: K,
    node: FlowNode,
}

impl<K> PushFlow<K> {
    /// Adds a job that has to be done before the root.
    pub fn child(mut self, child: FlowNode) -> Self {
        self.node = self.node.child(child);
        self
    }

    /// Adds jobs that have to be done before the root.
    pub fn children(mut self, children: impl IntoIterator<Item = FlowNode>) -> Self {
        self.node = self.node.children(children);
        self
    }

    /// See [`FlowNode::options`]: replaces the options of the kind.
    pub fn options(mut self, options: JobOptions) -> Self {
        self.node = self.node.options(options);
        self
    }

    /// See [`FlowNode::prefix`].
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.node = self.node.prefix(prefix);
        self
    }

    /// See [`FlowNode::job_id`].
    #[doc(alias = "jobId")]
    pub fn job_id(mut self, id: impl Into<String>) -> Self {
        self.node = self.node.job_id(id);
        self
    }

    /// See [`JobOptions::parent`]: the job that waits for this flow.
    pub fn parent(mut self, parent: ParentRef) -> Self {
        self.node.options = self.node.options.parent(parent);
        self
    }
}

impl<K: JobKind> IntoFuture for PushFlow<K> {
    type Output = Result<AddedFlow<K>>;
    type IntoFuture = BoxFuture<'static, Result<AddedFlow<K>>>;

    fn into_future(self) -> Self::IntoFuture {
        let Self { producer, root, node } = self;
        async move {
            let node = producer.add(node).await?;
            Ok(AddedFlow { root: node.handle(node.placed()?, root), node })
        }
        .boxed()
    }
}

impl<K> std::fmt::Debug for PushFlow<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PushFlow").field("node", &self.node).finish_non_exhaustive()
    }
}

/// A flow that was added, whose root is of a kind.
///
/// ```no_run
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Assemble { year: u32 }
/// # impl oxmq::JobKind for Assemble {
/// #     const NAME: &'static str = "assemble";
/// #     type Output = u64;
/// # }
/// # async fn demo(flows: oxmq::FlowProducer) -> oxmq::Result<()> {
/// use oxmq::kind::JobOf;
///
/// let flow = flows.push("reports", Assemble { year: 2026 }).await?;
/// println!("{:?}", flow.node().outcome());
/// let assemble: JobOf<Assemble> = flow.into_root();
/// println!("{}", assemble.data().year);
/// # Ok(()) }
/// ```
pub struct AddedFlow<K: JobKind> {
    root: JobOf<K>,
    node: AddedNode,
}

impl<K: JobKind> AddedFlow<K> {
    /// Returns the root, to wait for or to inspect. Its data is what was pushed, even if another job stands for it.
    #[must_use]
    pub fn root(&self) -> &JobOf<K> {
        &self.root
    }

    /// Returns the root alone.
    #[must_use]
    pub fn into_root(self) -> JobOf<K> {
        self.root
    }

    /// Returns the root as a node of the flow, with the outcomes of all nodes.
    #[must_use]
    pub fn node(&self) -> &AddedNode {
        &self.node
    }

    /// Returns the children of the root, in the order of the flow.
    #[must_use]
    pub fn children(&self) -> &[AddedNode] {
        self.node.children()
    }
}

impl<K: JobKind> std::fmt::Debug for AddedFlow<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AddedFlow").field(&self.node).finish()
    }
}
