//! The options of a job.

use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{Backoff, Deduplication, KeepJobs, MAX_SAFE, OnChildFailure, OptionName, ParentRef};
use crate::clock::{LATEST, epoch_ms, millis};
use crate::error::{Error, Result};
use crate::keys;

/// The largest priority: 21 bits, so that it fits into a double together with a counter of 32 bits.
pub(crate) const MAX_PRIORITY: u32 = (1 << 21) - 1;

/// Checks the delay of a job.
pub(crate) fn check_delay(delay: Duration) -> Result<()> {
    if millis(delay) > LATEST {
        return Err(Error::invalid("delay", "it must not exceed 2^52 milliseconds"));
    }
    Ok(())
}

/// Checks a priority.
pub(crate) fn check_priority(priority: u32) -> Result<()> {
    if priority > MAX_PRIORITY {
        return Err(Error::invalid("priority", format!("it must lie between 0 and {MAX_PRIORITY}")));
    }
    Ok(())
}

/// The options that a [`JobKind`](crate::JobKind) has set and that mean nothing for some of its jobs, where they are left
/// out. A setter that is called later makes an option one of the call.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct OfKind {
    delay: bool,
    deduplication: bool,
}

/// How a job is run, and which finished jobs are kept.
///
/// Options that are not set are not stored, and the reader's defaults apply. Options of a job take precedence over the
/// defaults of its queue, each by itself; nested ones are replaced as a whole.
///
/// ```
/// use std::time::Duration;
/// use oxmq::{Backoff, JobOptions};
///
/// let options = JobOptions::default()
///     .attempts(5)
///     .backoff(Backoff::exponential(Duration::from_secs(1)))
///     .remove_on_complete(1_000);
/// ```
///
/// BullMQ: `JobsOptions`.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
#[must_use]
#[doc(alias = "JobsOptions")]
pub struct JobOptions {
    pub(crate) attempts: Option<u32>,
    pub(crate) backoff: Option<Backoff>,
    pub(crate) delay: Option<Duration>,
    /// Becomes a delay once the job's timestamp is known.
    pub(crate) run_at: Option<SystemTime>,
    pub(crate) priority: Option<u32>,
    pub(crate) lifo: Option<bool>,
    pub(crate) job_id: Option<String>,
    pub(crate) timestamp: Option<SystemTime>,
    pub(crate) remove_on_complete: Option<KeepJobs>,
    pub(crate) remove_on_fail: Option<KeepJobs>,
    pub(crate) keep_logs: Option<u32>,
    pub(crate) size_limit: Option<usize>,
    pub(crate) stack_trace_limit: Option<u32>,
    pub(crate) deduplication: Option<Deduplication>,
    pub(crate) parent: Option<ParentRef>,
    pub(crate) on_child_failure: Option<OnChildFailure>,
    pub(crate) telemetry_metadata: Option<String>,
    pub(crate) omit_context: Option<bool>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) start_by: Option<SystemTime>,
    pub(crate) expires_in: Option<Duration>,
    /// Options without a setter, each name once.
    pub(crate) extra: Vec<(String, Value)>,
    /// Which of them are only the defaults of a kind.
    pub(crate) of_kind: OfKind,
}

impl JobOptions {
    /// Sets how often the job may be tried; 0 and 1 both mean once. Default: 0.
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = Some(attempts);
        self
    }

    /// Sets the wait before the next attempt; a [`Duration`] is a fixed one. Default: none, the job is retried at once.
    pub fn backoff(mut self, backoff: impl Into<Backoff>) -> Self {
        self.backoff = Some(backoff.into());
        self
    }

    /// Sets the time from the timestamp until the job may run, rounded up to milliseconds. Default: 0; at most 2^52 ms.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self.of_kind.delay = false;
        self
    }

    /// Sets the moment from which the job may run, instead of a [`delay`](Self::delay); a moment that has passed means
    /// now. Default: none.
    ///
    /// It is stored as the delay from the timestamp to that moment, which is what users of BullMQ calculate by hand; so
    /// both treat it the same way. Not for schedulers, which have a start of their own:
    /// [`Repeat::start_date`](crate::Repeat::start_date).
    pub fn run_at(mut self, at: SystemTime) -> Self {
        self.run_at = Some(at);
        self.of_kind.delay = false;
        self
    }

    /// Sets the priority: jobs with a lower number run first, but all of them after the jobs without one. Default: 0,
    /// which means none; 1 to 2,097,151.
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Runs the job before those that are waiting. Has no effect with a priority or a delay. Default: false.
    pub fn lifo(mut self, lifo: bool) -> Self {
        self.lifo = Some(lifo);
        self
    }

    /// Sets the job's id; an add whose id exists changes nothing. Default: the next number of the queue.
    ///
    /// At most 512 bytes, no integer, not `0` or `0:…`, no colon, and none of the queue's own keys such as `wait`.
    #[doc(alias = "jobId")]
    pub fn job_id(mut self, id: impl Into<String>) -> Self {
        self.job_id = Some(id.into());
        self
    }

    /// Sets the moment from which the delay counts. Default: now; at most 2^52 ms after 1970, and not before.
    pub fn timestamp(mut self, at: SystemTime) -> Self {
        self.timestamp = Some(at);
        self
    }

    /// Sets which jobs are kept after success: `true` removes the job, `false` keeps all, a number keeps that many.
    /// Default: as the worker says, else all.
    #[doc(alias = "removeOnComplete")]
    pub fn remove_on_complete(mut self, keep: impl Into<KeepJobs>) -> Self {
        self.remove_on_complete = Some(keep.into());
        self
    }

    /// Sets which jobs are kept after the final failure, like [`remove_on_complete`](Self::remove_on_complete).
    #[doc(alias = "removeOnFail")]
    pub fn remove_on_fail(mut self, keep: impl Into<KeepJobs>) -> Self {
        self.remove_on_fail = Some(keep.into());
        self
    }

    /// Sets how many of the newest log lines are kept. Default: 0, which keeps all.
    #[doc(alias = "keepLogs")]
    pub fn keep_logs(mut self, lines: u32) -> Self {
        self.keep_logs = Some(lines);
        self
    }

    /// Sets how many bytes the data may have as JSON; a larger job is refused. Default: 0, which means no limit.
    #[doc(alias = "sizeLimit")]
    pub fn size_limit(mut self, bytes: usize) -> Self {
        self.size_limit = Some(bytes);
        self
    }

    /// Sets how many stack traces of failed attempts are kept; 0 keeps none. Default: all.
    #[doc(alias = "stackTraceLimit")]
    pub fn stack_trace_limit(mut self, traces: u32) -> Self {
        self.stack_trace_limit = Some(traces);
        self
    }

    /// Drops this add while a job with the same deduplication id exists. Default: none; not together with a parent.
    pub fn deduplication(mut self, deduplication: Deduplication) -> Self {
        self.deduplication = Some(deduplication);
        self.of_kind.deduplication = false;
        self
    }

    /// Makes this job a child of the parent, which waits for it. Default: none.
    pub fn parent(mut self, parent: ParentRef) -> Self {
        self.parent = Some(parent);
        self
    }

    /// Sets what the final failure of this job does to its parent. Default: nothing, the parent goes on waiting.
    #[doc(alias = "failParentOnFailure")]
    #[doc(alias = "continueParentOnFailure")]
    #[doc(alias = "ignoreDependencyOnFailure")]
    #[doc(alias = "removeDependencyOnFailure")]
    pub fn on_child_failure(mut self, policy: OnChildFailure) -> Self {
        self.on_child_failure = Some(policy);
        self
    }

    /// Sets the trace context to continue, as text; by convention JSON with the W3C headers. Default: the context of
    /// the client's telemetry.
    #[doc(alias = "telemetry")]
    pub fn telemetry_metadata(mut self, metadata: impl Into<String>) -> Self {
        self.telemetry_metadata = Some(metadata.into());
        self
    }

    /// Stores no trace context with the job. Default: false.
    #[doc(alias = "omitContext")]
    pub fn omit_context(mut self, omit: bool) -> Self {
        self.omit_context = Some(omit);
        self
    }

    /// Limits how long one attempt may take; after that it fails. Only oxmq obeys it; Node ignores it. Default: as the
    /// worker says, else no limit; at least 1 ms.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Sets the moment by which a worker has to start the job. A worker that takes it later fails it for good without
    /// running it, as [`FailureKind::Expired`](crate::error::FailureKind::Expired). Later attempts are not affected.
    /// After 1970 and within 2^52 ms of it. Default: none.
    ///
    /// It is stored as `startBy`, in ms since 1970; producers of BullMQ may set that option too. Workers of BullMQ
    /// ignore it.
    #[doc(alias = "startBy")]
    pub fn start_by(mut self, latest: SystemTime) -> Self {
        self.start_by = Some(latest);
        self
    }

    /// Sets an end as [`start_by`](Self::start_by) does, counted from when the job last became ready: when it was added or its
    /// delay was over, also a changed one, when it was promoted, when its last child let it go, or when it was retried with its
    /// starts forgotten. At least 1 ms. It also goes with the template of a job scheduler, and if both are given, the earlier
    /// moment counts. Default: none.
    ///
    /// It is stored as `expiresIn`, in ms. What makes a job ready later than it was added notes when, in its hash. BullMQ does
    /// not; then the newest 1,000 events of the queue tell. If they do not reach back so far, or are gone, the job counts from
    /// the end of its first delay; but a parent, a job that has run before, and one that is taken before its first delay is
    /// over may have become ready later, and are not held to it. One that Node promotes early and that a worker takes after
    /// its first delay is held to that delay.
    #[doc(alias = "expiresIn")]
    pub fn expires_in(mut self, span: Duration) -> Self {
        self.expires_in = Some(span);
        self
    }

    /// Adds an option without a setter here, by its stored name. The last value of a name applies.
    pub fn extra(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        let (name, value) = (name.into(), value.into());
        self.extra.retain(|(other, _)| *other != name);
        self.extra.push((name, value));
        self
    }

    /// Checks every rule that does not depend on the server, except the size of the data.
    pub(crate) fn check(&self) -> Result<()> {
        // Destructured, so that a new option does not compile until its range is checked here, or it is listed as
        // having none.
        let Self {
            attempts: _,
            backoff,
            delay,
            run_at: _,
            priority,
            lifo: _,
            job_id,
            timestamp,
            remove_on_complete,
            remove_on_fail,
            keep_logs: _,
            size_limit: _,
            stack_trace_limit: _,
            deduplication,
            parent,
            on_child_failure: _,
            telemetry_metadata: _,
            omit_context: _,
            timeout,
            start_by,
            expires_in,
            extra,
            of_kind: _,
        } = self;
        backoff.as_ref().map_or(Ok(()), Backoff::check)?;
        delay.map_or(Ok(()), check_delay)?;
        priority.map_or(Ok(()), check_priority)?;
        job_id.as_deref().map_or(Ok(()), keys::check_job_id)?;
        check_moment("timestamp", *timestamp)?;
        remove_on_complete.map_or(Ok(()), |keep| keep.check("remove_on_complete"))?;
        remove_on_fail.map_or(Ok(()), |keep| keep.check("remove_on_fail"))?;
        deduplication.as_ref().map_or(Ok(()), Deduplication::check)?;
        if deduplication.is_some() && parent.is_some() {
            return Err(Error::invalid("deduplication", "it cannot be used together with a parent"));
        }
        if timeout.is_some_and(|timeout| !(1..=MAX_SAFE).contains(&millis(timeout))) {
            return Err(Error::invalid("timeout", "it must lie between 1 and 2^53 − 1 milliseconds"));
        }
        check_moment("start_by", *start_by)?;
        if expires_in.is_some_and(|span| !(1..=LATEST).contains(&millis(span))) {
            return Err(Error::invalid("expires_in", "it must lie between 1 and 2^52 milliseconds"));
        }
        extra.iter().try_for_each(|(name, _)| check_extra(name))
    }

    /// Checks the size of the data, given as JSON.
    pub(crate) fn check_data(&self, json: &str) -> Result<()> {
        match self.size_limit {
            Some(limit) if limit > 0 && json.len() > limit => {
                Err(Error::invalid("size_limit", format!("the data has {} bytes, {limit} are allowed", json.len())))
            }
            _ => Ok(()),
        }
    }

    /// Returns these options with the trace context of the add, unless they or the defaults omit it. With `replaces` it
    /// takes precedence over a context that the caller gave; Node does so for a single add, but not for a bulk add.
    pub(crate) fn in_trace(mut self, trace: &str, replaces: bool, defaults: &Self) -> Self {
        let has_own = self.telemetry_metadata.is_some() || self.omit_context.is_some();
        let given = if has_own { &self } else { defaults };
        let omits = given.omit_context;
        if omits != Some(true) && (replaces || given.telemetry_metadata.is_none()) {
            self.omit_context = omits.filter(|_| !replaces);
            self.telemetry_metadata = Some(trace.to_owned());
        }
        self
    }

    /// Marks these options as the defaults of a kind.
    pub(crate) fn of_kind(mut self) -> Self {
        let (delay, deduplication) = (self.delay.is_some() || self.run_at.is_some(), self.deduplication.is_some());
        self.of_kind = OfKind { delay, deduplication };
        self
    }

    /// Leaves out what a kind, or a default, has set and a job scheduler sets itself for each of its runs.
    pub(crate) fn for_runs(mut self) -> Self {
        if std::mem::take(&mut self.of_kind).delay {
            (self.delay, self.run_at) = (None, None);
        }
        self
    }

    /// Leaves out what a kind has set and no job of a flow can have that has a parent or children.
    pub(crate) fn in_flow(mut self) -> Self {
        if std::mem::take(&mut self.of_kind).deduplication {
            self.deduplication = None;
        }
        self
    }

    /// Returns these options, with the queue's defaults for those that are not set. An id is never a default.
    pub(crate) fn or_defaults(mut self, defaults: &Self) -> Self {
        // Destructured, so that an option that is forgotten here does not compile.
        let Self {
            job_id: _,
            timestamp,
            delay,
            run_at,
            start_by,
            expires_in,
            timeout,
            lifo,
            priority,
            attempts,
            backoff,
            stack_trace_limit,
            keep_logs,
            size_limit,
            remove_on_fail,
            remove_on_complete,
            deduplication,
            on_child_failure,
            parent,
            omit_context,
            telemetry_metadata,
            extra,
            of_kind: _,
        } = defaults;
        // Node stores these two in one nested object, which is replaced as a whole.
        if self.telemetry_metadata.is_none() && self.omit_context.is_none() {
            self.telemetry_metadata.clone_from(telemetry_metadata);
            self.omit_context = *omit_context;
        }
        fill(&mut self.attempts, attempts);
        fill(&mut self.backoff, backoff);
        if self.delay.is_none() {
            fill(&mut self.run_at, run_at);
        }
        fill(&mut self.delay, delay);
        fill(&mut self.priority, priority);
        fill(&mut self.lifo, lifo);
        fill(&mut self.timestamp, timestamp);
        fill(&mut self.remove_on_complete, remove_on_complete);
        fill(&mut self.remove_on_fail, remove_on_fail);
        fill(&mut self.keep_logs, keep_logs);
        fill(&mut self.size_limit, size_limit);
        fill(&mut self.stack_trace_limit, stack_trace_limit);
        fill(&mut self.deduplication, deduplication);
        fill(&mut self.parent, parent);
        fill(&mut self.on_child_failure, on_child_failure);
        fill(&mut self.timeout, timeout);
        if self.start_by.is_none() && self.expires_in.is_none() {
            self.start_by = *start_by;
            self.expires_in = *expires_in;
        }
        for (name, value) in extra {
            if !self.extra.iter().any(|(own, _)| own == name) {
                self.extra.push((name.clone(), value.clone()));
            }
        }
        self
    }
}

fn fill<T: Clone>(own: &mut Option<T>, default: &Option<T>) {
    if own.is_none() {
        own.clone_from(default);
    }
}

fn check_moment(option: &'static str, at: Option<SystemTime>) -> Result<()> {
    if at.is_some_and(|at| !(1..=LATEST).contains(&epoch_ms(at))) {
        return Err(Error::invalid(option, "it must lie after 1970 and within 2^52 milliseconds of it"));
    }
    Ok(())
}

/// Refuses an extra option that has a setter, or that Node removes or refuses.
fn check_extra(name: &str) -> Result<()> {
    if OptionName::of(name).is_some() || matches!(name, "" | "__proto__") {
        return Err(Error::invalid("extra", format!("'{name}' cannot be used for an extra option")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::json;

    use super::*;

    fn new() -> JobOptions {
        JobOptions::default()
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_node_accepts_is_accepted() {
        for good in [
            new(),
            new().attempts(u32::MAX),
            new().priority(0),
            new().priority(MAX_PRIORITY),
            new().delay(ms(LATEST)).timestamp(UNIX_EPOCH + ms(LATEST)),
            new().job_id("a:b:c"),
            new().deduplication(Deduplication::new("d").ttl(ms(1))),
            new().parent(ParentRef::new("1", "bull:q").unwrap()).on_child_failure(OnChildFailure::FailParent),
            new().backoff(ms(0)),
            new().backoff(Backoff::exponential(ms(1)).jitter(1.0)),
            new().extra("repeat", json!({"every": 5})).extra("prevMillis", 1).extra("group", json!({"id": 1})),
        ] {
            assert!(good.check().is_ok(), "{good:?}");
        }
    }

    #[test]
    fn a_broken_rule_is_told_by_the_options_name() {
        for (option, bad) in [
            ("priority", new().priority(MAX_PRIORITY + 1)),
            ("job_id", new().job_id("12")),
            ("job_id", new().job_id("0:1:2")),
            ("job_id", new().job_id("wait")),
            ("delay", new().delay(ms(LATEST + 1))),
            ("timestamp", new().timestamp(UNIX_EPOCH)),
            ("timestamp", new().timestamp(UNIX_EPOCH + ms(LATEST + 1))),
            ("backoff.jitter", new().backoff(Backoff::fixed(ms(1)).jitter(2.0))),
            ("backoff.custom", new().backoff(Backoff::custom(""))),
            ("remove_on_complete", new().remove_on_complete(u64::MAX)),
            ("remove_on_fail", new().remove_on_fail(KeepJobs::new().age(Duration::MAX))),
            ("deduplication.id", new().deduplication(Deduplication::new(""))),
            ("deduplication.ttl", new().deduplication(Deduplication::new("d").ttl(ms(0)))),
            (
                "deduplication",
                new().deduplication(Deduplication::new("d")).parent(ParentRef::new("1", "bull:q").unwrap()),
            ),
            ("timeout", new().timeout(ms(0))),
            ("extra", new().extra("attempts", 3)),
            ("extra", new().extra("debounce", json!({"id": "x"}))),
            ("extra", new().extra("remove_on_fail", true)),
            ("extra", new().extra("repeatJobKey", "s")),
            ("extra", new().extra("__proto__", 1)),
        ] {
            match bad.check() {
                Err(Error::InvalidOption { option: named, .. }) => assert_eq!(named, option, "{bad:?}"),
                other => panic!("{bad:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_size_counts_bytes() {
        assert!(new().size_limit(6).check_data("\"éé\"").is_ok());
        assert!(new().size_limit(5).check_data("\"éé\"").is_err());
        assert!(new().size_limit(0).check_data("\"éé\"").is_ok());
        assert!(new().check_data("\"éé\"").is_ok());
    }

    #[test]
    fn defaults_fill_what_is_open() {
        let defaults = new()
            .attempts(5)
            .job_id("never")
            .telemetry_metadata("trace")
            .backoff(Backoff::exponential(ms(1)).jitter(0.5))
            .on_child_failure(OnChildFailure::IgnoreDependency)
            .extra("a", 1)
            .extra("b", 1);
        let own = new()
            .attempts(0)
            .backoff(ms(9))
            .omit_context(true)
            .on_child_failure(OnChildFailure::FailParent)
            .extra("b", 2);
        let merged = own.clone().or_defaults(&defaults);
        assert_eq!(merged, own.extra("a", 1));
        assert_eq!(new().or_defaults(&defaults), JobOptions { job_id: None, ..defaults });
    }

    #[test]
    fn the_last_value_of_an_extra_option_wins() {
        assert_eq!(new().extra("a", 1).extra("a", 2).extra, [("a".to_owned(), json!(2))]);
    }
}
