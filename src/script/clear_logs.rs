//! Shortens or deletes the log of a job.

use super::{Call, Resend};
use crate::keys::QueueKeys;
use crate::options::MAX_SAFE;

pub(crate) fn clear_logs(keys: &QueueKeys, id: &str, keep: u64) -> Call<()> {
    let logs = keys.job(id) + ":logs";
    let call = match keep {
        0 => Call::command("clear_logs", "DEL").text(logs),
        keep => {
            let first = -i128::from(keep.min(MAX_SAFE));
            Call::command("clear_logs", "LTRIM").text(logs).text(first.to_string()).text("-1")
        }
    };
    call.resend(Resend::Safe)
}
