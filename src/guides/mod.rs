//! Guides, by what you want to know. Their samples compile with the tests; they cost the library nothing.

#[doc = include_str!("states.md")]
pub mod states {}

#[doc = include_str!("retries.md")]
pub mod retries {}

#[doc = include_str!("kubernetes.md")]
pub mod kubernetes {}

#[doc = include_str!("redis.md")]
pub mod redis {}

#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}
