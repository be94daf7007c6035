//! Cancelling a job: `lua/cancel_job.lua`, and the requests that workers look for.

use redis::Value;

use super::{Call, Repeat, Script, reply, script};
use crate::error::Reason;
use crate::keys::QueueKeys;
use crate::wire::job::Pair;

pub(crate) static SCRIPT: Script = script!("cancel_job", Produces, uses: ["codes", "queue", "settings", "wake", "number", "announce", "is_job", "prioritize", "ready"]);

/// What became of a wish to cancel a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancellation {
    /// It runs. Its worker was asked to stop it, and is the one to end it; there is no further attempt.
    Requested,
    /// It was waiting for its turn, its time or its children. It fails unrun, as soon as a worker comes to it.
    Cancelled,
    /// It has completed or failed before.
    AlreadyFinished,
    /// There is no such job.
    NotFound,
}

/// Twice is as good as once.
pub(crate) fn cancel_job(id: &str, reason: &str) -> Call<Cancellation> {
    Call::to(&SCRIPT).text(id).text(reason).repeat(Repeat::Safe).read(cancelled)
}

fn cancelled(value: Value) -> Option<Cancellation> {
    Some(match reply::code(value)? {
        Ok(0) => Cancellation::AlreadyFinished,
        Ok(1) => Cancellation::Requested,
        Ok(2) => Cancellation::Cancelled,
        Err(Reason::MissingJob) => Cancellation::NotFound,
        _ => return None,
    })
}

/// The attempts that somebody wants stopped.
pub(crate) fn read_cancels(keys: &QueueKeys) -> Call<Vec<Pair>> {
    Call::command("read_cancels", "HGETALL").text(requests(keys)).repeat(Repeat::Reads).read(reply::pairs)
}

/// Takes requests away whose attempts were told.
pub(crate) fn drop_cancels(keys: &QueueKeys, ids: &[Vec<u8>]) -> Call<()> {
    Call::command("drop_cancels", "HDEL").text(requests(keys)).texts(ids).repeat(Repeat::Safe)
}

fn requests(keys: &QueueKeys) -> String {
    keys.key("oxmq:cancels")
}

/// The token of the attempt that a request is about, and the reason.
pub(crate) fn request(value: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(value).ok()?.split_once('\n')
}
