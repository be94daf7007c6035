//! What a worker does with jobs, by the public interface alone.
#![allow(clippy::unwrap_used)]

mod by_hand;
mod cancelling;
mod closing;
mod cursor;
mod deduplication;
mod kinds;
mod layers;
mod limits;
mod load;
mod log;
mod odd;
mod outcomes;
mod recovery;
mod sharing;
mod trouble;
