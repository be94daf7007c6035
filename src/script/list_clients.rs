//! Who is connected to the server.

use super::{Call, Repeat, reply};

/// What `CLIENT LIST` says, as text; `op` is the operation that asks.
pub(crate) fn list_clients(op: &'static str) -> Call<String> {
    Call::command(op, "CLIENT").text("LIST").repeat(Repeat::Reads).read(reply::text)
}
