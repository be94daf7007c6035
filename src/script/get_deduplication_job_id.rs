//! Reads the id of the job that a deduplication stands for.

use super::{Call, Resend, reply};
use crate::keys::QueueKeys;

pub(crate) fn get_deduplication_job_id(keys: &QueueKeys, deduplication_id: &str) -> Call<Option<String>> {
    let key = keys.key(&format!("de:{deduplication_id}"));
    Call::command("get_deduplication_job_id", "GET").text(key).resend(Resend::Reads).read(reply::maybe_text)
}
