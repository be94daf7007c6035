//! Replies and requests that are lost on the way.

use std::sync::Arc;
use std::time::Duration;

use oxmq::error::Reason;
use oxmq::worker::WorkerEvent;
use oxmq::{Client, ConnectOptions, Error, Halt, Job, JobState, ManualWorker, Queue};
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{LOCK, adds, finishes, settles, warm_up};
use crate::common::check::check;
use crate::common::eventually::eventually;
use crate::common::fixture::{Fixture, Ledger, listen};
use crate::common::proxy::{Matcher, Proxy};
use crate::common::server::shared_server;

async fn proxied() -> (Proxy, Fixture) {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    let fixture = Fixture::through(&proxy, server).await;
    warm_up(&fixture).await;
    (proxy, fixture)
}

#[tokio::test]
async fn an_add_with_an_id_whose_reply_is_lost_is_one_job_and_ok() {
    let (proxy, fixture) = proxied().await;
    let mut ids = Vec::new();
    for n in 0..20 {
        // The reply is lost twice, then it arrives.
        proxy.cut_after_request(adds("lossy").times(2));
        let job = fixture.queue.add("lossy", json!(n)).job_id(format!("own-{n}")).await.unwrap();
        ids.push(job.id().to_owned());
    }
    assert_eq!(proxy.counters().lost_replies, 40);
    assert_eq!(fixture.count(JobState::Waiting).await, 20);
    assert_eq!(check(&fixture, &ids).await.unexpected, 0);
}

#[tokio::test]
async fn an_add_without_an_id_whose_reply_is_lost_has_an_unknown_outcome() {
    let (proxy, fixture) = proxied().await;
    let (mut ids, mut unknown) = (Vec::new(), 0);
    for n in 0..20 {
        if n % 4 == 0 {
            proxy.cut_after_request(adds("lossy"));
        }
        match fixture.queue.add("lossy", json!(n)).await {
            Ok(job) => ids.push(job.id().to_owned()),
            Err(Error::OutcomeUnknown { .. }) => unknown += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((ids.len(), unknown), (15, 5));
    // Each job exists once: none twice, none lost.
    assert_eq!(fixture.count(JobState::Waiting).await, 20);
    assert_eq!(check(&fixture, &ids).await.unexpected, 5);
}

#[tokio::test]
async fn an_add_whose_request_is_lost_is_stored_or_its_outcome_unknown() {
    let (proxy, fixture) = proxied().await;
    let (mut ids, mut unknown) = (Vec::new(), 0);
    for n in 0..10 {
        proxy.drop_request(adds("lossy"));
        let add = fixture.queue.add("lossy", json!(n));
        let add = if n % 2 == 0 { add.job_id(format!("own-{n}")) } else { add };
        match add.await {
            Ok(job) => ids.push(job.id().to_owned()),
            Err(Error::OutcomeUnknown { .. }) => unknown += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((ids.len(), unknown), (5, 5));
    assert_eq!(fixture.count(JobState::Waiting).await, 5);
    check(&fixture, &ids).await;
}

#[tokio::test]
async fn an_add_on_a_connection_that_broke_while_idle_just_works() {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    // Without a worker and a listener: they would connect again at once.
    let fixture = Fixture::through(&proxy, server).await;
    let mut ids = Vec::new();
    for n in 0..10 {
        proxy.cut_now();
        // The server has closed the connection, and nothing was sent on it since.
        let idle = || async { proxy.open_connections() == 0 };
        crate::common::eventually::eventually("the cut", idle).await;
        tokio::time::sleep(Duration::from_millis(20)).await; // time itself: the end reaches this side, too
        ids.push(fixture.add(json!(n)).await);
    }
    assert_eq!(check(&fixture, &ids).await.unexpected, 0);
}

#[tokio::test]
async fn jobs_of_lost_fetches_are_adopted_and_run_once() {
    let (proxy, fixture) = proxied().await;
    let ids = fixture.add_many(60).await;
    let ran = Ledger::default();
    proxy.cut_after_request(settles().times(15));
    let worker = fixture.noting_worker(&ran).lock_duration(LOCK).concurrency(4).start().unwrap();
    fixture.until(JobState::Completed, 60).await;
    worker.close().await;
    // Two calls may be on their way at once; a cut then takes both replies, of which the proxy counts the first.
    let lost = proxy.counters().lost_replies;
    assert!((8..=15).contains(&lost), "{lost}");
    assert!(ids.iter().all(|id| ran.tally()[id] == 1));
    for id in &ids {
        assert_eq!((fixture.number(id, "stc").await, fixture.number(id, "ats").await), (0, 1));
    }
    let figures = check(&fixture, &ids).await;
    assert_eq!((figures.completed, figures.restarts, figures.stalled), (60, 0, 0));
}

#[tokio::test]
async fn one_job_whose_fetch_is_lost_again_and_again_runs_once() {
    let (proxy, fixture) = proxied().await;
    let id = fixture.add(json!(1)).await;
    let ran = Ledger::default();
    // The cut hits the fetch, and then every attempt to learn its outcome.
    proxy.cut_after_request(settles().times(2));
    let worker = fixture.noting_worker(&ran).lock_duration(LOCK).start().unwrap();
    fixture.until(JobState::Completed, 1).await;
    worker.close().await;
    assert_eq!((ran.lines(), fixture.number(&id, "stc").await), (vec![id.clone()], 0));
    check(&fixture, &[id]).await;
}

#[tokio::test]
async fn a_lost_finish_is_told_once_and_the_next_job_is_adopted() {
    let (proxy, fixture) = proxied().await;
    let ids = fixture.add_many(40).await;
    let ran = Ledger::default();
    let worker = fixture.noting_worker(&ran).lock_duration(LOCK).start().unwrap();
    let heard = listen(&worker);
    proxy.cut_after_request(finishes().times(10));
    fixture.until(JobState::Completed, 40).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost, heard.completed()), (40, vec![], 40));
    assert_eq!(heard.errors(), Vec::<String>::new());
    assert_eq!(proxy.counters().lost_replies, 10);
    assert!(ids.iter().all(|id| ran.tally()[id] == 1));
    assert_eq!(check(&fixture, &ids).await.restarts, 0);
}

#[tokio::test]
async fn lost_replies_to_every_kind_of_outcome_are_resolved() {
    let (proxy, fixture) = proxied().await;
    let worker = fixture
        .worker(|job: Job<Value, ()>| async move {
            if job.attempts_started() > 1 {
                return Ok(());
            }
            match job.data()["n"].as_u64().unwrap() % 5 {
                0 => Err(Halt::Waiting),
                1 => Err(Halt::Delayed(Duration::from_millis(20))),
                2 => Err(Halt::failed("again")),
                3 => Err(Halt::unrecoverable("never")),
                _ => Ok(()),
            }
        })
        .lock_duration(LOCK)
        .remove_on_fail(true)
        .concurrency(3)
        .start()
        .unwrap();
    let heard = listen(&worker);
    // Another process bypasses the proxy: a cut hits everything on its way on a connection, adds too.
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let client = Client::builder(options).prefix(&fixture.prefix).connect().await.unwrap();
    let producer: Queue<Value, Value> = client.queue("q").open().unwrap();
    let mut ids = Vec::new();
    for n in 0..50 {
        if n % 3 == 0 {
            proxy.cut_after_request(settles());
        }
        let job = producer.add("job", json!({ "n": n })).attempts(3).await.unwrap();
        ids.push(job.id().to_owned());
    }
    fixture.until(JobState::Completed, 40).await;
    proxy.clear_rules();
    fixture.until(JobState::Active, 0).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.counts.failed, report.lost), (40, 10, vec![]));
    assert_eq!(heard.errors(), Vec::<String>::new());
    assert_eq!(fixture.locks().await, 0);
}

#[tokio::test]
async fn requests_that_never_arrive_are_sent_again() {
    let (proxy, fixture) = proxied().await;
    let ids = fixture.add_many(40).await;
    proxy.drop_request(settles().times(12));
    let worker = fixture
        .worker(|_: Job<Value, ()>| async { Ok::<_, Halt>(()) })
        .lock_duration(LOCK)
        .concurrency(3)
        .start()
        .unwrap();
    let heard = listen(&worker);
    fixture.until(JobState::Completed, 40).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost, heard.errors()), (40, vec![], vec![]));
    assert_eq!(proxy.counters().lost_requests, 12);
    assert_eq!(check(&fixture, &ids).await.restarts, 0);
}

#[tokio::test]
async fn a_job_that_another_worker_finished_and_removed_is_not_taken_for_finished_by_this_one() {
    let (proxy, fixture) = proxied().await;
    // Another process, which bypasses the proxy.
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let client = Client::builder(options).prefix(&fixture.prefix).connect().await.unwrap();
    let id = fixture.queue.add("job", json!(1)).remove_on_complete(true).await.unwrap().id().to_owned();
    let (started, go) = (Ledger::default(), Arc::new(Notify::new()));
    let (ledger, gate) = (started.clone(), Arc::clone(&go));
    let late = fixture
        .worker(move |job: Job<Value, ()>| {
            ledger.note(job.id());
            let gate = Arc::clone(&gate);
            async move {
                gate.notified().await;
                Ok::<_, Halt>(())
            }
        })
        .lock_duration(Duration::from_millis(299))
        .skip_lock_renewal(true)
        .skip_stalled_check(true)
        .start()
        .unwrap();
    let heard = listen(&late);
    started.until(1).await;
    let other = client
        .worker("q", async |_: Job<Value, ()>| Ok::<_, Halt>(()))
        .stalled_interval(Duration::from_millis(100))
        .start()
        .unwrap();
    let told = listen(&other);
    told.until("the other worker to finish it", |event| matches!(event, WorkerEvent::Completed { .. })).await;
    other.close().await;
    assert!(fixture.queue.get_job(&id).await.unwrap().is_none());
    let finish = |args: &[Vec<u8>]| args.get(7).is_some_and(|lock| lock == b"299") && args.len() > 11;
    proxy.cut_after_request(Matcher::new(finish));
    go.notify_one();
    heard.until("the loss", |event| matches!(event, WorkerEvent::LockLost { .. } | WorkerEvent::Error { .. })).await;
    let report = late.close().await;
    assert_eq!(proxy.counters().lost_replies, 1);
    assert_eq!((report.counts.completed, report.lost, heard.completed()), (0, vec![id], 0));
}

/// Opens a manual worker whose calls are identified by the life of its locks, and another one that bypasses the proxy.
async fn by_hand(life: Duration) -> (Proxy, Fixture, ManualWorker, ManualWorker) {
    let (proxy, fixture) = proxied().await;
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let client = Client::builder(options).prefix(&fixture.prefix).connect().await.unwrap();
    let open = |client: &Client| {
        let worker = client.manual_worker("q").lock_duration(life);
        worker.stalled_interval(Duration::from_millis(1)).open().unwrap()
    };
    let (ours, other) = (open(&fixture.client), open(&client));
    (proxy, fixture, ours, other)
}

fn ends(life: &'static str) -> Matcher {
    Matcher::new(move |args| args.get(7).is_some_and(|lock| lock == life.as_bytes()) && args.len() > 11)
}

#[tokio::test]
async fn by_hand_a_job_that_is_gone_is_finished_only_under_a_lock_that_cannot_have_run_out() {
    let (proxy, fixture, ours, _) = by_hand(LOCK).await;
    for fetch in [false, true] {
        let id = fixture.queue.add("job", json!(1)).remove_on_complete(true).await.unwrap().id().to_owned();
        let job = ours.get_next_job("ours").await.unwrap().unwrap();
        fixture.queue.add("next", json!(2)).await.unwrap();
        let lost = proxy.counters().lost_replies;
        proxy.cut_after_request(ends("30011"));
        if fetch {
            let next = job.move_to_completed_and_fetch(&json!(1), "ours").await.unwrap().job.unwrap();
            assert_eq!((next.name(), next.attempts_started()), ("next", 1));
        } else {
            job.move_to_completed(&json!(1), "ours").await.unwrap();
            ours.get_next_job("ours").await.unwrap().unwrap().move_to_completed(&json!(1), "ours").await.unwrap();
        }
        assert_eq!(proxy.counters().lost_replies, lost + 1);
        assert!(fixture.queue.get_job(&id).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn by_hand_a_job_that_another_finished_and_removed_has_an_unknown_outcome() {
    let (proxy, fixture, ours, other) = by_hand(Duration::from_millis(299)).await;
    for renewed in [false, true] {
        let id = fixture.queue.add("job", json!(1)).remove_on_complete(true).await.unwrap().id().to_owned();
        let job = ours.get_next_job("ours").await.unwrap().unwrap();
        if renewed {
            assert!(job.extend_lock("ours", Duration::from_secs(100)).await.unwrap());
            assert!(job.extend_lock("ours", Duration::from_millis(50)).await.unwrap());
        }
        let stalled = || async {
            other.move_stalled_jobs_to_wait().await.unwrap();
            other.get_next_job("theirs").await.unwrap()
        };
        let theirs = crate::common::eventually::eventually("it stalls", stalled).await;
        assert_eq!(theirs.id(), id);
        theirs.move_to_completed(&json!("theirs"), "theirs").await.unwrap();
        proxy.cut_after_request(ends("299"));
        let error = job.move_to_completed(&json!("ours"), "ours").await.unwrap_err();
        assert!(matches!(error, Error::OutcomeUnknown { .. }), "{error}");
        // `move_to_failed` by id does not know the age of the lock, so it reads the job first.
        proxy.cut_after_request(ends("299"));
        let error = ours.move_to_failed(&id, "ours", "no").await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "read first, and found gone: {error}");
        proxy.clear_rules();
        // Once a reply arrives, it says that the job is gone.
        let error = job.move_to_completed(&json!("ours"), "ours").await.unwrap_err();
        assert!(matches!(error, Error::Refused { reason: Reason::MissingJob, .. }), "{error}");
    }
}

#[tokio::test]
async fn by_hand_a_request_that_is_lost_does_not_hand_out_its_own_job() {
    let (proxy, fixture, ours, _) = by_hand(LOCK).await;
    for fail in [false, true] {
        let id = fixture.queue.add("job", json!(1)).await.unwrap().id().to_owned();
        let next = fixture.queue.add("next", json!(2)).await.unwrap().id().to_owned();
        let job = ours.get_next_job("ours").await.unwrap().unwrap();
        assert_eq!(job.id(), id);
        proxy.drop_request(ends("30011"));
        let fetched = if fail {
            job.move_to_failed_and_fetch("no", "ours").await.unwrap()
        } else {
            job.move_to_completed_and_fetch(&json!(1), "ours").await.unwrap()
        };
        let fetched = fetched.job.unwrap();
        assert_eq!((fetched.id(), fetched.attempts_started()), (next.as_str(), 1));
        fetched.move_to_completed(&json!(1), "ours").await.unwrap();
    }
    assert_eq!(proxy.counters().lost_requests, 2);
    assert_eq!((fixture.count(JobState::Completed).await, fixture.count(JobState::Failed).await), (3, 1));
}

#[tokio::test]
async fn a_processor_that_ends_its_attempt_itself_knows_its_lock_too() {
    let (proxy, fixture) = proxied().await;
    let id = fixture.queue.add("job", json!(1)).remove_on_complete(true).await.unwrap().id().to_owned();
    proxy.cut_after_request(finishes());
    let worker = fixture
        .worker(|job: Job<Value, ()>| async move {
            job.move_to_completed(&(), job.token().unwrap()).await.map_err(Halt::from)
        })
        .lock_duration(LOCK)
        .start()
        .unwrap();
    let heard = listen(&worker);
    heard.until("its end", |event| matches!(event, WorkerEvent::Completed { .. } | WorkerEvent::Failed { .. })).await;
    let report = worker.close().await;
    assert_eq!((report.counts.completed, report.lost, proxy.counters().lost_replies), (1, vec![], 1));
    assert!(fixture.queue.get_job(&id).await.unwrap().is_none());
}

/// A parent that cannot complete yet is read again for its attempts. If the connection is lost during that read, the
/// parent must not fail for good.
#[tokio::test]
async fn an_end_that_is_refused_is_no_final_failure_because_the_job_cannot_be_read() {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    let options = server.by_way_of(proxy.addr()).command_timeout(Duration::from_millis(500));
    let fixture = Fixture::with(options, server).await;
    let job = fixture.queue.add("parent", json!(1)).attempts(3).await.unwrap();
    let pending = fixture.key(&format!("{}:dependencies", job.id()));
    let (mut redis, key) = (fixture.redis.clone(), pending.clone());
    let _: () = redis::cmd("SADD").arg(&key).arg("bull:q:child").query_async(&mut redis).await.unwrap();
    let worker = fixture.worker(|_: Job<Value, Value>| async { Ok::<_, Halt>(json!(1)) });
    let worker = worker.lock_duration(Duration::from_secs(60)).start().unwrap();
    let heard = listen(&worker);
    // The worker sends this command for nothing else.
    proxy.drop_request(Matcher::command("HGETALL").times(u64::MAX));
    eventually("the job cannot be read", || async {
        let is_told = heard.errors().iter().any(|error| error.contains("get_job"));
        is_told || fixture.count(JobState::Failed).await > 0
    })
    .await;
    let _: () = redis::cmd("DEL").arg(&pending).query_async(&mut redis).await.unwrap();
    proxy.clear_rules();
    fixture.until(JobState::Completed, 1).await;
    assert_eq!(fixture.count(JobState::Failed).await, 0);
    worker.close().await;
}

/// To mend is to be done: the second call finds nothing that is wrong.
#[cfg(feature = "doctor")]
#[tokio::test]
async fn what_the_doctor_mends_is_mended_once_although_replies_are_lost() {
    let (proxy, fixture) = proxied().await;
    let ids = fixture.add_many(2).await;
    let mut redis = fixture.redis.clone();
    let (wait, active) = (fixture.key("wait"), fixture.key("active"));
    // One is in no list, and one is active without a lock.
    let () = redis::cmd("DEL").arg(&wait).query_async(&mut redis).await.unwrap();
    let () = redis::cmd("LPUSH").arg(&active).arg(&ids[0]).query_async(&mut redis).await.unwrap();
    let doctor = fixture.client.doctor().queue("q").pause(Duration::from_millis(1));
    let report = doctor.examine().await.unwrap();
    for (kind, word) in [("active-without-lock", "active"), ("lost-jobs", "lost")] {
        let finding = report.findings.iter().find(|finding| finding.kind.as_str() == kind).unwrap();
        proxy.cut_after_request(
            Matcher::new(move |args| args.get(4).is_some_and(|what| what == word.as_bytes())).times(2),
        );
        doctor.mend(finding).await.unwrap();
    }
    assert_eq!(proxy.counters().lost_replies, 4);
    assert_eq!(fixture.count(JobState::Waiting).await, 2);
    assert!(doctor.examine().await.unwrap().findings.iter().all(|finding| finding.queue.is_none()));
    check(&fixture, &ids).await;
}
