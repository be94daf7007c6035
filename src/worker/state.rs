//! The arguments that a processor may take after its job.

use tokio_util::sync::CancellationToken;

use crate::error::Halt;
use crate::job::AnyJob;

/// Something that a [`Processor`](crate::worker::Processor) may ask for by an argument after its job.
///
/// It is created for each attempt, before the processor is called; an error ends the attempt. `S` is the state of the
/// [`Router`](crate::Router).
///
/// ```
/// use oxmq::job::AnyJob;
/// use oxmq::worker::FromJob;
/// use oxmq::{Halt, Job};
///
/// /// Who the job is for: the part of its name before a slash.
/// struct Tenant(String);
///
/// impl<S> FromJob<S> for Tenant {
///     fn from_job(job: &AnyJob, _: &S) -> Result<Self, Halt> {
///         let (tenant, _) = job.name().split_once('/').ok_or_else(|| Halt::unrecoverable("no tenant"))?;
///         Ok(Self(tenant.to_owned()))
///     }
/// }
/// async fn bill(job: Job<u64, ()>, Tenant(tenant): Tenant) -> Result<(), Halt> {
///     println!("{tenant} pays {}", job.data());
///     Ok(())
/// }
/// # let _ = |client: oxmq::Client| client.worker("bills", bill);
/// ```
#[diagnostic::on_unimplemented(
    message = "a processor cannot ask for `{Self}`",
    note = "after the job it may have arguments of the types `State<T>`, `CancellationToken`, and what implements `FromJob`"
)]
pub trait FromJob<S>: Sized {
    /// Creates the argument from a job that is about to be processed.
    ///
    /// # Errors
    ///
    /// How the attempt ends, instead of running the processor.
    fn from_job(job: &AnyJob, state: &S) -> Result<Self, Halt>;
}

/// What the processors of a [`Router`](crate::Router) share, as an argument of a processor; a clone for each attempt.
///
/// It comes after the job, which is the first argument; in axum the order is the other way round.
///
/// `T` is the router's state, or a part of it, by [`FromRef`]. What is costly to clone goes into an `Arc`.
///
/// ```no_run
/// use std::sync::Arc;
/// use oxmq::{Halt, Job, Router, State};
///
/// struct Shop { name: String }
///
/// async fn greet(job: Job<String, ()>, State(shop): State<Arc<Shop>>) -> Result<(), Halt> {
///     println!("{} welcomes {}", shop.name, job.data());
///     Ok(())
/// }
///
/// let router = Router::new().on("greet", greet).with_state(Arc::new(Shop { name: "Books".into() }));
/// # drop(router);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct State<T>(pub T);

/// A part of a router's state.
///
/// ```
/// use oxmq::worker::FromRef;
/// use oxmq::{Halt, Job, Router, State};
///
/// #[derive(Clone)]
/// struct Mailer;
/// #[derive(Clone)]
/// struct App {
///     mailer: Mailer,
/// }
/// impl FromRef<App> for Mailer {
///     fn from_ref(app: &App) -> Self {
///         app.mailer.clone()
///     }
/// }
/// async fn send(_: Job<String, ()>, State(mailer): State<Mailer>) -> Result<(), Halt> {
///     Ok(())
/// }
/// let router = Router::new().on("send", send).with_state(App { mailer: Mailer });
/// ```
#[diagnostic::on_unimplemented(
    message = "the state `{S}` of the router does not hold a `{Self}`",
    label = "asks for a `{Self}`",
    note = "a processor with a state is put into a `Router`, which gets the state by `.with_state(state)`; for a part of it, \
            implement `FromRef<{S}>` for `{Self}`"
)]
pub trait FromRef<S> {
    /// Takes the part out of the whole.
    fn from_ref(state: &S) -> Self;
}

impl<T: Clone> FromRef<T> for T {
    fn from_ref(state: &T) -> Self {
        state.clone()
    }
}

impl<T: FromRef<S>, S> FromJob<S> for State<T> {
    fn from_job(_: &AnyJob, state: &S) -> Result<Self, Halt> {
        Ok(Self(T::from_ref(state)))
    }
}

impl<S> FromJob<S> for CancellationToken {
    fn from_job(job: &AnyJob, _: &S) -> Result<Self, Halt> {
        Ok(job.cancellation())
    }
}
