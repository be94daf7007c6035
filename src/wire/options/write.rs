//! Writes options as JSON.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use super::PLAIN;
use crate::clock::{epoch_ms, millis};
use crate::options::keep::Form;
use crate::options::{Backoff, Deduplication, JobOptions, KeepJobs, OnChildFailure, ParentRef, named_options};
use crate::wire::json;

/// Writes options as Node stores them: compact, with short names, only those that were given, and always `attempts`.
pub(crate) fn to_json(options: &JobOptions) -> Cow<'static, str> {
    if is_plain(options) {
        return PLAIN.into();
    }
    let mut out = Writer::new();
    if options.attempts.is_none() {
        out.name("attempts").integer(0);
    }
    write_named(options, &mut out);
    for (name, value) in &options.extra {
        out.name(name).raw(&value.to_string());
    }
    out.finish().into()
}

macro_rules! write_named {
    ($($field:ident => $option:ident: $stored:literal $(| $name:literal)* $(= $read:ident)?;)*) => {
        /// Writes the options of the list that are set.
        fn write_named(options: &JobOptions, out: &mut Writer) {
            $(out.given($stored, options.$field.as_ref());)*
        }
    };
}

named_options!(write_named!);

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

    /// Writes integral numbers without a point, as JavaScript does, as far as an `f64` holds every integer.
    fn float(&mut self, number: f64) -> &mut Self {
        if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 {
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

    /// Writes a member where there is a value for it.
    fn given(&mut self, name: &'static str, value: Option<&impl Member>) {
        if let Some(value) = value {
            self.name(value.named(name));
            value.write(self);
        }
    }

    pub(super) fn finish(mut self) -> String {
        self.0.push(b'}');
        String::from_utf8(self.0).expect("put together from text")
    }
}

/// What can stand behind the name of an option.
trait Member {
    /// Returns the name under which it is written, given that of the option.
    fn named(&self, option: &'static str) -> &'static str {
        option
    }

    fn write(&self, out: &mut Writer);
}

impl Member for bool {
    fn write(&self, out: &mut Writer) {
        out.boolean(*self);
    }
}

impl Member for u32 {
    fn write(&self, out: &mut Writer) {
        out.integer(u64::from(*self));
    }
}

impl Member for u64 {
    fn write(&self, out: &mut Writer) {
        out.integer(*self);
    }
}

impl Member for usize {
    fn write(&self, out: &mut Writer) {
        out.integer(u64::try_from(*self).unwrap_or(u64::MAX));
    }
}

impl Member for f64 {
    fn write(&self, out: &mut Writer) {
        out.float(*self);
    }
}

impl Member for String {
    fn write(&self, out: &mut Writer) {
        out.string(self);
    }
}

/// In milliseconds.
impl Member for Duration {
    fn write(&self, out: &mut Writer) {
        out.integer(millis(*self));
    }
}

/// In milliseconds since 1970.
impl Member for SystemTime {
    fn write(&self, out: &mut Writer) {
        out.integer(epoch_ms(*self));
    }
}

impl Member for Backoff {
    fn write(&self, out: &mut Writer) {
        out.open().name("type").string(self.name());
        out.given("delay", self.delay.as_ref());
        out.given("jitter", self.jitter.as_ref());
        out.given("maxDelay", self.max_delay.as_ref());
        out.close();
    }
}

/// In the form in which it was given.
impl Member for KeepJobs {
    fn write(&self, out: &mut Writer) {
        match (self.form, self.count) {
            (Form::Flag, count) => _ = out.boolean(count.is_some()),
            (Form::Number, Some(count)) => _ = out.integer(count),
            (Form::Number, None) => _ = out.raw("-1"),
            (Form::Object, count) => {
                out.open();
                out.given("count", count.as_ref());
                // Node trims by seconds and accepts fractions.
                out.given("age", self.age.map(|age| age.as_secs_f64()).as_ref());
                out.given("limit", self.limit.as_ref());
                out.close();
            }
        }
    }
}

impl Member for Deduplication {
    fn write(&self, out: &mut Writer) {
        out.open().name("id").string(&self.id);
        out.given("ttl", self.ttl.as_ref());
        out.flag("extend", self.extend);
        out.flag("replace", self.replace);
        out.flag("keepLastIfActive", self.keep_last_if_active);
        out.flag("reschedule", self.reschedule);
        out.close();
    }
}

/// A flag under the name of the policy.
impl Member for OnChildFailure {
    fn named(&self, _: &'static str) -> &'static str {
        self.short()
    }

    fn write(&self, out: &mut Writer) {
        out.boolean(true);
    }
}

impl Member for ParentRef {
    fn write(&self, out: &mut Writer) {
        out.open().name("id").string(&self.id).name("queue").string(&self.queue).close();
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use serde_json::{Value, json};

    use super::*;

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
            (
                new().backoff(ms(1_912_817_880_011_461)),
                r#"{"attempts":0,"backoff":{"type":"fixed","delay":1912817880011461}}"#,
            ),
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
