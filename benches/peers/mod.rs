//! The Rust code of the peers; `official/` is a package of its own and includes `common.rs` by path.

#[expect(dead_code, reason = "`oxmq.rs` does not add or process jobs yet")]
pub(crate) mod common;
pub(crate) mod oxmq;
