//! Handles the forms of the doctor's page: one examination at a time runs in the background, of the queues that the
//! visitor may see.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Form, State};
use axum::response::Response;

use super::submitted::{Fields, answer, params, told};
use crate::dashboard::access::Action;
use crate::dashboard::app::App;
use crate::dashboard::background::checkup::{Checkup, Running};
use crate::dashboard::format::moment::count;
use crate::dashboard::request::forms::{self, see};
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit, given};
use crate::doctor::Stage;
use crate::error::WithCauses;
use crate::sync::Lock;

/// Handles the forms of the doctor's page.
pub(in crate::dashboard) async fn submit(
    visit: Visit,
    State(app): State<Arc<App>>,
    Form(fields): Form<Fields>,
) -> Response {
    let params = params(&fields);
    let done = async {
        visit.token.check(visit.headers(), params.get(forms::FIELD).map(String::as_str))?;
        match given(&params, "do") {
            Some("examine") => examine(&visit, &app, &params).await,
            Some("stop") => stop(&visit, &app),
            Some("mend") => mend(&visit, &app, &params).await,
            _ => Err(Problem::no_form("The form names no action.")),
        }
    };
    let done = done.await;
    answer(&visit, done)
}

/// Starts an examination; if one is running, shows that one.
async fn examine(visit: &Visit, app: &Arc<App>, params: &Params) -> Result<Response, Problem> {
    let to = visit.links.to("/doctor");
    let known = app.catalog.list(&app.client).await.names;
    let mut seen: BTreeSet<String> = known.into_iter().filter(|name| visit.may_see(name)).collect();
    let names: Vec<String> = match given(params, "queue") {
        Some(name) => {
            visit.queue(name)?;
            seen.insert(name.to_owned());
            vec![name.to_owned()]
        }
        None => seen.iter().cloned().collect(),
    };
    if !visit.may_see_any().await {
        visit.audit("*", Action::Examine, "", "not permitted", false);
        return Err(Problem::forbidden("examine a queue"));
    }
    if names.is_empty() {
        app.client.ping().await?;
        // Without a name the doctor would search for queues itself, and find some that are not shown.
        return Err(Problem::no_form("There is no queue to examine."));
    }
    let running = Arc::new(Running { names: names.clone(), ..Running::default() });
    if !app.checkups.begin(&running) {
        return Ok(see(&visit.links, &to, "An examination is running already."));
    }
    let hearing = Arc::clone(&running);
    let hear = move |stage: &Stage| *hearing.stage.lock() = Some(stage.clone());
    let mut doctor = app.client.doctor().memory(given(params, "memory").is_some()).on_stage(hear);
    for name in &names {
        doctor = doctor.queue(name);
    }
    visit.audit(given(params, "queue").unwrap_or("*"), Action::Examine, &names.join(", "), "begun", true);
    let ending = Ending(Arc::clone(app));
    let task = tokio::spawn(async move {
        let outcome = doctor.examine().await.map_err(|error| WithCauses(&error).to_string());
        let id = uuid::Uuid::new_v4().simple().to_string();
        let ended = ending.0.now();
        let last = Checkup { id, names, seen, ended, outcome, doctor, mended: Lock::default() };
        ending.0.checkups.keep(last);
    });
    *running.task.lock() = Some(task.abort_handle());
    Ok(see(&visit.links, &to, "The examination has begun."))
}

/// Allows the next examination when one ends, for whatever reason.
struct Ending(Arc<App>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.checkups.end();
    }
}

fn stop(visit: &Visit, app: &App) -> Result<Response, Problem> {
    if let Some(running) = app.checkups.running().filter(|running| visit.sees_some_of(&running.names)) {
        // A visitor who does not see all of its queues may not stop it.
        let may_stop = running.names.iter().all(|name| visit.may_see(name));
        let told = if may_stop { "stopped" } else { "not permitted" };
        visit.audit("*", Action::Examine, &running.names.join(", "), told, may_stop);
        if !may_stop {
            return Err(Problem::forbidden("stop this examination"));
        }
        if let Some(task) = running.task.lock().take() {
            task.abort();
        }
    }
    Ok(see(&visit.links, &visit.links.to("/doctor"), "The examination is stopped."))
}

/// Mends one finding, as far as it is still true.
async fn mend(visit: &Visit, app: &App, params: &Params) -> Result<Response, Problem> {
    let gone = || Problem::no_form("Another examination has ended meanwhile: see its findings.");
    let id = given(params, "checkup").unwrap_or_default();
    let queue = given(params, "queue").ok_or_else(|| Problem::no_form("The form names no queue."))?;
    visit.queue(queue)?;
    let number: usize = given(params, "finding").and_then(|number| number.parse().ok()).ok_or_else(gone)?;
    let last = app.checkups.find(id).ok_or_else(gone)?;
    let (place, finding) = last.of(Some(queue)).nth(number).ok_or_else(gone)?;
    let target = finding.kind.as_str();
    if !visit.may(queue, Action::Mend) {
        visit.audit(queue, Action::Mend, target, "not permitted", false);
        return Err(Problem::forbidden("mend this queue"));
    }
    let done = match last.doctor.mend(finding).await {
        Ok(mended) => {
            *last.mended.lock().entry(place).or_default() += mended;
            Ok(format!("{target} of {queue}: {} of {} mended.", count(mended), count(finding.count)))
        }
        Err(error) => Err(error.into()),
    };
    told(visit, queue, Action::Mend, target, done, &visit.links.to("/doctor")).await
}
