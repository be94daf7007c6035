//! Acts on many jobs in the background, while a page shows the progress.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::response::Response;

use super::each::each;
use crate::dashboard::access::Action;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::background::works::Work;
use crate::dashboard::format::moment::count;
use crate::dashboard::request::filter::Filter;
use crate::dashboard::request::forms::see;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::Visit;
use crate::error::{Error, Result as Answer, WithCauses};

/// How many jobs one step reads if their data has to be looked at here.
const STEP: u32 = 100;

/// After how many failed steps in a row it ends.
const PATIENCE: u32 = 5;

/// Starts a work, and redirects to the page with its progress.
pub(super) async fn begin(visit: Visit, queue: &AnyQueue, action: Action, filter: Filter) -> Result<Response, Problem> {
    check(action, &filter)?;
    let total = queue.jobs(filter.search()).count_candidates().await?;
    let back = format!("{}?{}", visit.links.queue(queue.name()), filter.query());
    let work = Arc::new(Work::new(queue.name(), action, filter.words(), back, total));
    let Some(id) = visit.app.works.keep(&work) else { return Err(Problem::busy()) };
    let to = visit.links.to(&format!("/work/{id}"));
    let answer = see(&visit.links, &to, "It has begun.");
    let (queue, ending) = (queue.clone(), Ending(Arc::clone(&work)));
    tokio::spawn(async move {
        let end = run(&visit, &queue, &filter, &ending.0).await;
        let outcome = match &end {
            Ok(text) => text.clone(),
            Err(error) => WithCauses(error).to_string(),
        };
        visit.audit(&work.queue, action, &work.target, &outcome, end.is_ok());
        work.ended(end.map_err(|_| outcome));
        visit.app.changed(&work.queue).await;
    });
    Ok(answer)
}

/// Marks the work as ended when its task ends, for whatever reason.
struct Ending(Arc<Work>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ended(Err("the task panicked".to_owned()));
    }
}

fn check(action: Action, filter: &Filter) -> Result<(), Problem> {
    let fits = match action {
        Action::Retry => filter.state.is_finished(),
        Action::Promote => filter.state == crate::state::JobState::Delayed,
        Action::Clean => true,
        _ => false,
    };
    if fits { Ok(()) } else { Err(Problem::no_form(format!("This action is not possible for {}.", filter.words()))) }
}

async fn run(visit: &Visit, queue: &AnyQueue, filter: &Filter, work: &Work) -> Answer<String> {
    if filter.has_text() {
        one_by_one(visit, queue, filter, work).await?
    } else {
        in_steps(queue, filter, work).await?
    }
    let done = count(work.done.load(Ordering::Relaxed));
    let left_out = work.left_out.load(Ordering::Relaxed);
    let stopped = if work.is_stopping() { "Stopped. " } else { "" };
    Ok(match left_out {
        0 => format!("{stopped}Done to {done} jobs."),
        left_out => {
            format!("{stopped}Done to {done} jobs, and not to {}, which had moved on or were held.", count(left_out))
        }
    })
}

/// Acts through the queue, with many jobs per call.
async fn in_steps(queue: &AnyQueue, filter: &Filter, work: &Work) -> Answer<()> {
    let jobs = queue.jobs(filter.search());
    let action = match work.action {
        Action::Retry => jobs.retry(),
        Action::Promote => jobs.promote(),
        _ => jobs.remove(),
    };
    let (mut run, mut broken) = (action.start()?, 0);
    while !work.is_stopping() {
        match run.next().await {
            Ok(None) => break,
            Ok(Some(step)) => {
                work.looked_at.store(step.looked_at, Ordering::Relaxed);
                broken = 0;
            }
            Err(error) => patience(&mut broken, error)?,
        }
        let report = run.report();
        work.done.store(report.done, Ordering::Relaxed);
        work.left_out.store(report.moved_on + report.refused + report.unknown, Ordering::Relaxed);
    }
    Ok(())
}

/// Searches the data of jobs here, one by one: a search must not find what is redacted.
async fn one_by_one(visit: &Visit, queue: &AnyQueue, filter: &Filter, work: &Work) -> Answer<()> {
    let (mut cursor, mut broken) = (None, 0);
    while !work.is_stopping() {
        let mut search = queue.jobs(filter.search());
        if let Some(cursor) = &cursor {
            search = search.resume(crate::engine::JobsCursor::clone(cursor));
        }
        let page = match search.page(STEP).await {
            Ok(page) => page,
            Err(error) => {
                patience(&mut broken, error)?;
                continue;
            }
        };
        broken = 0;
        let shown = page.jobs.iter().flatten().filter(|job| filter.shows(visit, job));
        let ids: Vec<&str> = shown.map(|job| job.id()).collect();
        for answer in each(visit, queue, &ids, work.action).await {
            let figure = if answer.is_ok() { &work.done } else { &work.left_out };
            figure.fetch_add(1, Ordering::Relaxed);
        }
        work.looked_at.store(page.looked_at, Ordering::Relaxed);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    Ok(())
}

/// Tolerates errors of the connection, which may come back, but not invalid requests.
fn patience(broken: &mut u32, error: Error) -> Answer<()> {
    *broken += 1;
    if *broken >= PATIENCE || matches!(error, Error::InvalidOption { .. }) { Err(error) } else { Ok(()) }
}
