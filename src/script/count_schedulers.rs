//! Counts the schedulers of a queue.

use super::{Call, Repeat, reply};
use crate::keys::QueueKeys;

pub(crate) fn count_schedulers(keys: &QueueKeys) -> Call<u64> {
    let call = Call::command("get_job_schedulers_count", "ZCARD").text(keys.key("repeat"));
    call.repeat(Repeat::Reads).read(reply::count)
}
