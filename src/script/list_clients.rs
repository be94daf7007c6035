//! Reads who is connected to the server, and its `INFO`.

use super::{Call, Resend, reply};

/// Returns the reply of `CLIENT LIST`; `op` is the operation that asks.
pub(crate) fn list_clients(op: &'static str) -> Call<String> {
    Call::command(op, "CLIENT").text("LIST").resend(Resend::Reads).read(reply::text)
}

/// Returns the reply of `INFO`.
pub(crate) fn server_info() -> Call<String> {
    Call::command("server_info", "INFO").resend(Resend::Reads).read(reply::text)
}

/// Returns the run id of the server, which it gets anew at each start; `None` if it does not tell.
pub(crate) fn run_id() -> Call<Option<String>> {
    Call::command("get_run_ids", "INFO").text("server").resend(Resend::Reads).read(|value| {
        let info = reply::text(value)?;
        Some(info.lines().find_map(|line| line.strip_prefix("run_id:")).map(|id| id.trim().to_owned()))
    })
}
