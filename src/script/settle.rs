//! Applies the outcomes of attempts and takes the next jobs: `lua/settle.lua`.

use std::borrow::{Borrow, Cow};
use std::sync::Arc;

use redis::Value;

use super::reply::{self, array, bytes, unsigned};
use super::{Args, Call, Resend, Script, script};
use crate::clock::{MOST_MS, millis};
use crate::error::Reason;
use crate::options::{KeepJobs, WorkerOptions};
use crate::wire::EventId;
use crate::wire::JsonText;
use crate::wire::job::{Fresh, Garbled, JobId, Pair, RawJob, Undecodable};

pub(crate) static SCRIPT: Script = script!(
    "settle", Consumes,
    uses: ["codes", "queue", own "one", "settings", "wake", own "due", own "leave"],
    on_demand: ["number", "delay", "prioritize", "ready", "delete", own "promote", own "put_back", own "metrics"],
    rarely: [
        "is_job", "is_taken", "past_taken", "announce", "store", "homes", "job_key", "release", "detach", own "retain", own "dedup_finish",
        own "family", "leave_active", own "leave_any",
    ],
    lending: [
        announce, detach, retention, retain, end_deduplication, child_completed, child_failed, family_refusal, leave_in_any_order,
    ],
    besides: [own "ends", own "plain", own "each"],
    giving: [promote, put_back, undo, read_metrics, count_ends, finish_each, apply_rules, rarely],
    then: [own "batch", own "alike", own "take"],
);

/// What every call of a worker says about the jobs that it wants.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ask {
    pub(crate) want: usize,
    /// Hands out jobs only if an outcome was accepted: a caller that is told of a refusal cannot take a job besides.
    pub(crate) only_if_settled: bool,
    pub(crate) token: Arc<str>,
    pub(crate) lock_ms: u64,
    pub(crate) worker: String,
    pub(crate) limit: Option<(u64, u64)>,
    pub(crate) metrics: Option<u64>,
}

/// The outcome of one attempt.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) id: JobId,
    pub(crate) token: Arc<str>,
    /// The value of `ats` at this start. After a lost reply it tells an applied outcome from a lost lock.
    pub(crate) start: u32,
    pub(crate) end: End,
}

/// The ways in which an attempt can end, with what each writes.
#[derive(Debug, Clone)]
pub(crate) enum End {
    Completed {
        value: JsonText,
        keep: Keep,
        /// The attempts made, including this one, if the job is certain to own no deduplication; such jobs are settled
        /// at less cost. With `None` the script looks.
        made: Option<u32>,
    },
    Failed {
        why: Why,
        keep: Keep,
        attempts: u32,
    },
    Retry {
        why: Why,
        lifo: bool,
    },
    Delayed {
        why: Option<Why>,
        delay: u64,
        counts: bool,
    },
    Waiting,
    Children {
        child: String,
    },
}

/// Which finished jobs to keep; `None` keeps all.
pub(crate) type Keep = Option<KeepJobs>;

/// The rule that keeps all jobs, as `lua/settle/retain.lua` reads it.
const KEEP_ALL: &str = "-1";

/// Writes a rule as `lua/settle/retain.lua` reads it: the count, and with an age also the ms and how many jobs one call
/// deletes.
fn keep_rule(keep: Keep) -> Cow<'static, str> {
    let Some(keep) = keep else { return KEEP_ALL.into() };
    let count = keep.count.map_or(KEEP_ALL.into(), |count| Cow::from(count.to_string()));
    match (keep.age, keep.removes_at_once()) {
        (None, _) | (_, true) => count,
        (Some(age), false) => {
            format!("{count},{},{}", millis(age), keep.limit.map_or_else(String::new, |limit| limit.to_string())).into()
        }
    }
}

/// Why an attempt failed.
#[derive(Debug, Clone)]
pub(crate) struct Why {
    pub(crate) reason: String,
    /// JSON array of strings, newest last.
    pub(crate) stacktrace: String,
    /// Trace context of the failing span; empty if there is none.
    pub(crate) trace: String,
}

/// A job in the form in which the script hands it out.
#[derive(Debug)]
pub(crate) enum Handed {
    /// It was never started, and has the fields of a plain new job.
    Fresh(Fresh),
    /// Its id, and the fields of its hash.
    All(Vec<u8>, Vec<Pair>),
    /// Its id alone: the reply with its fields never came. It is to be failed for that.
    Lost(Vec<u8>),
}

impl Handed {
    pub(crate) fn id(&self) -> &[u8] {
        match self {
            Self::Fresh(fresh) => fresh.id().as_bytes(),
            Self::All(id, _) | Self::Lost(id) => id,
        }
    }

    /// Reads the job, without copying its bytes.
    pub(crate) fn decode(self) -> Result<RawJob, Undecodable> {
        match self {
            Self::Fresh(fresh) => RawJob::fresh(fresh),
            Self::All(id, pairs) => RawJob::from_pairs(id, pairs),
            Self::Lost(id) => Err(Undecodable::lost(id)),
        }
    }
}

/// The reply to one call.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// One result per outcome, in order; 1 says that no child was pending.
    pub(crate) codes: Vec<Result<i64, Reason>>,
    pub(crate) jobs: Vec<Handed>,
    /// For how many ms the rate limit is exhausted; 0 if it is not.
    pub(crate) limited_ms: u64,
    /// When the next delayed job is due, or now if there are more jobs than fit into one reply; 0 if there is none, or
    /// if jobs were handed out.
    pub(crate) next_due: u64,
    /// Ids that had no readable job; they have been removed from the queue.
    pub(crate) ghosts: Vec<String>,
    /// For how many ms the limiter still runs, if a job was put back to wait.
    pub(crate) limiter_ttl_ms: u64,
    /// An event that this call has written, mostly the last one.
    pub(crate) event: Option<EventId>,
}

impl Ask {
    /// Builds the request of a worker with these options that wants `want` jobs.
    pub(crate) fn of(options: &WorkerOptions, want: usize) -> Self {
        Self {
            want,
            only_if_settled: false,
            token: Arc::default(),
            lock_ms: millis(options.lock_duration),
            worker: options.name.clone().unwrap_or_default(),
            limit: options.limiter.map(|(max, window)| (max, millis(window))),
            metrics: options.metrics,
        }
    }
}

impl Outcome {
    /// Returns how many bytes this outcome adds to a call.
    pub(crate) fn size(&self) -> usize {
        let text = match &self.end {
            End::Completed { value, .. } => value.as_str().len(),
            End::Failed { why, .. } | End::Retry { why, .. } | End::Delayed { why: Some(why), .. } => {
                why.reason.len() + why.stacktrace.len() + why.trace.len()
            }
            End::Delayed { .. } | End::Waiting | End::Children { .. } => 0,
        };
        text + self.id.as_ref().len() + self.token.len() + 64
    }

    /// Returns the value, the attempts made and the rule, if one of the script's kinds `done` and `ruled` is for this
    /// outcome. A rule that keeps all is none.
    fn done(&self) -> Option<(&str, u32, Keep)> {
        match &self.end {
            End::Completed { value, keep, made: Some(made) } => {
                Some((value.as_str(), *made, keep.filter(|keep| !keep.keeps_all())))
            }
            _ => None,
        }
    }

    fn write(&self, args: &mut Args) {
        let kind = match &self.end {
            End::Completed { .. } => "completed",
            End::Failed { .. } => "failed",
            End::Retry { .. } => "retry",
            End::Delayed { .. } => "delayed",
            End::Waiting => "waiting",
            End::Children { .. } => "children",
        };
        args.text(kind).text(&self.id).text(self.token.as_ref());
        match &self.end {
            End::Completed { value, keep, .. } => {
                args.text(value.as_str()).text(keep_rule(*keep).as_ref());
            }
            End::Failed { why, keep, attempts } => {
                args.text(&why.reason)
                    .text(&why.stacktrace)
                    .text(keep_rule(*keep).as_ref())
                    .number(*attempts)
                    .text(&why.trace);
            }
            End::Retry { why, lifo } => {
                args.text(&why.reason).text(&why.stacktrace).flag(*lifo).text(&why.trace);
            }
            End::Delayed { why, delay, counts } => {
                let (reason, stacktrace, trace) =
                    why.as_ref().map_or(("", "", ""), |why| (&why.reason, &why.stacktrace, &why.trace));
                args.text(reason).text(stacktrace).millis(*delay).flag(*counts).text(trace);
            }
            End::Waiting => {}
            End::Children { child } => {
                args.text(child);
            }
        }
    }
}

pub(crate) fn args(now: u64, ask: &Ask, outcomes: &[impl Borrow<Outcome>]) -> Args {
    let bytes = outcomes.iter().map(|outcome| outcome.borrow().size()).sum::<usize>() + 256;
    let mut args = Args::with_capacity(8 + outcomes.len() * 8, bytes);
    let want = i64::try_from(ask.want).unwrap_or(i64::MAX);
    let want = if ask.only_if_settled { -want } else { want };
    args.number(now).number(want).text(ask.token.as_ref()).millis(ask.lock_ms).text(&ask.worker);
    args.maybe(ask.limit.map(|(max, _)| max.min(MOST_MS))).maybe(ask.limit.map(|(_, window)| window.min(MOST_MS)));
    args.maybe(ask.metrics.map(|points| points.min(MOST_MS)));
    // Neighbours with the same token, as many attempts made and the same rule are written as one `done` or `ruled`.
    let alike = |a: &Outcome, b: &Outcome| match (a.done(), b.done()) {
        (Some((_, a_made, a_keep)), Some((_, b_made, b_keep))) => {
            a_made == b_made && a_keep == b_keep && a.token == b.token
        }
        (None, None) => true,
        _ => false,
    };
    for run in outcomes.chunk_by(|a, b| alike(a.borrow(), b.borrow())) {
        let first = run[0].borrow();
        if let Some((_, made, keep)) = first.done() {
            let kind = if keep.is_some() { "ruled" } else { "done" };
            args.text(kind).text(first.token.as_ref()).number(made).number(run.len());
            if keep.is_some() {
                args.text(keep_rule(keep).as_ref());
            }
        }
        for outcome in run.iter().map(Borrow::borrow) {
            match outcome.done() {
                Some((value, ..)) => _ = args.text(&outcome.id).text(value),
                None => outcome.write(&mut args),
            }
        }
    }
    args
}

/// Applies outcomes and takes jobs. If the reply is lost, the engine finds out what was applied.
pub(crate) fn settle(now: u64, ask: &Ask, outcomes: &[impl Borrow<Outcome>]) -> Call<Settled> {
    let call = Call::with(&SCRIPT, args(now, ask, outcomes)).resend(Resend::Never);
    call.read_each(outcomes.len(), |value, outcomes| {
        settled(value, outcomes).filter(|settled| settled.codes.len() == outcomes)
    })
}

/// Reads the reply. Only the codes and the jobs must be readable: everything else is read again by later calls. Without
/// codes all of so many outcomes were accepted.
pub(super) fn settled(value: Value, outcomes: usize) -> Option<Settled> {
    let mut rest = array(value)?;
    // The event is the last item if nothing else is to be said.
    let [codes, ghosts, next, limited, ttl] = match rest.last() {
        Some(Value::Int(_)) => [(); 5].map(|()| rest.pop()),
        _ => [(); 5].map(|()| Some(Value::Int(0))),
    };
    let event = rest.pop();
    let count = |value: Option<Value>| usize::try_from(unsigned(&value?)?).ok();
    let (codes, ghosts) = (count(codes)?, count(ghosts)?);
    let from = rest.len().checked_sub(ghosts)?;
    let ghosts = rest.drain(from..).filter_map(reply::text).collect();
    let from = rest.len().checked_sub(codes)?;
    let mut read = if codes == 0 { vec![Ok(0); outcomes] } else { Vec::with_capacity(codes) };
    for code in rest.drain(from..) {
        let code = reply::int(code)?;
        read.push(Reason::from_code(code).map(|()| code));
    }
    let number = |value: Option<Value>| value.as_ref().and_then(unsigned).unwrap_or(0);
    Some(Settled {
        codes: read,
        jobs: each_handed(rest)?,
        limited_ms: number(limited),
        next_due: number(next),
        ghosts,
        limiter_ttl_ms: number(ttl),
        event: bytes(event?).and_then(|id| EventId::decode(&id)),
    })
}

/// Reads jobs as `adopt_jobs` returns them.
pub(super) fn handed(value: Value) -> Option<Vec<Handed>> {
    each_handed(array(value)?)
}

/// Reads the values of each job, as `lua/settle/take.lua` describes them.
fn each_handed(values: Vec<Value>) -> Option<Vec<Handed>> {
    let mut jobs = Vec::with_capacity(values.len() / 2);
    let mut items = values.into_iter();
    while let Some(first) = items.next() {
        let first = bytes(first)?;
        jobs.push(match items.next()? {
            Value::Int(lengths) => {
                let data = if lengths < 0 { Some(bytes(items.next()?)?) } else { None };
                let further = if lengths >> 40 > 0 { Some(unsigned(&items.next()?)?) } else { None };
                match Fresh::read(first, lengths.unsigned_abs(), further, data)? {
                    Ok(fresh) => Handed::Fresh(fresh),
                    Err(Garbled { id, fields }) => Handed::All(id, fields),
                }
            }
            all => Handed::All(first, reply::pairs(all)?),
        });
    }
    Some(jobs)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_reply_says_what_does_not_go_without_saying() {
        let text = |text: &str| Value::BulkString(text.into());
        let end = |codes| [text("1-1")].into_iter().chain([0, 0, 0, 0, codes].map(Value::Int));
        let lengths = |moment: i64| 1 + (1 << 8) + (moment << 16) + (2 << 24);
        let apart = [text("7n1700{}"), Value::Int(-lengths(4)), text("[1]")];
        let plain = [text("7n1700 5{}[1]"), Value::Int(lengths(6))];
        let all = [text("7"), Value::Array(["name", "n", "data", "[1]", "timestamp", "1700"].map(text).into())];
        let jobs = apart.into_iter().chain(plain.clone()).chain(all).chain(end(0)).collect();
        let read = settled(Value::Array(jobs), 3).unwrap();
        assert_eq!(read.codes, [Ok(0); 3]);
        let jobs: Vec<RawJob> = read.jobs.into_iter().map(|job| job.decode().unwrap()).collect();
        let seen = |job: &RawJob| (job.id() == "7", job.name() == "n", job.data() == "[1]", job.timestamp);
        assert!(jobs.iter().all(|job| seen(job) == (true, true, true, Some(1700))), "{jobs:?}");
        assert_eq!(jobs.iter().map(|job| job.priority).collect::<Vec<_>>(), [0, 5, 0]);
        let jobs = plain.into_iter().chain([text("1-1")]).collect();
        let read = settled(Value::Array(jobs), 1).unwrap();
        assert_eq!((read.codes, read.jobs.len(), read.next_due), (vec![Ok(0)], 1, 0), "no numbers are all 0");
        let refused = [0, -1].map(Value::Int).into_iter().chain(end(2)).collect();
        assert_eq!(settled(Value::Array(refused), 2).unwrap().codes, [Ok(0), Err(Reason::MissingJob)]);
    }

    #[test]
    fn retention_is_written_in_the_words_of_the_script() {
        assert_eq!(keep_rule(None), "-1");
        assert_eq!(keep_rule(Some(false.into())), "-1");
        assert_eq!(keep_rule(Some(true.into())), "0");
        assert_eq!(keep_rule(Some(5_u32.into())), "5");
        let aged = KeepJobs::new().age(Duration::from_secs(60)).limit(7);
        assert_eq!(keep_rule(Some(aged)), "-1,60000,7");
        assert_eq!(keep_rule(Some(KeepJobs::new().age(Duration::from_millis(400)))), "-1,400,");
        // The script's kind `done` is for those alone whose rule says nothing else.
        for (keep, keeps_all) in
            [(false.into(), true), (KeepJobs::new().limit(7), true), (aged, false), (5_u32.into(), false)]
        {
            assert_eq!((keep.keeps_all(), keep_rule(Some(keep)) == KEEP_ALL), (keeps_all, keeps_all), "{keep:?}");
        }
    }
}
