//! What a worker does with jobs, through the public interface alone.

mod by_hand;
mod cancelling;
mod closing;
mod deduplication;
mod dropped;
mod expiring;
mod kinds;
mod layers;
mod limits;
mod load;
mod log;
mod nesting;
mod odd;
mod outcomes;
mod prefetch;
mod recovery;
mod sharing;
mod trouble;
