//! The fields of a job.

use super::{Call, Repeat, reply};
use crate::keys::QueueKeys;
use crate::wire::job::Pair;

/// No field is no job.
pub(crate) fn get_job(keys: &QueueKeys, id: &str) -> Call<Vec<Pair>> {
    Call::command("get_job", "HGETALL").text(keys.job(id)).repeat(Repeat::Reads).read(reply::pairs)
}

/// Whether there is a job: what else may stand under such a key has no time at which it was added.
#[cfg(feature = "dashboard")]
pub(crate) fn has_job(keys: &QueueKeys, id: &str) -> Call<bool> {
    Call::command("has_job", "HEXISTS").text(keys.job(id)).text("timestamp").repeat(Repeat::Reads).read(reply::is_one)
}
