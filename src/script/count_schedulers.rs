//! Counts the schedulers of a queue.

use super::{Call, Resend, reply};
use crate::keys::QueueKeys;

pub(crate) fn count_schedulers(keys: &QueueKeys) -> Call<u64> {
    let call = Call::command("get_job_schedulers_count", "ZCARD").text(keys.key("repeat"));
    call.resend(Resend::Reads).read(reply::count)
}
