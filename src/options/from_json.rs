//! Reads options from JSON, with the names of Node's interface or the stored ones.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

use super::{Backoff, Deduplication, JobOptions, KeepJobs, OptionName, named_options};
use crate::error::{Error, Result};

impl JobOptions {
    /// Reads options from JSON, with the names of Node's interface or the short stored names: for example those of a
    /// stored job, for another job like it.
    ///
    /// What does not apply to a new job is left out: the timestamp, the parent and the policy for it, and the scheduler
    /// that created the job. Durations are in ms. Unknown names become [`extra`](Self::extra) options, and `null` means
    /// that an option is not set.
    ///
    /// ```
    /// # fn main() -> oxmq::Result<()> {
    /// use oxmq::JobOptions;
    ///
    /// let options = JobOptions::from_json(r#"{"attempts":3,"backoff":{"type":"fixed","delay":500},"kl":10}"#)?;
    /// assert_eq!(options, JobOptions::from_json(r#"{"attempts":3,"backoff":500,"keepLogs":10}"#)?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`](crate::Error::InvalidOption) if it is not an object, or if a value has another form
    /// than in Node. The ranges of the options are checked when a job is added with them.
    pub fn from_json(json: &str) -> Result<Self> {
        let object: Map<String, Value> =
            serde_json::from_str(json).map_err(|error| Error::invalid("json", error.to_string()))?;
        object.iter().filter(|(_, value)| !value.is_null()).try_fold(Self::default(), |options, (name, value)| {
            options.with(name, value).ok_or_else(|| {
                let shown: String = value.to_string().chars().take(100).collect();
                Error::invalid("json", format!("{name}: {shown} is not understood"))
            })
        })
    }

    /// Adds one option; `None` if its value is not understood.
    fn with(self, name: &str, value: &Value) -> Option<Self> {
        let Some(option) = OptionName::of(name) else {
            // The iteration of a scheduler is not an option of another job.
            let is_iteration = matches!(name, "repeat" | "prevMillis");
            return Some(if is_iteration { self } else { self.extra(name, value.clone()) });
        };
        self.with_named(option, value)
    }

    /// Adds both options of telemetry, which Node's interface has in one object.
    fn with_telemetry(mut self, value: &Value) -> Option<Self> {
        if let Some(metadata) = value.get("metadata").filter(|metadata| !metadata.is_null()) {
            self = self.telemetry_metadata(text(metadata)?);
        }
        if let Some(omit) = value.get("omitContext").filter(|omit| !omit.is_null()) {
            self = self.omit_context(flag(omit)?);
        }
        Some(self)
    }
}

macro_rules! read_named {
    ($($field:ident => $option:ident: $($name:literal)|+ $(= $read:ident)?;)*) => {
        impl JobOptions {
            /// Adds an option of the list; `None` if its value is not understood.
            fn with_named(self, option: OptionName, value: &Value) -> Option<Self> {
                Some(match option {
                    $(OptionName::$option => set!(self, $field, value $(, $read)?),)*
                    OptionName::Telemetry => self.with_telemetry(value)?,
                    OptionName::RepeatJobKey => self,
                })
            }
        }

        // Destructured, so that an option without a line in the list does not compile. `run_at` becomes a delay, `extra` holds
        // options without a setter, and `of_kind` says which of them a kind gave.
        const _: fn(&JobOptions) = |options| {
            let JobOptions { run_at: _, extra: _, of_kind: _, $($field: _,)* } = options;
        };
    };
}

macro_rules! set {
    ($options:expr, $field:ident, $value:expr, $read:ident) => {
        $options.$field($read($value)?)
    };
    // It does not apply to another job.
    ($options:expr, $field:ident, $value:expr) => {
        $options
    };
}

named_options!(read_named!);

/// Reads a whole number; other writers may store it as a fraction.
fn whole(value: &Value) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is whole and lies within the range"
    )]
    let from_fraction = |number: f64| number as u64;
    let is_whole = |number: &f64| (0.0..=9_007_199_254_740_992.0).contains(number) && number.fract() == 0.0;
    value.as_u64().or_else(|| value.as_f64().filter(is_whole).map(from_fraction))
}

fn small(value: &Value) -> Option<u32> {
    u32::try_from(whole(value)?).ok()
}

fn size(value: &Value) -> Option<usize> {
    whole(value).map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
}

fn flag(value: &Value) -> Option<bool> {
    value.as_bool()
}

fn text(value: &Value) -> Option<&str> {
    value.as_str()
}

fn span(value: &Value) -> Option<Duration> {
    whole(value).map(Duration::from_millis)
}

/// Reads a moment in ms since 1970.
fn moment(value: &Value) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(span(value)?)
}

fn backoff(value: &Value) -> Option<Backoff> {
    if let Some(delay) = span(value) {
        return Some(Backoff::fixed(delay));
    }
    let given = |name: &str| value.get(name).filter(|value| !value.is_null());
    let delay = given("delay").map(|delay| span(delay).ok_or(())).transpose().ok()?;
    let mut backoff = match (value.get("type")?.as_str()?, delay) {
        ("fixed", Some(delay)) => Backoff::fixed(delay),
        ("exponential", Some(delay)) => Backoff::exponential(delay),
        (name, delay) => {
            let backoff = Backoff::custom(name);
            delay.map_or(backoff.clone(), |delay| backoff.delay(delay))
        }
    };
    if let Some(jitter) = given("jitter") {
        backoff = backoff.jitter(jitter.as_f64()?);
    }
    if let Some(longest) = given("maxDelay") {
        backoff = backoff.max_delay(span(longest)?);
    }
    Some(backoff)
}

fn keep(value: &Value) -> Option<KeepJobs> {
    match value {
        Value::Bool(remove) => Some(KeepJobs::from(*remove)),
        // Node's way to keep all is a number below 0.
        Value::Number(number) if number.as_f64()? < 0.0 => Some(KeepJobs::from(false)),
        Value::Number(_) => whole(value).map(KeepJobs::from),
        Value::Object(members) => {
            let given = |name: &str| members.get(name).filter(|value| !value.is_null());
            let mut keep = KeepJobs::new();
            if let Some(count) = given("count") {
                keep = keep.count(whole(count)?);
            }
            if let Some(limit) = given("limit") {
                keep = keep.limit(whole(limit)?);
            }
            if let Some(age) = given("age") {
                keep = keep.age(Duration::try_from_secs_f64(age.as_f64()?).ok()?);
            }
            Some(keep)
        }
        _ => None,
    }
}

fn deduplication(value: &Value) -> Option<Deduplication> {
    let mut deduplication = Deduplication::new(value.get("id")?.as_str()?);
    if let Some(ttl) = value.get("ttl").filter(|ttl| !ttl.is_null()) {
        deduplication = deduplication.ttl(span(ttl)?);
    }
    let is_on = |flag: &str| value.get(flag).and_then(Value::as_bool).unwrap_or(false);
    if is_on("extend") {
        deduplication = deduplication.extend();
    }
    if is_on("replace") {
        deduplication = deduplication.replace();
    }
    if is_on("keepLastIfActive") {
        deduplication = deduplication.keep_last_if_active();
    }
    if is_on("reschedule") {
        deduplication = deduplication.reschedule();
    }
    Some(deduplication)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::options::to_json;

    #[test]
    fn what_is_stored_is_read_back() {
        let all = JobOptions::default()
            .attempts(3)
            .backoff(Backoff::exponential(Duration::from_millis(500)).jitter(0.5).max_delay(Duration::from_secs(60)))
            .delay(Duration::from_millis(7))
            .priority(5)
            .lifo(true)
            .job_id("x")
            .remove_on_complete(KeepJobs::new().age(Duration::from_secs(60)).count(9).limit(5))
            .remove_on_fail(true)
            .keep_logs(5)
            .size_limit(100)
            .stack_trace_limit(2)
            .deduplication(Deduplication::new("d").ttl(Duration::from_millis(100)).extend().replace())
            .timeout(Duration::from_secs(1))
            .expires_in(Duration::from_secs(2))
            .start_by(UNIX_EPOCH + Duration::from_millis(1_800_000_000_000))
            .telemetry_metadata("t")
            .omit_context(true)
            .extra("odd", serde_json::json!([1]));
        let stored = to_json(&all);
        assert_eq!(to_json(&JobOptions::from_json(&stored).unwrap()), stored);
        let fixed = JobOptions::default().attempts(1).backoff(Duration::from_millis(5));
        assert_eq!(to_json(&JobOptions::from_json(&to_json(&fixed)).unwrap()), to_json(&fixed));
    }

    #[test]
    fn long_and_short_names_mean_the_same() {
        let long = r#"{"keepLogs":5,"deduplication":{"id":"x","ttl":100},"telemetry":{"metadata":"t","omitContext":true},"odd":[1]}"#;
        let short = r#"{"kl":5.0,"de":{"id":"x","ttl":100},"tm":"t","omc":true,"odd":[1],"timestamp":5,"delay":null,
            "parent":{"id":"1","queue":"bull:q"},"fpof":true,"repeat":{"every":5},"repeatJobKey":"k","prevMillis":7}"#;
        assert_eq!(JobOptions::from_json(long).unwrap(), JobOptions::from_json(short).unwrap());
    }

    #[test]
    fn what_has_another_form_is_refused() {
        for bad in [
            "",
            "5",
            "[]",
            r#"{"attempts":"3"}"#,
            r#"{"attempts":1.5}"#,
            r#"{"attempts":4294967296}"#,
            r#"{"delay":-1}"#,
            r#"{"backoff":{"delay":5}}"#,
            r#"{"backoff":{"type":"fixed","delay":"5"}}"#,
            r#"{"removeOnFail":{"age":-1}}"#,
            r#"{"removeOnFail":"yes"}"#,
            r#"{"de":{}}"#,
            r#"{"jobId":5}"#,
        ] {
            let error = JobOptions::from_json(bad).unwrap_err();
            assert!(matches!(error, Error::InvalidOption { option: "json", .. }), "{bad}: {error}");
        }
    }
}
