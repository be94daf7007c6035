//! Stops work in the background.

use std::sync::Arc;

use axum::extract::{Form, Path, State};
use axum::response::Response;

use super::submitted::{Fields, answer, params};
use crate::dashboard::app::App;
use crate::dashboard::request::forms::{self, see};
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::Visit;

/// Stops work in the background.
pub(in crate::dashboard) async fn submit(
    visit: Visit,
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    Form(fields): Form<Fields>,
) -> Response {
    let params = params(&fields);
    let done = async {
        visit.token.check(visit.headers(), params.get(forms::FIELD).map(String::as_str))?;
        let work = app.works.find(&id).ok_or_else(Problem::no_page)?;
        // Where it may not be seen, nobody is told that there is such a work.
        if !visit.may_see_work(&work) {
            return Err(Problem::no_page());
        }
        let is_permitted = work.queues.iter().all(|queue| visit.may(queue, work.action));
        let outcome = if is_permitted { "stopped" } else { "not permitted to stop it" };
        for queue in &work.queues {
            visit.audit(queue, work.action, &work.target, outcome, is_permitted);
        }
        if !is_permitted {
            return Err(Problem::forbidden("stop this"));
        }
        work.stop();
        Ok(see(&visit.links, &visit.links.to(&format!("/work/{id}")), "It stops after the step that it is at."))
    };
    let done = done.await;
    answer(&visit, done)
}
