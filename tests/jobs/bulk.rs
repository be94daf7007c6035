use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use oxmq::error::Reason;
use oxmq::queue::{BulkOutcome, BulkRun};
use oxmq::{Client, ConnectOptions, Error, JobState};

use super::*;
use crate::common::dump;
use crate::common::proxy::{Matcher, Proxy};
use crate::common::server::{lone_server, server_version, shared_server};

const HOUR: Duration = Duration::from_secs(3_600);
const MS: Duration = Duration::from_millis(1);

#[tokio::test]
async fn what_failed_by_one_name_runs_again_and_nothing_else() {
    let on = Fixture::new().await;
    add_named(&on.queue, "mail", 0..250).await;
    add_named(&on.queue, "sms", 0..30).await;
    fail_next(&on, 280).await;

    let filter = JobFilter::failed().name("mail");
    let would = on.queue.jobs(filter.clone()).retry().dry_run(true).await.unwrap();
    assert_eq!((would.done, on.count(JobState::Failed).await), (250, 280));
    let report = on.queue.jobs(filter).retry().await.unwrap();
    assert_eq!((report.done, report.moved_on, report.refused), (250, 0, 0));
    assert_eq!((on.count(JobState::Failed).await, on.count(JobState::Waiting).await), (30, 250));
    let state = on.queue.job("mail-7").get_state().await.unwrap();
    assert_eq!(state, JobState::Waiting);
}

/// Each job fails again at once. The bulk action still ends, and retries none of them twice.
#[tokio::test]
async fn a_job_that_fails_again_meanwhile_is_not_retried_twice() {
    let on = Fixture::new().await;
    add_named(&on.queue, "mail", 0..600).await;
    fail_next(&on, 600).await;
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let worker = on
        .worker(move |_: Job<Value, ()>| {
            let count = count.clone();
            async move {
                count.fetch_add(1, Ordering::SeqCst);
                Err::<(), _>("again")
            }
        })
        .concurrency(50)
        .start()
        .unwrap();
    let report = on.queue.jobs(JobState::Failed).retry().await.unwrap();
    assert_eq!(report.done, 600);
    on.until(JobState::Failed, 600).await;
    worker.close().await;
    assert_eq!(ran.load(Ordering::SeqCst), 600);
}

#[tokio::test]
async fn a_run_can_be_stopped_and_gone_on_with() {
    let on = Fixture::new().await;
    add_named(&on.queue, "mail", 0..450).await;
    fail_next(&on, 450).await;
    let mut run = on.queue.jobs(JobState::Failed).retry().start().unwrap();
    let step = run.next().await.unwrap().unwrap();
    assert_eq!(step.outcomes.len(), 100);
    assert!(matches!(step.outcomes[0], (ref id, BulkOutcome::Done) if id == "mail-0"));
    assert_eq!(run.report().done, 100);
    let cursor = run.cursor().to_string();
    drop(run);
    let report = on.queue.jobs(JobState::Failed).resume(cursor.parse().unwrap()).retry().await.unwrap();
    assert_eq!((report.done, on.count(JobState::Waiting).await), (350, 450));
    let limited = on.queue.jobs(JobState::Waiting).limit(120).remove().await.unwrap();
    assert_eq!((limited.done, on.count(JobState::Waiting).await), (120, 330));
}

/// What is changed stands further on among those that are still to be looked at, before others.
#[tokio::test]
async fn a_bulk_change_of_priority_or_delay_reaches_each_job_once() {
    let on = Fixture::new().await;
    let jobs = |n: usize| (0..n).map(|_| NewJob::new("mail", json!(1)));
    on.queue.add_bulk(jobs(300).map(|job| job.priority(1))).await.unwrap();
    on.queue.add_bulk(jobs(150).map(|job| job.priority(10))).await.unwrap();
    let report = on.queue.jobs(JobState::Prioritized).change_priority(5).await.unwrap();
    assert_eq!(report.done, 450);
    let counts = on.queue.get_counts_per_priority(&[1, 5, 10]).await.unwrap();
    assert_eq!(counts, [(1, 0), (5, 450), (10, 0)]);
    // Interrupted, it meets what it has changed once more; it still reaches all.
    let mut run = on.queue.jobs(JobState::Prioritized).change_priority(7).start().unwrap();
    run.next().await.unwrap();
    let cursor = run.cursor().clone();
    on.queue.jobs(JobState::Prioritized).resume(cursor).change_priority(7).await.unwrap();
    assert_eq!(on.queue.get_counts_per_priority(&[5, 7]).await.unwrap(), [(5, 0), (7, 450)]);

    let filter = || JobFilter::new([JobState::Prioritized, JobState::Delayed]).name("mail");
    on.queue.add_bulk(jobs(300).map(|job| job.delay(minutes(60)))).await.unwrap();
    on.queue.add_bulk(jobs(150).map(|job| job.delay(minutes(24 * 60)))).await.unwrap();
    let report = on.queue.jobs(JobState::Delayed).change_delay(minutes(120)).await.unwrap();
    assert_eq!(report.done, 450);
    let due = on.queue.jobs(JobState::Delayed).stream();
    let delays: Vec<_> = due.map(|job| job.unwrap().delay()).collect().await;
    assert!(delays.len() == 450 && delays.iter().all(|delay| *delay == minutes(120)));
    // From one state into the next: those that come there are not dealt with again.
    on.queue.pause().await.unwrap();
    assert_eq!(on.queue.jobs(filter()).change_priority(3).await.unwrap().done, 900);
}

/// What runs is asked to stop, and what waits anywhere fails without a run. Delayed jobs are moved to the front for that,
/// where the search comes by once more.
#[tokio::test]
async fn all_jobs_of_a_filter_are_cancelled_each_once() {
    let on = Fixture::new().await;
    let of = |customer: u32, id: String| NewJob::new("encode", json!({ "customer": customer })).job_id(id);
    on.queue.add_bulk((0..5).map(|n| of(7, format!("runs-{n}")))).await.unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let begun = Arc::clone(&runs);
    let first = on.worker(move |job: Job<Value, Value>| {
        begun.fetch_add(1, Ordering::SeqCst);
        async move {
            if job.data()["customer"] == 7 {
                job.cancelled().await;
                return Err(oxmq::Halt::from("stopped"));
            }
            Ok(json!("done"))
        }
    });
    let first = first.concurrency(5).start().unwrap();
    on.until(JobState::Active, 5).await;
    let waits = |n: u32| if n.is_multiple_of(3) { 8 } else { 7 };
    on.queue.add_bulk((0..300).map(|n| of(waits(n), format!("waits-{n}")))).await.unwrap();
    on.queue.add_bulk((0..150).map(|n| of(7, format!("urgent-{n}")).priority(n % 4 + 1))).await.unwrap();
    on.queue.add_bulk((0..250).map(|n| of(7, format!("later-{n}")).delay(HOUR))).await.unwrap();
    on.queue.add_bulk((0..20).map(|n| of(8, format!("others-{n}")).delay(HOUR))).await.unwrap();

    let unfinished = [
        JobState::Active,
        JobState::Delayed,
        JobState::WaitingChildren,
        JobState::Waiting,
        JobState::Paused,
        JobState::Prioritized,
    ];
    let theirs = on.queue.jobs(JobFilter::new(unfinished).data_contains("\"customer\":7"));
    let would = theirs.clone().cancel("moved away").dry_run(true).await.unwrap();
    assert_eq!(would.done, 605);
    let report = theirs.cancel("moved away").await.unwrap();
    assert_eq!((report.done, report.moved_on, report.refused), (would.done, 0, 0));
    assert_eq!(on.count(JobState::Delayed).await, 20);
    on.until(JobState::Failed, 605).await;
    on.until(JobState::Completed, 100).await;
    first.close().await;
    assert_eq!(runs.load(Ordering::SeqCst), 5 + 100, "what waited was run");
    let failed: Vec<_> = on.queue.jobs(JobState::Failed).stream().collect().await;
    for job in failed {
        let job = job.unwrap();
        assert_eq!(job.failed_reason(), Some("moved away"), "{}", job.id());
    }
    let finished = on.queue.jobs(JobState::Failed).cancel("why not").await;
    assert!(matches!(finished, Err(Error::InvalidOption { .. })), "{finished:?}");
}

#[tokio::test]
async fn a_step_that_is_dropped_goes_on_with_the_next_call() {
    let on = Fixture::new().await;
    let jobs = (0..400).map(|_| NewJob::new("mail", json!(1)).delay(minutes(60)));
    on.queue.add_bulk(jobs).await.unwrap();
    let mut run = on.queue.jobs(JobState::Delayed).promote().start().unwrap();
    let mut dropped = 0;
    for n in 0_u64.. {
        match tokio::time::timeout(Duration::from_micros(200 + n * 20), run.next()).await {
            Err(_) => dropped += 1,
            Ok(Ok(None)) => break,
            Ok(step) => _ = step.unwrap(),
        }
    }
    assert!(dropped > 0);
    assert_eq!((run.report().done, run.report().moved_on), (400, 0));
    assert_eq!((on.count(JobState::Delayed).await, on.count(JobState::Waiting).await), (0, 400));
}

#[tokio::test]
async fn removing_selected_jobs_keeps_the_order_of_the_others() {
    let on = Fixture::new().await;
    for n in 0..900 {
        let name = if n % 3 == 0 { "drop" } else { "keep" };
        on.queue.add(name, json!({ "n": n })).await.unwrap();
    }
    on.queue.add("drop", json!(1)).delay(minutes(5)).await.unwrap();
    on.queue.add("drop", json!(1)).priority(5).await.unwrap();
    let report = on.queue.jobs(JobFilter::all().name("drop")).remove().await.unwrap();
    assert_eq!(report.done, 302);
    let left = on.queue.get_jobs(&[JobState::Waiting], 0, -1, oxmq::queue::Order::Ascending).await.unwrap();
    let numbers: Vec<u64> = left.into_iter().map(|job| job.unwrap().data()["n"].as_u64().unwrap()).collect();
    let expected: Vec<u64> = (0..900).filter(|n| n % 3 != 0).collect();
    assert_eq!(numbers, expected);
    assert_eq!(on.queue.count().await.unwrap(), 600);
}

/// Workers take jobs while the jobs of one name are removed: each of those is either run or removed, never both and
/// never neither.
#[tokio::test]
async fn nothing_is_lost_while_workers_take_jobs() {
    let on = Fixture::new().await;
    add_named(&on.queue, "drop", 0..1_500).await;
    add_named(&on.queue, "keep", 0..1_500).await;
    let ledger = crate::common::fixture::Ledger::default();
    let note = ledger.clone();
    let worker = on
        .worker(move |job: Job<Value, ()>| {
            let note = note.clone();
            async move {
                note.note(job.name());
                Ok::<(), oxmq::Error>(())
            }
        })
        .concurrency(20)
        .start()
        .unwrap();
    let report = on.queue.jobs(JobFilter::waiting().name("drop")).remove().await.unwrap();
    on.until(JobState::Waiting, 0).await;
    on.until(JobState::Active, 0).await;
    worker.close().await;
    let ran = ledger.tally();
    let dropped = u64::try_from(ran.get("drop").copied().unwrap_or(0)).unwrap();
    assert_eq!((ran["keep"], dropped + report.done), (1_500, 1_500));
}

#[tokio::test]
async fn a_job_that_a_worker_holds_or_a_scheduler_needs_stays() {
    let on = Fixture::new().await;
    add_named(&on.queue, "held", 0..1).await;
    let manual = on.client.manual_worker::<Value, Value>("q").open().unwrap();
    let held: Job = manual.get_next_job("t").await.unwrap().unwrap();
    let every = oxmq::Repeat::every(minutes(10));
    on.queue.upsert_job_scheduler("s", every).data(json!({})).await.unwrap();
    let report = on.queue.jobs(JobFilter::all()).remove().await.unwrap();
    assert_eq!((report.done, report.moved_on, report.refused), (0, 1, 1));
    assert_eq!(report.refusals[0].1, Reason::BelongsToScheduler);
    held.move_to_completed(&json!(1), "t").await.unwrap();
    assert_eq!(on.count(JobState::Completed).await, 1);
}

#[tokio::test]
async fn delayed_jobs_are_promoted_and_put_off_by_name() {
    let on = Fixture::new().await;
    for name in ["now", "later", "now"] {
        on.queue.add(name, json!(1)).delay(minutes(60)).await.unwrap();
    }
    assert_eq!(on.queue.jobs(JobFilter::delayed().name("now")).promote().await.unwrap().done, 2);
    assert_eq!((on.count(JobState::Waiting).await, on.count(JobState::Delayed).await), (2, 1));
    let put_off = on.queue.jobs(JobFilter::delayed()).change_delay(minutes(600)).await.unwrap();
    assert_eq!(put_off.done, 1);
    let due = on.client.get_queue_overview("q").await.unwrap().next_due.unwrap();
    assert!(due > now() + minutes(590));
    let urgent = on.queue.jobs(JobFilter::waiting()).change_priority(1).await.unwrap();
    assert_eq!((urgent.done, on.count(JobState::Prioritized).await), (2, 2));
    // A job that gets the priority it has moves behind the others: the action still ends.
    assert_eq!(on.queue.jobs(JobFilter::prioritized()).change_priority(1).await.unwrap().done, 2);
}

#[tokio::test]
async fn an_action_that_does_not_fit_the_state_is_refused_before_anything_is_done() {
    let on = Fixture::new().await;
    on.add_many(2).await;
    let before = dump::Dump::take(&mut on.redis.clone(), &on.prefix).await;
    let jobs = |filter: JobFilter| on.queue.jobs(filter);
    let refusals = [
        jobs(JobFilter::waiting()).retry().await,
        jobs(JobFilter::all()).promote().await,
        jobs(JobFilter::waiting()).change_delay(minutes(1)).await,
        jobs(JobFilter::failed()).change_priority(1).await,
        jobs(JobFilter::active()).move_to("other").await,
        jobs(JobFilter::waiting()).move_to("q").await,
        jobs(JobFilter::new([])).remove().await,
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Err(Error::InvalidOption { .. })), "{refusal:?}");
    }
    assert_eq!(dump::Dump::take(&mut on.redis.clone(), &on.prefix).await, before);
}

/// Goes on after each error. Returns how many there were.
async fn to_the_end(run: &mut BulkRun) -> usize {
    let mut breaks = 0;
    loop {
        match run.next().await {
            Ok(Some(_)) => {}
            Ok(None) => return breaks,
            Err(_) => breaks += 1,
        }
        assert!(breaks < 1_000, "it ends: {:?}", run.report());
    }
}

/// A run that breaks goes on where it was: its count is right, nothing is done twice, and the limit holds.
#[tokio::test]
async fn a_run_that_broke_goes_on_and_counts_each_job_once() {
    // Rights to read and write apart came with version 7.
    if server_version() < 7 {
        return;
    }
    let on = Fixture::on(lone_server()).await;
    let jobs = (0..30_u32).map(|n| NewJob::new("mail", json!(n)).job_id(format!("job-{n}")).delay(HOUR + MS * n));
    for job in on.queue.add_bulk(jobs).await.unwrap() {
        job.unwrap();
    }
    // The hashes of five of the first twenty jobs cannot be written.
    let mut redis = on.redis.clone();
    let rules = ["reset", "on", ">pass", "&*", "+@all", "%R~*", "~*:q:[^j]*", "~*:job-?", "~*:job-1[0-4]", "~*:job-2?"];
    let mut user = async |rules: &[&str]| {
        let set = redis::cmd("ACL").arg("SETUSER").arg(&on.prefix).arg(rules).to_owned();
        let () = set.query_async(&mut redis).await.unwrap();
    };
    user(&[&rules[..], &["~*:q:"]].concat()).await;
    let url = format!("redis://{}:pass@{}", on.prefix, lone_server().addr());
    let client = Client::builder(ConnectOptions::from_url(&url).unwrap()).prefix(&on.prefix).connect().await.unwrap();
    let queue: Queue = client.queue("q").open().unwrap();
    let mut run = queue.jobs(JobState::Delayed).limit(20).change_delay(Duration::from_secs(10)).start().unwrap();
    run.next().await.unwrap_err();
    // The others are done, and those that cannot be written are tried again.
    for _ in 0..8 {
        assert_eq!((run.report().done, run.report().unknown), (15, 0));
        let _ = run.next().await;
    }
    user(&["allkeys"]).await;
    assert_eq!(to_the_end(&mut run).await, 0);
    assert_eq!((run.report().done, run.report().refused, run.report().moved_on), (20, 0, 0));
    let mut changed = 0;
    for n in 0..30 {
        changed += usize::from(on.number(&format!("job-{n}"), "delay").await == 10_000);
    }
    assert_eq!(changed, 20);
    let () = redis::cmd("ACL").arg("DELUSER").arg(&on.prefix).query_async(&mut on.redis.clone()).await.unwrap();
}

/// A call that takes jobs away and whose reply is lost may have taken all that it was asked for.
#[tokio::test]
async fn a_limit_holds_where_a_reply_is_lost() {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    let on = Fixture::through(&proxy, server).await;
    add_named(&on.queue, "mail", 0..30).await;
    // The server knows the script from then on.
    on.queue.jobs(JobFilter::waiting().name("sms")).remove().await.unwrap();
    let mut run = on.queue.jobs(JobFilter::waiting().name("mail")).limit(10).remove().start().unwrap();
    proxy.cut_after_request(Matcher::mentions("mail"));
    assert_eq!(to_the_end(&mut run).await, 0);
    assert_eq!((run.report().done, run.report().unknown, on.count(JobState::Waiting).await), (0, 10, 20));
    // Without a limit it goes on until nothing is found.
    let mut run = on.queue.jobs(JobFilter::waiting().name("mail")).remove().start().unwrap();
    proxy.cut_after_request(Matcher::mentions("mail"));
    assert_eq!(to_the_end(&mut run).await, 0);
    assert_eq!(on.count(JobState::Waiting).await, 0);
}
