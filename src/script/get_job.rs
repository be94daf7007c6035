//! Reads the fields of a job.

use super::{Call, Resend, reply};
use crate::keys::QueueKeys;
use crate::wire::job::Pair;

/// Returns the fields; none means that there is no such job.
pub(crate) fn get_job(keys: &QueueKeys, id: &str) -> Call<Vec<Pair>> {
    Call::command("get_job", "HGETALL").text(keys.job(id)).resend(Resend::Reads).read(reply::pairs)
}

/// Returns whether a job exists: a hash of anything else has no field `timestamp`.
#[cfg(feature = "dashboard")]
pub(crate) fn has_job(keys: &QueueKeys, id: &str) -> Call<bool> {
    Call::command("has_job", "HEXISTS").text(keys.job(id)).text("timestamp").resend(Resend::Reads).read(reply::is_one)
}
