//! Tests of reading and writing stored jobs.

use std::collections::BTreeMap;

use proptest::option;
use proptest::prelude::*;
use serde_json::Value;

use super::super::corpus;
use super::*;

/// Returns the hash of this job, with the fields that are set.
fn pairs(job: &RawJob) -> Vec<Pair> {
    let mut pairs = Vec::new();
    let mut put = |field: &str, value: Option<String>| {
        if let Some(value) = value {
            pairs.push((field.into(), value.into()));
        }
    };
    let above_zero = |count: u32| (count > 0).then(|| count.to_string());
    let text = |value: Option<&str>| value.map(str::to_owned);
    put("name", Some(job.name().to_owned()));
    put("data", Some(job.data().to_owned()));
    put("opts", Some(job.opts_text().to_owned()));
    put("timestamp", job.timestamp.map(|ms| ms.to_string()));
    put("delay", Some(job.delay.to_string()));
    put("priority", Some(job.priority.to_string()));
    put("processedOn", job.processed_on.map(|ms| ms.to_string()));
    put("ats", above_zero(job.attempts_started));
    put("atm", above_zero(job.attempts_made));
    put("stc", above_zero(job.stalled_counter()));
    put("finishedOn", job.finished_on().map(|ms| ms.to_string()));
    put("parentKey", text(job.parent_key()));
    put("parent", text(job.parent_text()));
    put("rjk", text(job.repeat_job_key()));
    put("deid", job.more().deduplication_id.clone());
    put("progress", job.more().progress.clone());
    put("returnvalue", text(job.return_value()));
    put("failedReason", text(job.failed_reason()));
    put("stacktrace", text(job.stacktrace_text()));
    put("defa", text(job.deferred_failure()));
    put("pb", text(job.processed_by()));
    put("tm", text(job.failure_telemetry()));
    pairs.extend_from_slice(job.unknown());
    pairs
}

fn owned(fields: &[(&str, &str)]) -> Vec<Pair> {
    fields.iter().map(|(field, value)| ((*field).into(), (*value).into())).collect()
}

fn decode(fields: &[(&str, &str)]) -> RawJob {
    RawJob::from_pairs(b"7".to_vec(), owned(fields)).unwrap()
}

/// Reads a job as a fetch returns it: id, name, moment and options, and the data.
fn read_fresh(texts: [&[u8]; 4], data: &[u8]) -> Result<RawJob, Undecodable> {
    let lengths = texts.iter().rev().fold(0, |lengths, text| lengths * 256 + text.len() as u64);
    match Fresh::read([&texts.concat(), data].concat(), lengths, None, None).unwrap() {
        Ok(fresh) => RawJob::fresh(fresh),
        Err(Garbled { id, fields }) => RawJob::from_pairs(id, fields),
    }
}

fn parts(name: &[u8], data: &[u8], opts: &[u8], rest: Vec<Pair>) -> Result<RawJob, Undecodable> {
    let (id, timestamp) = (b"7".to_vec(), b"1700000000000");
    if rest.is_empty() {
        return read_fresh([b"7", name, timestamp, opts], data);
    }
    let six = [("name", name), ("data", data), ("opts", opts), ("timestamp", timestamp), ("delay", b"0")];
    let six = six.map(|(field, value)| (field.into(), value.into()));
    RawJob::from_pairs(id, six.into_iter().chain(rest).collect())
}

#[test]
fn real_jobs_lose_nothing() {
    let (mut count, mut fresh) = (0, 0);
    for release in corpus::load() {
        for hash in &release.jobs {
            let at = format!("{} {}", release.version, hash.key);
            let job = RawJob::from_pairs(hash.id().into(), hash.pairs()).unwrap_or_else(|bad| panic!("{at}: {bad:?}"));
            let again: BTreeMap<_, _> = pairs(&job)
                .into_iter()
                .map(|(field, value)| (String::from_utf8(field).unwrap(), String::from_utf8(value).unwrap()))
                .collect();
            for (field, value) in &hash.fields {
                let found = again.get(field).unwrap_or_else(|| panic!("{at}: {field} is lost"));
                // Node cuts fractions off too.
                let value = match &**field {
                    "timestamp" | "delay" => value.split('.').next().unwrap(),
                    _ => value,
                };
                assert_eq!(found, value, "{at}: {field}");
            }
            let known = |pair: &Pair| matches!(&*pair.0, b"nrjid" | b"stalledCounter");
            assert!(job.unknown().iter().all(known), "{at}: {:?}", job.unknown());

            let fields = |name: &str| hash.fields.get(name).cloned().unwrap_or_default().into_bytes();
            let six = ["name", "data", "opts", "timestamp", "delay", "priority"];
            if hash.fields.len() == six.len() && fields("delay") == b"0" {
                let (name, data, opts) = (fields("name"), fields("data"), fields("opts"));
                let moment = [fields("timestamp"), fields("priority")].join(&b' ');
                let same = read_fresh([hash.id().as_bytes(), &name, &moment, &opts], &data);
                assert_eq!(same.unwrap(), job, "{at}");
                fresh += 1;
            }

            if job.stacktrace_text().is_some_and(|text| text != "[]") {
                assert!(!job.stacktrace().is_empty(), "{at}");
            }
            assert_eq!(job.parent().is_some(), job.parent_key().is_some(), "{at}");
            if let (Some(parent), Some(key)) = (job.parent(), job.parent_key()) {
                assert_eq!(format!("{}:{}", parent.queue_key, parent.id), key, "{at}");
                assert_eq!(Parent::from_key(key).unwrap().queue_key, parent.queue_key, "{at}");
            }
            count += 1;
        }
    }
    assert!(count > 500 && fresh > 20, "{count}, {fresh} of them fresh");
}

#[test]
fn real_options_are_understood() {
    for release in corpus::load() {
        for hash in &release.jobs {
            let at = format!("{} {}", release.version, hash.key);
            let job = RawJob::from_pairs(hash.id().into(), hash.pairs()).unwrap();
            let opts: Value = serde_json::from_str(job.opts_text()).unwrap();
            let options = &job.options;
            for (name, value) in opts.as_object().unwrap() {
                let seen = match &**name {
                    "attempts" => {
                        value.as_str().is_some()
                            || value.as_f64() <= Some(f64::from(options.attempts))
                            || options.attempts == u32::MAX
                    }
                    "backoff" => options.backoff.is_some(),
                    "delay" => options.delay.is_some(),
                    "priority" => options.priority == value.as_f64(),
                    "timestamp" => options.timestamp == value.as_f64(),
                    "prevMillis" => options.prev_millis == value.as_f64(),
                    "lifo" => Some(options.lifo) == value.as_bool(),
                    "jobId" => {
                        options.job_id.as_deref() == value.as_str() && options.job_id.as_deref() == Some(job.id())
                    }
                    "removeOnComplete" => options.remove_on_complete.is_some(),
                    "removeOnFail" => options.remove_on_fail.is_some(),
                    "kl" => options.keep_logs.map(u64::from) == value.as_u64(),
                    "stackTraceLimit" => options.stack_trace_limit.map(u64::from) == value.as_u64(),
                    "de" => {
                        options.deduplication_id.is_some()
                            && options.deduplication_id.as_deref() == job.deduplication_id()
                    }
                    "fpof" | "cpof" | "idof" | "rdof" => {
                        options.on_child_failure().is_some() == value.as_bool().unwrap()
                    }
                    "tm" => options.telemetry.as_deref() == value.as_str(),
                    "omc" => Some(options.omit_context) == value.as_bool(),
                    "parent" => {
                        options.parent.as_ref().map(crate::options::ParentRef::key).as_deref() == job.parent_key()
                    }
                    "repeat" => options.repeat.is_some(),
                    "repeatJobKey" => options.repeat_job_key.as_deref() == job.repeat_job_key(),
                    "timeout" => options.timeout.is_some(),
                    // 5.12 stores options that it does not know under their long names.
                    "deduplication" => options.deduplication_id.is_some(),
                    "telemetry" => options.telemetry.is_some() || options.omit_context,
                    "sizeLimit" | "mine" | "note" => true,
                    _ => false,
                };
                assert!(seen, "{at}: {name}: {value} {options:?}");
            }
            if job.name() == "child" && job.data().contains("OnFailure") {
                assert!(job.on_child_failure().is_some(), "{at}");
            }
        }
    }
}

#[test]
fn a_fresh_job_is_small() {
    let job = parts(b"n", b"{}", br#"{"attempts":0}"#, Vec::new()).unwrap();
    assert!(job.rest.is_none());
    assert!(size_of::<RawJob>() <= 176, "{}", size_of::<RawJob>());
    assert!(size_of::<Undecodable>() <= 88, "{}", size_of::<Undecodable>());
    let added = RawJob::added(
        "7".into(),
        "n".into(),
        "{}".into(),
        r#"{"attempts":0}"#.into(),
        StoredOptions::default(),
        1_700_000_000_000,
        0,
        0,
    );
    assert_eq!(added, job);
}

#[test]
fn data_is_kept_byte_for_byte() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for data in [r#"{"a":"\ud800"}"#, "123456789012345678901234567890", &deep, " [ 1.0 ] ", "not json", "{\"a\":1e999}"]
    {
        assert_eq!(parts(b"n", data.as_bytes(), b"", Vec::new()).unwrap().data(), data);
        assert_eq!(decode(&[("name", "n"), ("data", data)]).data(), data);
    }
    assert_eq!(parts(b"n", b"", b"", Vec::new()).unwrap().data(), "{}");
    assert_eq!(decode(&[("name", "n")]).data(), "{}");
}

#[test]
fn what_is_missing_has_nodes_default() {
    let job = decode(&[("name", "n")]);
    assert_eq!((job.timestamp, job.delay, job.priority, job.attempts_made), (None, 0, 0, 0));
    assert_eq!((job.progress(), job.return_value(), job.stacktrace()), (None, None, Vec::<String>::new()));
    assert_eq!((job.opts_text(), &job.options), ("", &StoredOptions::default()));
}

#[test]
fn numbers_tolerate_what_lua_prints() {
    for (text, meant) in [
        ("5", Some(5)),
        ("-5", Some(-5)),
        ("0.5", Some(0)),
        ("-0.5", Some(0)),
        ("1e+14", Some(100_000_000_000_000)),
        ("5e15", Some(5_000_000_000_000_000)),
        ("1e300", Some(i64::MAX)),
        ("nan", None),
        ("-nan", None),
        ("", None),
        ("soon", None),
    ] {
        assert_eq!(number(text.as_bytes()), meant, "{text}");
    }
    assert_eq!((counter(b"-3"), counter(b"1e300"), counter(b"x")), (0, u32::MAX, 0));
}

#[test]
fn the_old_counter_of_attempts_wins() {
    assert_eq!(decode(&[("name", "n"), ("attemptsMade", "4"), ("atm", "1")]).attempts_made, 4);
    assert_eq!(decode(&[("name", "n"), ("stalledCounter", "4")]).stalled_counter(), 0);
}

#[test]
fn a_parent_is_found_by_its_key_alone() {
    let job = decode(&[("name", "n"), ("parentKey", "a:b:q:7"), ("opts", r#"{"idof":true}"#)]);
    assert_eq!(job.parent().map(|parent| (&*parent.queue_key, &*parent.id)), Some(("a:b:q", "7")));
    assert_eq!(job.on_child_failure(), Some(OnChildFailure::IgnoreDependency));
}

#[test]
fn stack_traces_that_are_none() {
    for (text, traces) in [("", 0), ("{}", 0), ("null", 0), ("[]", 0), ("oops", 0), (r#"["a","\ud800",null]"#, 3)] {
        assert_eq!(decode(&[("name", "n"), ("stacktrace", text)]).stacktrace().len(), traces, "{text}");
    }
}

#[test]
fn a_ghost_is_told_apart() {
    let ghost = RawJob::from_pairs(b"7".to_vec(), owned(&[("processedOn", "5"), ("ats", "1")])).unwrap_err();
    assert_eq!((ghost.kind, ghost.id_bytes.as_slice()), (UndecodableKind::Ghost, &b"7"[..]));
    assert_eq!(ghost.partial.attempts_started, 1);
    assert!(RawJob::from_pairs(b"7".to_vec(), owned(&[("name", "")])).is_ok());
    assert!(RawJob::from_pairs(b"7".to_vec(), owned(&[("data", "1")])).is_ok());
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_there() {
    let rest = || owned(&[("atm", "2"), ("parentKey", "bull:q:1"), ("mine", "x")]);
    for (field, outcome) in [
        ("name", parts(b"\xff", b"{}", br#"{"attempts":3}"#, rest())),
        ("data", parts(b"n", b"\xff", br#"{"attempts":3}"#, rest())),
        ("opts", parts(b"n", b"{}", b"\xff", rest())),
        ("opts", parts(b"n", b"{}", br#"{"attempts":{}}"#, rest())),
        ("opts", parts(b"n", b"{}", b"oops", rest())),
        ("parent", parts(b"n", b"{}", b"", [rest(), owned(&[("parent", "{}")])].concat())),
        ("rjk", parts(b"n", b"{}", b"", [rest(), vec![(b"rjk".to_vec(), b"\xff".to_vec())]].concat())),
    ] {
        let bad = outcome.unwrap_err();
        assert_eq!((bad.kind, bad.field), (UndecodableKind::Field, field));
        assert_eq!((bad.id(), bad.id_bytes.as_slice()), ("7", &b"7"[..]));
        assert_eq!(bad.partial.attempts_made, 2, "{field}");
        assert_eq!(bad.partial.parent().map(|parent| &*parent.id), Some("1"), "{field}");
        assert!(matches!(Error::from(bad), Error::Undecodable { field: named, .. } if named == field));
    }
    let bad = RawJob::from_pairs(b"\xff7".to_vec(), owned(&[("name", "n")])).unwrap_err();
    assert_eq!((bad.field, bad.id_bytes.as_slice()), ("id", &b"\xff7"[..]));
}

#[test]
fn what_only_people_read_may_be_broken() {
    let broken = |field: &str| vec![(field.into(), b"x\xff".to_vec())];
    for field in ["failedReason", "stacktrace", "pb", "tm", "unheardOf"] {
        assert!(parts(b"n", b"{}", b"", broken(field)).is_ok(), "{field}");
    }
}

proptest! {
    #[test]
    fn a_job_goes_there_and_back(
        (name, data) in (any::<String>(), ".{1,9}"),
        (timestamp, delay, priority) in (option::of(any::<i64>()), any::<i64>(), any::<i64>()),
        (ats, atm, stc) in (0u32.., 0u32.., 0u32..),
        texts in proptest::collection::vec(option::of(".{1,9}"), 8),
        unknown in proptest::collection::vec(("x[a-z]{0,3}", any::<Vec<u8>>()), 0..3),
    ) {
        let mut fields = vec![
            ("name", Some(name)), ("data", Some(data)), ("opts", Some(r#"{"attempts":3}"#.to_owned())),
            ("timestamp", timestamp.map(|ms| ms.to_string())), ("delay", Some(delay.to_string())),
            ("priority", Some(priority.to_string())), ("ats", Some(ats.to_string())), ("atm", Some(atm.to_string())),
            ("stc", Some(stc.to_string())),
        ];
        fields.extend(["rjk", "deid", "progress", "returnvalue", "failedReason", "stacktrace", "defa", "pb"].into_iter().zip(texts));
        let mut hash: Vec<Pair> =
            fields.into_iter().filter_map(|(field, value)| Some((field.into(), value?.into_bytes()))).collect();
        hash.extend(unknown.into_iter().map(|(field, value)| (field.into_bytes(), value)));
        let job = RawJob::from_pairs(b"7".to_vec(), hash).unwrap();
        prop_assert_eq!(RawJob::from_pairs(b"7".to_vec(), pairs(&job)).unwrap(), job);
    }

    #[test]
    fn no_hash_makes_the_reader_panic(
        id: Vec<u8>,
        hash in proptest::collection::vec((proptest::sample::select(vec![
            "name", "data", "opts", "timestamp", "delay", "priority", "ats", "atm", "parent", "parentKey", "stacktrace", "x",
        ]), any::<Vec<u8>>()), 0..9),
    ) {
        let hash = hash.into_iter().map(|(field, value)| (field.into(), value)).collect();
        match RawJob::from_pairs(id, hash) {
            Ok(job) => _ = job.stacktrace(),
            Err(bad) => _ = Error::from(bad).to_string(),
        }
    }
}
