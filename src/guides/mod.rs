//! Guides by subject. Their samples compile with the tests; the guides add nothing to the library.

// The pages name items as they are called at the root.
#[allow(unused_imports, reason = "only the links of the pages use them")]
use super::{
    events::{QueueEvent, QueueEventsBuilder},
    queue::QueueBuilder,
    worker::{WorkerBuilder, WorkerEvent},
    *,
};

#[doc = include_str!("coming_from_node.md")]
pub mod coming_from_node {}

#[doc = include_str!("coming_from_rust.md")]
pub mod coming_from_rust {}

#[doc = include_str!("states.md")]
pub mod states {}

#[doc = include_str!("retries.md")]
pub mod retries {}

#[doc = include_str!("timeouts.md")]
pub mod timeouts {}

#[doc = include_str!("kubernetes.md")]
pub mod kubernetes {}

#[doc = include_str!("redis.md")]
pub mod redis {}

#[doc = include_str!("capacity.md")]
pub mod capacity {}

#[doc = include_str!("observability.md")]
pub mod observability {}

#[doc = include_str!("partitions.md")]
pub mod partitions {}

#[doc = include_str!("fan_out.md")]
pub mod fan_out {}

// Its samples take the feature.
#[cfg_attr(feature = "testing", doc = include_str!("testing.md"))]
#[cfg_attr(
    not(feature = "testing"),
    doc = "Testing a program with queues: this page comes with the feature `testing`."
)]
pub mod testing {}

#[doc = include_str!("security.md")]
pub mod security {}

#[doc = include_str!("troubleshooting.md")]
pub mod troubleshooting {}
