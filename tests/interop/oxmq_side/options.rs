//! Options of jobs, as the steps say them.

use super::*;

pub(super) fn job_options(opts: &ops::JobOpts) -> Result<JobOptions, Refusal> {
    let mut options = JobOptions::default();
    if let Some(id) = &opts.job_id {
        options = options.job_id(id);
    }
    if let Some(at) = opts.timestamp {
        options = options.timestamp(moment(at)?);
    }
    if let Some(delay) = opts.delay {
        options = options.delay(span(delay)?);
    }
    if let Some(priority) = opts.priority {
        let priority = u32::try_from(priority).or_else(|_| refuse("a priority is not negative"))?;
        options = options.priority(priority);
    }
    if let Some(lifo) = opts.lifo {
        options = options.lifo(lifo);
    }
    if let Some(attempts) = opts.attempts {
        options = options.attempts(attempts);
    }
    if let Some(ops::Backoff { kind, delay, jitter }) = &opts.backoff {
        let mut backoff = Backoff::custom(kind);
        if let Some(delay) = delay {
            backoff = backoff.delay(Duration::from_millis(*delay));
        }
        if let Some(jitter) = jitter {
            backoff = backoff.jitter(*jitter);
        }
        options = options.backoff(backoff);
    }
    if let Some(keep) = &opts.remove_on_complete {
        options = options.remove_on_complete(keep_jobs(keep));
    }
    if let Some(keep) = &opts.remove_on_fail {
        options = options.remove_on_fail(keep_jobs(keep));
    }
    if let Some(lines) = opts.keep_logs {
        options = options.keep_logs(number(lines)?);
    }
    if let Some(traces) = opts.stack_trace_limit {
        options = options.stack_trace_limit(number(traces)?);
    }
    if let Some(bytes) = opts.size_limit {
        options = options.size_limit(usize::try_from(bytes).expect("a small number"));
    }
    if let Some(d) = &opts.deduplication {
        let mut dedup = Deduplication::new(&d.id);
        if let Some(ttl) = d.ttl {
            dedup = dedup.ttl(Duration::from_millis(ttl));
        }
        if d.extend == Some(true) {
            dedup = dedup.extend();
        }
        if d.replace == Some(true) {
            dedup = dedup.replace();
        }
        if d.keep_last_if_active == Some(true) {
            dedup = dedup.keep_last_if_active();
        }
        if d.reschedule == Some(true) {
            dedup = dedup.reschedule();
        }
        options = options.deduplication(dedup);
    }
    if let Some(parent) = &opts.parent {
        options = options.parent(ParentRef::new(&parent.id, &parent.queue)?);
    }
    let policies = [
        (opts.fail_parent_on_failure, OnChildFailure::FailParent),
        (opts.continue_parent_on_failure, OnChildFailure::ContinueParent),
        (opts.ignore_dependency_on_failure, OnChildFailure::IgnoreDependency),
        (opts.remove_dependency_on_failure, OnChildFailure::RemoveDependency),
    ];
    let mut chosen = policies.iter().filter(|(on, _)| *on == Some(true));
    if let Some((_, policy)) = chosen.next() {
        options = options.on_child_failure(*policy);
    }
    if chosen.next().is_some() {
        return refuse("a job has one policy");
    }
    if let Some(telemetry) = &opts.telemetry {
        if let Some(metadata) = &telemetry.metadata {
            options = options.telemetry_metadata(metadata);
        }
        if let Some(omit) = telemetry.omit_context {
            options = options.omit_context(omit);
        }
    }
    Ok(options)
}

pub(super) fn keep_jobs(keep: &Keep) -> KeepJobs {
    match keep {
        Keep::Remove(remove) => (*remove).into(),
        Keep::Count(count) => i32::try_from(*count).expect("a small number").into(),
        Keep::Rules(rules) => keep_rules(rules),
    }
}

pub(super) fn keep_rules(rules: &ops::KeepRules) -> KeepJobs {
    let mut keep = KeepJobs::new();
    if let Some(count) = rules.count.and_then(|count| u64::try_from(count).ok()) {
        keep = keep.count(count);
    }
    if let Some(age) = rules.age {
        keep = keep.age(Duration::from_secs(age));
    }
    if let Some(limit) = rules.limit {
        keep = keep.limit(limit);
    }
    keep
}
