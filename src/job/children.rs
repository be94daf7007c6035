//! The children of a job.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::JobRef;
use crate::engine::{ChildCounts, ChildKind, ChildPage};
use crate::error::{Error, JobPlace, Result};
use crate::keys::JobKey;
use crate::wire::json;

/// The children of a job by their outcome, each with its full key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[non_exhaustive]
pub struct Dependencies<T = Value> {
    /// Children that completed, with their results.
    #[serde(serialize_with = "json::as_map", bound(serialize = "T: serde::Serialize"))]
    pub processed: Vec<(String, T)>,
    /// Children that have not finished.
    pub unprocessed: Vec<String>,
    /// Children whose failure the parent ignores, with the reasons.
    #[serde(serialize_with = "json::as_map")]
    pub ignored: Vec<(String, String)>,
    /// Children whose failure fails the parent.
    pub failed: Vec<String>,
}

/// Reads the JSON of results of the children of a job with this prefix.
fn typed_records<T: DeserializeOwned>(records: Vec<(String, String)>, prefix: &str) -> Result<Vec<(String, T)>> {
    let read = |(child, json): (String, String)| match json::read("returnvalue", &json) {
        Ok(value) => Ok((child, value)),
        Err(error) => Err(Error::of_job(error, place(&child, prefix))),
    };
    records.into_iter().map(read).collect()
}

/// Returns which job a key stands for.
fn place(key: &str, prefix: &str) -> JobPlace {
    JobKey::near(key, prefix).map_or_else(|| JobPlace::new(key, ""), |key| JobPlace::new(key.id, key.queue))
}

impl<D, R> JobRef<D, R> {
    /// Reads the children of the job, by their outcome. Four requests in one round trip, so not all at exactly one
    /// moment.
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) if a result is not a `T`.
    ///
    /// BullMQ: `Job.getDependencies`.
    #[doc(alias = "getDependencies")]
    pub async fn get_dependencies<T: DeserializeOwned>(&self) -> Result<Dependencies<T>> {
        let (engine, id) = (self.engine(), self.id());
        let (processed, unprocessed, ignored, failed) = tokio::try_join!(
            engine.get_children_values(id),
            engine.get_unprocessed_children(id),
            engine.get_ignored_children_failures(id),
            engine.get_failed_children(id),
        )?;
        Ok(Dependencies { processed: typed_records(processed, self.prefix())?, unprocessed, ignored, failed })
    }

    /// Counts the children of the job, by their outcome. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Job.getDependenciesCount`.
    #[doc(alias = "getDependenciesCount")]
    pub async fn get_dependencies_count(&self) -> Result<ChildCounts> {
        self.engine().get_dependencies_count(self.id()).await
    }

    /// Reads about `count` children of one kind, from `cursor` on, which is 0 for the first page. One round trip.
    ///
    /// `count` is only a hint: small families are returned as a whole. A child that changes between two pages may be in
    /// both or in neither.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Job.getDependencies` with a cursor.
    pub async fn get_children_page(&self, kind: ChildKind, cursor: u64, count: u32) -> Result<ChildPage> {
        self.engine().get_children_page(self.id(), kind, cursor, count).await
    }

    /// Reads the results of completed children, by their full keys. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) if a result is not a `T`.
    ///
    /// BullMQ: `Job.getChildrenValues`.
    #[doc(alias = "getChildrenValues")]
    pub async fn get_children_values<T: DeserializeOwned>(&self) -> Result<Vec<(String, T)>> {
        typed_records(self.engine().get_children_values(self.id()).await?, self.prefix())
    }

    /// Reads the results of the completed children in one queue, by their ids. For a job whose children in different queues
    /// have results of different types. One round trip, which carries the results of the other queues, too.
    ///
    /// `queue` is the name of a queue, with the job's own prefix, or `<prefix>:<queue>`.
    ///
    /// # Errors
    ///
    /// [`Error::Json`](crate::Error::Json) if a result is not a `T`.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # use oxmq::{Halt, Job};
    /// async fn publish(job: Job<String, usize>) -> Result<usize, Halt> {
    ///     let texts = job.get_children_values_of::<String>("texts").await?;
    ///     let sizes = job.get_children_values_of::<(u32, u32)>("images").await?;
    ///     Ok(texts.len() + sizes.len())
    /// }
    /// ```
    pub async fn get_children_values_of<T: DeserializeOwned>(&self, queue: &str) -> Result<Vec<(String, T)>> {
        let own = if queue.contains(':') { format!("{queue}:") } else { format!("{}:{queue}:", self.prefix()) };
        let mut records = self.engine().get_children_values(self.id()).await?;
        records.retain(|(child, _)| child.starts_with(&own));
        let mut values = typed_records(records, self.prefix())?;
        for (child, _) in &mut values {
            child.drain(..own.len());
        }
        Ok(values)
    }

    /// Returns why children failed whose failures the job ignores, by their full keys. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Job.getIgnoredChildrenFailures`, formerly `Job.getFailedChildrenValues`.
    #[doc(alias = "getFailedChildrenValues")]
    #[doc(alias = "get_failed_children_values")]
    #[doc(alias = "getIgnoredChildrenFailures")]
    pub async fn get_ignored_children_failures(&self) -> Result<Vec<(String, String)>> {
        self.engine().get_ignored_children_failures(self.id()).await
    }
}
