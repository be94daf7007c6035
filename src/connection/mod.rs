//! Sockets: the shared connection, the blocking one, how they reconnect, and what a failed call may have done.
//!
//! Nothing in here knows what a queue or a job is.

mod attempt;
mod blocking;
mod cluster_of;
mod dial;
mod distrust;
mod failure;
mod first;
mod handshake;
mod link;
mod node;
mod options;
mod outage;
mod progress;
mod query;
mod rights;
mod route;
mod sentinel;
mod servers;
mod slot;
mod socket;
mod survey;
#[cfg(feature = "tls")]
mod tls;
mod topology;
mod unreadable;
mod url;
mod watch;

pub(crate) use attempt::Pauses;
pub(crate) use blocking::{BlockingLink, Waited};
#[cfg(any(test, feature = "testing"))]
pub(crate) use dial::NOWHERE;
pub(crate) use failure::{CallFailure, without_secrets};
pub(crate) use link::Link;
pub use options::ConnectOptions;
pub(crate) use outage::{Listener, Refused};
pub use servers::Address;
pub(crate) use survey::Surveyor;
pub(crate) use watch::Watch;
