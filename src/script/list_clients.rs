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
