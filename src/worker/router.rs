//! One queue, a processor per job name.

use std::collections::HashMap;
use std::sync::Arc;

use futures::future::BoxFuture;

use super::layer::{Layer, Layers};
use super::processor::{Erased, Processor, RawProcessor};
use crate::error::Halt;
use crate::job::JobCore;
use crate::kind::OfKind;

/// Sends each job to the processor of its name.
///
/// A job whose name has no processor fails its attempt; in a rollout the next one may meet a worker that has it.
///
/// ```
/// use oxmq::{Halt, Job, Router};
///
/// async fn welcome(job: Job<String, ()>) -> Result<(), Halt> {
///     println!("welcome, {}", job.data());
///     Ok(())
/// }
/// async fn sum(job: Job<Vec<i64>, i64>) -> Result<i64, Halt> {
///     Ok(job.data().iter().sum())
/// }
/// # fn demo(client: oxmq::Client) {
/// let worker = client.worker("mixed", Router::new().on("welcome", welcome).on("sum", sum));
/// # }
/// ```
///
/// `S` is the state that its processors ask for by [`State`](crate::State) and that it was not given yet. Only a
/// `Router<()>` processes jobs: one whose state is missing does not compile as a processor.
#[must_use]
pub struct Router<S = ()> {
    routes: HashMap<String, Route<S>>,
    otherwise: Option<Route<S>>,
}

/// A processor that is put together when the state is there.
struct Route<S> {
    bind: Box<dyn FnOnce(S) -> Erased + Send + Sync>,
    layers: Layers,
}

impl<S> Route<S> {
    fn new<M>(processor: impl Processor<M, S>) -> Self {
        Self { bind: Box::new(|state| processor.erase(state)), layers: Layers::default() }
    }

    fn bound(self, state: S) -> Erased {
        self.layers.around((self.bind)(state))
    }
}

impl<S> Default for Router<S> {
    fn default() -> Self {
        Self { routes: HashMap::new(), otherwise: None }
    }
}

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// A router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Jobs of this name go to this processor; a second processor for a name replaces the first.
    pub fn on<M>(mut self, name: impl Into<String>, processor: impl Processor<M, S>) -> Self {
        self.routes.insert(name.into(), Route::new(processor));
        self
    }

    /// Jobs of a [kind](crate::JobKind) go to this processor, whose first argument says which kind.
    ///
    /// ```
    /// use oxmq::kind::JobOf;
    /// use oxmq::{Halt, JobKind, Router, State};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct BuildIndex {
    ///     index: String,
    /// }
    /// impl JobKind for BuildIndex {
    ///     const NAME: &'static str = "build-index";
    ///     type Output = u64;
    /// }
    /// async fn build_index(job: JobOf<BuildIndex>, State(root): State<&'static str>) -> Result<u64, Halt> {
    ///     println!("{root}/{}", job.data().index);
    ///     Ok(1)
    /// }
    /// let router = Router::new().job(build_index).with_state("/var/indexes");
    /// ```
    pub fn job<M: OfKind>(self, processor: impl Processor<M, S>) -> Self {
        self.on(M::NAME, processor)
    }

    /// Jobs of any other name go to this processor. Default: they fail.
    pub fn otherwise<M>(mut self, processor: impl Processor<M, S>) -> Self {
        self.otherwise = Some(Route::new(processor));
        self
    }

    /// Puts a layer around every attempt of the processors that the router has so far; see [`Layer`] for the order.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        let layer: Arc<dyn Layer> = Arc::new(layer);
        for route in self.routes.values_mut().chain(&mut self.otherwise) {
            route.layers.push(Arc::clone(&layer));
        }
        self
    }

    /// All routes of another router, which win over those of the same name here, and keep their layers.
    pub fn merge(mut self, other: Self) -> Self {
        self.routes.extend(other.routes);
        self.otherwise = other.otherwise.or(self.otherwise);
        self
    }

    /// Gives its processors their state.
    pub fn with_state(self, state: S) -> Router {
        let bind = |route: Route<S>| {
            let state = state.clone();
            Route { bind: Box::new(move |()| route.bound(state)), layers: Layers::default() }
        };
        let routes = self.routes.into_iter().map(|(name, route)| (name, bind(route))).collect();
        Router { routes, otherwise: self.otherwise.map(bind) }
    }
}

/// A router with its state: what a worker sees of it.
struct Bound {
    routes: HashMap<String, Erased>,
    otherwise: Option<Erased>,
}

#[diagnostic::do_not_recommend]
impl Processor<Router> for Router {
    fn erase(self, (): ()) -> Erased {
        let routes = self.routes.into_iter().map(|(name, route)| (name, route.bound(()))).collect();
        Erased(Arc::new(Bound { routes, otherwise: self.otherwise.map(|route| route.bound(())) }))
    }
}

impl RawProcessor for Bound {
    fn call(&self, job: Arc<JobCore>) -> BoxFuture<'static, Result<String, Halt>> {
        match self.routes.get(&job.raw.name).or(self.otherwise.as_ref()) {
            Some(processor) => processor.0.call(job),
            None => {
                let problem = format!("no processor for jobs named '{}'", job.raw.name);
                Box::pin(async move { Err(Halt::failed(problem)) })
            }
        }
    }
}

impl<S> std::fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("names", &self.routes.keys()).finish_non_exhaustive()
    }
}
