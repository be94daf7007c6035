//! The Rust code of the peers; `official/` is a package of its own and includes `common.rs` by path.

pub(crate) mod common;
pub(crate) mod floor;
pub(crate) mod oxmq;
