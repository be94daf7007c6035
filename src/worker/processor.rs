//! Processors: what users write, and how the worker calls it.

use std::marker::PhantomData;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::failure::Unread;
use super::state::FromJob;
use crate::error::{Error, Halt};
use crate::job::{AnyJob, Job, JobCore};
use crate::wire::JsonText;

/// How an attempt ended: its result as JSON, or a [`Halt`].
pub type Ended = Result<JsonText, Halt>;

/// Something that processes jobs: an async function or closure from a [`Job`] to a result, or a
/// [`Router`](crate::Router).
///
/// The job is the first argument. After it a function may ask for more: a [`State`](crate::State), the attempt's
/// [`CancellationToken`](tokio_util::sync::CancellationToken), or whatever implements [`FromJob`], up to four of them.
///
/// The result's error may be any error, [`Halt`] and [`Decided`](crate::options::Decided) included. `M` only helps the compiler to
/// find the types; `S` is the state of the router that it is put into.
///
/// ```
/// use oxmq::{Halt, Job, Router, State};
///
/// #[derive(Clone)]
/// struct App {
///     greeting: &'static str,
/// }
/// async fn greet(job: Job<String, String>, State(app): State<App>) -> Result<String, Halt> {
///     Ok(format!("{}, {}", app.greeting, job.data()))
/// }
/// let router = Router::new().on("greet", greet).with_state(App { greeting: "hello" });
/// ```
///
/// A processor outlives the function that makes it, so it borrows nothing. A method of something that is shared is called
/// through an [`Arc`]:
///
/// ```no_run
/// use std::sync::Arc;
/// use oxmq::{Client, Halt, Job, Worker};
///
/// struct Mails {
///     sender: String,
/// }
/// impl Mails {
///     async fn send(&self, job: Job<String, ()>) -> Result<(), Halt> {
///         println!("from {} to {}", self.sender, job.data());
///         Ok(())
///     }
///
///     fn work(self: &Arc<Self>, client: &Client) -> oxmq::Result<Worker> {
///         let mails = Arc::clone(self);
///         let send = move |job| {
///             let mails = Arc::clone(&mails);
///             async move { mails.send(job).await }
///         };
///         client.worker("mails", send).start()
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not process jobs",
    label = "not a processor",
    note = "a processor is an `async fn(Job<D, R>) -> Result<R, E>`, with up to four more arguments such as `State<T>`; it is \
            given by its name, not called",
    note = "a `Router<S>` processes jobs once it has its state: call `.with_state(state)`"
)]
pub trait Processor<M, S = ()>: Sized + Send + Sync + 'static {
    #[doc(hidden)]
    fn erase(self, state: S) -> Erased;
}

/// A processor whose types are erased.
#[derive(Clone)]
pub struct Erased(pub(crate) Arc<dyn RawProcessor>);

/// The interface of a processor for the loop: a raw job in, JSON out.
pub(crate) trait RawProcessor: Send + Sync + 'static {
    fn call(&self, job: Arc<JobCore>) -> BoxFuture<'static, Ended>;

    /// Returns why it cannot work, if so; called before the first job.
    fn problem(&self) -> Option<String> {
        None
    }
}

impl Erased {
    /// Refuses a processor that cannot work.
    pub(crate) fn checked(self) -> Result<Self, Error> {
        match self.0.problem() {
            Some(problem) => Err(Error::invalid("processor", problem)),
            None => Ok(self),
        }
    }
}

/// A function of as many arguments as the tuple `A` has.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not process jobs",
    label = "not a processor",
    note = "a processor is an `async fn(Job<D, R>) -> Result<R, E>`, with up to four more arguments such as `State<T>`; it is \
            given by its name, not called",
    note = "a `Router<S>` processes jobs once it has its state: call `.with_state(state)`"
)]
pub trait Function<A>: Send + Sync + 'static {
    type Future;

    fn call(&self, arguments: A) -> Self::Future;
}

/// The first argument of a processor.
///
/// [`Job`] is the only one. In place of the type this trait stands in the implementations for tuples, so that the compiler
/// takes the type of the argument from the function, and names one that is wrong.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the first argument of a processor is its job, not `{Self}`",
    label = "its first argument is `{Self}`",
    note = "unlike in axum the job comes first, and by value: `async fn(Job<D, R>, State<T>) -> Result<R, E>`",
    note = "the job's data is no argument of its own: `D` is its type, and `job.data()` returns it"
)]
pub trait JobArgument: Sized {
    /// The result that the job is to have.
    type Result;

    fn read(job: AnyJob) -> Result<Self, Halt>;
}

impl<D: DeserializeOwned + Send + 'static, R> JobArgument for Job<D, R> {
    type Result = R;

    fn read(job: AnyJob) -> Result<Self, Halt> {
        Self::read(job.into_core()).map_err(|error| Halt::failed(Unread(error)))
    }
}

/// The arguments of a processor, created from a job and the state of its router.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "these are not the arguments of a processor: `{Self}`",
    note = "the first one is the job, `Job<D, R>`, with its data as `D` and its result as `R`"
)]
pub trait Arguments<S>: Sized {
    /// The result that the job is to have.
    type Result;

    fn read(job: AnyJob, state: &S) -> Result<Self, Halt>;
}

/// What a processor returns.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "a processor of a `Job<_, {R}>` returns `Result<{R}, E>`, not `{Self}`",
    label = "returns `{Self}`",
    note = "the second parameter of `Job` is the type of the job's result; `E` is any error, or `Halt`"
)]
pub trait Answer<R> {
    fn into_json(self) -> Ended;
}

impl<R: Serialize, E: Into<Halt>> Answer<R> for Result<R, E> {
    fn into_json(self) -> Ended {
        let value = self.map_err(Into::into)?;
        JsonText::written("returnvalue", &value).map_err(Halt::failed)
    }
}

macro_rules! arguments {
    ($($more:ident),*) => {
        impl<F, Fut, J, $($more),*> Function<(J, $($more),*)> for F
        where
            F: Fn(J, $($more),*) -> Fut + Send + Sync + 'static,
        {
            type Future = Fut;

            #[allow(non_snake_case, reason = "the type of an argument is its name; there may be none")]
            fn call(&self, (job, $($more),*): (J, $($more),*)) -> Fut {
                self(job, $($more),*)
            }
        }

        impl<S, J, $($more),*> Arguments<S> for (J, $($more),*)
        where
            J: JobArgument,
            $($more: FromJob<S>),*
        {
            type Result = J::Result;

            #[allow(unused_variables, non_snake_case, reason = "the type of an argument is its name; there may be none")]
            fn read(job: AnyJob, state: &S) -> Result<Self, Halt> {
                $(let $more = <$more as FromJob<S>>::from_job(&job, state)?;)*
                Ok((J::read(job)?, $($more),*))
            }
        }
    };
}

arguments!();
arguments!(A);
arguments!(A, B);
arguments!(A, B, C);
arguments!(A, B, C, E);

struct Typed<F, A, S> {
    processor: F,
    state: S,
    arguments: PhantomData<fn(A)>,
}

impl<F, A, S> Processor<A, S> for F
where
    F: Function<A>,
    F::Future: Future<Output: Answer<A::Result>> + Send + 'static,
    A: Arguments<S> + 'static,
    S: Send + Sync + 'static,
{
    fn erase(self, state: S) -> Erased {
        Erased(Arc::new(Typed { processor: self, state, arguments: PhantomData }))
    }
}

impl<F, A, S> RawProcessor for Typed<F, A, S>
where
    F: Function<A>,
    F::Future: Future<Output: Answer<A::Result>> + Send + 'static,
    A: Arguments<S> + 'static,
    S: Send + Sync + 'static,
{
    fn call(&self, core: Arc<JobCore>) -> BoxFuture<'static, Ended> {
        match A::read(AnyJob::new(core, ()), &self.state) {
            // Mapped, since an async block would reserve room for the user's future twice.
            Ok(arguments) => Box::pin(self.processor.call(arguments).map(Answer::into_json)),
            Err(halt) => Box::pin(std::future::ready(Err(halt))),
        }
    }
}
