//! Cancels a job: `lua/cancel_job.lua`. Workers read the requests.

use redis::Value;

use super::{Call, Resend, Script, reply, script};
use crate::error::Reason;
use crate::keys::QueueKeys;

pub(crate) static SCRIPT: Script = script!("cancel_job", Produces, uses: ["codes", "queue", "settings", "wake", "number", "announce", "is_job", "prioritize", "ready"]);

/// The outcome of cancelling a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum Cancellation {
    /// The job is running. Its worker was asked to stop it and will end it; there is no further attempt.
    Requested,
    /// The job was waiting, delayed or waiting for children. It fails without being run, as soon as a worker takes it.
    Cancelled,
    /// The job had completed or failed before.
    AlreadyFinished,
    /// There is no such job.
    NotFound,
}

/// Cancels a job. Safe to repeat.
pub(crate) fn cancel_job(id: &str, reason: &str) -> Call<Cancellation> {
    Call::to(&SCRIPT).text(id).text(reason).resend(Resend::Safe).read(cancelled)
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

/// Counts the requests in the queue.
pub(crate) fn count_cancels(keys: &QueueKeys) -> Call<u64> {
    Call::command("read_cancels", "HLEN").text(requests(keys)).resend(Resend::Reads).read(reply::count)
}

/// Reads the requests for these jobs, in order; [`request`] reads each of them.
pub(crate) fn read_cancels(
    keys: &QueueKeys,
    ids: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Call<Vec<Option<Vec<u8>>>> {
    Call::command("read_cancels", "HMGET").text(requests(keys)).texts(ids).resend(Resend::Reads).read(values)
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

/// Returns why the attempt with this token is to stop, if the request names that attempt.
pub(crate) fn request<'a>(value: &'a [u8], token: &str) -> Option<&'a str> {
    std::str::from_utf8(value).ok()?.strip_prefix(token)?.strip_prefix('\n')
}
