//! The fields of a job.

use super::{Call, Repeat, reply};
use crate::keys::QueueKeys;
use crate::wire::job::Pair;

/// No field is no job.
pub(crate) fn get_job(keys: &QueueKeys, id: &str) -> Call<Vec<Pair>> {
    Call::command("get_job", "HGETALL").text(keys.job(id)).repeat(Repeat::Reads).read(reply::pairs)
}
