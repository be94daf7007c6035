//! The `opts` of a job: writing our options, and reading those of any peer.

mod names;
mod parent;
mod read;
mod write;

pub(crate) use names::LongNames;
pub(crate) use parent::{Parent, parent_json};
pub(crate) use read::StoredOptions;
pub(crate) use write::to_json;

/// The `opts` of a job without options.
pub(crate) const PLAIN: &str = r#"{"attempts":0}"#;

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::clock::{epoch_ms, millis};
    use crate::options::keep::Form;
    use crate::options::{Backoff, Deduplication, JobOptions, KeepJobs, MAX_SAFE, OfKind, OnChildFailure, ParentRef};

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn json_value() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|flag| flag.to_string()),
            any::<i64>().prop_map(|number| number.to_string()),
            "-?[1-9][0-9]{0,40}(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,4})?",
            any::<String>().prop_map(|text| json!(text).to_string()),
            "\"(\\\\ud[89a-f][0-9a-f]{2}|[a-z0-9]){0,4}\"",
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(","))),
                vec((option_name(), inner), 0..4).prop_map(object),
            ]
        })
    }

    fn option_name() -> impl Strategy<Value = String> {
        prop_oneof![
            proptest::sample::select(vec![
                "attempts",
                "backoff",
                "type",
                "delay",
                "jitter",
                "lifo",
                "priority",
                "timestamp",
                "jobId",
                "count",
                "age",
                "removeOnComplete",
                "removeOnFail",
                "limit",
                "kl",
                "stackTraceLimit",
                "timeout",
                "startBy",
                "expiresIn",
                "de",
                "id",
                "fpof",
                "tm",
                "telemetry",
                "metadata",
                "parent",
                "queue",
                "queueKey",
                "repeat",
                "repeatJobKey",
                "prevMillis",
            ])
            .prop_map(str::to_owned),
            "[a-zé ]{0,6}",
        ]
    }

    fn object(members: Vec<(String, String)>) -> String {
        let members: Vec<_> = members.into_iter().map(|(name, value)| format!("{}:{value}", json!(name))).collect();
        format!("{{{}}}", members.join(","))
    }

    prop_compose! {
        fn backoffs()(
            kind in 0..3, name in "[a-z]{1,5}", delay in 0..=MAX_SAFE, jitter in option::of(0.0..=1.0f64),
            max_delay in option::of((0..=MAX_SAFE).prop_map(|ms| ms as f64)),
        ) -> Backoff {
            let backoff = match kind {
                0 => Backoff::fixed(ms(delay)),
                1 => Backoff::exponential(ms(delay)),
                _ => Backoff::custom(name),
            };
            Backoff { jitter, max_delay, ..backoff }
        }
    }

    fn keeps() -> impl Strategy<Value = KeepJobs> {
        let object = (option::of(0..=MAX_SAFE), option::of(0u64..1 << 40), option::of(1..=MAX_SAFE));
        prop_oneof![
            any::<bool>().prop_map(KeepJobs::from),
            (0..=MAX_SAFE).prop_map(KeepJobs::from),
            any::<i32>().prop_map(KeepJobs::from),
            object.prop_map(|(count, age, limit)| KeepJobs {
                count,
                age: age.map(Duration::from_secs),
                limit,
                form: Form::Object
            }),
        ]
    }

    prop_compose! {
        fn all_options()(
            (attempts, backoff) in (option::of(any::<u32>()), option::of(backoffs())),
            (delay, priority, lifo) in (option::of(0u64..1 << 52), option::of(0u32..1 << 21), option::of(any::<bool>())),
            (job_id, timestamp) in (option::of("[a-z\"\\\\é]{1,9}"), option::of(1u64..1 << 52)),
            (remove_on_complete, remove_on_fail) in (option::of(keeps()), option::of(keeps())),
            (keep_logs, size_limit, stack_trace_limit) in (option::of(any::<u32>()), option::of(0usize..9), option::of(any::<u32>())),
            (dedup, parent) in (option::of(any::<String>()), option::of((any::<String>(), any::<String>()))),
            policy in option::of(proptest::sample::select(OnChildFailure::ALL.to_vec())),
            (telemetry_metadata, omit_context) in (option::of("[a-z{}]{1,9}"), option::of(any::<bool>())),
            timeout in option::of(1..=MAX_SAFE),
            (start_by, expires_in) in (option::of(1..=MAX_SAFE), option::of(1..=MAX_SAFE)),
            extra in vec(("x[a-z]{1,3}", any::<i32>()), 0..3),
        ) -> JobOptions {
            let options = JobOptions {
                attempts, backoff, delay: delay.map(ms), run_at: None, priority, lifo, job_id,
                timestamp: timestamp.map(|at| UNIX_EPOCH + ms(at)),
                remove_on_complete, remove_on_fail, keep_logs, size_limit, stack_trace_limit,
                deduplication: dedup.filter(|id| !id.is_empty()).map(Deduplication::new),
                parent: parent.map(|(id, queue)| ParentRef::stored(id, queue)),
                on_child_failure: policy, telemetry_metadata, omit_context, timeout: timeout.map(ms), start_by: start_by.map(|at| UNIX_EPOCH + ms(at)), expires_in: expires_in.map(ms),
                extra: Vec::new(), of_kind: OfKind::default(),
            };
            extra.into_iter().fold(options, |options, (name, value)| options.extra(name, value))
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
    fn float(ms: u64) -> f64 {
        ms as f64
    }

    proptest! {
        #[test]
        fn what_we_write_is_what_we_read(options in all_options()) {
            let json = to_json(&options);
            let value: Value = serde_json::from_str(&json).unwrap();
            prop_assert!(value["attempts"].is_u64());
            for (name, extra) in &options.extra {
                prop_assert_eq!(&value[name], extra);
            }
            let stored = StoredOptions::parse(&json).unwrap();
            prop_assert_eq!(stored.attempts, options.attempts.unwrap_or(0));
            prop_assert_eq!(&stored.backoff, &options.backoff);
            prop_assert_eq!(stored.delay, options.delay.map(millis).map(float));
            prop_assert_eq!(stored.priority, options.priority.map(f64::from));
            prop_assert_eq!(stored.lifo, options.lifo.unwrap_or(false));
            prop_assert_eq!(&stored.job_id, &options.job_id);
            prop_assert_eq!(stored.timestamp, options.timestamp.map(epoch_ms).map(float));
            prop_assert_eq!(stored.remove_on_complete, options.remove_on_complete);
            prop_assert_eq!(stored.remove_on_fail, options.remove_on_fail);
            prop_assert_eq!(stored.keep_logs, options.keep_logs);
            prop_assert_eq!(stored.stack_trace_limit, options.stack_trace_limit);
            prop_assert_eq!(stored.deduplication_id.as_ref(), options.deduplication.as_ref().map(|d| &d.id));
            prop_assert_eq!(&stored.parent, &options.parent);
            prop_assert_eq!(stored.on_child_failure(), options.on_child_failure);
            prop_assert_eq!(&stored.telemetry, &options.telemetry_metadata);
            prop_assert_eq!(stored.omit_context, options.omit_context.unwrap_or(false));
            prop_assert_eq!(stored.timeout, options.timeout);
            prop_assert_eq!(stored.start_by, options.start_by.map(|at| epoch_ms(at) as f64));
            prop_assert_eq!(stored.expires_in, options.expires_in.map(|span| millis(span) as f64));
        }

        #[test]
        fn no_json_makes_the_reader_panic(json in json_value()) {
            let _ = StoredOptions::parse(&json);
            let _ = Parent::parse(&json);
        }

        #[test]
        fn no_text_makes_the_reader_panic(text: String) {
            let _ = StoredOptions::parse(&text);
            let _ = Parent::parse(&text);
        }

        #[test]
        fn an_unknown_option_changes_nothing(members in vec((option_name(), json_value()), 0..4), value in json_value()) {
            let mut more = members.clone();
            more.push(("unheardOf".to_owned(), value));
            prop_assert_eq!(StoredOptions::parse(&object(members)), StoredOptions::parse(&object(more)));
        }
    }
}
