//! Reads a flow as a tree.

use std::future::IntoFuture;

use futures::StreamExt;
use futures::future::BoxFuture;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::{FlowProducer, MOST_LEVELS};
use crate::engine::ChildKind;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::keys::JobKey;
use crate::queue::{Queue, QueueCore};
use std::sync::Arc;

/// How many jobs of one level are read at the same time.
const AT_ONCE: usize = 32;

/// A job of a flow as it is stored, with its children.
///
/// ```no_run
/// use oxmq::FlowProducer;
/// use oxmq::flow::FlowTree;
///
/// fn show(node: &FlowTree, depth: usize) {
///     let name = node.job.as_ref().ok().and_then(Option::as_ref).map_or("(gone)", |job| job.name());
///     println!("{:depth$}{} of {}: {name}", "", node.id, node.queue);
///     node.children.iter().for_each(|child| show(child, depth + 2));
/// }
///
/// # async fn demo(flows: FlowProducer) -> oxmq::Result<()> {
/// if let Some(tree) = flows.get_flow("reports", "report-2026").depth(5).await? {
///     show(&tree, 0);
/// }
/// # Ok(()) }
/// ```
///
/// BullMQ: `JobNode`.
#[derive(Debug)]
#[non_exhaustive]
pub struct FlowTree {
    /// The qualified name of its queue, `<prefix>:<queue>`.
    pub queue: String,
    /// Its id.
    pub id: String,
    /// The job; `None` if it was removed meanwhile. If it cannot be read, the error tells why; the others are read all
    /// the same.
    pub job: Result<Option<Job>>,
    /// Its outcome, as its parent has recorded it; `None` for the root.
    pub kind: Option<ChildKind>,
    /// Its children, as far as they were asked for: completed ones first, then pending, failed and ignored ones.
    pub children: Vec<FlowTree>,
}

/// Writes the job as BullMQ does, with its children, its state and its outcome. A job that was removed is `null`, and
/// so is one that cannot be read, whose `error` tells why.
impl Serialize for FlowTree {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("queue", &self.queue)?;
        map.serialize_entry("id", &self.id)?;
        if let Some(kind) = self.kind {
            map.serialize_entry("kind", &kind)?;
        }
        map.serialize_entry("job", &self.job.as_ref().ok().and_then(Option::as_ref))?;
        if let Err(error) = &self.job {
            map.serialize_entry("error", &error.to_string())?;
        }
        map.serialize_entry("children", &self.children)?;
        map.end()
    }
}

/// A request to read a flow; await it.
#[must_use = "nothing is read until it is awaited"]
pub struct GetFlow {
    producer: FlowProducer,
    queue: String,
    id: String,
    depth: usize,
    max_children: u32,
    max_jobs: usize,
}

impl FlowProducer {
    /// Reads a flow from this job on; `None` if there is no such job. Two round trips per level, so the tree is not
    /// read at one moment.
    ///
    /// # Errors
    ///
    /// Awaiting it may return [`Error::InvalidOption`], and the errors of reading the root.
    ///
    /// BullMQ: `FlowProducer.getFlow`.
    #[doc(alias = "getFlow")]
    pub fn get_flow(&self, queue: impl Into<String>, id: impl Into<String>) -> GetFlow {
        GetFlow {
            producer: self.clone(),
            queue: queue.into(),
            id: id.into(),
            depth: 10,
            max_children: 20,
            max_jobs: usize::MAX,
        }
    }
}

impl GetFlow {
    /// Sets how many levels to read, including the root. Default: 10; at least 1, at most 100.
    pub fn depth(mut self, levels: usize) -> Self {
        self.depth = levels;
        self
    }

    /// Sets about how many children of each kind to read per job. This is only a hint: small families are read as a
    /// whole. Default: 20; at least 1.
    pub fn max_children(mut self, children: u32) -> Self {
        self.max_children = children;
        self
    }

    /// Reads about so many jobs at most, those of the upper levels first.
    #[cfg(feature = "dashboard")]
    pub(crate) fn max_jobs(mut self, jobs: usize) -> Self {
        self.max_jobs = jobs;
        self
    }

    async fn read(self) -> Result<Option<FlowTree>> {
        if !(1..=MOST_LEVELS).contains(&self.depth) {
            return Err(Error::invalid("depth", format!("it must lie between 1 and {MOST_LEVELS}")));
        }
        if self.max_children == 0 {
            return Err(Error::invalid("max_children", "it must be at least 1"));
        }
        let queues = &self.producer.queues;
        let prefix = self.producer.prefix.as_deref().unwrap_or(&queues.prefix);
        let core = queues.queue(prefix, &self.queue)?;
        let root = Found { parent: 0, kind: None, core, id: self.id.clone() };
        let (root, mut open) = self.look_at(root, 0).await?;
        match &root.job {
            Ok(None) => return Ok(None),
            Ok(Some(_)) => {}
            Err(_) => return root.job.map(|_| None),
        }
        // All nodes in level order, each with the position of its parent.
        let mut nodes = vec![(0, root)];
        for _ in 1..self.depth {
            open.truncate(self.max_jobs.saturating_sub(nodes.len()));
            if open.is_empty() {
                break;
            }
            let first = nodes.len();
            let mut looks = futures::stream::iter(open.into_iter().enumerate())
                .map(|(n, found)| {
                    let parent = found.parent;
                    let look = self.look_at(found, first + n);
                    async move { look.await.map(|(node, children)| (parent, node, children)) }
                })
                .buffered(AT_ONCE);
            let mut next = Vec::new();
            while let Some(look) = looks.next().await {
                let (parent, node, children) = look?;
                nodes.push((parent, node));
                next.extend(children);
            }
            drop(looks);
            open = next;
        }
        Ok(Some(grow(nodes)))
    }

    /// Reads one job, and finds its children; `at` is its position in the tree.
    async fn look_at(&self, found: Found, at: usize) -> Result<(FlowTree, Vec<Found>)> {
        let engine = found.core.engine();
        let page = |kind| engine.get_children_page(&found.id, kind, 0, self.max_children);
        let (job, processed, pending, failed, ignored) = tokio::try_join!(
            async { Ok(Queue::new(Arc::clone(&found.core)).get_job(&found.id).await) },
            page(ChildKind::Processed),
            page(ChildKind::Unprocessed),
            page(ChildKind::Failed),
            page(ChildKind::Ignored),
        )?;
        let mut children = Vec::new();
        for (kind, page) in [
            (ChildKind::Processed, processed),
            (ChildKind::Unprocessed, pending),
            (ChildKind::Failed, failed),
            (ChildKind::Ignored, ignored),
        ] {
            for (key, _) in page.children {
                children.extend(self.child(&key, kind, at, engine.keys.prefix()).await?);
            }
        }
        let queue = engine.keys.qualified().to_owned();
        let kind = found.kind;
        Ok((FlowTree { queue, id: found.id, job, kind, children: Vec::new() }, children))
    }

    /// Reads the job key of a child of a job with this prefix; `None` if it is no such key. One round trip if it may be
    /// read in two ways: then it is split at its last colon if there is such a queue.
    async fn child(&self, key: &str, kind: ChildKind, parent: usize, prefix: &str) -> Result<Option<Found>> {
        let found = |key: JobKey<'_>| {
            let core = self.producer.queues.queue(key.prefix, key.queue).ok()?;
            Some(Found { parent, kind: Some(kind), core, id: key.id.to_owned() })
        };
        let plain = JobKey::at_last_colon(key).and_then(found);
        let Some(other) = JobKey::with_colons(key, prefix).and_then(found) else { return Ok(plain) };
        let Some(plain) = plain else { return Ok(Some(other)) };
        let meta = plain.core.engine().get_meta().await?;
        Ok(Some(if meta.max_len_events.is_some() { plain } else { other }))
    }
}

impl IntoFuture for GetFlow {
    type Output = Result<Option<FlowTree>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.read())
    }
}

/// A job that is still to be read.
struct Found {
    /// The position of its parent.
    parent: usize,
    kind: Option<ChildKind>,
    core: Arc<QueueCore>,
    id: String,
}

/// Builds the tree from nodes in level order; the first is the root.
fn grow(nodes: Vec<(usize, FlowTree)>) -> FlowTree {
    let mut nodes: Vec<(usize, Option<FlowTree>)> =
        nodes.into_iter().map(|(parent, node)| (parent, Some(node))).collect();
    for at in (1..nodes.len()).rev() {
        let parent = nodes[at].0;
        if let (Some(mut node), Some(parent)) = (nodes[at].1.take(), nodes[parent].1.as_mut()) {
            node.children.reverse();
            parent.children.push(node);
        }
    }
    let mut root = nodes.swap_remove(0).1.unwrap_or_else(|| unreachable!("nobody has taken the root"));
    root.children.reverse();
    root
}
