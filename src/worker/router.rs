//! Routes the jobs of one queue to a processor per job name.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use futures::future::BoxFuture;

use super::layer::{Ended, Layer, Layers};
use super::processor::{Erased, Processor, RawProcessor};
use crate::error::Halt;
use crate::job::JobCore;
use crate::kind::OfKind;

/// Routes each job to the processor for its name.
///
/// A job whose name has no processor fails its attempt; in a rollout the next attempt may reach a worker that has one.
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
/// `S` is the state that its processors take by [`State`](crate::State) and that was not provided yet. Only a
/// `Router<()>` processes jobs: one whose state is missing does not compile as a processor.
#[must_use]
pub struct Router<S = ()> {
    routes: HashMap<String, Route<S>>,
    otherwise: Option<Route<S>>,
    /// Names that were given two processors; a worker with such a router does not start.
    twice: BTreeSet<String>,
}

/// A processor that is built when the state is provided.
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
        Self { routes: HashMap::new(), otherwise: None, twice: BTreeSet::new() }
    }
}

impl<S: Clone + Send + Sync + 'static> Router<S> {
    /// Creates a router without routes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Routes jobs of this name to this processor. A name has one processor: with a second one, `start` fails with
    /// [`Error::InvalidOption`](crate::Error::InvalidOption). Use [`replace`](Self::replace) to replace one.
    pub fn on<M>(mut self, name: impl Into<String>, processor: impl Processor<M, S>) -> Self {
        let name = name.into();
        if self.routes.contains_key(&name) {
            self.twice.insert(name.clone());
        }
        self.routes.insert(name, Route::new(processor));
        self
    }

    /// Routes jobs of this name to this processor instead of its present one, if any. The layers around the other
    /// routes do not apply to it.
    ///
    /// ```
    /// # use oxmq::{Halt, Job, Router};
    /// # async fn charge(_: Job<u64, ()>) -> Result<(), Halt> { Ok(()) }
    /// # fn routes() -> Router { Router::new().on("charge", charge) }
    /// // A test that is to charge nobody.
    /// let routes: Router = routes().replace("charge", async |_: Job<u64, ()>| Ok::<_, Halt>(()));
    /// ```
    pub fn replace<M>(mut self, name: impl Into<String>, processor: impl Processor<M, S>) -> Self {
        let name = name.into();
        self.twice.remove(&name);
        self.routes.insert(name, Route::new(processor));
        self
    }

    /// Routes jobs of a [kind](crate::JobKind) to this processor, whose first argument tells the kind.
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

    /// Routes jobs of all other names to this processor. Default: they fail.
    pub fn otherwise<M>(mut self, processor: impl Processor<M, S>) -> Self {
        self.otherwise = Some(Route::new(processor));
        self
    }

    /// Adds a layer around every attempt of the processors that the router has so far; see [`Layer`] for the order.
    pub fn layer(mut self, layer: impl Layer) -> Self {
        let layer: Arc<dyn Layer> = Arc::new(layer);
        for route in self.routes.values_mut().chain(&mut self.otherwise) {
            route.layers.push(Arc::clone(&layer));
        }
        self
    }

    /// Adds all routes of another router, which keep their layers. A name that both have counts as given two
    /// processors, see [`on`](Self::on); of two [`otherwise`](Self::otherwise) processors, that of the other router is
    /// used.
    pub fn merge(mut self, other: Self) -> Self {
        self.twice.extend(other.twice);
        self.twice.extend(other.routes.keys().filter(|name| self.routes.contains_key(*name)).cloned());
        self.routes.extend(other.routes);
        self.otherwise = other.otherwise.or(self.otherwise);
        self
    }

    /// Provides the state of its processors.
    pub fn with_state(self, state: S) -> Router {
        let bind = |route: Route<S>| {
            let state = state.clone();
            Route { bind: Box::new(move |()| route.bound(state)), layers: Layers::default() }
        };
        let routes = self.routes.into_iter().map(|(name, route)| (name, bind(route))).collect();
        Router { routes, otherwise: self.otherwise.map(bind), twice: self.twice }
    }
}

/// A router with its state, as a worker sees it.
struct Bound {
    routes: HashMap<String, Erased>,
    otherwise: Option<Erased>,
    twice: BTreeSet<String>,
}

/// How many of its names a router lists in an error.
const NAMES: usize = 20;

impl Bound {
    /// Returns the error for a job whose name has no processor. It lists the names that have one, so that a typing
    /// error is found.
    fn unknown(&self, name: &str) -> String {
        let mut known: Vec<String> = self.routes.keys().map(|name| format!("'{name}'")).collect();
        known.sort_unstable();
        if known.len() > NAMES {
            known.truncate(NAMES);
            known.push("…".to_owned());
        }
        let known = if known.is_empty() { "no name at all".to_owned() } else { known.join(", ") };
        format!("no processor for jobs named '{name}', but for {known}")
    }
}

#[diagnostic::do_not_recommend]
impl Processor<Router> for Router {
    fn erase(self, (): ()) -> Erased {
        let routes = self.routes.into_iter().map(|(name, route)| (name, route.bound(()))).collect();
        let otherwise = self.otherwise.map(|route| route.bound(()));
        Erased(Arc::new(Bound { routes, otherwise, twice: self.twice }))
    }
}

impl RawProcessor for Bound {
    fn call(&self, job: Arc<JobCore>) -> BoxFuture<'static, Ended> {
        match self.routes.get(job.raw.name()).or(self.otherwise.as_ref()) {
            Some(processor) => processor.0.call(job),
            None => {
                let problem = self.unknown(job.raw.name());
                Box::pin(async move { Err(Halt::failed(problem)) })
            }
        }
    }

    fn problem(&self) -> Option<String> {
        if self.routes.is_empty() && self.otherwise.is_none() {
            return Some("the router has no routes, so every job would fail: give it some by `Router::on`".to_owned());
        }
        let twice: Vec<String> = self.twice.iter().map(|name| format!("'{name}'")).collect();
        (!twice.is_empty()).then(|| {
            let twice = twice.join(", ");
            format!("the router has two processors for jobs named {twice}; where that is meant, say `Router::replace`")
        })
    }
}

impl<S> std::fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Router").field("names", &self.routes.keys()).finish_non_exhaustive()
    }
}
