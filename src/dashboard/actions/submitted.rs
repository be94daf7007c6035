//! A submitted form: its fields, whether its action is permitted, and how it is audited and answered.

use std::time::{Duration, SystemTime};

use axum::response::Response;
use serde_json::value::RawValue;

use crate::dashboard::access::Action;
use crate::dashboard::format::moment;
use crate::dashboard::request::filter::span;
use crate::dashboard::request::forms::{self, see};
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::state::JobState;

/// The fields of a form, in its order.
pub(super) type Fields = Vec<(String, String)>;

/// Returns the single fields of a form; the last one of a name applies.
pub(super) fn params(fields: &Fields) -> Params {
    fields.iter().cloned().collect()
}

/// Returns the action that a form names, if the form is from our pages, its action is one of `these`, and the visitor
/// may do that.
pub(super) fn permitted(
    visit: &Visit,
    queue: &str,
    params: &Params,
    target: &str,
    these: &[Action],
) -> Result<Action, Problem> {
    visit.token.check(visit.headers(), params.get(forms::FIELD).map(String::as_str))?;
    visit.queue(queue)?;
    let action =
        given(params, "do").and_then(Action::parse).ok_or_else(|| Problem::no_form("The form names no action."))?;
    // A permission for one kind of form must not allow actions of another.
    if !these.contains(&action) {
        visit.audit(queue, action, target, "not done by this form", false);
        return Err(Problem::no_form(format!("“{action}” is not done by this form.")));
    }
    if visit.may(queue, action) {
        return Ok(action);
    }
    visit.audit(queue, action, target, "not permitted", false);
    Err(Problem::forbidden(&format!("{} in this queue", action.as_str().replace('-', " "))))
}

/// Returns the list of jobs that a form was sent from, or that of a state.
pub(super) fn list(visit: &Visit, queue: &str, params: &Params, state: JobState) -> String {
    match given(params, "back").filter(|query| query.bytes().all(|byte| byte.is_ascii_graphic())) {
        Some(query) => format!("{}?{query}", visit.links.queue(queue)),
        None => visit.links.state(queue, state),
    }
}

/// Audits the outcome of an action, and redirects to a page.
pub(super) async fn told(
    visit: &Visit,
    queue: &str,
    action: Action,
    target: &str,
    done: Result<String, Problem>,
    to: &str,
) -> Result<Response, Problem> {
    visit.app.changed(queue).await;
    match done {
        Ok(outcome) => {
            visit.audit(queue, action, target, &outcome, true);
            Ok(see(&visit.links, to, &outcome))
        }
        Err(problem) => {
            visit.audit(queue, action, target, problem.outcome(), false);
            Err(problem)
        }
    }
}

/// Answers with the response, or with the page of the problem.
pub(super) fn answer(visit: &Visit, done: Result<Response, Problem>) -> Response {
    done.unwrap_or_else(|problem| visit.answer(Err(problem)))
}

/// When a job is due.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due {
    /// So long after it is asked for.
    After(Duration),
    /// At this moment.
    At(SystemTime),
}

impl Due {
    /// Returns how long that is from now. A moment in the past is no delay.
    pub(super) fn delay(self, now: SystemTime) -> Duration {
        match self {
            Self::After(delay) => delay,
            Self::At(due) => due.duration_since(now).unwrap_or_default(),
        }
    }
}

/// Reads a delay: how long, or until when.
pub(super) fn due(text: &str) -> Result<Due, Problem> {
    let wrong = "Write the delay as 90s, 15 min, 2h or 3d, or the moment in UTC as 2030-12-31 18:00.";
    let due = span(text).map(Due::After).or_else(|| moment::read(text).map(Due::At));
    due.ok_or_else(|| Problem::no_form(wrong))
}

/// Returns the JSON of a field.
pub(super) fn json(text: Option<&String>) -> Result<Box<RawValue>, Problem> {
    let text = text.map(|text| text.trim()).unwrap_or_default();
    RawValue::from_string(text.to_owned()).map_err(|error| Problem::no_form(format!("The data is no JSON: {error}.")))
}
