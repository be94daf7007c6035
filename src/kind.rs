//! Kinds of jobs as types: [`JobKind`] binds a name, the data, the result and default options to one type, and [`JobOf`]
//! is a job of it.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::job::Job;
use crate::options::JobOptions;

/// A kind of job: its name, its data, its result and its default options, bound to one type.
///
/// The type itself is the data. What is added by [`Queue::push`](crate::Queue::push) and processed by
/// [`Router::job`](crate::Router::job) then has matching types, or does not compile. Node sees an ordinary job with
/// this name.
///
/// A kind can be used wherever a job is added: [`NewJob::of`](crate::NewJob::of) for many at once,
/// [`FlowNode::of`](crate::FlowNode::of) and [`FlowProducer::push`](crate::FlowProducer::push) in flows,
/// [`UpsertJobScheduler::kind`](crate::queue::UpsertJobScheduler::kind) for jobs that repeat.
///
/// ```no_run
/// use std::time::Duration;
/// use oxmq::kind::JobOf;
/// use oxmq::{Client, Deduplication, Halt, JobKind, JobOptions, Queue, Router};
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct BuildIndex {
///     index: String,
/// }
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct Built {
///     documents: u64,
/// }
///
/// impl JobKind for BuildIndex {
///     const NAME: &'static str = "build-index";
///     type Output = Built;
///
///     fn options(&self) -> JobOptions {
///         JobOptions::default().attempts(3).deduplication(Deduplication::new(&*self.index))
///     }
/// }
///
/// async fn build_index(job: JobOf<BuildIndex>) -> Result<Built, Halt> {
///     println!("building {}", job.data().index);
///     Ok(Built { documents: 7 })
/// }
///
/// # async fn demo(client: Client) -> oxmq::Result<()> {
/// let queue: Queue = client.queue("indexes").open()?;
/// let job = queue.push(BuildIndex { index: "products".into() }).delay(Duration::from_secs(1)).await?;
/// let worker = client.worker("indexes", Router::new().job(build_index)).start()?;
/// let built = job.wait_until_finished(Duration::from_secs(60)).await?;
/// println!("{} documents", built.documents);
/// # worker.close().await;
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no kind of job: it does not implement `JobKind`",
    label = "no kind of job",
    note = "a kind implements `JobKind`, which gives it its name and the type of its result; without a kind there are \
            `queue.add(name, data)` and `Router::on(name, processor)`"
)]
pub trait JobKind: Serialize + DeserializeOwned + Send + 'static {
    /// The name of its jobs.
    const NAME: &'static str;

    /// The result of its jobs; `()` for none.
    type Output: Serialize + DeserializeOwned + Send + 'static;

    /// Returns the options of this job. Options of the add itself take precedence over them, and they over the queue's
    /// defaults. Default: none.
    ///
    /// What has no meaning for a job is left out: a `delay` where a scheduler sets when each run is due, and a
    /// `deduplication` of a job with a parent or children. Where the call itself sets these they are refused.
    fn options(&self) -> JobOptions {
        JobOptions::default()
    }
}

/// A job of a [`JobKind`]: what its processor takes, and what an add returns.
///
/// ```
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct BuildIndex { index: String }
/// # impl oxmq::JobKind for BuildIndex {
/// #     const NAME: &'static str = "build-index";
/// #     type Output = u64;
/// # }
/// use oxmq::kind::JobOf;
///
/// async fn build_index(job: JobOf<BuildIndex>) -> Result<u64, oxmq::Halt> {
///     Ok(job.data().index.len() as u64)
/// }
/// ```
pub type JobOf<K> = Job<K, <K as JobKind>::Output>;

/// The first argument of a processor of a kind: [`JobOf`] the kind.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the first argument of a processor of a kind is its job, not `{Self}`",
    label = "its first argument is `{Self}`",
    note = "unlike in axum the job comes first, and by value: `async fn(JobOf<K>, State<T>) -> Result<K::Output, E>`",
    note = "`K` implements `JobKind`, and `job.data()` returns it; for a job by its name there is `Router::on`"
)]
pub trait KindArgument {
    const NAME: &'static str;
}

impl<K: JobKind> KindArgument for Job<K, K::Output> {
    const NAME: &'static str = K::NAME;
}

/// The arguments of a processor of a kind: the first is a [`JobOf`] the kind.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the processor takes no job of a kind: its arguments are `{Self}`",
    note = "the first one is a `JobOf<K>`, where `K` implements `JobKind`; for a job by its name there is `Router::on`"
)]
pub trait OfKind {
    const NAME: &'static str;
}

macro_rules! of_kind {
    ($($more:ident),*) => {
        impl<J: KindArgument, $($more),*> OfKind for (J, $($more),*) {
            const NAME: &'static str = J::NAME;
        }
    };
}

of_kind!();
of_kind!(A);
of_kind!(A, B);
of_kind!(A, B, C);
of_kind!(A, B, C, E);
