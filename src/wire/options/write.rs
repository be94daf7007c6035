//! Writes options as JSON.

use std::borrow::Cow;

use super::PLAIN;
use crate::clock::{epoch_ms, millis};
use crate::options::keep::Form;
use crate::options::{JobOptions, KeepJobs};
use crate::wire::json;

/// Writes options as Node stores them: compact, with short names, only those that were given, and always `attempts`.
pub(crate) fn to_json(options: &JobOptions) -> Cow<'static, str> {
    if is_plain(options) {
        return PLAIN.into();
    }
    // Destructured, so that an option that is forgotten here does not compile.
    let JobOptions {
        // Which job it is, and whom it belongs to.
        job_id,
        deduplication,
        parent,
        on_child_failure,
        // When it runs; a moment has become a delay.
        timestamp,
        delay,
        run_at: _,
        start_by,
        expires_in,
        priority,
        lifo,
        // How often, and how long.
        attempts,
        backoff,
        timeout,
        // What is kept.
        remove_on_complete,
        stack_trace_limit,
        remove_on_fail,
        keep_logs,
        size_limit,
        telemetry_metadata,
        omit_context,
        extra,
    } = options;
    let mut out = Writer::new();
    out.name("attempts").integer(u64::from(attempts.unwrap_or(0)));
    if let Some(backoff) = backoff {
        out.name("backoff").open().name("type").string(backoff.name());
        if let Some(delay) = backoff.delay {
            out.name("delay").float(delay);
        }
        if let Some(jitter) = backoff.jitter {
            out.name("jitter").float(jitter);
        }
        if let Some(longest) = backoff.max_delay {
            out.name("maxDelay").float(longest);
        }
        out.close();
    }
    if let Some(delay) = *delay {
        out.name("delay").integer(millis(delay));
    }
    if let Some(priority) = *priority {
        out.name("priority").integer(u64::from(priority));
    }
    if let Some(lifo) = *lifo {
        out.name("lifo").boolean(lifo);
    }
    if let Some(id) = job_id {
        out.name("jobId").string(id);
    }
    if let Some(at) = *timestamp {
        out.name("timestamp").integer(epoch_ms(at));
    }
    if let Some(keep) = *remove_on_complete {
        out.name("removeOnComplete").keep(keep);
    }
    if let Some(keep) = *remove_on_fail {
        out.name("removeOnFail").keep(keep);
    }
    if let Some(lines) = *keep_logs {
        out.name("kl").integer(u64::from(lines));
    }
    if let Some(bytes) = *size_limit {
        out.name("sizeLimit").integer(u64::try_from(bytes).unwrap_or(u64::MAX));
    }
    if let Some(traces) = *stack_trace_limit {
        out.name("stackTraceLimit").integer(u64::from(traces));
    }
    if let Some(deduplication) = deduplication {
        out.name("de").open().name("id").string(&deduplication.id);
        if let Some(ttl) = deduplication.ttl {
            out.name("ttl").integer(millis(ttl));
        }
        out.flag("extend", deduplication.extend);
        out.flag("replace", deduplication.replace);
        out.flag("keepLastIfActive", deduplication.keep_last_if_active);
        out.flag("reschedule", deduplication.reschedule);
        out.close();
    }
    if let Some(parent) = parent {
        out.name("parent").open().name("id").string(&parent.id).name("queue").string(&parent.queue).close();
    }
    if let Some(policy) = *on_child_failure {
        out.flag(policy.short(), true);
    }
    if let Some(metadata) = telemetry_metadata {
        out.name("tm").string(metadata);
    }
    if let Some(omit) = *omit_context {
        out.name("omc").boolean(omit);
    }
    if let Some(at) = *start_by {
        out.name("startBy").integer(epoch_ms(at));
    }
    if let Some(span) = *expires_in {
        out.name("expiresIn").integer(millis(span));
    }
    if let Some(timeout) = *timeout {
        out.name("timeout").integer(millis(timeout));
    }
    for (name, value) in extra {
        out.name(name).raw(&value.to_string());
    }
    out.finish().into()
}

/// Returns whether only the default number of attempts would be written.
fn is_plain(options: &JobOptions) -> bool {
    let attempts = options.attempts;
    matches!(attempts, None | Some(0)) && *options == JobOptions { attempts, ..JobOptions::default() }
}

/// Writes one JSON object, member by member.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        let mut buffer = Vec::with_capacity(96);
        buffer.push(b'{');
        Self(buffer)
    }

    pub(super) fn name(&mut self, name: &str) -> &mut Self {
        if self.0.last() != Some(&b'{') {
            self.0.push(b',');
        }
        self.string(name);
        self.0.push(b':');
        self
    }

    fn open(&mut self) -> &mut Self {
        self.0.push(b'{');
        self
    }

    fn close(&mut self) {
        self.0.push(b'}');
    }

    fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    pub(super) fn string(&mut self, text: &str) -> &mut Self {
        serde_json::to_writer(&mut self.0, text).expect("a string always is JSON, and a Vec takes all");
        self
    }

    fn integer(&mut self, number: u64) -> &mut Self {
        self.raw(itoa::Buffer::new().format(number))
    }

    fn boolean(&mut self, value: bool) -> &mut Self {
        self.raw(if value { "true" } else { "false" })
    }

    /// Writes integral numbers without a point, as JavaScript does.
    fn float(&mut self, number: f64) -> &mut Self {
        if number.fract() == 0.0 && number.abs() < 1e15 {
            self.raw(itoa::Buffer::new().format(json::integer(number)))
        } else {
            let text = serde_json::to_string(&number).expect("a number always is JSON");
            self.raw(&text)
        }
    }

    /// Writes a flag, if it is set.
    pub(super) fn flag(&mut self, name: &str, on: bool) {
        if on {
            self.name(name).boolean(true);
        }
    }

    fn keep(&mut self, keep: KeepJobs) {
        match (keep.form, keep.count) {
            (Form::Flag, count) => _ = self.boolean(count.is_some()),
            (Form::Number, Some(count)) => _ = self.integer(count),
            (Form::Number, None) => _ = self.raw("-1"),
            (Form::Object, count) => {
                self.open();
                if let Some(count) = count {
                    self.name("count").integer(count);
                }
                if let Some(age) = keep.age {
                    // Node trims by seconds and accepts fractions.
                    self.name("age").float(age.as_secs_f64());
                }
                if let Some(limit) = keep.limit {
                    self.name("limit").integer(limit);
                }
                self.close();
            }
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push(b'}');
        String::from_utf8(self.0).expect("put together from text")
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use serde_json::{Value, json};

    use super::*;
    use crate::options::{Backoff, Deduplication, OnChildFailure, ParentRef};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn options_are_stored_as_node_stores_them() {
        let new = JobOptions::default;
        for (options, stored) in [
            (new(), r#"{"attempts":0}"#),
            (new().attempts(0), r#"{"attempts":0}"#),
            (new().attempts(3).backoff(ms(1000)), r#"{"attempts":3,"backoff":{"type":"fixed","delay":1000}}"#),
            (
                new().backoff(Backoff::exponential(ms(1)).jitter(0.25)),
                r#"{"attempts":0,"backoff":{"type":"exponential","delay":1,"jitter":0.25}}"#,
            ),
            (new().backoff(Backoff::custom("é\"")), r#"{"attempts":0,"backoff":{"type":"é\""}}"#),
            (new().delay(ms(0)).priority(0), r#"{"attempts":0,"delay":0,"priority":0}"#),
            (new().lifo(false).keep_logs(0), r#"{"attempts":0,"lifo":false,"kl":0}"#),
            (new().job_id("a").timestamp(UNIX_EPOCH + ms(5)), r#"{"attempts":0,"jobId":"a","timestamp":5}"#),
            (
                new().remove_on_complete(true).remove_on_fail(false),
                r#"{"attempts":0,"removeOnComplete":true,"removeOnFail":false}"#,
            ),
            (
                new().remove_on_complete(0).remove_on_fail(-1),
                r#"{"attempts":0,"removeOnComplete":0,"removeOnFail":-1}"#,
            ),
            (
                new()
                    .remove_on_complete(KeepJobs::new().count(1).age(ms(60_000)).limit(2))
                    .remove_on_fail(KeepJobs::new()),
                r#"{"attempts":0,"removeOnComplete":{"count":1,"age":60,"limit":2},"removeOnFail":{}}"#,
            ),
            (new().size_limit(9).stack_trace_limit(0), r#"{"attempts":0,"sizeLimit":9,"stackTraceLimit":0}"#),
            (
                new().deduplication(Deduplication::new("d").ttl(ms(5)).extend().replace()),
                r#"{"attempts":0,"de":{"id":"d","ttl":5,"extend":true,"replace":true}}"#,
            ),
            (
                new().deduplication(Deduplication::new("d").keep_last_if_active().reschedule()),
                r#"{"attempts":0,"de":{"id":"d","keepLastIfActive":true,"reschedule":true}}"#,
            ),
            (
                new().parent(ParentRef::stored("1", "p:q")).on_child_failure(OnChildFailure::RemoveDependency),
                r#"{"attempts":0,"parent":{"id":"1","queue":"p:q"},"rdof":true}"#,
            ),
            (new().telemetry_metadata("{}").omit_context(true), r#"{"attempts":0,"tm":"{}","omc":true}"#),
            (new().timeout(ms(7)).extra("x", json!([1, null])), r#"{"attempts":0,"timeout":7,"x":[1,null]}"#),
        ] {
            assert_eq!(to_json(&options), stored);
            assert!(serde_json::from_str::<Value>(stored).is_ok());
        }
    }
}
