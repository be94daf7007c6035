use std::time::Duration;

use oxmq::doctor::FindingKind;
use oxmq::{JobState, NewJob};

use super::*;
use crate::common::server::RedisServer;

/// What is found in the queue of a fixture; of other queues and of the server nothing is asked here.
async fn kinds(on: &Fixture) -> Vec<FindingKind> {
    let doctor = on.client.doctor().queue("q").pause(Duration::from_millis(50));
    let report = doctor.examine().await.unwrap();
    report.findings.iter().filter(|finding| finding.queue.is_some()).map(|finding| finding.kind).collect()
}

/// Makes it, finds it, mends it, and finds it no more. `redis` are commands in which `@` stands for the queue's base key and `TS` for
/// the time.
async fn found_and_mended(kind: FindingKind, redis: &[&str]) -> Fixture {
    let on = Fixture::new().await;
    spoil(&on, redis).await;
    assert_eq!(kinds(&on).await, [kind]);
    let doctor = on.client.doctor().queue("q").pause(Duration::ZERO);
    let report = doctor.examine().await.unwrap();
    let finding = report.findings.iter().find(|finding| finding.kind == kind).unwrap();
    assert!(finding.to_string().contains(kind.advice()));
    assert!(doctor.mend(finding).await.unwrap() > 0, "{finding}");
    assert_eq!(kinds(&on).await, [], "{kind}");
    // What was mended once is not mended again.
    let again = doctor.mend(finding).await.unwrap();
    assert!(again == 0 || matches!(kind, FindingKind::PausedList | FindingKind::StoppedSchedulers), "{kind}: {again}");
    on
}

async fn spoil(on: &Fixture, commands: &[&str]) {
    let mut redis = on.redis.clone();
    let now = oxmq::client::Clock::system().now_ms().to_string();
    for command in commands {
        let command = command.replace("TS", &now);
        let mut words = command.split(' ').map(|word| word.replace('@', &on.key("")));
        let mut cmd = redis::cmd(&words.next().unwrap());
        for word in words {
            cmd.arg(word);
        }
        let () = cmd.query_async(&mut redis).await.unwrap();
    }
}

const JOB: &str = "name n data {} opts {} timestamp TS delay 0 priority 0";

#[tokio::test]
async fn ids_without_jobs_leave_their_places() {
    let on = found_and_mended(
        FindingKind::MissingJobs,
        &["LPUSH @wait gone", "ZADD @failed 5 lost", "ZADD @delayed 9e15 late"],
    )
    .await;
    assert_eq!(on.queue.get_job_counts(&[]).await.unwrap().total(), 0);
}

#[tokio::test]
async fn jobs_that_are_nowhere_go_where_they_belong() {
    let job = |id: &str, more: &str| format!("HSET @{id} {JOB}{more}");
    let commands = [
        job("a", ""),
        job("b", " finishedOn 1700000000000 returnvalue 1"),
        job("c", " finishedOn 1700000000000 failedReason no"),
        job("d", ""),
        "SADD @d:dependencies x:y:z".to_owned(),
    ];
    let on = Fixture::new().await;
    spoil(&on, &commands.each_ref().map(String::as_str)).await;
    let doctor = on.client.doctor().queue("q").pause(Duration::ZERO);
    let report = doctor.examine().await.unwrap();
    let lost = report.findings.iter().find(|finding| finding.kind == FindingKind::LostJobs).unwrap();
    assert_eq!((lost.count, doctor.mend(lost).await.unwrap()), (4, 4));
    let state = async |id: &str| on.queue.job(id).get_state().await.unwrap();
    use JobState::{Completed, Failed, Waiting, WaitingChildren};
    assert_eq!(
        (state("a").await, state("b").await, state("c").await, state("d").await),
        (Waiting, Completed, Failed, WaitingChildren)
    );
}

#[tokio::test]
async fn what_a_dead_worker_left_active_runs_again() {
    let job = format!("HSET @a {JOB} ats 1");
    let on = found_and_mended(FindingKind::ActiveWithoutLock, &[&job, "LPUSH @active a"]).await;
    complete_next(&on).await;
}

async fn complete_next(on: &Fixture) {
    let manual = on.client.manual_worker::<Value, Value>("q").open().unwrap();
    let job: Job = manual.get_next_job("t").await.unwrap().unwrap();
    job.move_to_completed(&json!(1), "t").await.unwrap();
}

#[tokio::test]
async fn left_overs_go() {
    found_and_mended(FindingKind::LockWithoutJob, &["SET @a:lock t"]).await;
    found_and_mended(FindingKind::OrphanedParts, &["RPUSH @a:logs line", "SADD @b:dependencies x"]).await;
    found_and_mended(FindingKind::DeadDeduplication, &["SET @de:x:y nobody"]).await;
    // One that ends by itself is none of the doctor's business.
    let on = Fixture::new().await;
    spoil(&on, &["SET @de:x nobody PX 60000"]).await;
    assert_eq!(kinds(&on).await, []);
}

#[tokio::test]
async fn a_stopped_scheduler_goes_on() {
    let on = found_and_mended(
        FindingKind::StoppedSchedulers,
        &["ZADD @repeat 1700000000000 s", "HSET @repeat:s ic 3 name n every 3600000 offset 0"],
    )
    .await;
    assert_eq!(on.count(JobState::Delayed).await, 1);
}

#[tokio::test]
async fn a_parent_whose_children_are_gone_runs() {
    let job = format!("HSET @par {JOB}");
    let on = found_and_mended(
        FindingKind::StuckParents,
        &[&job, "ZADD @waiting-children 5 par", "SADD @par:dependencies @gone"],
    )
    .await;
    complete_next(&on).await;
}

#[tokio::test]
async fn what_version_5_put_aside_comes_back() {
    let job = format!("HSET @a {JOB}");
    let on = found_and_mended(FindingKind::PausedList, &[&job, "LPUSH @paused a"]).await;
    complete_next(&on).await;
}

#[tokio::test]
async fn a_stream_that_is_too_long_is_trimmed() {
    let on = Fixture::new().await;
    on.add_many(4_000).await;
    spoil(&on, &["HSET @meta opts.maxLenEvents 100"]).await;
    assert_eq!(kinds(&on).await, [FindingKind::LongEventStream]);
    let doctor = on.client.doctor().queue("q").pause(Duration::ZERO);
    let report = doctor.examine().await.unwrap();
    let long = report.findings.iter().find(|finding| finding.kind == FindingKind::LongEventStream).unwrap();
    assert!(doctor.mend(long).await.unwrap() > 5_000);
    assert_eq!(kinds(&on).await, []);
}

#[tokio::test]
async fn what_cannot_be_mended_is_told() {
    let on = Fixture::new().await;
    let now = oxmq::client::Clock::system().now_ms();
    let long_ago = format!("HSET @a {} ", JOB.replace("TS", &(now - 600_000).to_string()));
    let due = format!("ZADD @delayed {} b", (now - 600_000) * 4096);
    let late = format!("HSET @b {JOB}");
    spoil(&on, &[long_ago.trim(), "LPUSH @wait a", &late, &due]).await;
    assert_eq!(kinds(&on).await, [FindingKind::NoWorker, FindingKind::OverdueJobs]);
    let mut redis = on.redis.clone();
    redis::pipe()
        .cmd("EVAL")
        .arg("for i = 1, 100001 do redis.call('ZADD', KEYS[1], i, i) end")
        .arg(1)
        .arg(on.key("completed"))
        .exec_async(&mut redis)
        .await
        .unwrap();
    let found = on.client.doctor().queue("q").places(10).keys(0).pause(Duration::ZERO).examine().await.unwrap();
    assert!(found.findings.iter().any(|finding| finding.kind == FindingKind::ManyFinishedJobs));
    assert!(found.left_out.iter().any(|text| text.contains("10 of 100001 completed")), "{:?}", found.left_out);
    spoil(&on, &["DEL @completed"]).await;
}

/// Jobs of all kinds come, run, fail, wait for children and go, while it is looked at again and again.
#[tokio::test]
async fn a_healthy_queue_under_load_is_not_accused() {
    let on = Fixture::new().await;
    let node = NodeDriver::start(BullMq::V6, &shared_server().url(), &on.prefix).await;
    let work = |job: Job<Value, ()>| async move {
        tokio::time::sleep(Duration::from_millis(job.data()["n"].as_u64().unwrap_or(0) % 5)).await;
        if job.data()["n"].as_u64().unwrap_or(0) % 7 == 3 { Err("no") } else { Ok(()) }
    };
    let worker = on.worker(work).concurrency(50).start().unwrap();
    let every = oxmq::Repeat::every(Duration::from_millis(200));
    on.queue.upsert_job_scheduler("often", every).data(json!({})).await.unwrap();
    for round in 0..6 {
        let jobs = (0..300).map(|n| {
            let job = NewJob::new("job", json!({ "n": n })).attempts(2);
            match n % 4 {
                0 => job.delay(Duration::from_millis(n % 100)),
                1 => job.priority(3),
                2 => job.remove_on_complete(true),
                _ => job,
            }
        });
        on.queue.add_bulk(jobs).await.unwrap();
        let child = json!({ "name": "part", "queueName": "q", "data": { "n": 1 } });
        let flow = json!({ "name": "whole", "queueName": "q", "data": { "n": 1 }, "children": [child] });
        node.call("flowAdd", json!({ "flow": flow })).await.unwrap();
        node.call(
            "add",
            json!({ "queue": "q", "name": "node", "data": { "n": 1 }, "opts": { "deduplication": { "id": "d" } } }),
        )
        .await
        .unwrap();
        assert_eq!(kinds(&on).await, [], "round {round}");
    }
    worker.close().await;
    assert_eq!(kinds(&on).await, []);
}

#[tokio::test]
async fn the_command_tells_asks_and_mends() {
    // On a server that remembers no slow script: a busy machine makes any script slow.
    let server = RedisServer::start_with(&["--slowlog-log-slower-than", "-1"]);
    let on = Fixture::on(&server).await;
    let oxmq = async |on: &Fixture, words: &str| oxmq_at(&server.url(), on, words).await;
    assert_eq!(oxmq(&on, "doctor q --pause 10ms").await.ok(), "nothing is wrong\n");
    spoil(&on, &["LPUSH @wait gone", "SET @de:x nobody"]).await;
    let ran = oxmq(&on, "doctor q --pause 10ms --memory").await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(
        ran.out.contains("missing-jobs") && ran.out.contains("dead-deduplication") && ran.out.contains("gone"),
        "{ran:?}"
    );
    assert_eq!(oxmq(&on, "doctor q --pause 10ms --fix").await.code, 4);
    let ran = oxmq(&on, "doctor q --pause 10ms --fix --yes --json").await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, report["mended"].as_array().unwrap().len()), (6, 2));
    assert_eq!(oxmq(&on, "doctor q --pause 10ms").await.code, 0);
}
