//! The job schedulers of a queue.

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::Instrument;

use super::Queue;
use crate::clock::{epoch_ms, from_epoch_ms, millis};
use crate::error::{Error, Result};
use crate::job::{Job, JobCore, JobIdentity};
use crate::kind::JobKind;
use crate::options::JobOptions;
use crate::scheduler::{Overlap, Repeat, Template, plan};
use crate::script::list_schedulers::StoredScheduler;
use crate::state::Order;
use crate::telemetry;
use crate::wire::JsonText;
use crate::wire::job::RawJob;
use crate::wire::options::StoredOptions;
use crate::wire::{json, nesting};

impl<D, R> Queue<D, R> {
    /// Creates a job scheduler, or changes the one with this id. Awaiting the builder sends it.
    ///
    /// Its next run is added in the same atomic step; each further run is added by the worker that takes the one before
    /// it. So call this when your program starts: an existing scheduler continues, and its next run is replaced by one
    /// with the new name, data and options. With the same interval the next run keeps its time; with another interval
    /// it runs at once. A run that is active is not changed. One round trip.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if a rule is broken or there would be no run; then nothing was sent. [`Error::Refused`]
    /// with [`Reason::SchedulerJobExists`](crate::error::Reason::SchedulerJobExists) or
    /// [`Reason::SchedulerSlotsBusy`](crate::error::Reason::SchedulerSlotsBusy) if other jobs have the ids of its next
    /// runs; then nothing was changed. [`Error::OutcomeUnknown`] if the reply was lost and it has
    /// [`Repeat::immediately`]; in all other cases the call is safely repeated.
    /// # Example
    ///
    /// ```no_run
    /// # async fn demo(queue: oxmq::Queue<String, ()>) -> oxmq::Result<()> {
    /// use std::time::Duration;
    /// use oxmq::Repeat;
    ///
    /// let every = Repeat::every(Duration::from_secs(60));
    /// let first = queue.upsert_job_scheduler("report", every).name("report").data("daily".into()).await?;
    /// println!("{} runs first", first.id());
    /// # Ok(()) }
    /// ```
    ///
    /// BullMQ: `Queue.upsertJobScheduler`.
    #[doc(alias = "upsertJobScheduler")]
    pub fn upsert_job_scheduler(&self, id: impl Into<String>, repeat: Repeat) -> UpsertJobScheduler<D, R> {
        UpsertJobScheduler {
            queue: self.clone(),
            id: id.into(),
            repeat,
            name: None,
            data: None,
            options: JobOptions::default(),
        }
    }

    /// Removes a job scheduler; returns whether there was one. Its next run is removed too if it is delayed; a run that
    /// is ready or active still runs. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection. The call is repeated after a lost reply, and then may return false although there was
    /// one.
    ///
    /// BullMQ: `Queue.removeJobScheduler`.
    #[doc(alias = "removeJobScheduler")]
    pub async fn remove_job_scheduler(&self, id: &str) -> Result<bool> {
        self.core.engine().remove_scheduler(id).await
    }

    /// Reads a job scheduler by its id; `None` if there is none. One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getJobScheduler`.
    #[doc(alias = "getJobScheduler")]
    pub async fn get_job_scheduler(&self, id: &str) -> Result<Option<JobScheduler>> {
        Ok(self.core.engine().get_scheduler(id).await?.and_then(JobScheduler::new))
    }

    /// Reads the job schedulers at the positions `start` to `end`, ordered by their next run: the earliest first, or in
    /// descending order the latest. Positions below 0 count from the end. One round trip per 200 of them.
    ///
    /// Entries without a scheduler, such as repeatable jobs of BullMQ 3 and older, are left out, but have a position;
    /// BullMQ 6 removes some of them here, and fails at others.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getJobSchedulers`.
    #[doc(alias = "getJobSchedulers")]
    pub async fn get_job_schedulers(&self, start: i64, end: i64, order: Order) -> Result<Vec<JobScheduler>> {
        let stored = self.core.engine().list_schedulers(start, end, order.is_ascending()).await?;
        Ok(stored.into_iter().filter_map(JobScheduler::new).collect())
    }

    /// Counts the entries that have a position in [`get_job_schedulers`](Self::get_job_schedulers). One round trip.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    ///
    /// BullMQ: `Queue.getJobSchedulersCount`.
    #[doc(alias = "getJobSchedulersCount")]
    pub async fn get_job_schedulers_count(&self) -> Result<u64> {
        self.core.engine().count_schedulers().await
    }
}

/// A job scheduler to be sent; await it. Created by [`Queue::upsert_job_scheduler`].
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue<String, ()>) -> oxmq::Result<()> {
/// use std::time::Duration;
/// use oxmq::{JobOptions, Repeat};
///
/// let nightly = Repeat::cron("0 3 * * *").tz("Europe/Berlin");
/// let options = JobOptions::default().attempts(3).remove_on_complete(10);
/// queue.upsert_job_scheduler("nightly", nightly).name("report").data("all".into()).options(options).await?;
/// queue.upsert_job_scheduler("ping", Repeat::every(Duration::from_secs(30))).data("ping".into()).await?;
/// # Ok(()) }
/// ```
#[must_use = "a scheduler is not stored until it is awaited"]
pub struct UpsertJobScheduler<D, R> {
    queue: Queue<D, R>,
    id: String,
    repeat: Repeat,
    name: Option<String>,
    data: Option<D>,
    options: JobOptions,
}

impl<D, R> UpsertJobScheduler<D, R> {
    /// Sets the name of its jobs. Default: the scheduler's id.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the data of its jobs. Default: `{}`, which then must be readable as `D`.
    pub fn data(mut self, data: D) -> Self {
        self.data = Some(data);
        self
    }

    /// Makes its jobs jobs of a kind: with the kind's name and options, and this data. A `delay` or a moment among the
    /// options of the kind is left out, since the scheduler sets when each run is due.
    ///
    /// ```no_run
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct Vacuum { keep_days: u32 }
    /// # impl oxmq::JobKind for Vacuum {
    /// #     const NAME: &'static str = "vacuum";
    /// #     type Output = ();
    /// # }
    /// # async fn demo(queue: oxmq::Queue) -> oxmq::Result<()> {
    /// use std::time::Duration;
    /// use oxmq::Repeat;
    ///
    /// let hourly = Repeat::every(Duration::from_secs(3600));
    /// queue.upsert_job_scheduler("vacuum", hourly).kind(Vacuum { keep_days: 30 }).await?;
    /// # Ok(()) }
    /// ```
    pub fn kind<K: JobKind>(self, job: K) -> UpsertJobScheduler<K, K::Output> {
        UpsertJobScheduler {
            queue: self.queue.of_types(),
            id: self.id,
            repeat: self.repeat,
            name: Some(K::NAME.to_owned()),
            options: self.options.or_defaults(&job.options().of_kind().for_runs()),
            data: Some(job),
        }
    }

    /// Sets the options of its jobs; options left out are taken from the queue's defaults, except a delay. `delay`, `job_id`,
    /// `timestamp` and `parent` cannot be set: the scheduler sets these. A deduplication is stored with each run, but
    /// prevents none.
    pub fn options(mut self, options: JobOptions) -> Self {
        self.options = options;
        self
    }
}

/// Returns the error for a scheduler without data whose jobs need some.
fn no_data(error: &Error) -> Error {
    Error::invalid(
        "data",
        format!("none was given, and `{{}}`, which stands for none, is not enough: {error}; call `.data(…)`"),
    )
}

impl<D, R> UpsertJobScheduler<D, R>
where
    D: Serialize + DeserializeOwned,
{
    async fn send(self, trace: Option<String>) -> Result<Job<D, R>> {
        let Self { queue, id, repeat, name, data, mut options } = self;
        if let Some(trace) = trace {
            options = options.in_trace(&trace, true, &queue.defaults);
        }
        // A default delay is for jobs that are added; a scheduler sets when each run is due.
        let defaults = JobOptions::clone(&queue.defaults).of_kind().for_runs();
        let options = options.or_defaults(&defaults);
        let (json, data) = match data {
            Some(data) => (nesting::text(&data).map_err(Error::json("data"))?, data),
            None => ("{}".to_owned(), json::read("data", "{}").map_err(|error| no_data(&error))?),
        };
        options.check_data(&json)?;
        let now = queue.core.engine().clock.now_ms();
        let upsert = plan(&id, &repeat, Template { name, data: Some(json), options }, now)?;
        queue.core.open_for_add().await;
        let made = queue.core.engine().upsert_scheduler(&upsert, !repeat.is_immediate()).await?;
        queue.core.open_for_add().await;
        let options = StoredOptions::parse(&upsert.opts).unwrap_or_default();
        let job_id = format!("repeat:{id}:{}", made.slot);
        let mut raw = RawJob::added(
            job_id,
            upsert.name,
            upsert.data,
            upsert.opts.into(),
            options,
            now,
            made.delay,
            upsert.priority,
        );
        raw.set_deduplication_id(upsert.deduplication_id);
        let seen = JobIdentity::now(i64::try_from(now).ok());
        let job = JobCore { queue: Arc::clone(&queue.core), raw, attempt: None, host: None, seen };
        Ok(Job::new(Arc::new(job), data))
    }
}

impl<D, R> IntoFuture for UpsertJobScheduler<D, R>
where
    D: Serialize + DeserializeOwned + Send + 'static,
    R: 'static,
{
    /// The next run.
    type Output = Result<Job<D, R>>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let span = telemetry::add(self.queue.name(), self.name.as_deref().unwrap_or(&self.id));
            let trace = telemetry::inject(&span);
            self.send(trace).instrument(span).await
        })
    }
}

/// A job scheduler as it is stored.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue) -> oxmq::Result<()> {
/// if let Some(nightly) = queue.get_job_scheduler("nightly").await? {
///     println!("{} {:?} runs next at {:?}", nightly.name, nightly.pattern, nightly.next_run);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct JobScheduler {
    /// Its id. BullMQ: `key`.
    #[doc(alias = "key")]
    pub id: String,
    /// The name of its jobs.
    pub name: String,
    /// When its current run is due: the next one, or the last one if there is no next.
    #[doc(alias = "next")]
    pub next_run: SystemTime,
    /// How many runs were created; `None` for a repeatable job of BullMQ 5.
    #[doc(alias = "iterationCount")]
    pub iteration_count: Option<u64>,
    /// The interval.
    pub every: Option<Duration>,
    /// The cron pattern.
    pub pattern: Option<String>,
    /// The time zone of the pattern.
    pub tz: Option<String>,
    /// The seed of the letter `H` in its pattern, if the scheduler stores one; BullMQ stores it only in the runs.
    #[doc(alias = "hashSeed")]
    pub hash_seed: Option<String>,
    /// How many runs there may be.
    pub limit: Option<u64>,
    /// When it starts.
    pub start_date: Option<SystemTime>,
    /// When it ends.
    pub end_date: Option<SystemTime>,
    /// How long after the multiples of the interval it runs.
    pub offset: Option<Duration>,
    /// Whether its runs may overlap. Unknown to BullMQ.
    pub overlap: Overlap,
    /// How many missed slots are made up. Unknown to BullMQ.
    pub catch_up: u32,
    /// The data of its jobs, if it is not `{}`.
    pub data: Option<JsonText>,
    /// The options of its jobs, with their short stored names, if there are any.
    pub options: Option<JsonText>,
}

/// Writes the fields and names that BullMQ returns; missing values are left out. The three fields that BullMQ does not
/// have are written only if they are not the default.
impl Serialize for JobScheduler {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;

        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", &self.id)?;
        map.serialize_entry("name", &self.name)?;
        map.serialize_entry("next", &epoch_ms(self.next_run))?;
        let numbers = [
            ("iterationCount", self.iteration_count),
            ("every", self.every.map(millis)),
            ("limit", self.limit),
            ("startDate", self.start_date.map(epoch_ms)),
            ("endDate", self.end_date.map(epoch_ms)),
            ("offset", self.offset.map(millis)),
            ("catchUp", Some(u64::from(self.catch_up)).filter(|slots| *slots > 0)),
        ];
        for (name, number) in numbers.into_iter().filter(|(_, number)| number.is_some()) {
            map.serialize_entry(name, &number)?;
        }
        let texts = [("pattern", &self.pattern), ("tz", &self.tz), ("hashSeed", &self.hash_seed)];
        for (name, text) in texts.into_iter().filter(|(_, text)| text.is_some()) {
            map.serialize_entry(name, text)?;
        }
        if self.overlap != Overlap::Allow {
            map.serialize_entry("overlap", &self.overlap)?;
        }
        let template = [("data", &self.data), ("opts", &self.options)];
        let template: std::collections::BTreeMap<_, _> =
            template.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))).collect();
        if !template.is_empty() {
            map.serialize_entry("template", &template)?;
        }
        map.end()
    }
}

impl JobScheduler {
    /// Reads a stored one; `None` for an entry without a scheduler.
    fn new(stored: StoredScheduler) -> Option<Self> {
        let mut fields: std::collections::BTreeMap<Vec<u8>, String> = stored
            .hash
            .into_iter()
            .map(|(name, value)| (name, String::from_utf8_lossy(&value).into_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        if fields.is_empty() {
            return None;
        }
        let mut text = |name: &str| fields.remove(name.as_bytes());
        // Other writers may have stored fractions.
        let number = |text: String| text.parse::<f64>().ok().filter(|number| *number >= 0.0).map(whole);
        Some(Self {
            next_run: from_epoch_ms(number(stored.slot).unwrap_or(0)),
            name: text("name").unwrap_or_default(),
            iteration_count: text("ic").and_then(number),
            every: text("every").and_then(number).map(Duration::from_millis),
            pattern: text("pattern"),
            tz: text("tz"),
            hash_seed: text("hashSeed"),
            limit: text("limit").and_then(number),
            start_date: text("startDate").and_then(number).map(from_epoch_ms),
            end_date: text("endDate").and_then(number).map(from_epoch_ms),
            offset: text("offset").and_then(number).map(Duration::from_millis),
            overlap: if text("overlap").as_deref() == Some("skip") { Overlap::Skip } else { Overlap::Allow },
            catch_up: text("catchUp").and_then(|slots| slots.parse().ok()).unwrap_or(0),
            data: text("data").map(JsonText::new),
            options: text("opts").map(JsonText::new),
            id: stored.id,
        })
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a float saturates, and is capped")]
fn whole(number: f64) -> u64 {
    (number as u64).min(crate::options::MAX_SAFE)
}
