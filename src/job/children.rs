//! The children of a job, as it sees them.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Job;
use crate::engine::{ChildCounts, ChildKind, ChildPage, Engine};
use crate::error::{Error, Result};

/// The children of a job by what became of them, each by its full key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dependencies<T = Value> {
    /// Those that completed, with their results.
    pub processed: Vec<(String, T)>,
    /// Those that have not finished.
    pub unprocessed: Vec<String>,
    /// Those that failed while their parent goes on, with their reasons.
    pub ignored: Vec<(String, String)>,
    /// Those that failed and so fail their parent.
    pub failed: Vec<String>,
}

impl<T: DeserializeOwned> Dependencies<T> {
    pub(crate) async fn read(engine: &Engine, id: &str) -> Result<Self> {
        let (processed, unprocessed, ignored, failed) = tokio::try_join!(
            engine.get_children_values(id),
            engine.get_unprocessed_children(id),
            engine.get_ignored_children_failures(id),
            engine.get_failed_children(id),
        )?;
        Ok(Self { processed: typed_records(processed)?, unprocessed, ignored, failed })
    }
}

/// Results by child key, with their JSON read.
pub(crate) fn typed_records<T: DeserializeOwned>(records: Vec<(String, String)>) -> Result<Vec<(String, T)>> {
    let read =
        |(child, json): (String, String)| Ok((child, serde_json::from_str(&json).map_err(Error::json("returnvalue"))?));
    records.into_iter().map(read).collect()
}

impl<D, R> Job<D, R> {
    /// The children of the job by what became of them. Four requests on one round trip, so not quite of one moment.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if a result is not a `T`.
    ///
    /// Since 0.1. BullMQ: `Job.getDependencies`.
    #[doc(alias = "getDependencies")]
    pub async fn get_dependencies<T: DeserializeOwned>(&self) -> Result<Dependencies<T>> {
        Dependencies::read(self.core.queue.engine(), self.id()).await
    }

    /// How many children the job has, by what became of them. One round trip.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    ///
    /// Since 0.1. BullMQ: `Job.getDependenciesCount`.
    #[doc(alias = "getDependenciesCount")]
    pub async fn get_dependencies_count(&self) -> Result<ChildCounts> {
        self.core.queue.engine().get_dependencies_count(self.id()).await
    }

    /// About `count` children of one kind, from `cursor` on, which is 0 for the first page. One round trip.
    ///
    /// A hint only: small families come whole. A child that changes between two pages may be in both or in neither.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    ///
    /// Since 0.1. BullMQ: `Job.getDependencies` with a cursor.
    pub async fn get_children_page(&self, kind: ChildKind, cursor: u64, count: u32) -> Result<ChildPage> {
        self.core.queue.engine().get_children_page(self.id(), kind, cursor, count).await
    }

    /// The results of completed children, by their full keys. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if a result is not a `T`.
    ///
    /// Since 0.1. BullMQ: `Job.getChildrenValues`.
    #[doc(alias = "getChildrenValues")]
    pub async fn get_children_values<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>> {
        typed_records(self.core.queue.engine().get_children_values(self.id()).await?)
    }

    /// Why children failed whose failures the job ignores, by their full keys. One round trip.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    ///
    /// Since 0.1. BullMQ: `Job.getIgnoredChildrenFailures`.
    #[doc(alias = "getIgnoredChildrenFailures")]
    pub async fn get_ignored_children_failures(&self) -> Result<Vec<(String, String)>> {
        self.core.queue.engine().get_ignored_children_failures(self.id()).await
    }
}
