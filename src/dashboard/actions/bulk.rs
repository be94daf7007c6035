//! Acts on many jobs in the background, while a page shows the progress.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::response::Response;

use super::deed::Deed;
use super::each::each;
use super::submitted::Due;
use crate::dashboard::access::Action;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::background::works::Work;
use crate::dashboard::format::moment::{count, many};
use crate::dashboard::request::filter::Filter;
use crate::dashboard::request::forms::see;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, Visit};
use crate::error::{Error, Result as Answer, WithCauses};
use crate::state::JobState;

/// How many jobs one step reads if each has to be looked at here.
const STEP: u64 = 100;

/// What is done to the failed jobs of several queues.
const RETRY: Deed = Deed::Plain(Action::Retry);

/// After how many failed steps in a row it ends.
const PATIENCE: u32 = 5;

/// Starts a work, and redirects to the page with its progress.
pub(super) async fn begin(
    visit: Visit,
    queue: &AnyQueue,
    action: Action,
    deed: Deed,
    filter: Filter,
) -> Result<Response, Problem> {
    if !deed.fits(filter.state) {
        return Err(Problem::no_form(format!("This action is not possible for {}.", filter.words())));
    }
    let total = queue.jobs(filter.search()).count_candidates().await?;
    let back = format!("{}?{}", visit.links.queue(queue.name()), filter.query());
    let (target, queues) = (filter.words(), vec![queue.name().to_owned()]);
    let title = deed.title(&target, visit.app.now());
    let work = Arc::new(Work::new(queues, action, target, title, back, total));
    let Some(id) = visit.app.works.keep(&work) else { return Err(Problem::busy()) };
    let to = visit.links.to(&format!("/work/{id}"));
    let answer = see(&visit.links, &to, "It has begun.");
    let (queue, ending) = (queue.clone(), Ending(Arc::clone(&work)));
    tokio::spawn(async move {
        let end = run(&visit, &queue, deed, &filter, &ending.0).await;
        let outcome = match &end {
            Ok(text) => text.clone(),
            Err(error) => WithCauses(error).to_string(),
        };
        visit.audit(queue.name(), action, &work.target, &outcome, end.is_ok());
        work.ended(end.map_err(|_| outcome));
        visit.app.changed(queue.name()).await;
    });
    Ok(answer)
}

/// Starts to retry all failed jobs of several queues, in which the visitor may do so, one queue after the other.
/// `expected` is how many there are about. Redirects to the page with the progress.
pub(super) fn begin_in_all(visit: Visit, names: Vec<String>, expected: u64) -> Result<Response, Problem> {
    let target = format!("all failed jobs of {}", many(names.len() as u64, "queue"));
    let title = RETRY.title(&target, visit.app.now());
    let work = Arc::new(Work::new(names, Action::Retry, target, title, visit.links.home(), expected));
    let Some(id) = visit.app.works.keep(&work) else { return Err(Problem::busy()) };
    let answer = see(&visit.links, &visit.links.to(&format!("/work/{id}")), "It has begun.");
    let ending = Ending(Arc::clone(&work));
    tokio::spawn(async move {
        let mut failed = Vec::new();
        for name in &ending.0.queues {
            if work.is_stopping() {
                break;
            }
            if let Err(problem) = one_of_all(&visit, name, &work).await {
                failed.push(format!("{name}: {problem}"));
            }
        }
        work.ended(if failed.is_empty() { Ok(outcome(&work)) } else { Err(failed.join("\n")) });
    });
    Ok(answer)
}

/// Retries the failed jobs of one of several queues; audited as if only this queue had been meant, if it has any. A
/// queue that cannot be read does not keep the others from being retried.
async fn one_of_all(visit: &Visit, name: &str, work: &Work) -> Result<(), String> {
    let figures = || [&work.done, &work.left_out].map(|figure| figure.load(Ordering::Relaxed));
    let [done, left_out] = figures();
    // The permission may have ended since the work began.
    if !visit.may(name, Action::Retry) {
        return Ok(());
    }
    let filter = Filter::of(&Params::new(), JobState::Failed);
    let end = match visit.app.queue(name) {
        Ok(queue) => in_steps(visit, &queue, RETRY, &filter, work).await,
        Err(error) => Err(error),
    };
    let [now_done, now_left_out] = figures();
    let (mine, others) = (now_done - done, now_left_out - left_out);
    let outcome = match &end {
        Ok(()) => format!("{} retried, {} left out", count(mine), count(others)),
        Err(error) => WithCauses(error).to_string(),
    };
    if mine + others > 0 || end.is_err() {
        visit.audit(name, Action::Retry, &filter.words(), &outcome, end.is_ok());
        visit.app.changed(name).await;
    }
    end.map_err(|_| visit.problem(name, &outcome))
}

/// Marks the work as ended when its task ends, for whatever reason.
struct Ending(Arc<Work>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ended(Err("the task panicked".to_owned()));
    }
}

async fn run(visit: &Visit, queue: &AnyQueue, deed: Deed, filter: &Filter, work: &Work) -> Answer<String> {
    // Until a moment it is shorter with each job.
    if filter.has_text() || matches!(deed, Deed::Delay(Due::At(_))) {
        one_by_one(visit, queue, deed, filter, work).await?;
    } else {
        in_steps(visit, queue, deed, filter, work).await?;
    }
    Ok(match deed {
        Deed::Priority { .. } | Deed::Delay(_) => {
            format!("{} They have: {}.", outcome(work), deed.outcome(visit.app.now()))
        }
        Deed::Plain(_) => outcome(work),
    })
}

/// Says in words to how many jobs it was done.
fn outcome(work: &Work) -> String {
    let done = many(work.done.load(Ordering::Relaxed), "job");
    let left_out = work.left_out.load(Ordering::Relaxed);
    let stopped = if work.is_stopping() { "Stopped. " } else { "" };
    match left_out {
        0 => format!("{stopped}Done to {done}."),
        left_out => {
            format!("{stopped}Done to {done}, and not to {}, which had moved on or were held.", count(left_out))
        }
    }
}

/// Acts through the queue, with many jobs per call.
async fn in_steps(visit: &Visit, queue: &AnyQueue, deed: Deed, filter: &Filter, work: &Work) -> Answer<()> {
    let jobs = queue.jobs(filter.search());
    let action = match deed {
        Deed::Priority { priority, .. } => jobs.change_priority(priority),
        Deed::Delay(due) => jobs.change_delay(due.delay(visit.app.now())),
        Deed::Plain(Action::Retry) => jobs.retry(),
        Deed::Plain(Action::Promote) => jobs.promote(),
        Deed::Plain(Action::Cancel) => jobs.cancel(""),
        Deed::Plain(_) => jobs.remove(),
    };
    let (mut run, mut broken) = (action.start()?, 0);
    // A work may have acted on another queue before.
    let [looked_at, done, left_out] =
        [&work.looked_at, &work.done, &work.left_out].map(|figure| figure.load(Ordering::Relaxed));
    while !work.is_stopping() {
        match run.next().await {
            Ok(None) => break,
            Ok(Some(step)) => {
                work.looked_at.store(looked_at + step.looked_at, Ordering::Relaxed);
                broken = 0;
            }
            Err(error) => patience(&mut broken, error)?,
        }
        let report = run.report();
        work.done.store(done + report.done, Ordering::Relaxed);
        work.left_out.store(left_out + report.moved_on + report.refused + report.unknown, Ordering::Relaxed);
    }
    Ok(())
}

/// Looks at jobs here, one by one: a search of their data must not find what is redacted.
async fn one_by_one(visit: &Visit, queue: &AnyQueue, deed: Deed, filter: &Filter, work: &Work) -> Answer<()> {
    let (mut scan, mut broken) = (queue.engine().scan(filter.search(), None, None)?, 0);
    while !work.is_stopping() {
        let found = match scan.jobs_step(queue.engine(), STEP).await {
            Ok(Some(found)) => found,
            Ok(None) => break,
            Err(error) => {
                patience(&mut broken, error)?;
                continue;
            }
        };
        broken = 0;
        let jobs: Vec<_> = found.items.into_iter().filter_map(|job| queue.read_job(job.ok()?).ok()).collect();
        let ids: Vec<&str> = jobs.iter().filter(|job| filter.shows(visit, job)).map(|job| job.id()).collect();
        for (id, answer) in ids.iter().zip(each(visit, queue, &ids, deed).await) {
            let figure = if answer.is_ok() { &work.done } else { &work.left_out };
            figure.fetch_add(1, Ordering::Relaxed);
            if answer.is_ok() && deed.replaces() {
                scan.was_replaced(id);
            }
        }
        work.looked_at.store(scan.cursor().looked_at(), Ordering::Relaxed);
    }
    Ok(())
}

/// Tolerates errors of the connection, which may come back, but not invalid requests.
fn patience(broken: &mut u32, error: Error) -> Answer<()> {
    *broken += 1;
    if *broken >= PATIENCE || matches!(error, Error::InvalidOption { .. }) { Err(error) } else { Ok(()) }
}
