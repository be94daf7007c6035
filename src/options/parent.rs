//! The parent of a job, and what the failure of a child does to it.

use crate::error::{Error, Result};
use crate::keys;

/// The job that waits for this one.
///
/// ```no_run
/// # async fn demo(books: oxmq::Queue<String, u32>, pages: oxmq::Queue<u32, ()>) -> oxmq::Result<()> {
/// use std::time::Duration;
/// use oxmq::options::ParentRef;
///
/// // The parent must not run before it has its children.
/// let book = books.add("bind", "Emma".into()).delay(Duration::from_secs(60)).await?;
/// let parent = ParentRef::of(&book);
/// pages.add("render", 7).parent(parent).await?;
/// # Ok(()) }
/// ```
///
/// A [flow](crate::flow) adds parent and children together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentRef {
    pub(crate) id: String,
    pub(crate) queue: String,
}

impl ParentRef {
    /// Names the job `id` of the queue with this qualified name, `<prefix>:<queue>`. For a job at hand,
    /// [`of`](Self::of) cannot go wrong.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for an id that no job can have, and for a queue without a prefix: such a parent would
    /// never be found.
    pub fn new(id: impl Into<String>, queue: impl Into<String>) -> Result<Self> {
        let (id, queue) = (id.into(), queue.into());
        if keys::is_no_job(&id) {
            return Err(Error::invalid("parent.id", "it must not be empty, nor a key of the queue itself"));
        }
        // A prefix may contain colons, the name of a queue may not.
        let Some((prefix, name)) = queue.rsplit_once(':') else {
            return Err(Error::invalid(
                "parent.queue",
                "it must be the prefix and the name, with a colon between them",
            ));
        };
        if prefix.is_empty() {
            return Err(Error::invalid("parent.queue", "its prefix must not be empty"));
        }
        keys::QueueKeys::new(prefix, name)?;
        Ok(Self { id, queue })
    }

    /// Returns the parent that is stored with a job, unchecked.
    pub(crate) fn stored(id: impl Into<String>, queue: impl Into<String>) -> Self {
        Self { id: id.into(), queue: queue.into() }
    }

    /// Returns the parent's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Returns the qualified name of the parent's queue, `<prefix>:<queue>`.
    #[must_use]
    pub fn queue(&self) -> &str {
        &self.queue
    }

    /// Returns the key of the parent's hash.
    pub(crate) fn key(&self) -> String {
        format!("{}:{}", self.queue, self.id)
    }
}

/// What the final failure of a child does to its parent. Without a policy the parent goes on waiting.
///
/// ```no_run
/// # async fn demo(client: oxmq::Client) -> oxmq::Result<()> {
/// use oxmq::options::OnChildFailure;
/// use oxmq::{FlowNode, JobOptions};
///
/// let page = FlowNode::new("pages", "render", 1).options(JobOptions::default().on_child_failure(OnChildFailure::FailParent));
/// client.flow_producer().add(FlowNode::new("books", "bind", "Emma").child(page)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[non_exhaustive]
pub enum OnChildFailure {
    /// The parent fails too. BullMQ: `failParentOnFailure`.
    #[serde(rename = "failParentOnFailure")]
    FailParent,
    /// The parent runs at once, whatever its other children do, and can ask which one failed. While others are pending it
    /// cannot complete: it removes them first (`remove_unprocessed_children`), or waits for them
    /// (`Halt::WaitingChildren`). BullMQ: `continueParentOnFailure`.
    #[serde(rename = "continueParentOnFailure")]
    ContinueParent,
    /// The parent no longer waits for this child, and can ask why it failed. BullMQ: `ignoreDependencyOnFailure`.
    #[serde(rename = "ignoreDependencyOnFailure")]
    IgnoreDependency,
    /// The parent no longer waits for this child, and nothing is recorded. BullMQ: `removeDependencyOnFailure`.
    #[serde(rename = "removeDependencyOnFailure")]
    RemoveDependency,
}

impl OnChildFailure {
    /// The order in which the scripts check them: the first that is set applies.
    pub(crate) const ALL: [Self; 4] =
        [Self::FailParent, Self::ContinueParent, Self::IgnoreDependency, Self::RemoveDependency];

    /// Returns the short name under which it is stored.
    pub(crate) fn short(self) -> &'static str {
        match self {
            Self::FailParent => "fpof",
            Self::ContinueParent => "cpof",
            Self::IgnoreDependency => "idof",
            Self::RemoveDependency => "rdof",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_has_an_id_and_a_queue_with_its_prefix() {
        for (id, queue) in [("", "bull:q"), ("meta", "bull:q"), ("1", ""), ("1", "q"), ("1", ":q"), ("1", "bull:")] {
            assert!(ParentRef::new(id, queue).is_err(), "{id:?} {queue:?}");
        }
        let parent = ParentRef::new("1", "a:b:q").unwrap();
        assert_eq!((parent.id(), parent.queue()), ("1", "a:b:q"));
    }
}
