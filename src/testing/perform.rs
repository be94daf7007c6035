//! Runs a processor once, without a server.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clock::Clock;
use crate::connection::{Address, ConnectOptions, Link, NOWHERE};
use crate::engine::stream_waits::StreamWaits;
use crate::engine::{AddedChild, Engine, Notes, Written};
use crate::error::Halt;
use crate::job::{Attempt, JobCore, JobIdentity};
use crate::keys::QueueKeys;
use crate::kind::JobKind;
use crate::options::JobOptions;
use crate::queue::{Directory, QueueCore};
use crate::wire::JsonText;
use crate::wire::job::RawJob;
use crate::wire::options::StoredOptions;
use crate::worker::Processor;
use crate::worker::stopping::is_handed_back;

/// A job for [`perform`].
///
/// ```
/// use oxmq::testing::{TestJob, perform};
/// use oxmq::{Halt, Job};
///
/// async fn greet(job: Job<String, String>) -> Result<String, Halt> {
///     Ok(format!("hello, {}, attempt {}", job.data(), job.attempts_made() + 1))
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let performed = perform(greet, TestJob::new("greet", "Ada").attempts_made(2)).await;
/// assert_eq!(performed.value::<String>(), "hello, Ada, attempt 3");
/// # });
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct TestJob {
    id: String,
    name: String,
    data: Value,
    options: JobOptions,
    attempts_made: u32,
    clock: Clock,
    child_values: Vec<(String, String)>,
}

impl TestJob {
    /// Creates a job with this name and data: the first attempt at job 1, now.
    pub fn new(name: impl Into<String>, data: impl Serialize) -> Self {
        let data = JsonText::of(&data).and_then(|json| json.parse()).expect("data that can be written as JSON");
        let options = JobOptions::default();
        let (id, name) = ("1".to_owned(), name.into());
        Self { id, name, data, options, attempts_made: 0, clock: Clock::system(), child_values: Vec::new() }
    }

    /// Creates a job of a kind, with its options.
    pub fn of<K: JobKind>(job: K) -> Self {
        Self { options: job.options(), ..Self::new(K::NAME, job) }
    }

    /// Sets its id. Default: `1`.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = id.into();
        self
    }

    /// Sets its options. Default: none, or those of its kind.
    pub fn options(mut self, options: JobOptions) -> Self {
        self.options = options;
        self
    }

    /// Sets how many attempts have failed before this one. Default: 0.
    pub fn attempts_made(mut self, attempts: u32) -> Self {
        self.attempts_made = attempts;
        self
    }

    /// Gives it a child that has completed with this result. Its key is what
    /// [`get_children_values`](crate::JobRef::get_children_values) returns it under, `<prefix>:<queue>:<id>`.
    ///
    /// ```
    /// use oxmq::testing::{TestJob, perform};
    /// use oxmq::{FlowNode, Halt, Job};
    /// use serde_json::json;
    ///
    /// async fn assemble(job: Job<Vec<String>, usize>) -> Result<usize, Halt> {
    ///     let letters = job.get_children_values::<usize>().await?;
    ///     if letters.is_empty() {
    ///         job.add_children(job.data().iter().map(|part| FlowNode::new("parts", "render", part))).await?;
    ///         return Err(Halt::WaitingChildren);
    ///     }
    ///     Ok(letters.into_iter().map(|(_, letters)| letters).sum())
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
    /// let job = || TestJob::new("assemble", ["intro", "body"]);
    /// let first = perform(assemble, job()).await;
    /// assert!(matches!(first.halt(), Halt::WaitingChildren));
    /// let added: Vec<_> = first.added_children.into_iter().map(|child| (child.queue, child.data)).collect();
    /// assert_eq!(added, ["intro", "body"].map(|part| ("parts".to_owned(), json!(part))));
    ///
    /// let second = perform(assemble, job().child_value("bull:parts:1", 5).child_value("bull:parts:2", 4)).await;
    /// assert_eq!(second.value::<usize>(), 9);
    /// # });
    /// ```
    pub fn child_value(mut self, key: impl Into<String>, value: impl Serialize) -> Self {
        let json = JsonText::of(&value).expect("a value that can be written as JSON").to_string();
        self.child_values.push((key.into(), json));
        self
    }

    /// Sets the clock of its timestamp. Default: the system's clock.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Returns the job, and the queues of its client, which it can use as long as these exist.
    fn core(mut self) -> (JobCore, Arc<Directory>, Arc<Notes>) {
        let values = std::mem::take(&mut self.child_values);
        let notes = Arc::new(Notes::of(values));
        // A call that is not collected fails at once, and says why.
        let nowhere = ConnectOptions::new(Address::Unix(NOWHERE.into()));
        let nowhere = nowhere.command_timeout(Duration::from_millis(100)).connect_timeout(Duration::from_millis(100));
        let link = Link::lazy(Arc::new(nowhere)).expect("options that are good");
        let keys = QueueKeys::new("test", "test").expect("a name that is good");
        let queues = Directory::new(link.clone(), "test".to_owned(), self.clock.clone(), StreamWaits::new(None, false));
        let engine = Engine { notes: Some(Arc::clone(&notes)), ..Engine::new(link, keys, self.clock) };
        let new = engine
            .new_job(self.name, self.data.to_string(), self.options, &JobOptions::default())
            .unwrap_or_else(|error| panic!("the job breaks a rule: {error}"));
        let options = StoredOptions::parse(&new.opts).unwrap_or_default();
        let attempt = Attempt::new(self.id.as_str().into(), "token".into());
        let mut raw =
            RawJob::added(self.id, new.name, new.data, new.opts, options, new.timestamp, new.delay, new.priority);
        raw.attempts_made = self.attempts_made;
        raw.attempts_started = self.attempts_made.saturating_add(1);
        raw.processed_on = i64::try_from(engine.clock.now_ms()).ok();
        let core = JobCore {
            queue: QueueCore::new(engine, Arc::downgrade(&queues)),
            raw,
            attempt: Some(Arc::new(attempt)),
            host: Some(Arc::default()),
            seen: JobIdentity::default(),
        };
        (core, queues, notes)
    }
}

/// The result of running a processor.
#[derive(Debug)]
#[non_exhaustive]
pub struct Performed {
    /// The processor's result, or how it ended without one.
    pub ended: Result<JsonText, Halt>,
    /// The progress that it reported, oldest first.
    pub progress: Vec<Value>,
    /// The lines that it logged.
    pub logs: Vec<String>,
    /// The data that it has written to its job, if any.
    pub updated_data: Option<Value>,
    /// The children that it has added to its job, in order.
    pub added_children: Vec<AddedChild>,
}

impl Performed {
    /// Returns the result.
    ///
    /// # Panics
    ///
    /// If there is none, or it is not a `T`; the message tells how the attempt ended.
    #[must_use]
    #[track_caller]
    pub fn value<T: DeserializeOwned>(&self) -> T {
        match &self.ended {
            // No closure, in which the panic would name this line in place of the test's.
            Ok(json) => match json.parse() {
                Ok(value) => value,
                Err(error) => panic!("the result is {json}: {error}"),
            },
            Err(halt) => panic!("a result is expected, but the attempt ended by {halt:?}"),
        }
    }

    /// Returns how the attempt ended without a result.
    ///
    /// # Panics
    ///
    /// If there is a result.
    #[must_use]
    #[track_caller]
    pub fn halt(&self) -> &Halt {
        match &self.ended {
            Ok(json) => panic!("no result is expected, but it is {json}"),
            Err(halt) => halt,
        }
    }
}

/// Runs a processor once, without a server.
///
/// Progress, log lines, data and children that it writes to its job are returned, and the results of children are read
/// that [`TestJob::child_value`] has given. Every other call that needs a server fails and says so: take a
/// [`TestQueue`](super::TestQueue) there. A panic fails the test. Layers of the processor run too, the timeout of a worker does not apply.
/// An error after [`shut_down`](super::shut_down) becomes `Halt::Waiting`, as a worker takes it: the job is put back.
///
/// ```
/// use oxmq::testing::{TestJob, perform};
/// use oxmq::{Halt, Job};
///
/// async fn double(job: Job<u64, u64>) -> Result<u64, Halt> {
///     job.update_progress(&50).await?;
///     job.data().checked_mul(2).ok_or_else(|| Halt::unrecoverable("too large"))
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let performed = perform(double, TestJob::new("double", 21)).await;
/// assert_eq!(performed.value::<u64>(), 42);
/// assert_eq!(performed.progress, [50]);
///
/// let performed = perform(double, TestJob::new("double", u64::MAX).attempts_made(2)).await;
/// assert!(matches!(performed.halt(), Halt::Unrecoverable(_)));
/// # });
/// ```
pub async fn perform<M>(processor: impl Processor<M>, job: TestJob) -> Performed {
    let (core, _queues, notes) = job.core();
    let core = Arc::new(core);
    let processor = processor.erase(()).checked().unwrap_or_else(|error| panic!("{error}"));
    let attempt = core.attempt.clone();
    let answer = processor.0.call(core).await;
    let told = attempt.as_ref().and_then(|attempt| attempt.cancel_reason());
    let ended = if is_handed_back(told, &answer) { Err(Halt::Waiting) } else { answer };
    let Written { progress, logs, data, children } = notes.take();
    Performed { ended, progress, logs, updated_data: data, added_children: children }
}
