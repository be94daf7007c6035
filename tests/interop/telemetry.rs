//! One trace across Node and Rust, metrics, and the warning about a blocked runtime.

use std::time::Duration;

use oxmq::worker::WorkerEvent;
use oxmq::{Client, ConnectOptions, Halt, Job};
use serde_json::{Value, json};

use crate::common::dump::remove_all;
use crate::common::eventually::DEADLINE;
#[cfg(any(feature = "otel", feature = "metrics"))]
use crate::common::eventually::eventually;
use crate::common::server::{fresh_prefix, shared_server};

async fn client(prefix: &str) -> Client {
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    Client::builder(options).prefix(prefix).connect().await.unwrap()
}

async fn remove_prefix(prefix: &str) {
    remove_all(&mut shared_server().connection().await, prefix).await;
}

/// Fails when its data is `"fail"`.
async fn run(job: Job<Value, ()>) -> Result<(), Halt> {
    if job.data() == &json!("fail") { Err(Halt::failed("told to fail")) } else { Ok(()) }
}

#[tokio::test]
async fn a_processor_that_blocks_the_runtime_is_reported() {
    let prefix = fresh_prefix();
    let client = client(&prefix).await;
    let block = |_: Job<Value, ()>| async {
        // Longer than the period of the watching thread plus a second.
        std::thread::sleep(Duration::from_millis(2_500));
        Ok::<_, Halt>(())
    };
    let worker = client.worker("q", block).lock_duration(Duration::from_secs(4)).start().unwrap();
    let mut events = worker.events();
    client.queue::<Value, ()>("q").open().unwrap().add("n", json!(1)).await.unwrap();
    let told = async {
        loop {
            match events.recv().await {
                Some(WorkerEvent::RuntimeBlocked { at_least }) => break at_least,
                Some(_) => {}
                None => panic!("the worker closed"),
            }
        }
    };
    let at_least = tokio::time::timeout(DEADLINE, told).await.unwrap();
    assert!(at_least >= Duration::from_secs(1));
    assert_eq!(worker.close().await.counts.completed, 1);
    remove_prefix(&prefix).await;
}

#[cfg(feature = "otel")]
mod traces {
    use opentelemetry::trace::{SpanKind, TracerProvider};
    use opentelemetry_sdk::propagation::TraceContextPropagator;
    use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
    use oxmq::{FlowNode, JobOptions, NewJob};
    use redis::AsyncCommands;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;
    use crate::common::node::{BullMq, NodeDriver};

    struct Traced {
        exporter: InMemorySpanExporter,
        _subscriber: tracing::subscriber::DefaultGuard,
    }

    /// Records this thread's spans from here on.
    fn trace() -> Traced {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        // A second subscriber, without which another test's thread can switch off spans for all (`Log::begin` says why).
        crate::common::log::Log::of_connections();
        let exporter = InMemorySpanExporter::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let subscriber = tracing_subscriber::registry().with(layer);
        Traced { exporter, _subscriber: tracing::subscriber::set_default(subscriber) }
    }

    impl Traced {
        fn spans(&self, name: &str) -> Vec<SpanData> {
            let all = self.exporter.get_finished_spans().unwrap();
            all.into_iter().filter(|span| span.name == name).collect()
        }
    }

    fn said<'a>(span: &'a SpanData, key: &str) -> Option<std::borrow::Cow<'a, str>> {
        span.attributes.iter().find(|attribute| attribute.key.as_str() == key).map(|attribute| attribute.value.as_str())
    }

    /// Returns an attribute that must be a number, not a text that looks like one.
    fn number(span: &SpanData, key: &str) -> i64 {
        let attribute = span.attributes.iter().find(|attribute| attribute.key.as_str() == key);
        match attribute.unwrap_or_else(|| panic!("no {key} in {span:?}")).value {
            opentelemetry::Value::I64(number) => number,
            ref other => panic!("{key} is {other:?}"),
        }
    }

    async fn node(prefix: &str) -> NodeDriver {
        let node = NodeDriver::start(BullMq::V6, &shared_server().url(), prefix).await;
        node.call("traceAll", json!({})).await.unwrap();
        node
    }

    async fn node_span(node: &NodeDriver, name: &str) -> Value {
        let spans = node.call("spans", json!({})).await.unwrap();
        let mut found = spans.as_array().unwrap().iter().filter(|span| span["name"] == name);
        found.next().unwrap_or_else(|| panic!("no span {name} in {spans}")).clone()
    }

    #[tokio::test]
    async fn a_trace_goes_from_node_to_rust() {
        let prefix = fresh_prefix();
        let (traced, node) = (trace(), node(&prefix).await);
        let add = |data: &str, opts: Value| {
            node.call("add", json!({ "queue": "q", "name": "send", "data": data, "opts": opts }))
        };
        add("fine", json!({})).await.unwrap();
        let worker = client(&prefix).await.worker("q", run).name("ada").start().unwrap();
        eventually("the job is done", async || !traced.spans("process q").is_empty()).await;
        let produced = node_span(&node, "add q.send").await;
        let consumed = traced.spans("process q").remove(0);
        assert_eq!(consumed.span_context.trace_id().to_string(), produced["traceId"]);
        assert_eq!(consumed.parent_span_id.to_string(), produced["spanId"]);
        assert_eq!(consumed.span_kind, SpanKind::Consumer);
        for (key, value) in [
            ("messaging.system", "bullmq"),
            ("messaging.operation.type", "process"),
            ("messaging.destination.name", "q"),
            ("messaging.message.id", "1"),
            ("bullmq.worker.name", "ada"),
            ("bullmq.job.name", "send"),
            ("oxmq.job.outcome", "completed"),
        ] {
            assert_eq!(said(&consumed, key).as_deref(), Some(value), "{key}");
        }
        assert_eq!(number(&consumed, "bullmq.job.attempts.made"), 0);
        assert_eq!(number(&consumed, "attempt"), 1);
        assert!(number(&consumed, "bullmq.job.processed.timestamp") > 0);
        // A failed attempt stores the context of its span, unless the job opts out.
        add("fail", json!({})).await.unwrap();
        add("fail", json!({ "telemetry": { "omitContext": true } })).await.unwrap();
        eventually("all are done", async || traced.spans("process q").len() == 3).await;
        worker.close().await;
        let failed = traced.spans("process q").remove(1);
        assert!(matches!(failed.status, opentelemetry::trace::Status::Error { .. }), "{:?}", failed.status);
        let mut redis = shared_server().connection().await;
        let left: Vec<Option<String>> = vec![
            redis.hget(format!("{prefix}:q:2"), "tm").await.unwrap(),
            redis.hget(format!("{prefix}:q:3"), "tm").await.unwrap(),
        ];
        assert!(left[0].as_ref().unwrap().contains(&failed.span_context.span_id().to_string()), "{left:?}");
        assert_eq!(left[1], None);
        remove_prefix(&prefix).await;
    }

    #[tokio::test]
    async fn a_trace_goes_from_rust_to_node() {
        let prefix = fresh_prefix();
        let (traced, node) = (trace(), node(&prefix).await);
        let queue = client(&prefix).await.queue::<Value, Value>("q").open().unwrap();
        let work = tracing::info_span!("work");
        tracing::Instrument::instrument(async { queue.add("send", json!(1)).await.unwrap() }, work).await;
        let behaviour = json!({ "queue": "q", "behaviour": "complete" });
        node.call("startWorker", behaviour).await.unwrap();
        eventually("the job is done", async || {
            let spans = node.call("spans", json!({})).await.unwrap();
            spans.as_array().unwrap().iter().any(|span| span["name"] == "process q")
        })
        .await;
        let produced = traced.spans("add q.send").remove(0);
        let consumed = node_span(&node, "process q").await;
        assert_eq!(consumed["traceId"], produced.span_context.trace_id().to_string());
        assert_eq!(consumed["parent"], produced.span_context.span_id().to_string());
        let outer = traced.spans("work").remove(0);
        assert_eq!(produced.parent_span_id, outer.span_context.span_id());
        assert_eq!(said(&produced, "messaging.message.id").as_deref(), Some("1"));
        node.call("stopWorker", json!({ "queue": "q" })).await.unwrap();
        remove_prefix(&prefix).await;
    }

    /// The span of the add, and what each job of the flow stores; Node's worker continues the trace.
    #[tokio::test]
    async fn a_flow_is_part_of_one_trace() {
        const MINE: &str = r#"{"traceparent":"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}"#;
        let prefix = fresh_prefix();
        let (traced, node) = (trace(), node(&prefix).await);
        let client = client(&prefix).await;
        let mine = JobOptions::default().telemetry_metadata(MINE);
        let silent = JobOptions::default().omit_context(true);
        let flow = FlowNode::new("q", "root", 1)
            .child(FlowNode::new("parts", "plain", 1).child(FlowNode::new("parts", "deep", 1)));
        let flow = flow.child(FlowNode::new("parts", "mine", 1).options(mine));
        let flow = flow.child(FlowNode::new("parts", "silent", 1).options(silent));
        let added = client.flow_producer().add(flow).await.unwrap();
        let produced = traced.spans("addFlow q").remove(0);
        assert_eq!(produced.span_kind, SpanKind::Producer);
        for (key, value) in [
            ("messaging.system", "bullmq"),
            ("messaging.operation.name", "addFlow"),
            ("messaging.destination.name", "q"),
            ("bullmq.flow.name", "root"),
            ("bullmq.job.id", added.id()),
        ] {
            assert_eq!(said(&produced, key).as_deref(), Some(value), "{key}");
        }
        let mut redis = shared_server().connection().await;
        let mut carried = std::collections::BTreeMap::new();
        let mut open = vec![&added];
        while let Some(node) = open.pop() {
            let opts: String =
                redis.hget(format!("{prefix}:{}:{}", node.queue_name(), node.id()), "opts").await.unwrap();
            let opts: Value = serde_json::from_str(&opts).unwrap();
            carried.insert(node.name().to_owned(), opts["tm"].as_str().map(str::to_owned));
            open.extend(node.children());
        }
        let span = produced.span_context.span_id().to_string();
        for (name, carries) in carried {
            match &*name {
                "mine" => assert_eq!(carries.as_deref(), Some(MINE)),
                "silent" => assert_eq!(carries, None),
                _ => assert!(carries.as_ref().is_some_and(|trace| trace.contains(&span)), "{name}: {carries:?}"),
            }
        }
        node.call("startWorker", json!({ "queue": "parts", "behaviour": "complete" })).await.unwrap();
        eventually("a child is done", async || {
            let spans = node.call("spans", json!({})).await.unwrap();
            spans
                .as_array()
                .unwrap()
                .iter()
                .any(|span| span["name"] == "process parts" && span["parent"] == span_of(&produced))
        })
        .await;
        node.call("stopWorker", json!({ "queue": "parts" })).await.unwrap();

        client.flow_producer().add_bulk([FlowNode::new("q", "a", 1), FlowNode::new("q", "b", 1)]).await.unwrap();
        let bulk = traced.spans("addBulkFlows").remove(0);
        assert_eq!(number(&bulk, "bullmq.job.bulk.count"), 2);
        remove_prefix(&prefix).await;
    }

    fn span_of(span: &SpanData) -> String {
        span.span_context.span_id().to_string()
    }

    #[tokio::test]
    async fn numbers_in_traces_are_numbers() {
        let prefix = fresh_prefix();
        let traced = trace();
        let queue = client(&prefix).await.queue::<Value, Value>("q").open().unwrap();
        queue.add_bulk((0..3).map(|n| NewJob::new("n", json!(n)))).await.unwrap();
        let bulk = traced.spans("addBulk q").remove(0);
        assert_eq!(bulk.span_kind, SpanKind::Producer);
        for key in ["messaging.batch.message_count", "bullmq.job.bulk.count", "jobs"] {
            assert_eq!(number(&bulk, key), 3, "{key}");
        }
        remove_prefix(&prefix).await;
    }

    /// What both sides store for each way in which a caller can set telemetry options.
    #[tokio::test]
    async fn trace_options_are_stored_as_by_node() {
        let prefix = fresh_prefix();
        let (_traced, node) = (trace(), node(&prefix).await);
        let queue = client(&prefix).await.queue::<Value, Value>("ours").open().unwrap();
        let says = [
            json!({}),
            json!({ "telemetry": { "metadata": "x" } }),
            json!({ "telemetry": { "omitContext": true } }),
            json!({ "telemetry": { "omitContext": false } }),
            json!({ "telemetry": { "omitContext": true, "metadata": "x" } }),
        ];
        let options = |say: &Value| {
            let mut options = JobOptions::default();
            if let Some(metadata) = say.pointer("/telemetry/metadata") {
                options = options.telemetry_metadata(metadata.as_str().unwrap());
            }
            if let Some(omit) = say.pointer("/telemetry/omitContext") {
                options = options.omit_context(omit.as_bool().unwrap());
            }
            options
        };
        for say in &says {
            let args = json!({ "queue": "theirs", "name": "n", "data": 1, "opts": say });
            node.call("add", args).await.unwrap();
            queue.add("n", json!(1)).options(options(say)).await.unwrap();
        }
        let jobs: Vec<Value> = says.iter().map(|say| json!({ "name": "n", "data": 1, "opts": say })).collect();
        node.call("addBulk", json!({ "queue": "theirs", "jobs": jobs })).await.unwrap();
        queue.add_bulk(says.iter().map(|say| NewJob::new("n", json!(1)).options(options(say)))).await.unwrap();
        let mut redis = shared_server().connection().await;
        for id in 1..=10 {
            let mut stored = Vec::new();
            for side in ["theirs", "ours"] {
                let opts: String = redis.hget(format!("{prefix}:{side}:{id}"), "opts").await.unwrap();
                let opts: Value = serde_json::from_str(&opts).unwrap();
                let tm = match &opts["tm"] {
                    Value::String(tm) if tm.contains("traceparent") => json!("a trace"),
                    // Node's way of saying that there is none.
                    Value::Bool(false) => Value::Null,
                    other => other.clone(),
                };
                stored.push((tm, opts["omc"].clone()));
            }
            assert_eq!(stored[0], stored[1], "job {id}");
        }
        remove_prefix(&prefix).await;
    }
}

#[cfg(feature = "metrics")]
#[tokio::test]
async fn metrics_count_what_a_worker_does() {
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().expect("the only recorder of this process");
    let prefix = fresh_prefix();
    let client = client(&prefix).await;
    let queue = client.queue::<Value, ()>("counted").open().unwrap();
    let adds = (0..20).map(|i| queue.add("n", if i % 10 == 0 { json!("fail") } else { json!(i) }).into_future());
    futures::future::try_join_all(adds).await.unwrap();
    let worker = client.worker("counted", run).concurrency(8).start().unwrap();
    eventually("all are done", async || worker.counts().completed + worker.counts().failed == 20).await;
    worker.close().await;
    let (mut counters, mut histograms) = (Vec::new(), Vec::new());
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let (_, key) = key.into_parts();
        if !key.labels().any(|label| label.value() == "counted") {
            continue;
        }
        let outcome = key.labels().find(|label| label.key() == "outcome").map_or("", |label| label.value()).to_owned();
        match value {
            DebugValue::Counter(n) if n > 0 => counters.push((key.name().to_owned(), outcome, n)),
            DebugValue::Histogram(values) if !values.is_empty() => {
                let sum: f64 = values.iter().map(|value| value.0).sum();
                histograms.push((key.name().to_owned(), values.len(), sum));
            }
            _ => {}
        }
    }
    counters.sort();
    let total = "oxmq_jobs_total".to_owned();
    assert_eq!(counters, [(total.clone(), "completed".to_owned(), 18), (total, "failed".to_owned(), 2)]);
    // Exporters write these as `# HELP` and `# UNIT`, which BullMQ's text for Prometheus has too.
    for (key, unit, description, _) in snapshotter.snapshot().into_vec() {
        let name = key.key().name();
        assert!(!name.starts_with("oxmq_") || description.is_some(), "{name} has no description");
        let expected =
            if name.ends_with("_seconds") { Some(metrics::Unit::Seconds) } else { Some(metrics::Unit::Count) };
        assert!(!name.starts_with("oxmq_") || unit == expected, "{name}: {unit:?}");
    }
    let of =
        |name: &str| histograms.iter().find(|(of, ..)| of == name).unwrap_or_else(|| panic!("{name}: {histograms:?}"));
    let counts = queue.record_job_counts_metric(&[]).await.unwrap();
    assert_eq!((counts.get(oxmq::JobState::Completed), counts.get(oxmq::JobState::Failed)), (18, 2));
    let mut gauges = Vec::new();
    for (key, _, _, value) in snapshotter.snapshot().into_vec() {
        let (_, key) = key.into_parts();
        let state = key.labels().find(|label| label.key() == "state").map_or("", |label| label.value()).to_owned();
        let is_ours = key.labels().any(|label| label.value() == "counted");
        if let DebugValue::Gauge(jobs) = value
            && is_ours
            && jobs.0 > 0.0
        {
            gauges.push((key.name().to_owned(), state, jobs.0));
        }
    }
    gauges.sort_by(|one, other| one.1.cmp(&other.1));
    let name = "oxmq_queue_jobs".to_owned();
    assert_eq!(gauges, [(name.clone(), "completed".to_owned(), 18.0), (name, "failed".to_owned(), 2.0)]);
    assert_eq!((of("oxmq_job_wait_seconds").1, of("oxmq_job_run_seconds").1), (20, 20));
    for name in ["oxmq_add_batch_jobs", "oxmq_settle_batch_jobs", "oxmq_take_batch_jobs"] {
        assert!((of(name).2 - 20.0).abs() < 0.1 && of(name).1 < 20, "{:?}", of(name));
    }
    remove_prefix(&prefix).await;
}
