//! Adds jobs to a queue.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::{FutureExt, Stream, StreamExt, TryFutureExt};
use serde::Serialize;
use tracing::{Instrument, Span};

use super::{Queue, QueueCore};
use crate::error::{Error, Result};
use crate::job::{Job, JobCore, JobIdentity};
use crate::kind::JobKind;
use crate::options::{Backoff, Deduplication, JobOptions, KeepJobs, OnChildFailure, ParentRef};
use crate::script::add_jobs::{self, Placed};
use crate::telemetry;
use crate::wire::job::RawJob;
use crate::wire::nesting;
use crate::wire::options::StoredOptions;

/// Implements [`IntoFuture`] for a builder of adds: it is sent when it is awaited.
macro_rules! sent_when_awaited {
    ($builder:ident => $output:ty, |$adds:ident| $sending:expr) => {
        impl<D, R> ::std::future::IntoFuture for $builder<D, R>
        where
            D: ::serde::Serialize + Send + 'static,
            R: 'static,
        {
            type Output = $crate::Result<$output>;
            type IntoFuture = ::futures::future::BoxFuture<'static, Self::Output>;

            fn into_future(self) -> Self::IntoFuture {
                let $adds = self;
                Box::pin($sending)
            }
        }
    };
}
pub(crate) use sent_when_awaited;

impl<D, R> Queue<D, R> {
    /// Adds a job. Awaiting the builder sends it.
    ///
    /// One round trip, shared with other adds on this queue that are under way at the same time. The job is stored and
    /// placed in one atomic step. The add goes on if its future is dropped after the first poll.
    ///
    /// If the id exists already, or by a deduplication, no new job is created: the returned job has the id that stands
    /// for it. [`Add::outcome`] tells what happened.
    ///
    /// JSON has no number for `f64::NAN` and the infinities: they are stored as `null`, as Node stores them, and a
    /// processor that expects a number cannot read its job then. Check for them where they may occur.
    ///
    /// # Errors
    ///
    /// Awaiting it may return [`Error::InvalidOption`] (nothing was sent), [`Error::Refused`] with
    /// [`Reason::MissingParent`](crate::error::Reason::MissingParent) or
    /// [`Reason::ParentCannotBeReplaced`](crate::error::Reason::ParentCannotBeReplaced), [`Error::OutOfMemory`], or
    /// [`Error::OutcomeUnknown`] if the reply was lost and the job has no id of its own. With an id the add is
    /// repeated, which creates no second job while the first exists; a job that has run and was removed in the meantime
    /// runs again.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn demo(queue: oxmq::Queue<String, ()>) -> oxmq::Result<()> {
    /// use std::time::Duration;
    /// let job = queue.add("welcome", "ada@example.org".into()).delay(Duration::from_secs(5)).attempts(3).await?;
    /// println!("job {}", job.id());
    /// # Ok(()) }
    /// ```
    ///
    /// BullMQ: `Queue.add`.
    #[doc(alias = "addJob")]
    #[doc(alias = "create")]
    pub fn add(&self, name: impl Into<String>, data: D) -> Add<D, R>
    where
        D: Serialize,
    {
        Add { queue: self.clone(), job: NewJob::new(name, data) }
    }

    /// Adds many jobs in order, in calls of at most 150. Each job is atomic, the whole is not.
    ///
    /// All jobs are checked before the first is sent. The result has one item per job, in order; a refused job does not
    /// keep the others from being added.
    ///
    /// # Errors
    ///
    /// Awaiting it returns [`Error::InvalidOption`], which names the job by its position and name, or [`Error::Json`],
    /// if a job breaks a rule; then none was sent.
    ///
    /// BullMQ: `Queue.addBulk`.
    #[doc(alias = "addBulk")]
    #[doc(alias = "createBulk")]
    pub fn add_bulk(&self, jobs: impl IntoIterator<Item = NewJob<D>>) -> AddBulk<D, R>
    where
        D: Serialize,
    {
        AddBulk { queue: self.clone(), jobs: jobs.into_iter().collect() }
    }

    /// Adds the jobs of a stream in bulk calls, one after the other, and returns the results of each call like
    /// [`add_bulk`](Self::add_bulk).
    ///
    /// A call takes the jobs that the stream has ready, up to 500, so that a slow source is not waited for. Calls are
    /// only made as their results are taken: at most the jobs of one call are in memory, and counting the results tells
    /// the progress. Dropping it stops; jobs whose results were returned are stored.
    ///
    /// # Errors
    ///
    /// Each job has a result of its own, in order. A job that breaks a rule has [`Error::InvalidOption`] or
    /// [`Error::Json`] in its place, and does not keep the others of its call from being sent.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use futures::{Stream, StreamExt, TryFutureExt};
    /// use oxmq::{NewJob, Queue};
    ///
    /// async fn import(queue: &Queue<u64, ()>, rows: impl Stream<Item = u64>) -> oxmq::Result<()> {
    ///     let jobs = rows.map(|row| NewJob::new("import", row));
    ///     let mut calls = std::pin::pin!(queue.add_stream(jobs));
    ///     let mut added = 0;
    ///     while let Some(call) = calls.next().await {
    ///         added += call.into_iter().filter(Result::is_ok).count();
    ///         println!("{added} rows");
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// Not in BullMQ.
    pub fn add_stream<S>(&self, jobs: S) -> impl Stream<Item = Vec<Result<Job<D, R>>>> + use<S, D, R>
    where
        S: Stream<Item = NewJob<D>>,
        D: Serialize + Send + 'static,
        R: 'static,
    {
        let queue = self.clone();
        jobs.ready_chunks(STREAMED).then(move |jobs| queue.add_bulk(jobs).good_ones().boxed())
    }

    /// Builds what is sent of a job, and takes its data; of a job that breaks a rule also its name, for the error.
    ///
    /// `trace` is the trace context of the add; with `replaces` it takes precedence over one in the job's options.
    fn prepare(&self, job: &mut NewJob<D>, trace: Option<&str>, replaces: bool) -> Result<add_jobs::Addition>
    where
        D: Serialize,
    {
        let data = nesting::text(&job.data).map_err(Error::json("data"))?;
        let mut options = std::mem::take(&mut job.options);
        if let Some(trace) = trace {
            options = options.in_trace(trace, replaces, &self.defaults);
        }
        let mut new = self.core.engine().new_job(String::new(), data, options, &self.defaults)?;
        new.name = std::mem::take(&mut job.name);
        Ok(new)
    }
}

/// A job to be added.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue<u32, ()>) -> oxmq::Result<()> {
/// use oxmq::NewJob;
///
/// let jobs = (0..100).map(|n| NewJob::new("number", n).job_id(format!("number-{n}")).priority(n + 1));
/// let refused = queue.add_bulk(jobs).await?.into_iter().filter(Result::is_err).count();
/// # drop(refused);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct NewJob<D> {
    name: String,
    data: D,
    options: JobOptions,
}

/// How many jobs of a stream one call adds.
const STREAMED: usize = 500;

impl<D, R> Queue<D, R> {
    /// Adds a job of a kind, with the options of the kind. Awaiting the builder sends it.
    ///
    /// Any queue takes any kind, whatever its own `D` and `R` are. Everything else is as with [`Queue::add`].
    ///
    /// # Errors
    ///
    /// As [`Queue::add`].
    ///
    /// # Example
    ///
    /// ```no_run
    /// # #[derive(serde::Serialize, serde::Deserialize)]
    /// # struct BuildIndex { index: String }
    /// # impl oxmq::JobKind for BuildIndex {
    /// #     const NAME: &'static str = "build-index";
    /// #     type Output = u64;
    /// # }
    /// # async fn demo(queue: oxmq::Queue) -> oxmq::Result<()> {
    /// let job = queue.push(BuildIndex { index: "products".into() }).attempts(3).await?;
    /// println!("{} of job {}", job.name(), job.id());
    /// # Ok(()) }
    /// ```
    #[doc(alias = "add")]
    pub fn push<K: JobKind>(&self, job: K) -> Add<K, K::Output> {
        Add { queue: self.of_types(), job: NewJob::of(job) }
    }
}

impl<K: JobKind> NewJob<K> {
    /// Creates a job of a kind, with the options of the kind.
    pub fn of(job: K) -> Self {
        Self { name: K::NAME.to_owned(), options: job.options().of_kind(), data: job }
    }
}

impl<D> NewJob<D> {
    /// Creates a job with this name and data, and no options.
    pub fn new(name: impl Into<String>, data: D) -> Self {
        Self { name: name.into(), data, options: JobOptions::default() }
    }

    /// Sets all options at once, replacing those set so far.
    pub fn options(mut self, options: JobOptions) -> Self {
        self.options = options;
        self
    }

    /// Checks the job as an add does before it sends anything: to refuse one of many jobs before the first is added. The
    /// queue's default options are not looked at.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if an option is out of range or the data exceeds its limit, [`Error::Json`] if the data
    /// cannot be written.
    pub fn check(&self) -> Result<()>
    where
        D: Serialize,
    {
        self.options.check()?;
        let data = nesting::text(&self.data).map_err(Error::json("data"))?;
        self.options.check_data(&data)
    }
}

/// The outcome of an add.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue<String, ()>) -> oxmq::Result<()> {
/// use oxmq::queue::Added;
///
/// match queue.add("invoice", "42".into()).job_id("invoice-42").outcome().await? {
///     (job, Added::Created) => println!("{} was added", job.id()),
///     (job, Added::Existing) => println!("{} was there already", job.id()),
///     (job, other) => println!("{} stands for it: {other:?}", job.id()),
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "outcome", rename_all = "camelCase")]
#[non_exhaustive]
pub enum Added {
    /// A new job was created.
    Created,
    /// A job with this id exists; it was not changed, but may have been attached to a parent.
    Existing,
    /// Another job stands for this one, by its deduplication id.
    Deduplicated,
    /// As `Deduplicated`; in addition this job will run, with the id given, when the active one has finished.
    SetAside {
        /// The id that the job will have.
        id: String,
    },
    /// A new job replaced a delayed one with the same deduplication id, which was removed.
    Replaced {
        /// The job that was removed.
        old: String,
    },
}

impl From<&Placed> for Added {
    fn from(placed: &Placed) -> Self {
        match placed {
            Placed::Created { .. } => Self::Created,
            Placed::Existing { .. } => Self::Existing,
            Placed::Deduplicated { .. } => Self::Deduplicated,
            Placed::SetAside { id, .. } => Self::SetAside { id: id.clone() },
            Placed::Replaced { old, .. } => Self::Replaced { old: old.clone() },
        }
    }
}

/// An add to be sent; await it. Only then there is a [`Job`], with an id and a result to wait for.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue<u32, u32>) -> oxmq::Result<()> {
/// let add = queue.add("double", 21).attempts(3); // nothing was sent
/// let job = add.await?;
/// println!("{}", job.id());
/// # Ok(()) }
/// ```
///
/// It is a builder and no `Future` yet: where one is asked for, as by `tokio::spawn`, `join!` or `join_all`, write
/// `.into_future()` behind it. Adds that are awaited at the same time travel together.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue<u32, u32>) -> oxmq::Result<()> {
/// let adds = (0..10).map(|n| queue.add("double", n).into_future());
/// let jobs = futures::future::try_join_all(adds).await?;
/// # drop(jobs);
/// # Ok(()) }
/// ```
#[must_use = "an add does nothing until it is awaited: write `.await?` behind it"]
pub struct Add<D, R> {
    queue: Queue<D, R>,
    job: NewJob<D>,
}

macro_rules! forward {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $kind:ty),*);)*) => {
        impl<D, R> Add<D, R> {
            $($(#[$doc])*
            pub fn $name(mut self, $($arg: $kind),*) -> Self {
                self.job.options = self.job.options.$name($($arg),*);
                self
            })*
        }

        impl<D> NewJob<D> {
            $($(#[$doc])*
            pub fn $name(mut self, $($arg: $kind),*) -> Self {
                self.options = self.options.$name($($arg),*);
                self
            })*
        }

        // Destructured, so that an option without a line in the list does not compile.
        const _: fn(&JobOptions) = |options| {
            let JobOptions { $($name: _,)* of_kind: _ } = options;
        };
    };
}

forward! {
    /// See [`JobOptions::attempts`].
    attempts(attempts: u32);
    /// See [`JobOptions::backoff`].
    backoff(backoff: impl Into<Backoff>);
    /// See [`JobOptions::delay`].
    delay(delay: Duration);
    /// See [`JobOptions::run_at`].
    run_at(at: SystemTime);
    /// See [`JobOptions::start_by`].
    start_by(latest: SystemTime);
    /// See [`JobOptions::expires_in`].
    expires_in(span: Duration);
    /// See [`JobOptions::priority`].
    priority(priority: u32);
    /// See [`JobOptions::lifo`].
    lifo(lifo: bool);
    /// See [`JobOptions::job_id`].
    #[doc(alias = "jobId")]
    job_id(id: impl Into<String>);
    /// See [`JobOptions::timestamp`].
    timestamp(at: SystemTime);
    /// See [`JobOptions::remove_on_complete`].
    #[doc(alias = "removeOnComplete")]
    remove_on_complete(keep: impl Into<KeepJobs>);
    /// See [`JobOptions::remove_on_fail`].
    #[doc(alias = "removeOnFail")]
    remove_on_fail(keep: impl Into<KeepJobs>);
    /// See [`JobOptions::keep_logs`].
    #[doc(alias = "keepLogs")]
    keep_logs(lines: u32);
    /// See [`JobOptions::size_limit`].
    #[doc(alias = "sizeLimit")]
    size_limit(bytes: usize);
    /// See [`JobOptions::stack_trace_limit`].
    #[doc(alias = "stackTraceLimit")]
    stack_trace_limit(traces: u32);
    /// See [`JobOptions::deduplication`].
    deduplication(deduplication: Deduplication);
    /// See [`JobOptions::parent`].
    parent(parent: ParentRef);
    /// See [`JobOptions::on_child_failure`].
    on_child_failure(policy: OnChildFailure);
    /// See [`JobOptions::timeout`].
    timeout(limit: Duration);
    /// See [`JobOptions::telemetry_metadata`].
    telemetry_metadata(metadata: impl Into<String>);
    /// See [`JobOptions::omit_context`].
    #[doc(alias = "omitContext")]
    omit_context(omit: bool);
    /// See [`JobOptions::extra`].
    extra(name: impl Into<String>, value: impl Into<serde_json::Value>);
}

impl<D, R> Add<D, R> {
    /// Sets all options at once, replacing those set so far.
    pub fn options(mut self, options: JobOptions) -> Self {
        self.job = self.job.options(options);
        self
    }
}

impl<D, R> Add<D, R>
where
    D: Serialize,
{
    /// Sends the add, and returns whether it created a new job.
    ///
    /// # Errors
    ///
    /// As [`Queue::add`].
    pub fn outcome(self) -> impl Future<Output = Result<(Job<D, R>, Added)>> {
        let Self { queue, mut job } = self;
        let span = telemetry::add(queue.name(), &job.name);
        // Built here, so that the future is smaller without the options.
        let new = queue.prepare(&mut job, telemetry::inject(&span).as_deref(), true);
        let (core, data) = (queue.core, job.data);
        let own = span.clone();
        let adding = async move {
            let new = new?;
            core.open_for_add().await;
            let (new, placed) = core.adder().add(new).await?;
            core.open_for_add().await;
            let (job, added) = added(&core, new, placed, data);
            telemetry::added(&own, job.id());
            Ok((job, added))
        };
        adding.instrument(span)
    }
}

sent_when_awaited!(Add => Job<D, R>, |add| add.outcome().map_ok(|(job, _)| job));

/// A bulk add to be sent; await it. Created by [`Queue::add_bulk`].
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue<String, ()>) -> oxmq::Result<()> {
/// use oxmq::NewJob;
///
/// let mails = ["ada", "bob"].map(|to| NewJob::new("mail", to.to_owned()).attempts(3));
/// for added in queue.add_bulk(mails).await? {
///     match added {
///         Ok(job) => println!("{}", job.id()),
///         Err(error) => println!("this one was not added: {error}"),
///     }
/// }
/// # Ok(()) }
/// ```
#[must_use = "an add does nothing until it is awaited: write `.await?` behind it"]
pub struct AddBulk<D, R> {
    queue: Queue<D, R>,
    jobs: Vec<NewJob<D>>,
}

impl<D, R> AddBulk<D, R>
where
    D: Serialize,
{
    /// Sends the adds, and returns for each whether it created a new job.
    ///
    /// # Errors
    ///
    /// As [`Queue::add_bulk`].
    pub async fn outcomes(self) -> Result<Vec<Result<(Job<D, R>, Added)>>> {
        Ok(self.checked(|place| place)?.send().await)
    }

    /// Checks all jobs, so that they can be sent; `place` gives the position of a job, for the error that names it.
    ///
    /// # Errors
    ///
    /// As [`Queue::add_bulk`].
    pub(crate) fn checked(self, place: impl Fn(usize) -> usize) -> Result<CheckedBulk<D, R>> {
        let Self { queue, mut jobs } = self;
        let span = telemetry::add_bulk(queue.name(), jobs.len());
        let trace = telemetry::inject(&span);
        let prepare = |(at, job): (usize, &mut NewJob<D>)| {
            queue.prepare(job, trace.as_deref(), false).map_err(|error| match error {
                Error::InvalidOption { option, problem } => {
                    Error::invalid(option, format!("{problem} (job {}, '{}')", place(at), job.name))
                }
                other => other,
            })
        };
        let new = span.in_scope(|| jobs.iter_mut().enumerate().map(prepare).collect::<Result<Vec<_>>>())?;
        Ok(CheckedBulk { queue, jobs, new, span })
    }

    /// Sends the jobs that break no rule. Each job has a result in its place.
    async fn good_ones(self) -> Vec<Result<Job<D, R>>> {
        let Self { queue, jobs } = self;
        let span = telemetry::add_bulk(queue.name(), jobs.len());
        let trace = telemetry::inject(&span);
        let (mut good, mut new, mut answers) = (Vec::new(), Vec::new(), Vec::with_capacity(jobs.len()));
        span.in_scope(|| {
            for mut job in jobs {
                match queue.prepare(&mut job, trace.as_deref(), false) {
                    Ok(prepared) => {
                        good.push(job);
                        new.push(prepared);
                        answers.push(None);
                    }
                    Err(error) => answers.push(Some(Err(error))),
                }
            }
        });
        let mut sent = CheckedBulk { queue, jobs: good, new, span }.send().await.into_iter();
        for answer in answers.iter_mut().filter(|answer| answer.is_none()) {
            *answer = sent.next().map(|outcome| outcome.map(|(job, _)| job));
        }
        answers.into_iter().flatten().collect()
    }
}

/// A bulk add whose jobs break no rule.
pub(crate) struct CheckedBulk<D, R> {
    queue: Queue<D, R>,
    jobs: Vec<NewJob<D>>,
    new: Vec<add_jobs::Addition>,
    span: Span,
}

impl<D, R> CheckedBulk<D, R> {
    /// Sends the adds, and returns for each whether it created a new job.
    pub(crate) async fn send(self) -> Vec<Result<(Job<D, R>, Added)>> {
        let Self { queue, jobs, new, span } = self;
        if new.is_empty() {
            return Vec::new();
        }
        let placed = async {
            queue.core.open_for_add().await;
            let placed = queue.core.engine().add_all(&new).await;
            queue.core.open_for_add().await;
            placed
        };
        let placed = placed.instrument(span).await;
        let answers = jobs.into_iter().zip(new).zip(placed);
        answers.map(|((job, new), placed)| Ok(added(&queue.core, new, placed?, job.data))).collect()
    }
}

sent_when_awaited!(AddBulk => Vec<Result<Job<D, R>>>, |adds| async move {
    let outcomes = adds.outcomes().await?;
    Ok(outcomes.into_iter().map(|outcome| outcome.map(|(job, _)| job)).collect())
});

/// Returns the job that an add has led to.
pub(crate) fn added<D, R>(
    core: &Arc<QueueCore>,
    new: add_jobs::Addition,
    placed: Placed,
    data: D,
) -> (Job<D, R>, Added) {
    let added = Added::from(&placed);
    let id = match placed {
        Placed::Created { id } | Placed::Existing { id } | Placed::Replaced { id, .. } => id,
        Placed::Deduplicated { owner } | Placed::SetAside { owner, .. } => owner,
    };
    // The timestamp of another job that stands for this one is not known.
    let born = matches!(added, Added::Created | Added::Replaced { .. }).then(|| i64::try_from(new.timestamp).ok());
    let seen = JobIdentity::now(born.flatten());
    let options = StoredOptions::parse(&new.opts).unwrap_or_default();
    let mut raw = RawJob::added(id, new.name, new.data, new.opts, options, new.timestamp, new.delay, new.priority);
    raw.set_deduplication_id(new.deduplication.map(|deduplication| deduplication.id));
    let job = JobCore { queue: Arc::clone(core), raw, attempt: None, host: None, seen };
    (Job::new(Arc::new(job), data), added)
}
