//! What an operator finds in the log, and what listeners hear of failures.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use oxmq::error::FailureKind;
use oxmq::worker::WorkerEvent;
use oxmq::{Backoff, Halt, Job, JobState, Partitioned, Router, Worker};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::common::check::check;
use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, PATIENCE, listen};
use crate::common::log::Log;
use crate::common::server::lone_server;

#[tokio::test]
async fn a_failed_attempt_is_a_warning_and_the_last_one_an_error() {
    let log = Log::begin();
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|_: Job<Value, ()>| async {
            let refused = std::io::Error::other("refused");
            Err::<(), _>(anyhow::Error::from(refused).context("sending"))
        })
        .name("ada")
        .start()
        .unwrap();
    let backoff = Backoff::fixed(Duration::from_millis(5));
    let id = fixture.queue.add("mail", json!("s3cret")).attempts(3).backoff(backoff).await.unwrap().id().to_owned();
    fixture.until(JobState::Failed, 1).await;
    let of_job = |attempt: u32| {
        format!(r#"queue="q" id="{id}" name="mail" attempt={attempt} of=3 kind="Error" error="sending: refused""#)
    };
    let expected = vec![
        format!("WARN oxmq::job: attempt failed {} next_try=5ms", of_job(1)),
        format!("WARN oxmq::job: attempt failed {} next_try=5ms", of_job(2)),
        format!("ERROR oxmq::job: job failed {}", of_job(3)),
    ];
    assert_eq!(log.with("oxmq::job: "), expected);
    assert_eq!(log.with("started"), [r#"INFO oxmq::worker: worker started queue="q" name="ada" concurrency=1"#]);
    worker.close().await;
    let closed = "INFO oxmq::worker: worker closed queue=\"q\" name=\"ada\" completed=0 failed=1 retried=2 moved=0 \
                  handed_back=0 abandoned=0 lost=0";
    assert_eq!(log.with("closed"), [closed]);
    assert!(log.with("s3cret").is_empty(), "{:?}", log.lines());
    check(&fixture, &[id]).await;
}

/// In the log a worker that was dropped by mistake looks different from one that was closed.
#[tokio::test]
async fn a_dropped_worker_says_so() {
    let log = Log::begin();
    // On a cluster partitions are refused under the prefix of a fixture, which has a hash tag.
    let fixture = Fixture::on(lone_server()).await;
    let process = async |_: Job<Value, ()>| Ok::<_, Halt>(());
    let worker = fixture.worker(process).start().unwrap();
    let ended = worker.finished();
    drop(worker);
    ended.await;
    let mails: Partitioned<Value, ()> = fixture.client.partitioned("mails", 2).open().await.unwrap();
    drop(mails.worker(process).start().unwrap());
    mails.worker(process).start().unwrap().close().await;
    let closed = log.with("worker closed");
    assert_eq!(closed.len(), 3, "{closed:?}");
    let expected = [("q", true), ("mails", true), ("mails", false)];
    for (line, (queue, is_dropped)) in closed.iter().zip(expected) {
        assert!(line.contains(&format!("queue=\"{queue}\" ")), "{line}");
        assert_eq!(line.ends_with("lost=0 dropped=true"), is_dropped, "{line}");
    }
}

/// Jobs that vanish while they run are lost in great numbers: as a queue is obliterated, or a server has lost its data.
#[tokio::test]
async fn jobs_that_are_lost_together_are_one_line_that_names_the_worker() {
    const JOBS: usize = 40;
    let log = Log::begin();
    let fixture = Fixture::new().await;
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let processor = move |_: Job<Value, ()>| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await?.forget();
            Ok::<_, Halt>(())
        }
    };
    let worker = fixture.worker(processor).name("ada").concurrency(JOBS).start().unwrap();
    let heard = listen(&worker);
    fixture.add_many(JOBS).await;
    fixture.until(JobState::Active, JOBS).await;
    fixture.queue.obliterate_by_force().await.unwrap();
    gate.add_permits(JOBS);
    eventually("each is reported", || async { heard.errors().len() == JOBS }).await;
    let lines = log.with("the job does not exist");
    let jobs = |line: &str| {
        let of = r#"WARN oxmq::worker::event: worker queue="q" name="ada" "#;
        let rest = line.strip_prefix(of).unwrap_or_else(|| panic!("{line}"));
        let many = rest.strip_prefix("jobs=").and_then(|rest| rest.split(' ').next()?.parse().ok());
        many.unwrap_or(1)
    };
    assert_eq!(lines.iter().map(|line| jobs(line)).sum::<usize>(), JOBS, "{lines:?}");
    assert!(lines.len() <= JOBS / 4, "{lines:?}");
    assert_eq!(worker.close().await.lost.len(), JOBS);
}

/// Node takes ids with line breaks and escape sequences.
#[tokio::test]
async fn an_id_of_somebody_else_makes_no_lines_of_its_own() {
    let log = Log::begin();
    let mut fixture = Fixture::new().await;
    let id = "1\nERROR all is lost\u{1b}[31m";
    for suffix in ["stalled", "active"] {
        let add = if suffix == "active" { "LPUSH" } else { "SADD" };
        let key = fixture.key(suffix);
        redis::cmd(add).arg(key).arg(id).query_async::<()>(&mut fixture.redis).await.unwrap();
    }
    let (key, opts) = (fixture.key(id), "{}");
    let fields = ["name", "job", "data", "1", "opts", opts, "timestamp", "1", "delay", "0", "priority", "0"];
    redis::cmd("HSET").arg(key).arg(&fields).query_async::<()>(&mut fixture.redis).await.unwrap();
    let worker = fixture.worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) }).start().unwrap();
    fixture.until(JobState::Completed, 1).await;
    eventually("the log tells", || async { !log.with("a stalled job was put back").is_empty() }).await;
    assert!(log.with("all is lost")[0].contains(r#"job_id="1\nERROR all is lost\u{1b}[31m""#), "{:?}", log.lines());
    assert!(!log.lines().iter().any(|line| line.starts_with("ERROR all is lost")), "{:?}", log.lines());
    worker.close().await;
}

#[derive(Debug, thiserror::Error)]
#[error("try again in {0} s")]
struct Busy(u32);

#[tokio::test]
async fn listeners_hear_which_attempt_of_which_job_failed_and_get_its_error() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker(|_: Job<Value, ()>| async { Err::<(), _>(Halt::from(Busy(40))) }).start().unwrap();
    let heard = listen(&worker);
    let id = fixture.queue.add("mail", json!("s3cret")).attempts(2).await.unwrap().id().to_owned();
    heard.until("the last failure", |event| matches!(event, WorkerEvent::Failed { will_retry: false, .. })).await;
    let events = heard.events();
    let failed: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            WorkerEvent::Failed { job_id, name, attempt, kind, error, failed_reason, will_retry, .. } => {
                let wait = error.downcast_ref::<Busy>().unwrap().0;
                Some((job_id.as_str(), name.as_str(), *attempt, *kind, wait, failed_reason.as_str(), *will_retry))
            }
            _ => None,
        })
        .collect();
    let (kind, reason) = (FailureKind::Error, "try again in 40 s");
    assert_eq!(failed, [(&*id, "mail", 1, kind, 40, reason, true), (&*id, "mail", 2, kind, 40, reason, false)]);
    assert!(!format!("{events:?}").contains("s3cret"));
    worker.close().await;
}

#[tokio::test]
async fn the_health_of_a_worker_says_what_runs_and_whether_the_loop_has_its_turn() {
    let fixture = Fixture::new().await;
    let (go_on, gate) = std::sync::mpsc::channel();
    let gate = Arc::new(Mutex::new(gate));
    // The only thread of this runtime will compute, while the test itself goes on checking.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let entered = runtime.enter();
    let worker = fixture
        .worker(move |_: Job<Value, ()>| {
            let gate = Arc::clone(&gate);
            async move {
                gate.lock().unwrap().recv().unwrap();
                Ok::<_, Halt>(())
            }
        })
        .lock_duration(Duration::from_secs(4))
        .start()
        .unwrap();
    drop(entered);
    eventually("a fetch", || async { worker.health().last_fetch.is_some() }).await;
    let health = worker.health();
    assert!(health.connected && !health.blocked && health.running == 0, "{health:?}");
    fixture.add(json!(1)).await;
    eventually("a blocked loop", || async { worker.health().blocked }).await;
    assert_eq!(worker.health().running, 1);
    go_on.send(()).unwrap();
    let is_well = || async { worker.health().running == 0 && !worker.health().blocked };
    eventually("a worker with nothing to do", is_well).await;
    worker.close().await;
    runtime.shutdown_background();
}

#[tokio::test]
async fn a_log_line_of_a_processor_says_which_job_and_no_more() {
    let log = Log::begin();
    let fixture = Fixture::new().await;
    let worker = fixture
        .worker(|_: Job<Value, ()>| async {
            tracing::info!(target: "app", "sending");
            Ok::<_, Halt>(())
        })
        .start()
        .unwrap();
    let id = fixture.queue.add("mail", json!("s3cret")).await.unwrap().id().to_owned();
    let lines = log.until(1, "sending").await;
    let span = if cfg!(feature = "otel") { r#" otel.kind="consumer""# } else { "" };
    assert_eq!(lines, [format!(r#"INFO job{{queue="q" id="{id}" name="mail" attempt=1{span}}}: app: sending"#)]);
    worker.close().await;
}

/// Returns the stored stack traces of jobs, of which each fails in another way.
#[tokio::test]
async fn stack_traces_name_their_class_and_the_place_of_a_panic() {
    let log = Log::begin();
    let fixture = Fixture::new().await;
    let router = Router::new()
        .on("unrecoverable", async |_: Job<Value, ()>| Err::<(), _>(Halt::unrecoverable("no such customer")))
        .on("timeout", async |_: Job<Value, ()>| -> Result<(), Halt> { std::future::pending().await })
        .on("panic", async |_: Job<Value, ()>| -> Result<(), Halt> { panic!("a width of zero") })
        .on("shape", async |_: Job<u32, ()>| Ok::<_, Halt>(()));
    let line = line!() - 2;
    let worker = fixture.worker(router).cancel_grace(Duration::from_millis(1)).start().unwrap();
    let mut traces = Vec::new();
    for (n, name) in ["unrecoverable", "timeout", "panic", "shape"].into_iter().enumerate() {
        let job = fixture.queue.add(name, json!("s3cret"));
        let job = if name == "timeout" { job.timeout(Duration::from_millis(50)) } else { job };
        let id = job.await.unwrap().id().to_owned();
        fixture.until(JobState::Failed, n + 1).await;
        traces.extend(fixture.queue.get_job(&id).await.unwrap().unwrap().stacktrace());
    }
    assert_eq!(traces[..2], ["UnrecoverableError: no such customer", "Timeout: timed out after 50 ms"]);
    let place = format!("Panic: a width of zero\n    at tests/worker/log.rs:{line}:");
    assert!(traces[2].starts_with(&place), "{}", traces[2]);
    // What an error says of a job's data can get into a log; it never repeats any of it.
    assert!(
        traces[3].starts_with("Error: the data of job 4 of q does not fit its type: expected u32, found a string"),
        "{}",
        traces[3]
    );
    assert!(!traces[3].contains("s3cret"), "{}", traces[3]);
    worker.close().await;
    let failed = log.with("job failed");
    assert!(failed.len() == 4 && failed[2].contains("a width of zero at tests/worker/log.rs"), "{failed:?}");
    assert!(failed[3].contains("expected u32, found a string"), "{failed:?}");
    assert!(log.with("s3cret").is_empty(), "{:?}", log.lines());
}

#[tokio::test]
async fn the_log_says_when_a_worker_has_closed() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker(async |_: Job<Value, ()>| Ok::<_, Halt>(())).start().unwrap();
    let finished = worker.finished();
    tokio::pin!(finished);
    assert!(futures::poll!(finished.as_mut()).is_pending());
    worker.close().await;
    finished.await;
    // The runtime ends, and nobody has closed anything.
    let client = fixture.client.clone();
    let worker: Worker = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { client.worker("other", async |_: Job<Value, ()>| Ok::<_, Halt>(())).start().unwrap() })
    })
    .join()
    .unwrap();
    tokio::time::timeout(PATIENCE, worker.finished()).await.unwrap();
}
