//! Processors: what users write, and what the worker sees of it.

use std::marker::PhantomData;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::verdict::Unread;
use crate::error::{Error, Halt};
use crate::job::{Job, JobCore};

/// Something that processes jobs: an async function or closure from a [`Job`] to a result, or a
/// [`Router`](crate::Router).
///
/// The result's error may be any error, [`Halt`] included. `M` only helps the compiler to find the types.
pub trait Processor<M>: Sized {
    #[doc(hidden)]
    fn erase(self) -> Erased;
}

/// A processor without its types.
#[derive(Clone)]
pub struct Erased(pub(crate) Arc<dyn RawProcessor>);

/// What the loop sees of a processor: a raw job in, JSON out.
pub(crate) trait RawProcessor: Send + Sync + 'static {
    fn call(&self, job: Arc<JobCore>) -> BoxFuture<'static, Result<String, Halt>>;
}

struct Typed<F, D, R> {
    processor: F,
    types: PhantomData<fn(D) -> R>,
}

impl<F, Fut, D, R, E> Processor<(D, R)> for F
where
    F: Fn(Job<D, R>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    D: DeserializeOwned + Send + 'static,
    R: Serialize + 'static,
    E: Into<Halt>,
{
    fn erase(self) -> Erased {
        Erased(Arc::new(Typed { processor: self, types: PhantomData }))
    }
}

impl<F, Fut, D, R, E> RawProcessor for Typed<F, D, R>
where
    F: Fn(Job<D, R>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    D: DeserializeOwned + Send + 'static,
    R: Serialize + 'static,
    E: Into<Halt>,
{
    fn call(&self, core: Arc<JobCore>) -> BoxFuture<'static, Result<String, Halt>> {
        let running = match Job::read(core) {
            Ok(job) => Ok((self.processor)(job)),
            Err(error) => Err(Halt::failed(Unread(error))),
        };
        Box::pin(async move {
            let value = running?.await.map_err(Into::into)?;
            serde_json::to_string(&value).map_err(|error| Halt::failed(Error::json("returnvalue")(error)))
        })
    }
}
