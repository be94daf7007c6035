//! The oxmq side of the comparison; see `common.rs` for what it does and how it reports.

use std::convert::Infallible;

use anyhow::{Result, bail};

use super::common::{Payload, Peer, Place, Spec};

/// Cannot be made as long as the library has no queue; every method but `connect` is therefore unreachable.
pub(crate) enum Oxmq {}

impl Peer for Oxmq {
    type Worker = Infallible;

    async fn connect(_place: &Place) -> Result<Self> {
        bail!("this version of oxmq cannot connect to Redis yet")
    }

    async fn add(&self, _payload: &Payload) -> Result<()> {
        match *self {}
    }

    async fn add_bulk(&self, _payload: &Payload, _specs: &[Spec]) -> Result<()> {
        match *self {}
    }

    async fn worker<P>(&self, _concurrency: usize, _processor: P) -> Result<Infallible>
    where
        P: Fn(u32) -> bool + Send + Sync + 'static,
    {
        match *self {}
    }

    async fn start(&self, _worker: &mut Infallible) -> Result<()> {
        match *self {}
    }

    async fn completed(&self, _worker: &mut Infallible, _count: usize) -> Result<()> {
        match *self {}
    }

    async fn close(&self, _worker: Infallible) -> Result<()> {
        match *self {}
    }
}
