//! Error pages, which tell what to do.

use axum::http::StatusCode;
use maud::{Markup, html};

use crate::error::{Error, WithCauses};

/// What an error page says.
#[derive(Debug)]
pub(in crate::dashboard) struct Problem {
    pub(in crate::dashboard) status: StatusCode,
    pub(in crate::dashboard) title: String,
    pub(in crate::dashboard) advice: String,
    /// The error of the server or the library.
    pub(in crate::dashboard) detail: Option<String>,
    pub(in crate::dashboard) cause: Cause,
}

/// What a problem says of the action that it stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dashboard) enum Cause {
    /// The form, the job or the queue does not allow it.
    Refused,
    /// It may have been done.
    Unknown,
    /// The server did not do it, and may do it later.
    Passing,
    /// The server does nothing of the kind.
    Server,
}

impl Problem {
    fn new(status: StatusCode, title: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { status, title: title.into(), advice: advice.into(), detail: None, cause: Cause::Refused }
    }

    pub(in crate::dashboard) fn no_queue(name: &str) -> Self {
        let title = format!("There is no queue “{name}” here");
        Self::new(StatusCode::NOT_FOUND, title, "Its name may be misspelt, or you may not be permitted to see it.")
    }

    pub(in crate::dashboard) fn no_job(id: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            format!("There is no job “{id}” in this queue"),
            "It may have been removed since: finished jobs are, if their options say so. Its last events may still be in the \
             event stream of the queue.",
        )
    }

    pub(in crate::dashboard) fn no_page() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is no such page", "Go to the list of queues and search from there.")
    }

    /// Refuses what concerns no queue to those who may see none.
    pub(in crate::dashboard) fn nothing_seen() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "You are not permitted to see this",
            "It is for those who may see a queue. Whoever runs this dashboard decides who they are.",
        )
    }

    pub(in crate::dashboard) fn no_form(what: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "The form cannot be understood", what)
    }

    pub(in crate::dashboard) fn forbidden(what: &str) -> Self {
        let title = format!("You are not permitted to {what}");
        Self::new(
            StatusCode::FORBIDDEN,
            title,
            "Nothing was changed. The operator of this dashboard decides who may act.",
        )
    }

    pub(in crate::dashboard) fn foreign() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "This form did not come from this site",
            "Nothing was changed. Reload the page and try again; cookies must be allowed for this site. A proxy must pass \
             on the header Host.",
        )
    }

    pub(in crate::dashboard) fn slow() -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "Redis does not answer",
            "What this page shows could not be read in time. The dashboard keeps trying to connect: reload in a moment. If that \
             lasts, look whether the server is up and reachable from here.",
        )
    }

    pub(in crate::dashboard) fn busy() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "Too many pages are open", "Close some, and reload this one.")
    }

    /// Returns what has come of it, in a line.
    pub(in crate::dashboard) fn outcome(&self) -> &str {
        self.detail.as_ref().unwrap_or(&self.title)
    }

    /// Shows it, with the way back to the page that it is about, if there is one.
    pub(in crate::dashboard) fn body(&self, home: &str, back: Option<&str>) -> Markup {
        html! {
            section.empty {
                h1 { (self.title) }
                p { (self.advice) }
                @if let Some(detail) = &self.detail { pre.raw { (detail) } }
                p {
                    @if let Some(back) = back { a.button href=(back) { "Look again" } " " }
                    a.button href=(home) { "All queues" }
                }
            }
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = Some(WithCauses(&error).to_string());
        let cause = match &error {
            Error::OutcomeUnknown { .. } => Cause::Unknown,
            error if error.is_retryable() => Cause::Passing,
            error if error.is_not_permitted() || error.is_wrong_type() => Cause::Server,
            _ => Cause::Refused,
        };
        let problem = match error {
            Error::InvalidOption { .. } => {
                Self::new(StatusCode::BAD_REQUEST, "This is not possible", "A value is outside its permitted range.")
            }
            Error::Refused { .. } | Error::QueueState { .. } => Self::new(
                StatusCode::CONFLICT,
                "Redis refused it",
                "Nothing was changed. The job or the queue may have moved on since you saw it: reload and look again.",
            ),
            Error::OutcomeUnknown { .. } => Self::new(
                StatusCode::BAD_GATEWAY,
                "It is unknown whether this was done",
                "The connection to Redis broke before the answer came. Check the result before you try again.",
            ),
            error if error.is_not_permitted() => Self::new(
                StatusCode::BAD_GATEWAY,
                "Redis does not permit that",
                "The user that this dashboard connects as lacks a permission in Redis.",
            ),
            error if error.is_wrong_type() => Self::new(
                StatusCode::BAD_GATEWAY,
                "A key holds something else than queues store there",
                "It belongs to something else, or was written by hand. The doctor says which key it is.",
            ),
            _ => Self::new(
                StatusCode::BAD_GATEWAY,
                "Redis does not answer",
                "The dashboard keeps trying to connect: reload in a moment. If that lasts, look whether the server is up and \
                 reachable from here.",
            ),
        };
        Self { detail, cause, ..problem }
    }
}
