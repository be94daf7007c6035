//! Why a parent waits: the arguments and the reply of `lua/waits_for.lua`.

use redis::Value;

use super::reply::{array, string, text, unsigned};
use super::{Call, Resend, Script, script};

pub(crate) static SCRIPT: Script = script!("waits_for", Produces, uses: ["queue", "states"]);

/// How many ids of a list of waiting jobs are searched for one child.
const LIST_DEPTH: u32 = 2_000;

/// What the server knows of a parent and of the children that hold it back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) state: String,
    pub(crate) deferred_failure: String,
    pub(crate) pending: u64,
    pub(crate) processed: u64,
    pub(crate) ignored: u64,
    pub(crate) failed: u64,
    pub(crate) children: Vec<Child>,
}

/// A child that was looked up; an empty text means that there is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) is_pending: bool,
    pub(crate) key: String,
    /// The name of its state, or `missing`.
    pub(crate) state: String,
    pub(crate) failed_reason: String,
    /// The field `parent` of its hash.
    pub(crate) link: String,
}

/// Reads why a parent waits, and looks up at most `most` children of each kind; `None` if there is no such job.
pub(crate) fn waits_for(id: &str, most: u32) -> Call<Option<Held>> {
    Call::to(&SCRIPT).text(id).number(most).number(LIST_DEPTH).resend(Resend::Reads).read(held)
}

fn held(value: Value) -> Option<Option<Held>> {
    let items = array(value)?;
    if items.is_empty() {
        return Some(None);
    }
    let [state, defa, pending, processed, ignored, failed, children] = items.try_into().ok()?;
    let texts = array(children)?.into_iter().map(text).collect::<Option<Vec<_>>>()?;
    let children = texts.chunks_exact(5).map(|child| Child {
        is_pending: child[0] == "pending",
        key: child[1].clone(),
        state: child[2].clone(),
        failed_reason: child[3].clone(),
        link: child[4].clone(),
    });
    Some(Some(Held {
        state: string(state)?,
        deferred_failure: text(defa)?,
        pending: unsigned(&pending)?,
        processed: unsigned(&processed)?,
        ignored: unsigned(&ignored)?,
        failed: unsigned(&failed)?,
        children: children.collect(),
    }))
}
