//! One request: who asks, where the pages are mounted, and what the visitor may see.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};

use super::forms::{self, Token};
use percent_encoding::percent_decode_str;

use super::links::{Links, unsegment};
use super::problem::Problem;
use crate::dashboard::access::{Action, Audit, Permission};
use crate::dashboard::app::{AnyQueue, App};
use crate::dashboard::background::works::Work;
use crate::dashboard::redaction::unseen::without_unseen;
use crate::dashboard::redaction::{Field, Shown};

/// A request for a page.
#[derive(Clone)]
pub(in crate::dashboard) struct Visit {
    pub(in crate::dashboard) app: Arc<App>,
    pub(in crate::dashboard) links: Links,
    pub(in crate::dashboard) token: Token,
    /// The outcome of the last form, to be shown once.
    pub(in crate::dashboard) flash: Option<String>,
    parts: Parts,
}

/// The parameters of a query or a form; the last one of a name applies.
pub(in crate::dashboard) type Params = HashMap<String, String>;

/// How long a page that tells of all queues waits until they are known.
const FIRST_SEARCH: Duration = Duration::from_secs(1);

/// Returns a parameter that contains more than spaces.
pub(in crate::dashboard) fn given<'a>(params: &'a Params, name: &str) -> Option<&'a str> {
    params.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
}

impl FromRequestParts<Arc<App>> for Visit {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let base = app.base.clone().unwrap_or_else(|| mounted_at(parts));
        Ok(Self {
            app: Arc::clone(app),
            links: Links(base),
            token: Token::of(&parts.headers),
            flash: forms::flash_of(&parts.headers),
            parts: parts.clone(),
        })
    }
}

/// Returns what outer routers have removed from the path.
fn mounted_at(parts: &Parts) -> String {
    let inner = parts.uri.path();
    let whole = parts.extensions.get::<OriginalUri>().map_or(inner, |uri| uri.0.path());
    whole.strip_suffix(inner).unwrap_or(whole).trim_end_matches('/').to_owned()
}

impl Visit {
    pub(in crate::dashboard) fn may_see(&self, queue: &str) -> bool {
        !self.app.catalog.is_hidden(queue) && (self.app.hooks.may)(&self.parts, &Permission::See { queue })
    }

    pub(in crate::dashboard) fn may(&self, queue: &str, action: Action) -> bool {
        self.may_see(queue) && (self.app.hooks.may)(&self.parts, &Permission::Act { queue, action })
    }

    /// Returns whether a work may be seen: each queue that it acts on may.
    pub(in crate::dashboard) fn may_see_work(&self, work: &Work) -> bool {
        work.queues.iter().all(|queue| self.may_see(queue))
    }

    pub(in crate::dashboard) fn sees_some_of(&self, queues: &[String]) -> bool {
        queues.iter().any(|queue| self.may_see(queue))
    }

    /// Returns whether any queue may be seen; if there are none, whether a queue named `oxmq` would be.
    pub(in crate::dashboard) async fn may_see_any(&self) -> bool {
        let sees_any = |names: &[String]| self.sees_some_of(names) || (names.is_empty() && self.may_see("oxmq"));
        let (catalog, client) = (&self.app.catalog, &self.app.client);
        let known = catalog.list(client).await;
        // The search may have found only queues of others so far.
        sees_any(&known.names)
            || (known.is_searching && sees_any(&catalog.list_within(client, FIRST_SEARCH).await.names))
    }

    /// Returns whether all queues may be seen. All of them must be known for that: until the first search for queues has
    /// ended, nobody does.
    pub(in crate::dashboard) async fn may_see_all(&self) -> bool {
        let known = self.app.catalog.list_within(&self.app.client, FIRST_SEARCH).await;
        !known.is_searching && known.names.iter().all(|name| self.may_see(name)) && self.may_see_any().await
    }

    /// Returns a queue that may be seen.
    pub(in crate::dashboard) fn queue(&self, name: &str) -> Result<AnyQueue, Problem> {
        let queue = self.app.queue(name).map_err(|_| Problem::no_queue(name))?;
        if self.may_see(name) { Ok(queue) } else { Err(Problem::no_queue(name)) }
    }

    /// Returns the request's headers.
    pub(in crate::dashboard) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    /// Returns the page to look at again after a problem: the one of the form, or the queue of a page that cannot be
    /// shown, if it may be seen.
    pub(in crate::dashboard) fn back(&self) -> Option<String> {
        let (path, is_form) = (self.parts.uri.path(), self.parts.method == Method::POST);
        let (queue, rest) = path.strip_prefix("/queue/").map(|path| path.split_once('/').unwrap_or((path, "")))?;
        let name = percent_decode_str(queue).decode_utf8().ok().filter(|name| self.may_see(unsegment(name)))?;
        match (is_form, rest) {
            (true, rest) if !rest.is_empty() && rest != "jobs" => Some(self.links.to(path)),
            (true, _) => Some(self.links.queue(unsegment(&name))),
            (false, rest) => (!rest.is_empty()).then(|| self.links.queue(unsegment(&name))),
        }
    }

    /// Returns JSON as it may be shown.
    pub(in crate::dashboard) fn json(&self, queue: &str, name: &str, field: Field, text: &str) -> String {
        self.without_unseen(self.app.hooks.redaction.json(&Shown { queue, name, field }, text))
    }

    /// Returns a text as it may be shown.
    pub(in crate::dashboard) fn text(&self, queue: &str, name: &str, field: Field, text: &str) -> String {
        self.without_unseen(self.app.hooks.redaction.text(&Shown { queue, name, field }, text))
    }

    /// Shows what Redis or a reader says of a queue, which may quote what is stored there.
    pub(in crate::dashboard) fn problem(&self, queue: &str, problem: &str) -> String {
        self.text(queue, "", Field::Other, problem)
    }

    /// Takes the names of queues that may not be seen out of a text.
    fn without_unseen(&self, text: String) -> String {
        without_unseen(text, self.app.client.prefix(), |queue| self.may_see(queue))
    }

    /// Returns the name of the queue whose base key this is, if it is one of those that the dashboard is about.
    pub(in crate::dashboard) fn queue_of<'a>(&self, base: &'a str) -> Option<&'a str> {
        let name = base.strip_prefix(self.app.client.prefix())?.strip_prefix(':')?.strip_suffix(':')?;
        (!name.contains(':')).then_some(name)
    }

    /// Audits an action.
    pub(in crate::dashboard) fn audit(&self, queue: &str, action: Action, target: &str, outcome: &str, done: bool) {
        let actor = (self.app.hooks.actor)(&self.parts);
        let (queue, target, outcome) = (queue.to_owned(), target.to_owned(), outcome.to_owned());
        self.app.hooks.told(&Audit { actor, queue, action, target, outcome, done });
    }
}
