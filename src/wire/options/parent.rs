//! The link from a child to its parent.

use super::write::Writer;
use crate::options::{OnChildFailure, ParentRef};
use crate::wire::json;

/// Writes the field `parent` of a child's hash. When the child fails, its policy is read from here, not from `opts`.
pub(crate) fn parent_json(parent: &ParentRef, policy: Option<OnChildFailure>) -> String {
    let mut out = Writer::new();
    out.name("id").string(&parent.id).name("queueKey").string(&parent.queue);
    if let Some(policy) = policy {
        out.flag(policy.short(), true);
    }
    out.finish()
}

/// The link from a child to its parent, as the child's hash has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parent {
    pub(crate) id: String,
    /// `<prefix>:<queue>`.
    pub(crate) queue_key: String,
    pub(crate) policy: Option<OnChildFailure>,
}

impl Parent {
    /// Reads the field `parent`.
    pub(crate) fn parse(raw: &str) -> Result<Self, String> {
        let (mut id, mut queue_key, mut policies) = (None, None, [false; 4]);
        json::object(raw, |name, value| {
            match name {
                "id" => id = json::id(value),
                "queueKey" => queue_key = json::string(value),
                _ => {
                    if let Some(at) = OnChildFailure::ALL.iter().position(|policy| policy.short() == name) {
                        policies[at] = json::truthy(value);
                    }
                }
            }
            Ok(())
        })?;
        match (id, queue_key) {
            (Some(id), Some(queue_key)) => {
                Ok(Self { id, queue_key: queue_key.into_owned(), policy: first_policy(policies) })
            }
            (None, _) => Err("it has no id".to_owned()),
            _ => Err("it has no queueKey".to_owned()),
        }
    }

    /// Derives the link from the key of the parent's hash, for jobs that have nothing else.
    pub(crate) fn from_key(key: &str) -> Option<Self> {
        let (queue_key, id) = key.rsplit_once(':')?;
        Some(Self { id: id.to_owned(), queue_key: queue_key.to_owned(), policy: None })
    }
}

/// Returns the policy that applies if more than one is set: the first in the order of [`OnChildFailure::ALL`].
pub(super) fn first_policy(set: [bool; 4]) -> Option<OnChildFailure> {
    OnChildFailure::ALL.into_iter().zip(set).find_map(|(policy, on)| on.then_some(policy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_link_to_the_parent_goes_both_ways() {
        let parent = ParentRef::stored("1", "p:q");
        assert_eq!(parent_json(&parent, None), r#"{"id":"1","queueKey":"p:q"}"#);
        for policy in OnChildFailure::ALL {
            let link = Parent::parse(&parent_json(&parent, Some(policy))).unwrap();
            assert_eq!(link, Parent { id: "1".into(), queue_key: "p:q".into(), policy: Some(policy) });
        }
        assert_eq!(
            Parent::parse(r#"{"queueKey":"p:q","id":7,"rdof":true,"fpof":true,"x":{}}"#).unwrap().policy,
            Some(OnChildFailure::FailParent)
        );
        for bad in ["", "{}", "[]", r#"{"id":"1"}"#, r#"{"queueKey":"p:q"}"#] {
            assert!(Parent::parse(bad).is_err(), "{bad}");
        }
    }
}
