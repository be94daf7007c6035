//! Who is connected to the server, and what it says of itself.

use super::{Call, Repeat, reply};

/// What `CLIENT LIST` says, as text; `op` is the operation that asks.
pub(crate) fn list_clients(op: &'static str) -> Call<String> {
    Call::command(op, "CLIENT").text("LIST").repeat(Repeat::Reads).read(reply::text)
}

/// What the server says of itself, as text.
#[cfg(feature = "dashboard")]
pub(crate) fn server_info() -> Call<String> {
    Call::command("server_info", "INFO").repeat(Repeat::Reads).read(reply::text)
}
