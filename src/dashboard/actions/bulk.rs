//! Acts on many jobs in the background, while a page shows the progress.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

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
use crate::dashboard::request::problem::{Cause, Problem};
use crate::dashboard::request::visit::{Params, Visit};
use crate::error::WithCauses;
use crate::state::JobState;

/// How many jobs one step reads if each has to be looked at here.
const STEP: u64 = 100;

/// What is done to the failed jobs of several queues.
const RETRY: Deed = Deed::Plain(Action::Retry);

/// After how many failed steps in a row it ends.
const PATIENCE: u32 = 5;

/// The pause before a step that has failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

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
        let (Ok(outcome) | Err(outcome)) = &end;
        visit.audit(queue.name(), action, &work.target, outcome, end.is_ok());
        work.ended(end);
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
    let figures = || [&work.done, &work.left_out, &work.unknown].map(|figure| figure.load(Ordering::Relaxed));
    let before = figures();
    // The permission may have ended since the work began.
    if !visit.may(name, Action::Retry) {
        return Ok(());
    }
    let filter = Filter::of(&Params::new(), JobState::Failed);
    let end = match visit.app.queue(name) {
        Ok(queue) => in_steps(visit, &queue, RETRY, &filter, work).await,
        Err(error) => Err(WithCauses(&error).to_string()),
    };
    let now = figures();
    let [done, left_out, unknown] = std::array::from_fn(|i| now[i] - before[i]);
    let outcome = match &end {
        Ok(()) if unknown > 0 => {
            format!("{} retried, {} left out, {} not known", count(done), count(left_out), count(unknown))
        }
        Ok(()) => format!("{} retried, {} left out", count(done), count(left_out)),
        Err(problem) => problem.clone(),
    };
    if done + left_out + unknown > 0 || end.is_err() {
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

async fn run(visit: &Visit, queue: &AnyQueue, deed: Deed, filter: &Filter, work: &Work) -> Result<String, String> {
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
    let mut text = match left_out {
        0 => format!("{stopped}Done to {done}."),
        left_out => {
            format!("{stopped}Done to {done}, and not to {}, which had moved on or were held.", count(left_out))
        }
    };
    let unknown = work.unknown.load(Ordering::Relaxed);
    if unknown > 0 {
        text += &format!(" It may be done to {}: the answer was lost.", many(unknown, "more job"));
    }
    text
}

/// Acts through the queue, with many jobs per call.
async fn in_steps(visit: &Visit, queue: &AnyQueue, deed: Deed, filter: &Filter, work: &Work) -> Result<(), String> {
    let jobs = queue.jobs(filter.search());
    let action = match deed {
        Deed::Priority { priority, .. } => jobs.change_priority(priority),
        Deed::Delay(due) => jobs.change_delay(due.delay(visit.app.now())),
        Deed::Plain(Action::Retry) => jobs.retry(),
        Deed::Plain(Action::Promote) => jobs.promote(),
        Deed::Plain(Action::Cancel) => jobs.cancel(""),
        Deed::Plain(_) => jobs.remove(),
    };
    let (mut run, mut tries) = (action.start().map_err(|error| WithCauses(&error).to_string())?, Tries::default());
    // A work may have acted on another queue before.
    let [looked_at, done, left_out, unknown] =
        [&work.looked_at, &work.done, &work.left_out, &work.unknown].map(|figure| figure.load(Ordering::Relaxed));
    while !work.is_stopping() {
        match run.next().await {
            Ok(None) => break,
            Ok(Some(step)) => {
                work.looked_at.store(looked_at + step.looked_at, Ordering::Relaxed);
                tries.succeeded();
            }
            Err(error) => tries.failed(error.into()).await?,
        }
        let report = run.report();
        work.done.store(done + report.done, Ordering::Relaxed);
        work.left_out.store(left_out + report.moved_on + report.refused, Ordering::Relaxed);
        work.unknown.store(unknown + report.unknown, Ordering::Relaxed);
    }
    Ok(())
}

/// Looks at jobs here, one by one: a search of their data must not find what is redacted.
async fn one_by_one(visit: &Visit, queue: &AnyQueue, deed: Deed, filter: &Filter, work: &Work) -> Result<(), String> {
    let scan = queue.engine().scan(filter.search(), None, None);
    let (mut scan, mut tries) = (scan.map_err(|error| WithCauses(&error).to_string())?, Tries::default());
    while !work.is_stopping() {
        let found = match scan.jobs_step(queue.engine(), STEP).await {
            Ok(Some(found)) => found,
            Ok(None) => break,
            Err(error) => {
                tries.failed(error.into()).await?;
                continue;
            }
        };
        tries.succeeded();
        let jobs: Vec<_> = found.items.into_iter().filter_map(|job| queue.read_job(job.ok()?).ok()).collect();
        let mut left: Vec<&str> = jobs.iter().filter(|job| filter.shows(visit, job)).map(|job| job.id()).collect();
        while !left.is_empty() && !work.is_stopping() {
            let (mut again, mut trouble) = (Vec::new(), None);
            for (id, answer) in left.iter().zip(each(visit, queue, &left, deed).await) {
                let figure = match answer {
                    Ok(_) => &work.done,
                    Err(Problem { cause: Cause::Refused, .. }) => &work.left_out,
                    Err(Problem { cause: Cause::Unknown, .. }) => &work.unknown,
                    Err(problem) => {
                        again.push(*id);
                        trouble = Some(problem);
                        continue;
                    }
                };
                figure.fetch_add(1, Ordering::Relaxed);
                if deed.replaces() {
                    scan.was_replaced(id);
                }
            }
            match trouble {
                Some(problem) => tries.failed(problem).await?,
                None => tries.succeeded(),
            }
            left = again;
        }
        work.looked_at.store(scan.cursor().looked_at(), Ordering::Relaxed);
    }
    Ok(())
}

/// Counts the steps that failed in a row: a broken connection may come back.
#[derive(Default)]
struct Tries(u32);

impl Tries {
    fn succeeded(&mut self) {
        self.0 = 0;
    }

    /// Waits before another try; returns the problem where another one would end in the same way.
    async fn failed(&mut self, problem: Problem) -> Result<(), String> {
        self.0 += 1;
        if self.0 >= PATIENCE || matches!(problem.cause, Cause::Refused | Cause::Server) {
            return Err(problem.outcome().to_owned());
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_tried_again() {
        let passing = || Error::Timeout { op: "retry", after: PAUSE, job: None };
        let unknown = || Error::OutcomeUnknown { op: "retry" };
        let mut tries = Tries::default();
        for _ in 0..PATIENCE - 1 {
            assert_eq!(tries.failed(passing().into()).await, Ok(()));
        }
        tries.succeeded();
        for _ in 0..PATIENCE - 1 {
            assert_eq!(tries.failed(unknown().into()).await, Ok(()));
        }
        assert!(tries.failed(passing().into()).await.is_err(), "too often in a row");
        let forbidden = Error::NotPermitted { op: "retry", command: "EVALSHA" };
        assert!(Tries::default().failed(forbidden.into()).await.unwrap_err().contains("EVALSHA"));
        assert!(Tries::default().failed(Error::invalid("limit", "too large").into()).await.is_err());
    }
}
