//! The rules of retrying: turns what a processor returned into what is written. Without I/O.

use std::time::Duration;

use super::failure::{AttemptFailure, Fault, Unread};
use super::panics::Panic;
use super::processor::Ended;
use super::stopping::{TimedOut, is_handed_back};
use crate::clock::{LATEST, millis};
use crate::error::{BoxError, Error, FailureKind, Halt, Reason, causes};
use crate::job::CancelReason;
use crate::options::backoff::next_delay;
use crate::options::{Backoff, FailedAttempt, Retry, SHORTEST, WorkerOptions, YEAR};
use crate::script::settle::{End, Why};
use crate::wire::job::{RawJob, Undecodable};

/// The longest reason and the longest stack trace that are stored, in bytes.
const MOST_TEXT: usize = 64 * 1024;

/// The child to wait for, if any pending child will do.
const ANY_CHILD: &str = "";

/// How an attempt ends, and what listeners are told.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) end: End,
    /// Set if the processor asked for a pause of the queue (a rate limit).
    pub(crate) rate_limit: Option<Duration>,
    /// An error that the operator should know of, although the attempt has its outcome.
    pub(crate) complaint: Option<Error>,
    /// Set if the attempt failed.
    pub(crate) failure: Option<Box<AttemptFailure>>,
    /// Whether the job is put back because the worker closes.
    pub(crate) handed_back: bool,
}

impl From<End> for Verdict {
    fn from(end: End) -> Self {
        Self { end, rate_limit: None, complaint: None, failure: None, handed_back: false }
    }
}

/// Decides how an attempt ends that may have been told to stop.
pub(crate) fn conclude(
    raw: &RawJob,
    ran: Result<Ended, Panic>,
    told: Option<&CancelReason>,
    worker: &WorkerOptions,
) -> Verdict {
    let result = match (ran, told) {
        (Ok(Ok(value)), Some(CancelReason::Cancelled(_))) => {
            let mut verdict = decide(raw, Ok(value), worker);
            if let End::Completed { made, .. } = &mut verdict.end {
                // The job has a deferred failure by now, which the short way would not clear.
                *made = None;
            }
            return verdict;
        }
        (_, Some(CancelReason::Cancelled(reason))) => return cancelled(raw, reason, worker),
        (Err(panic), _) => return failed(raw, panic.into(), worker),
        (Ok(result), _) => result,
    };
    if !is_handed_back(told, &result) {
        return decide(raw, result, worker);
    }
    if let Err(Halt::Failed(error) | Halt::RetryAfter(_, error)) = result {
        let error = Fault::error(error).line();
        tracing::info!(target: "oxmq::job", id = raw.id(), name = raw.name(), error, "stopped for the shutdown, handed back");
    }
    Verdict { handed_back: true, ..End::Waiting.into() }
}

/// Decides how an attempt ends by what it answered.
pub(crate) fn decide(raw: &RawJob, result: Ended, worker: &WorkerOptions) -> Verdict {
    let fault = match result {
        Ok(value) => {
            let keep = raw.options.remove_on_complete.or(worker.remove_on_complete);
            let has_more =
                raw.deduplication_id().is_some() || raw.parent_key().is_some() || raw.deferred_failure().is_some();
            let made = (!has_more).then(|| raw.attempts_made.saturating_add(1));
            return End::Completed { value, keep, made }.into();
        }
        Err(Halt::Delayed(delay)) => return End::Delayed { why: None, delay: within(delay), counts: false }.into(),
        Err(Halt::Waiting) => return End::Waiting.into(),
        Err(Halt::WaitingChildren) => return End::Children { child: ANY_CHILD.to_owned() }.into(),
        Err(Halt::WaitingChild(child)) => return End::Children { child }.into(),
        Err(Halt::RateLimited(pause)) => {
            let pause = pause.clamp(SHORTEST, YEAR);
            return Verdict { rate_limit: Some(pause), ..End::Waiting.into() };
        }
        Err(Halt::Failed(error)) => match error.downcast::<TimedOut>() {
            Ok(late) => Fault::timeout(late),
            Err(error) => by_error(raw, error, worker),
        },
        Err(Halt::RetryAfter(after, error)) => match error.downcast::<TimedOut>() {
            Ok(late) => Fault::timeout(late).retried(after),
            Err(error) => Fault::error(error).retried(after),
        },
        Err(Halt::Unrecoverable(error)) => match error.downcast::<TimedOut>() {
            Ok(late) => Fault::timeout(late).wishing(Retry::Never),
            Err(error) => Fault::unrecoverable(error),
        },
    };
    failed(raw, fault, worker)
}

/// Returns the failure of an attempt that answered with an error.
fn by_error(raw: &RawJob, error: BoxError, worker: &WorkerOptions) -> Fault {
    if let Some(fault) = children_in_the_way(raw, &error) {
        return fault;
    }
    match error.downcast::<Unread>() {
        Ok(unread) if unread.is_final(worker) => Fault::unrecoverable(unread.0),
        Ok(unread) => Fault::error(unread.0),
        Err(error) => Fault::error(error),
    }
}

/// Returns the outcome of a job that was told to stop before it had begun.
pub(crate) fn cancelled_before(raw: &RawJob, told: &CancelReason, worker: &WorkerOptions) -> Verdict {
    let error = match told {
        CancelReason::Requested(reason) => format!("cancelled before it began: {reason}"),
        _ => "cancelled before it began".to_owned(),
    };
    conclude(raw, Ok(Err(Halt::failed(error))), Some(told), worker)
}

/// Returns the outcome of a cancelled attempt without a value: however it ended, the job does not run again.
fn cancelled(raw: &RawJob, reason: &str, worker: &WorkerOptions) -> Verdict {
    failed(raw, Fault::new(FailureKind::Cancelled, reason), worker)
}

/// Returns the outcome of a job whose hash cannot be read: no worker could do more with it.
pub(crate) fn undecodable(job: &Undecodable, worker: &WorkerOptions) -> Verdict {
    let problem = format!("the job cannot be read: field {}: {}", job.field, job.problem);
    failed(&job.partial, Fault::unrecoverable(problem), worker)
}

/// Returns the failure, in Node's words, if a processor passes on the refusal to end its own job because of its
/// children. It is final if one of them has failed.
fn children_in_the_way(raw: &RawJob, error: &BoxError) -> Option<Fault> {
    let own: &(dyn std::error::Error + 'static) = &**error;
    let refused = causes(own).find_map(|error| error.downcast_ref())?;
    match refused {
        Error::Refused { op, id, reason, .. } if id == raw.id() => {
            let command = if *op == "move_to_completed" { "moveToFinished" } else { "moveToWaitingChildren" };
            relatives(id, *reason, command)
        }
        _ => None,
    }
}

/// Returns the failure, in Node's words, of a job that cannot end because of its children.
pub(crate) fn relatives(id: &str, reason: Reason, command: &str) -> Option<Fault> {
    match reason {
        Reason::FailedChildren => {
            let text = format!("Cannot complete job {id} because it has at least one failed child. {command}");
            Some(Fault::unrecoverable(text))
        }
        Reason::PendingDependencies => Some(Fault::error(format!("Job {id} has pending dependencies. {command}"))),
        _ => None,
    }
}

/// Returns a delay in ms, limited to what a job may have: scripts cannot calculate with a longer one.
fn within(delay: Duration) -> u64 {
    millis(delay).min(LATEST)
}

/// Returns the outcome of a failed attempt: retried at once, retried later, or final.
pub(crate) fn failed(raw: &RawJob, fault: Fault, worker: &WorkerOptions) -> Verdict {
    let failures = raw.attempts_made.saturating_add(1);
    let started_too_often = worker.max_started_attempts.is_some_and(|most| most > 0 && most <= raw.attempts_started);
    let mut complaint = None;
    let retry = if fault.is_final() || failures >= raw.options.attempts || started_too_often {
        Retry::Never
    } else {
        next_attempt(raw, &fault, failures, worker, &mut complaint)
    };
    let why = why(raw, &fault);
    let end = match retry {
        Retry::Never => End::Failed {
            why,
            keep: raw.options.remove_on_fail.or(worker.remove_on_fail),
            attempts: raw.options.attempts,
        },
        Retry::Now | Retry::ByBackoff => End::Retry { why, lifo: raw.options.lifo },
        Retry::After(delay) => End::Delayed { why: Some(why), delay: within(delay), counts: true },
    };
    let failure = AttemptFailure::new(raw.name(), failures, raw.options.attempts, fault);
    Verdict { complaint, failure: Some(Box::new(failure)), ..end.into() }
}

/// Decides what follows: the wish of the processor or its error comes first, then the worker's policy, then the job's
/// backoff.
fn next_attempt(
    raw: &RawJob,
    fault: &Fault,
    failures: u32,
    worker: &WorkerOptions,
    complaint: &mut Option<Error>,
) -> Retry {
    if let Some(wish) = fault.wish {
        return wish;
    }
    let backoff = raw.options.backoff.as_ref();
    let failed = FailedAttempt {
        job_id: raw.id(),
        job_name: raw.name(),
        attempts_made: failures,
        attempts: raw.options.attempts,
        strategy: backoff.map_or("", Backoff::name),
        kind: fault.kind,
        error: &fault.error,
    };
    if let Some(policy) = &worker.on_error {
        match ask(&**policy, &failed) {
            Some(Retry::ByBackoff) => {}
            Some(decided) => return decided,
            None => {
                let problem = format!("job {}: the retry policy panicked", raw.id());
                *complaint = Some(Error::invalid("on_error", problem));
            }
        }
    }
    backoff.map_or(Retry::Now, |backoff| by_backoff(backoff, &failed, worker, complaint))
}

fn by_backoff(
    backoff: &Backoff,
    failed: &FailedAttempt<'_>,
    worker: &WorkerOptions,
    complaint: &mut Option<Error>,
) -> Retry {
    let after = |ms| if ms == 0 { Retry::Now } else { Retry::After(Duration::from_millis(ms)) };
    // Drawn only where it is used, so that the order of numbers from a fixed source can be predicted.
    let drawn = |_| worker.jitter_source.as_ref().map_or_else(fastrand::f64, |source| source());
    let random = backoff.jitter.filter(|jitter| *jitter > 0.0).map_or(0.0, drawn);
    if let Some(ms) = next_delay(backoff, failed.attempts_made, random) {
        return after(ms);
    }
    let own_delay = || after(backoff.base_delay().map_or(0, millis));
    let Some(strategy) = &worker.backoff_strategy else {
        // Node leaves such a job active for ever. Its own delay is the best guess.
        let problem = format!("job {}: this worker has no backoff strategy '{}'", failed.job_id, backoff.name());
        *complaint = Some(Error::invalid("backoff_strategy", problem));
        return own_delay();
    };
    match ask(&**strategy, failed) {
        Some(Retry::ByBackoff) => own_delay(),
        Some(decided) => decided,
        None => {
            let problem = format!("job {}: the backoff strategy '{}' panicked", failed.job_id, backoff.name());
            *complaint = Some(Error::invalid("backoff_strategy", problem));
            own_delay()
        }
    }
}

/// Calls the user's function; `None` if it panics, which must not cost the job its retries.
fn ask(function: &dyn Fn(&FailedAttempt<'_>) -> Retry, failed: &FailedAttempt<'_>) -> Option<Retry> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| function(failed))).ok()
}

/// Returns the reason and the stack traces to store, the new one last.
fn why(raw: &RawJob, fault: &Fault) -> Why {
    let reason = capped(fault.reason());
    let mut traces = raw.stacktrace();
    traces.push(capped(fault.trace(&reason)));
    if let Some(limit) = raw.options.stack_trace_limit {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        traces.drain(..traces.len().saturating_sub(limit));
    }
    let stacktrace = serde_json::to_string(&traces).unwrap_or_else(|_| "[]".to_owned());
    Why { reason, stacktrace, trace: String::new() }
}

/// Cuts a text that is too long to store, and says so in it.
fn capped(mut text: String) -> String {
    if text.len() > MOST_TEXT {
        let mark = format!("… [cut: {} bytes]", text.len());
        let mut end = MOST_TEXT - mark.len();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(&mark);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::options::only_if;
    use crate::wire::options::StoredOptions;

    fn job(opts: &str, made: u32, started: u32) -> RawJob {
        let options = StoredOptions::parse(opts).unwrap();
        let mut raw = RawJob::added("7".into(), "n".into(), "{}".into(), opts.to_owned().into(), options, 1, 0, 0);
        raw.attempts_made = made;
        raw.attempts_started = started;
        raw
    }

    fn end(opts: &str, made: u32, result: Ended) -> End {
        decide(&job(opts, made, made + 1), result, &WorkerOptions::default()).end
    }

    #[test]
    fn attempts_and_backoff_decide() {
        let fails = || Err(Halt::failed("no"));
        assert!(matches!(end("{}", 0, fails()), End::Failed { attempts: 0, .. }));
        assert!(matches!(end(r#"{"attempts":1}"#, 0, fails()), End::Failed { .. }));
        assert!(matches!(end(r#"{"attempts":3,"lifo":true}"#, 1, fails()), End::Retry { lifo: true, .. }));
        assert!(matches!(end(r#"{"attempts":3}"#, 2, fails()), End::Failed { attempts: 3, .. }));
        let doubled = end(r#"{"attempts":9,"backoff":{"type":"exponential","delay":10}}"#, 2, fails());
        assert!(matches!(doubled, End::Delayed { delay: 40, counts: true, why: Some(_) }), "{doubled:?}");
        assert!(matches!(end(r#"{"attempts":3}"#, 0, Err(Halt::unrecoverable("no"))), End::Failed { .. }));
        let unknown = decide(
            &job(r#"{"attempts":3,"backoff":{"type":"mine","delay":5}}"#, 0, 1),
            fails(),
            &WorkerOptions::default(),
        );
        assert!(matches!(unknown.end, End::Delayed { delay: 5, .. }) && unknown.complaint.is_some());
    }

    #[test]
    fn a_time_of_its_own_counts_within_the_attempts() {
        let opts = r#"{"attempts":3,"backoff":{"type":"fixed","delay":10}}"#;
        let later = |ms| Err(Halt::retry_after(Duration::from_millis(ms), "busy"));
        assert!(matches!(end(opts, 0, later(40)), End::Delayed { delay: 40, counts: true, why: Some(_) }));
        assert!(matches!(end(opts, 0, later(0)), End::Retry { .. }));
        assert!(matches!(end(opts, 2, later(40)), End::Failed { .. }));
        assert!(matches!(end("{}", 0, later(40)), End::Failed { .. }));
    }

    #[test]
    fn the_policy_of_the_worker_is_asked_for_every_failure_that_may_be_tried_again() {
        let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let policy = {
            let asked = std::sync::Arc::clone(&asked);
            move |failed: &FailedAttempt<'_>| {
                asked.lock().unwrap().push((failed.attempts_made, failed.attempts, failed.strategy.to_owned()));
                match failed.error.to_string().as_str() {
                    "later" => Retry::After(Duration::from_secs(1)),
                    "never" => Retry::Never,
                    "panic" => panic!("the policy"),
                    _ => Retry::ByBackoff,
                }
            }
        };
        let worker = WorkerOptions { on_error: Some(Arc::new(policy)), ..WorkerOptions::default() };
        let fixed = r#"{"attempts":3,"backoff":{"type":"fixed","delay":10}}"#;
        let ends = |opts: &str, made, halt| decide(&job(opts, made, made + 1), Err(halt), &worker);
        assert!(matches!(ends(fixed, 0, Halt::failed("later")).end, End::Delayed { delay: 1000, .. }));
        assert!(matches!(ends(fixed, 0, Halt::failed("never")).end, End::Failed { .. }));
        assert!(matches!(ends(fixed, 1, Halt::failed("other")).end, End::Delayed { delay: 10, .. }));
        let panicked = ends(fixed, 0, Halt::failed("panic"));
        assert!(matches!(panicked.end, End::Delayed { delay: 10, .. }));
        assert!(matches!(panicked.complaint, Some(Error::InvalidOption { option: "on_error", .. })));
        assert!(matches!(ends(r#"{"attempts":2}"#, 0, Halt::failed("later")).end, End::Delayed { delay: 1000, .. }));
        let count = asked.lock().unwrap().len();
        assert_eq!(asked.lock().unwrap()[2], (2, 3, "fixed".to_owned()));
        // None of these is decided by the backoff.
        assert!(matches!(ends(fixed, 2, Halt::failed("later")).end, End::Failed { .. }));
        assert!(matches!(ends(fixed, 0, Halt::unrecoverable("later")).end, End::Failed { .. }));
        let own = Halt::retry_after(Duration::from_millis(5), "never");
        assert!(matches!(ends(fixed, 0, own).end, End::Delayed { delay: 5, .. }));
        assert_eq!(asked.lock().unwrap().len(), count);
        let is_io = only_if(|failed| failed.downcast_ref::<std::io::Error>().is_some());
        let picky = WorkerOptions { on_error: Some(is_io), ..WorkerOptions::default() };
        let decided = |halt| decide(&job(fixed, 0, 1), Err(halt), &picky).end;
        assert!(matches!(decided(Halt::failed("no")), End::Failed { .. }));
        assert!(matches!(decided(Halt::failed(std::io::Error::other("no"))), End::Delayed { delay: 10, .. }));
    }

    #[test]
    fn what_children_refuse_is_told_in_the_words_of_node() {
        let refused = |op, id: &str, reason| Err(Halt::failed(Error::refused(op, id, reason)));
        let told = |result| end(r#"{"attempts":3}"#, 0, result);
        let failed = told(refused("move_to_waiting_children", "7", Reason::FailedChildren));
        let text = "Cannot complete job 7 because it has at least one failed child. moveToWaitingChildren";
        assert!(matches!(&failed, End::Failed { why, .. } if why.reason == text), "{failed:?}");
        let context =
            anyhow::Error::from(Error::refused("move_to_completed", "7", Reason::FailedChildren)).context("x");
        assert!(matches!(told(Err(context.into())), End::Failed { .. }));
        let pending = told(refused("move_to_completed", "7", Reason::PendingDependencies));
        let text = "Job 7 has pending dependencies. moveToFinished";
        assert!(matches!(&pending, End::Retry { why, .. } if why.reason == text), "{pending:?}");
        // Refusals about another job's children, and other refusals, are failures like any other.
        assert!(matches!(told(refused("move_to_completed", "8", Reason::FailedChildren)), End::Retry { .. }));
        assert!(matches!(told(refused("move_to_completed", "7", Reason::MissingLock)), End::Retry { .. }));
    }

    #[test]
    fn data_that_can_never_be_read_is_final() {
        let read = |text: &str| serde_json::from_str::<Vec<u8>>(text).map_err(Error::json("data")).unwrap_err();
        let fails = |text, worker: &WorkerOptions| {
            decide(&job(r#"{"attempts":3}"#, 0, 1), Err(Halt::failed(Unread(read(text)))), worker).end
        };
        let strict = WorkerOptions { retry_mistyped_data: false, ..WorkerOptions::default() };
        for text in ["[NaN]", "[", r#"["\ud800"]"#] {
            assert!(matches!(fails(text, &WorkerOptions::default()), End::Failed { .. }), "{text}");
        }
        assert!(matches!(fails("{}", &WorkerOptions::default()), End::Retry { .. }));
        assert!(matches!(fails("{}", &strict), End::Failed { .. }));
    }

    #[test]
    fn a_job_that_was_started_too_often_is_not_retried() {
        let worker = WorkerOptions { max_started_attempts: Some(2), ..WorkerOptions::default() };
        let raw = |started| job(r#"{"attempts":9}"#, 0, started);
        let fails = || Err(Halt::failed("no"));
        assert!(matches!(decide(&raw(1), fails(), &worker).end, End::Retry { .. }));
        assert!(matches!(decide(&raw(2), fails(), &worker).end, End::Failed { .. }));
    }

    #[test]
    fn halts_move_without_spending_an_attempt() {
        assert!(matches!(end("{}", 0, Err(Halt::Waiting)), End::Waiting));
        let delayed = end("{}", 0, Err(Halt::Delayed(Duration::from_secs(2))));
        assert!(matches!(delayed, End::Delayed { delay: 2000, counts: false, why: None }));
        let limited =
            decide(&job("{}", 0, 1), Err(Halt::RateLimited(Duration::from_secs(1))), &WorkerOptions::default());
        assert_eq!(limited.rate_limit, Some(Duration::from_secs(1)));
    }

    #[test]
    fn reasons_and_traces_are_bounded_and_never_empty() {
        let mut raw = job(r#"{"stackTraceLimit":2}"#, 0, 1);
        raw.set_stacktrace(Some(r#"["a","b"]"#.into()));
        let written = why(&raw, &Fault::error("c"));
        assert_eq!(written.stacktrace, r#"["b","Error: c"]"#);
        assert_eq!(why(&job(r#"{"stackTraceLimit":0}"#, 0, 1), &Fault::error("c")).stacktrace, "[]");
        assert!(!why(&raw, &Fault::error("")).reason.is_empty());
    }

    #[test]
    fn retention_follows_the_job_then_the_worker() {
        let worker = WorkerOptions { remove_on_fail: Some(7_u32.into()), ..WorkerOptions::default() };
        for (opts, count) in [("{}", Some(7)), (r#"{"removeOnFail":5}"#, Some(5)), (r#"{"removeOnFail":false}"#, None)]
        {
            let End::Failed { keep, .. } = failed(&job(opts, 0, 1), Fault::unrecoverable("x"), &worker).end else {
                panic!("it is final")
            };
            assert_eq!(keep.and_then(|keep| keep.count), count, "{opts}");
        }
    }

    #[test]
    fn long_texts_of_failures_are_cut_with_a_mark() {
        let text = capped("ä".repeat(MOST_TEXT));
        assert!(text.len() <= MOST_TEXT && text.len() > MOST_TEXT - 8 && text.ends_with("ä… [cut: 131072 bytes]"));
        assert_eq!(capped("short".to_owned()), "short");
        let fault = Fault::unrecoverable("x".repeat(20_000_000));
        let End::Failed { why, .. } = failed(&RawJob::default(), fault, &WorkerOptions::default()).end else {
            panic!("it is final")
        };
        assert!(why.reason.len() <= MOST_TEXT && why.stacktrace.len() <= MOST_TEXT + 16);
    }
}
