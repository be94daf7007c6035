//! Pages to look at queues and to act on them, for any axum app: feature `dashboard`.
//!
//! [`Dashboard::router`] gives an axum [`Router`], which is also a tower service, to mount wherever it suits:
//!
//! ```no_run
//! use axum::Router;
//! use oxmq::dashboard::Dashboard;
//!
//! # async fn demo() -> Result<(), Box<dyn std::error::Error>> {
//! let client = oxmq::Client::connect("redis://127.0.0.1").await?;
//! let app: Router = Router::new().nest("/queues", Dashboard::new(client).router());
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! axum::serve(listener, app).await?;
//! # Ok(()) }
//! ```
//!
//! It shows queues that Rust, Node or both use. Pages are made by the server, work without scripts, and follow what
//! happens where scripts may run. Styles and script are in the binary; no page asks for anything from elsewhere, and the
//! content security policy forbids it.
//!
//! # Who may see, who may act
//!
//! Nobody may act until [`Dashboard::authorize`] says so, and everybody may look who reaches the pages: mount it behind
//! what your app has to tell its users. The hook gets the head of the request, so it sees what a middleware has put into
//! the request's extensions:
//!
//! ```no_run
//! use oxmq::dashboard::{Action, Dashboard, Permission};
//!
//! #[derive(Clone)]
//! struct User { name: String, is_on_call: bool }
//!
//! # fn demo(client: oxmq::Client) {
//! let dashboard = Dashboard::new(client)
//!     .authorize(|request, wanted| match (request.extensions.get::<User>(), wanted) {
//!         (None, _) => false,
//!         (Some(_), Permission::See { queue }) => *queue != "payroll",
//!         (Some(user), Permission::Act { action: Action::Obliterate, .. }) => user.name == "root",
//!         (Some(user), Permission::Act { .. }) => user.is_on_call,
//!         _ => false,
//!     })
//!     .actor(|request| request.extensions.get::<User>().map(|user| user.name.clone()))
//!     .audit(|done| println!("{:?} did {} in {}: {}", done.actor, done.action, done.queue, done.outcome));
//! # let _ = dashboard; }
//! ```
//!
//! Each action takes a token that only a page of the same origin can hold, besides the check of the headers `Origin` and
//! `Sec-Fetch-Site`, and is told as a `tracing` event of the target `oxmq::dashboard` too.
//!
//! # What is not shown
//!
//! Values whose names sound like secrets (`password`, `token`, `authorization` …) are covered, wherever in a job's JSON
//! they stand. [`Dashboard::redact`] covers what else must not be seen; what is covered cannot be searched for either.
//! What the server's address holds is never shown.

mod access;
mod act;
mod app;
mod assets;
mod bulk;
mod catalog;
mod chart;
mod checkup;
mod filter;
mod forms;
mod json;
mod layout;
mod links;
mod live;
mod moment;
mod pages;
mod problem;
mod redact;
mod reschedule;
mod router;
mod survey;
mod visit;
mod words;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::Router;
use axum::http::request::Parts;
use serde_json::Value;

pub use access::{Action, Audit, Permission};
pub use redact::{Field, Shown};

use self::access::Hooks;
use self::app::App;
use crate::client::Client;

/// The pages of one client's queues, to be mounted in an axum app. See the [module](self).
///
/// ```no_run
/// # fn demo(client: oxmq::Client) {
/// use oxmq::dashboard::Dashboard;
///
/// // Two queues, to be looked at only.
/// let pages = Dashboard::new(client).queues(["mails", "reports"]).title("staging").router();
/// let app: axum::Router = axum::Router::new().nest("/queues", pages);
/// # drop(app); }
/// ```
#[must_use = "nothing is served until its router is mounted"]
pub struct Dashboard {
    client: Client,
    queues: BTreeSet<String>,
    only_named: bool,
    base: Option<String>,
    title: String,
    hooks: Hooks,
}

impl Dashboard {
    /// Makes pages of all queues under the client's prefix, to be looked at only.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            queues: BTreeSet::new(),
            only_named: false,
            base: None,
            title: "oxmq".to_owned(),
            hooks: Hooks::default(),
        }
    }

    /// Shows these queues, and does not look for others. Default: queues are looked for in the background, by steps of
    /// `SCAN` over the keys of the server, at most once in half a minute while somebody watches. With millions of keys it
    /// is kinder to name the queues.
    pub fn queues(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.queues = names.into_iter().map(Into::into).collect();
        self.only_named = true;
        self
    }

    /// Says under which path browsers find the pages. Default: found out by what the router of axum has taken off, which
    /// is right wherever nobody in front of the app rewrites paths.
    pub fn base_path(mut self, path: impl Into<String>) -> Self {
        self.base = Some(path.into().trim_end_matches('/').to_owned());
        self
    }

    /// Names the pages, to tell one installation from another. Default: `oxmq`.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Decides who may see a queue, and who may do what in it. Default: all may see all, nobody may act.
    ///
    /// It is called often, on pages of many queues once for each, so it must be quick: what takes time belongs into a
    /// middleware, which leaves its answer in the extensions of the request.
    pub fn authorize(mut self, may: impl Fn(&Parts, &Permission<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.hooks.may = Arc::new(may);
        self
    }

    /// Names who makes a request, for [`audit`](Self::audit) and the log. Default: nobody is named.
    pub fn actor(mut self, actor: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.hooks.actor = Arc::new(actor);
        self
    }

    /// Hears of each action, done or refused. Default: only `tracing` does.
    pub fn audit(mut self, audit: impl Fn(&Audit) + Send + Sync + 'static) -> Self {
        self.hooks.audit = Arc::new(audit);
        self
    }

    /// Covers what must not be seen: the hook changes a value before it is shown. Default, and what comes first in any
    /// case unless [`show_secrets`](Self::show_secrets) says otherwise: values whose names sound like secrets.
    pub fn redact(mut self, redact: impl Fn(&Shown<'_>, &mut Value) + Send + Sync + 'static) -> Self {
        self.hooks.redact = Some(Arc::new(redact));
        self
    }

    /// Shows values whose names sound like secrets too. Default: false.
    pub fn show_secrets(mut self, on: bool) -> Self {
        self.hooks.show_secrets = on;
        self
    }

    /// Makes the router. It can be nested in a router of any state; `nest_service` and any tower stack take it too.
    ///
    /// # Panics
    ///
    /// Never by itself; axum panics where the path to mount it at is taken.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        router::router(Arc::new(App::new(self)))
    }
}

impl std::fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dashboard").field("client", &self.client).field("title", &self.title).finish_non_exhaustive()
    }
}
