//! Web pages to view queues and to act on them, for any axum app: feature `dashboard`.
//!
//! [`Dashboard::router`] returns an axum [`Router`], which is also a tower service, to be mounted anywhere:
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
//! It shows the queues of Rust, Node or both. Pages are rendered by the server, work without scripts, and update live
//! if scripts are allowed. Styles and script are in the binary; no page requests anything from elsewhere, and the
//! content security policy forbids it.
//!
//! # Who may see, who may act
//!
//! Nobody may act until [`Dashboard::authorize`] allows it, and everybody who can reach the pages may look: mount it
//! behind your app's authentication. The hook gets the head of the request, with everything that a middleware has put
//! into its extensions:
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
//! Each action needs a token that only a page of the same origin can have, and passes a check of the headers `Origin`
//! and `Sec-Fetch-Site`. It is also logged as a `tracing` event with the target `oxmq::dashboard`.
//!
//! # What is not shown
//!
//! Values whose names sound like secrets (`password`, `token`, `authorization` …) are redacted, wherever they are in a
//! job's JSON. [`Dashboard::redact`] redacts what else must not be seen; what is redacted cannot be searched for
//! either. Credentials in the server's address are never shown.

mod access;
mod actions;
mod app;
mod assets;
mod background;
mod format;
mod live;
mod pages;
mod redaction;
mod request;
mod router;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::request::Parts;
use serde_json::Value;

pub use access::{Action, Audit, Permission};
pub use redaction::{Field, Shown};

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
    stream_life: Duration,
    hooks: Hooks,
}

impl Dashboard {
    /// Creates pages of all queues under the client's prefix, to be viewed only.
    pub fn new(client: Client) -> Self {
        Self {
            client,
            queues: BTreeSet::new(),
            only_named: false,
            base: None,
            title: "oxmq".to_owned(),
            stream_life: live::LIFE,
            hooks: Hooks::default(),
        }
    }

    /// Shows these queues, and does not search for others. Default: queues are searched for in the background, with
    /// `SCAN` over the server's keys in small steps, at most once in half a minute while somebody watches. With
    /// millions of keys it is better to name the queues.
    pub fn queues(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.queues = names.into_iter().map(Into::into).collect();
        self.only_named = true;
        self
    }

    /// Sets the path under which browsers find the pages. Default: the part of the path that axum's routers have
    /// removed, which is right unless a proxy in front of the app rewrites paths.
    pub fn base_path(mut self, path: impl Into<String>) -> Self {
        self.base = Some(path.into().trim_end_matches('/').to_owned());
        self
    }

    /// Sets the title of the pages, to tell installations apart. Default: `oxmq`.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = title.into();
        self
    }

    /// Sets how long the stream that keeps an open page up to date may last; the browser then opens it anew, from where it
    /// was. An app that shuts down waits for its open responses that long, and its own middleware checks a visitor's
    /// session only when a request begins. Default: 20 s; 1 ms at least.
    pub fn stream_life(mut self, life: Duration) -> Self {
        self.stream_life = life.max(Duration::from_millis(1));
        self
    }

    /// Sets who may see a queue, and who may act on it. Default: all may see all, nobody may act.
    ///
    /// It is called often, for pages of many queues once per queue, so it must be fast: slow checks belong into a
    /// middleware, which puts its answer into the extensions of the request.
    pub fn authorize(mut self, may: impl Fn(&Parts, &Permission<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.hooks.may = Arc::new(may);
        self
    }

    /// Sets who makes a request, for [`audit`](Self::audit) and the log. Default: nobody is named.
    pub fn actor(mut self, actor: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static) -> Self {
        self.hooks.actor = Arc::new(actor);
        self
    }

    /// Sets a hook that is told of each action, done or refused. Default: actions are only logged.
    pub fn audit(mut self, audit: impl Fn(&Audit) + Send + Sync + 'static) -> Self {
        self.hooks.audit = Arc::new(audit);
        self
    }

    /// Sets a hook that changes a value before it is shown, to redact what must not be seen. Values whose names sound
    /// like secrets are redacted before, unless [`show_secrets`](Self::show_secrets) is set. Default: none.
    pub fn redact(mut self, redact: impl Fn(&Shown<'_>, &mut Value) + Send + Sync + 'static) -> Self {
        self.hooks.redaction.hook = Some(Arc::new(redact));
        self
    }

    /// Shows values whose names sound like secrets too. Default: false.
    pub fn show_secrets(mut self, on: bool) -> Self {
        self.hooks.redaction.show_secrets = on;
        self
    }

    /// Returns the router. It can be nested in a router with any state; `nest_service` and any tower stack accept it
    /// too.
    ///
    /// # Panics
    ///
    /// Never by itself; axum panics if the path to mount it at is taken.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        router::router(Arc::new(App::new(self)))
    }
}

impl std::fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dashboard").field("client", &self.client).field("title", &self.title).finish_non_exhaustive()
    }
}
