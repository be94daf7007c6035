//! The state that all pages share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::de::IgnoredAny;
use tokio::sync::Semaphore;

use super::Dashboard;
use super::access::Hooks;
use super::background::catalog::Catalog;
use super::background::checkup::Checkups;
use super::background::survey::{Overview, Surveyor};
use super::background::works::Works;
use crate::client::Client;
use crate::clock::{Clock, from_epoch_ms};
use crate::engine::stream_waits::StreamWaits;
use crate::error::Result;
use crate::job::Job;
use crate::queue::Queue;

/// A queue whose jobs have any JSON as data and results, which is not parsed.
pub(super) type AnyQueue = Queue<IgnoredAny, IgnoredAny>;
pub(super) type AnyJob = Job<IgnoredAny, IgnoredAny>;

/// How many streams of live pages may be open at once.
const STREAMS: usize = 512;

/// How many of them may read a queue's events.
const LISTENERS: usize = 64;

/// How long a call may take if no connection says so.
const USUAL_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) struct App {
    pub(super) stream_life: Duration,
    pub(super) client: Client,
    pub(super) hooks: Hooks,
    pub(super) base: Option<String>,
    pub(super) title: String,
    pub(super) catalog: Arc<Catalog>,
    pub(super) works: Works,
    pub(super) checkups: Checkups,
    pub(super) streams: Arc<Semaphore>,
    pub(super) listeners: Arc<Semaphore>,
    /// What they wait with: they share a connection, and take none from the listeners of the program.
    pub(super) listening: Arc<StreamWaits>,
    surveyor: Arc<Surveyor>,
}

impl App {
    pub(super) fn new(dashboard: Dashboard) -> Self {
        let Dashboard { client, queues, only_named, base, title, stream_life, hooks } = dashboard;
        Self {
            stream_life,
            listening: client.listeners_without_own(),
            client,
            hooks,
            base,
            title,
            catalog: Catalog::new(queues, only_named),
            works: Works::default(),
            checkups: Checkups::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            listeners: Arc::new(Semaphore::new(LISTENERS)),
            surveyor: Arc::default(),
        }
    }

    pub(super) async fn overview(&self) -> Overview {
        self.surveyor.overview(&self.client, &self.catalog).await
    }

    /// Records that a visitor sees these queues.
    pub(super) fn sees<'a>(&self, queues: impl Iterator<Item = &'a str>) {
        self.surveyor.sees(queues);
    }

    /// Makes the pages show what was changed in a queue.
    pub(super) async fn changed(&self, queue: &str) {
        self.surveyor.renew(&self.client, queue).await;
    }

    pub(super) fn queue(&self, name: &str) -> Result<AnyQueue> {
        self.client.queue(name).open()
    }

    /// Returns how long a page may take: twice as long as one call may, so that a slow server is still heard out.
    pub(super) fn patience(&self) -> Duration {
        let timeout = self.client.server_engine().map_or(USUAL_TIMEOUT, |engine| engine.link.options().command_timeout);
        timeout.saturating_mul(2)
    }

    /// Returns the time by the client's clock.
    pub(super) fn now(&self) -> SystemTime {
        let clock = self.client.server_engine().map_or_else(|_| Clock::system(), |engine| engine.clock.clone());
        from_epoch_ms(clock.now_ms())
    }
}
