//! Cancelling a job: `lua/cancel_job.lua`, and the requests that workers look for.

use redis::Value;

use super::{Call, Repeat, Script, reply, script};
use crate::error::Reason;
use crate::keys::QueueKeys;

pub(crate) static SCRIPT: Script = script!("cancel_job", Produces, uses: ["codes", "queue", "settings", "wake", "number", "announce", "is_job", "prioritize", "ready"]);

/// What became of a wish to cancel a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
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

/// How many requests there are in the queue.
pub(crate) fn count_cancels(keys: &QueueKeys) -> Call<u64> {
    Call::command("read_cancels", "HLEN").text(requests(keys)).repeat(Repeat::Reads).read(reply::count)
}

/// What is wanted of the attempts at each of these jobs, in order: what [`request`] reads, or nothing.
pub(crate) fn read_cancels(
    keys: &QueueKeys,
    ids: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Call<Vec<Option<Vec<u8>>>> {
    Call::command("read_cancels", "HMGET").text(requests(keys)).texts(ids).repeat(Repeat::Reads).read(values)
}

fn values(value: Value) -> Option<Vec<Option<Vec<u8>>>> {
    let value_of = |value| match value {
        Value::Nil => Some(None),
        value => reply::bytes(value).map(Some),
    };
    reply::array(value)?.into_iter().map(value_of).collect()
}

fn requests(keys: &QueueKeys) -> String {
    keys.key("oxmq:cancels")
}

/// The reason for which the attempt with this token is to stop, if the request is about that one.
pub(crate) fn request<'a>(value: &'a [u8], token: &str) -> Option<&'a str> {
    std::str::from_utf8(value).ok()?.strip_prefix(token)?.strip_prefix('\n')
}
