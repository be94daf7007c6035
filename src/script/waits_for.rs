//! Why a parent waits: the arguments and the reply of `lua/waits_for.lua`.

use redis::Value;

use super::reply::{array, string, text, unsigned};
use super::{Call, Resend, Script, script};

pub(crate) static SCRIPT: Script = script!("waits_for", Produces, uses: ["queue", "states", "job_key"]);

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
    /// Where to go on with the pending children; 0 if all were looked up, or if no page was asked for.
    pub(crate) cursor: u64,
}

/// A child that was looked up; an empty text means that there is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) is_pending: bool,
    /// The base key of its queue, `<prefix>:<queue>:`.
    pub(crate) home: String,
    pub(crate) id: String,
    /// The name of its state, or `missing`.
    pub(crate) state: String,
    pub(crate) failed_reason: String,
    /// The field `parent` of its hash.
    pub(crate) link: String,
    /// How many children it waits for itself.
    pub(crate) pending: u64,
    /// The position of the child that waits for it; `None` for a child of the parent that was asked about.
    pub(crate) above: Option<usize>,
}

/// Reads why a parent waits, and looks up at most `most` children of each kind; `None` if there is no such job.
pub(crate) fn waits_for(id: &str, most: u32) -> Call<Option<Held>> {
    Call::to(&SCRIPT).text(id).number(most).number(LIST_DEPTH).text("").resend(Resend::Reads).read(held)
}

/// Reads a page of about `most` pending children of a parent, from a cursor on, which is 0 at first.
#[cfg(feature = "doctor")]
pub(crate) fn waits_for_page(id: &str, most: u32, cursor: u64) -> Call<Option<Held>> {
    Call::to(&SCRIPT).text(id).number(most).number(LIST_DEPTH).number(cursor).resend(Resend::Reads).read(held)
}

fn held(value: Value) -> Option<Option<Held>> {
    let items = array(value)?;
    if items.is_empty() {
        return Some(None);
    }
    let [state, defa, pending, processed, ignored, failed, children, cursor] = items.try_into().ok()?;
    let mut values = array(children)?.into_iter();
    let mut children = Vec::new();
    while let Some(kind) = values.next() {
        let mut next = || values.next();
        let child = Child {
            is_pending: text(kind)? == "pending",
            home: text(next()?)?,
            id: text(next()?)?,
            state: text(next()?)?,
            failed_reason: text(next()?)?,
            link: text(next()?)?,
            pending: unsigned(&next()?)?,
            above: usize::try_from(unsigned(&next()?)?).ok()?.checked_sub(1),
        };
        if child.above.is_some_and(|above| above >= children.len()) {
            return None;
        }
        children.push(child);
    }
    Some(Some(Held {
        state: string(state)?,
        deferred_failure: text(defa)?,
        pending: unsigned(&pending)?,
        processed: unsigned(&processed)?,
        ignored: unsigned(&ignored)?,
        failed: unsigned(&failed)?,
        children,
        cursor: text(cursor)?.parse().ok()?,
    }))
}
