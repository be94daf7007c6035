//! Options of a job from JSON, under the names of Node's interface or under the short ones that are stored.

use std::time::Duration;

use oxmq::{Backoff, Deduplication, JobOptions, KeepJobs};
use serde_json::{Map, Value};

use crate::failure::{ERROR, Failure, Outcome};

fn wrong(name: &str, value: &Value) -> Failure {
    Failure::new(ERROR, format!("option {name}: {value} is not understood"))
}

fn whole(name: &str, value: &Value) -> Outcome<u64> {
    value.as_u64().ok_or_else(|| wrong(name, value))
}

fn small(name: &str, value: &Value) -> Outcome<u32> {
    u32::try_from(whole(name, value)?).map_err(|_| wrong(name, value))
}

fn span(name: &str, value: &Value) -> Outcome<Duration> {
    whole(name, value).map(Duration::from_millis)
}

/// The options that this object says. What has no meaning for a job that is added anew is left out: its old timestamp, its
/// place in a flow, its repetition.
pub(crate) fn read(object: &Map<String, Value>) -> Outcome<JobOptions> {
    const LEFT_OUT: [&str; 13] = [
        "timestamp",
        "parent",
        "repeat",
        "repeatJobKey",
        "prevMillis",
        "fpof",
        "failParentOnFailure",
        "cpof",
        "continueParentOnFailure",
        "idof",
        "ignoreDependencyOnFailure",
        "rdof",
        "removeDependencyOnFailure",
    ];
    let mut options = JobOptions::default();
    for (name, value) in object {
        options = match name.as_str() {
            name if LEFT_OUT.contains(&name) || value.is_null() => options,
            "attempts" => options.attempts(small(name, value)?),
            "backoff" => options.backoff(backoff(value)?),
            "delay" => options.delay(span(name, value)?),
            "priority" => options.priority(small(name, value)?),
            "lifo" => options.lifo(value.as_bool().ok_or_else(|| wrong(name, value))?),
            "jobId" => options.job_id(value.as_str().ok_or_else(|| wrong(name, value))?),
            "removeOnComplete" => options.remove_on_complete(keep(name, value)?),
            "removeOnFail" => options.remove_on_fail(keep(name, value)?),
            "kl" | "keepLogs" => options.keep_logs(small(name, value)?),
            "sizeLimit" => options.size_limit(usize::try_from(whole(name, value)?).unwrap_or(usize::MAX)),
            "stackTraceLimit" => options.stack_trace_limit(small(name, value)?),
            "de" | "deduplication" | "debounce" => options.deduplication(deduplication(name, value)?),
            "timeout" => options.timeout(span(name, value)?),
            "tm" => options.telemetry_metadata(value.as_str().ok_or_else(|| wrong(name, value))?),
            "omc" => options.omit_context(value.as_bool().unwrap_or(false)),
            name => options.extra(name, value.clone()),
        };
    }
    Ok(options)
}

fn backoff(value: &Value) -> Outcome<Backoff> {
    if let Some(ms) = value.as_u64() {
        return Ok(Backoff::fixed(Duration::from_millis(ms)));
    }
    let kind = value["type"].as_str().ok_or_else(|| wrong("backoff", value))?;
    let mut backoff = Backoff::custom(kind);
    if !value["delay"].is_null() {
        backoff = backoff.delay(span("backoff.delay", &value["delay"])?);
    }
    if let Some(jitter) = value["jitter"].as_f64() {
        backoff = backoff.jitter(jitter);
    }
    Ok(backoff)
}

fn keep(name: &str, value: &Value) -> Outcome<KeepJobs> {
    match value {
        Value::Bool(remove) => Ok(KeepJobs::from(*remove)),
        Value::Number(_) => {
            let count = value.as_i64().ok_or_else(|| wrong(name, value))?;
            // Below nothing is Node's way to keep all.
            Ok(u64::try_from(count).map_or(KeepJobs::from(false), KeepJobs::from))
        }
        Value::Object(_) => {
            let mut keep = KeepJobs::new();
            if let Some(count) = value["count"].as_u64() {
                keep = keep.count(count);
            }
            if let Some(limit) = value["limit"].as_u64() {
                keep = keep.limit(limit);
            }
            if let Some(age) = value["age"].as_f64() {
                keep = keep.age(Duration::try_from_secs_f64(age).map_err(|_| wrong(name, value))?);
            }
            Ok(keep)
        }
        _ => Err(wrong(name, value)),
    }
}

fn deduplication(name: &str, value: &Value) -> Outcome<Deduplication> {
    let mut it = Deduplication::new(value["id"].as_str().ok_or_else(|| wrong(name, value))?);
    if !value["ttl"].is_null() {
        it = it.ttl(span("deduplication.ttl", &value["ttl"])?);
    }
    let is_on = |flag: &str| value[flag].as_bool().unwrap_or(false);
    if is_on("extend") {
        it = it.extend();
    }
    if is_on("replace") {
        it = it.replace();
    }
    if is_on("keepLastIfActive") {
        it = it.keep_last_if_active();
    }
    if is_on("reschedule") {
        it = it.reschedule();
    }
    Ok(it)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_spellings_mean_the_same() {
        let read = |value: Value| read(value.as_object().unwrap());
        let long = json!({"attempts": 3, "backoff": {"type": "exponential", "delay": 500, "jitter": 0.5}, "keepLogs": 5,
            "removeOnComplete": {"age": 60, "count": 9}, "deduplication": {"id": "x", "ttl": 100}, "odd": [1]});
        let short = json!({"attempts": 3, "backoff": {"type": "exponential", "delay": 500, "jitter": 0.5}, "kl": 5,
            "removeOnComplete": {"age": 60, "count": 9}, "de": {"id": "x", "ttl": 100}, "odd": [1], "timestamp": 5});
        assert_eq!(read(long).unwrap(), read(short).unwrap());
        assert_eq!(read(json!({"removeOnFail": true})).unwrap(), JobOptions::default().remove_on_fail(true));
        assert!(read(json!({"attempts": "3"})).is_err());
    }
}
