use std::collections::HashMap;
use std::time::Duration;

use oxmq::doctor::FindingKind;
use oxmq::queue::Order;
use oxmq::{JobOptions, JobState, NewJob};

use super::*;
use crate::common::server::RedisServer;
use crate::common::time::now_ms;

/// Returns what is found in the queue of a fixture. Other queues and the server are left out.
pub(super) async fn kinds(on: &Fixture) -> Vec<FindingKind> {
    let doctor = on.client.doctor().queue("q").pause(Duration::from_millis(50));
    let report = doctor.examine().await.unwrap();
    report.findings.iter().filter(|finding| finding.queue.is_some()).map(|finding| finding.kind).collect()
}

/// Causes a finding, finds it, repairs it, and checks that it is gone. In the commands `redis`, `@` stands for the
/// queue's base key and `TS` for the time.
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
    // Repairing again changes nothing.
    let again = doctor.mend(finding).await.unwrap();
    assert!(again == 0 || matches!(kind, FindingKind::PausedList | FindingKind::StoppedSchedulers), "{kind}: {again}");
    on
}

pub(super) async fn spoil(on: &Fixture, commands: &[&str]) {
    let mut redis = on.redis.clone();
    let now = now_ms().to_string();
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
async fn ids_without_jobs_are_removed_from_their_lists() {
    let on = found_and_mended(
        FindingKind::MissingJobs,
        &["LPUSH @wait gone", "ZADD @failed 5 lost", "ZADD @delayed 9e15 late"],
    )
    .await;
    assert_eq!(on.queue.get_job_counts(&[]).await.unwrap().total(), 0);
}

#[tokio::test]
async fn jobs_in_no_list_are_put_into_the_right_one() {
    let job = |id: &str, more: &str| format!("HSET @{id} {JOB}{more}");
    let commands = [
        job("a", ""),
        job("b", " finishedOn 1700000000000 returnvalue 1"),
        job("c", " finishedOn 1700000000000 failedReason no"),
        job("d", ""),
        "SADD @d:dependencies x:y:z".to_owned(),
        // It failed because one child failed, while another still ran.
        job("e", " finishedOn 1700000000000 failedReason no"),
        "SADD @e:dependencies x:y:z".to_owned(),
        job("f", "").replace("priority 0", "priority 7"),
    ];
    let on = Fixture::new().await;
    spoil(&on, &commands.each_ref().map(String::as_str)).await;
    let doctor = on.client.doctor().queue("q").pause(Duration::ZERO);
    let report = doctor.examine().await.unwrap();
    let lost = report.findings.iter().find(|finding| finding.kind == FindingKind::LostJobs).unwrap();
    assert_eq!((lost.count, doctor.mend(lost).await.unwrap()), (6, 6));
    let state = async |id: &str| on.queue.job(id).get_state().await.unwrap();
    use JobState::{Completed, Failed, Prioritized, Waiting, WaitingChildren};
    assert_eq!(
        (state("a").await, state("b").await, state("c").await, state("d").await, state("e").await, state("f").await),
        (Waiting, Completed, Failed, WaitingChildren, Failed, Prioritized)
    );
}

#[tokio::test]
async fn a_delayed_job_in_no_list_is_put_back_with_its_due_time() {
    let on = Fixture::new().await;
    let day = Duration::from_secs(86_400);
    let later = on.queue.add("mail", json!({})).delay(2 * day).await.unwrap();
    let refuse = async |_: Job<Value, ()>| Err::<(), _>("no");
    on.queue.add("mail", json!({})).job_id("again").attempts(3).backoff(oxmq::Backoff::fixed(day)).await.unwrap();
    let worker = on.worker(refuse).start().unwrap();
    on.until(JobState::Delayed, 2).await;
    worker.close().await;
    let mut redis = on.redis.clone();
    let due = async |id: &str| {
        let score: f64 =
            redis::cmd("ZSCORE").arg(on.key("delayed")).arg(id).query_async(&mut on.redis.clone()).await.unwrap();
        score / 4096.0
    };
    let (former_later, former_again) = (due(later.id()).await, due("again").await);
    // It would be due by now if nobody had deleted the set.
    let overdue = format!("HSET @overdue {JOB}").replace("delay 0", "delay 1");
    spoil(&on, &["DEL @delayed @marker", &overdue]).await;
    assert_eq!(kinds(&on).await, [FindingKind::LostJobs]);
    let doctor = on.client.doctor().queue("q").pause(Duration::ZERO);
    let report = doctor.examine().await.unwrap();
    // Findings about the server are in the same report.
    let lost = report.findings.iter().find(|finding| finding.kind == FindingKind::LostJobs).unwrap();
    assert_eq!(doctor.mend(lost).await.unwrap(), 3);
    assert_eq!(kinds(&on).await, []);
    assert!((due(later.id()).await - former_later).abs() < 1.0);
    // An attempt starts before it fails, and the delay is counted from its failure.
    let again = due("again").await;
    assert!(again <= former_again && again > former_again - 60_000.0, "{again} for {former_again}");
    assert_eq!(on.count(JobState::Waiting).await, 1);
    let delay: u64 = redis::cmd("HGET").arg(on.key("overdue")).arg("delay").query_async(&mut redis).await.unwrap();
    assert_eq!(delay, 0);
}

#[tokio::test]
async fn jobs_that_a_dead_worker_left_active_run_again() {
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
async fn stray_locks_parts_and_deduplications_are_removed() {
    found_and_mended(FindingKind::LockWithoutJob, &["SET @a:lock t"]).await;
    found_and_mended(FindingKind::OrphanedParts, &["RPUSH @a:logs line", "SADD @b:dependencies x"]).await;
    found_and_mended(FindingKind::DeadDeduplication, &["SET @de:x:y nobody"]).await;
    // A key that expires by itself is no finding.
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

/// A repeatable job of version 5 has its limit in its runs alone.
#[tokio::test]
async fn a_repeatable_job_goes_on_if_it_is_known_that_it_has_not_ended() {
    let hash = "HSET @repeat:r ic 3 name n every 3600000";
    let entry = "ZADD @repeat 1700000000000 r";
    let recorded = |repeat: &str| format!(r#"{hash} lastRun {{"repeat":{{"every":3600000,"count":4{repeat}}}}}"#);
    let on = found_and_mended(FindingKind::StoppedSchedulers, &[entry, &recorded("")]).await;
    assert_eq!(on.count(JobState::Delayed).await, 1);
    let on = Fixture::new().await;
    spoil(&on, &[entry, &recorded(r#","limit":4"#)]).await;
    assert_eq!(kinds(&on).await, [], "it has ended");
    spoil(&on, &["HDEL @repeat:r lastRun"]).await;
    assert_eq!(kinds(&on).await, [FindingKind::UnclearRepeatables]);
    let (doctor, finding) = found(&on, FindingKind::UnclearRepeatables).await;
    assert_eq!((finding.count, finding.examples.as_slice()), (1, ["r".to_owned()].as_slice()));
    assert!(doctor.mend(&finding).await.is_err() || on.count(JobState::Delayed).await == 0);
}

/// A run that has ended without a next one, as after an error while it was made.
#[tokio::test]
async fn a_scheduler_whose_run_has_ended_without_a_next_one_goes_on() {
    let job = format!("HSET @repeat:s:1700000000000 {JOB} rjk s");
    let done = "ZADD @completed 1700000000000 repeat:s:1700000000000";
    let on = found_and_mended(
        FindingKind::StoppedSchedulers,
        &["ZADD @repeat 1700000000000 s", "HSET @repeat:s ic 3 name n every 3600000 offset 0", &job, done],
    )
    .await;
    assert_eq!(on.count(JobState::Delayed).await, 1);
}

#[tokio::test]
async fn a_scheduler_whose_run_is_in_no_list_goes_on() {
    let job = format!("HSET @repeat:s:1700000000000 {JOB} rjk s");
    let on = found_and_mended(
        FindingKind::StoppedSchedulers,
        &["ZADD @repeat 1700000000000 s", "HSET @repeat:s ic 3 name n every 3600000 offset 0", &job],
    )
    .await;
    assert_eq!(on.count(JobState::Waiting).await, 1);
}

/// Somebody has deleted the run that is due next: it comes back as it was, and the scheduler makes the one after it.
#[tokio::test]
async fn a_scheduler_whose_next_run_was_deleted_gets_it_back() {
    let on = Fixture::new().await;
    let every = oxmq::Repeat::every(Duration::from_secs(3_600)).limit(9);
    let daily = oxmq::Repeat::cron("0 5 * * *").limit(1);
    on.queue
        .upsert_job_scheduler("hourly", every)
        .name("tick")
        .data(json!({ "n": 1 }))
        .options(JobOptions::default().priority(4))
        .await
        .unwrap();
    on.queue.promote_jobs().await.unwrap();
    let worker = on.worker(async |_: Job<Value, ()>| Ok::<_, &str>(())).start().unwrap();
    on.until(JobState::Completed, 1).await;
    worker.close().await;
    on.queue.upsert_job_scheduler("daily", daily).name("night").data(json!({ "n": 2 })).await.unwrap();
    let runs = on.queue.get_jobs(&[JobState::Delayed], 0, -1, Order::Ascending).await.unwrap();
    let runs: Vec<String> = runs.into_iter().map(|job| job.unwrap().id().to_owned()).collect();
    let kept = async |id: &str| {
        let mut fields: HashMap<String, String> =
            redis::cmd("HGETALL").arg(on.key(id)).query_async(&mut on.redis.clone()).await.unwrap();
        let mut opts: Value = serde_json::from_str(&fields.remove("opts").unwrap()).unwrap();
        // Every run after the first one is given no attempts, which means one.
        for text in ["timestamp", "delay", "attempts"] {
            opts.as_object_mut().unwrap().remove(text);
            fields.remove(text);
        }
        fields.remove("ats");
        let due: String =
            redis::cmd("ZSCORE").arg(on.key("delayed")).arg(id).query_async(&mut on.redis.clone()).await.unwrap();
        (fields, opts, due)
    };
    let scheduled = async |id: &str| {
        let entry = on.key(&format!("repeat:{id}"));
        let fields: HashMap<String, String> =
            redis::cmd("HGETALL").arg(entry).query_async(&mut on.redis.clone()).await.unwrap();
        fields
    };
    for run in &runs {
        let scheduler = run.split(':').nth(1).unwrap().to_owned();
        let (before, entry) = (kept(run).await, scheduled(&scheduler).await);
        assert_eq!(kinds(&on).await, [], "it is well");
        let (del, zrem) = (format!("DEL @{run}"), format!("ZREM @delayed {run}"));
        spoil(&on, &[&del, &zrem]).await;
        let (doctor, finding) = found(&on, FindingKind::StoppedSchedulers).await;
        assert_eq!((finding.count, finding.examples.as_slice()), (1, [scheduler.clone()].as_slice()));
        assert_eq!(doctor.mend(&finding).await.unwrap(), 1);
        assert_eq!((kept(run).await, scheduled(&scheduler).await), (before, entry), "{run}");
        assert_eq!((kinds(&on).await, doctor.mend(&finding).await.unwrap()), (vec![], 0));
        // Its hash is there, and only the place in the set is missing.
        spoil(&on, &[&zrem]).await;
        let (doctor, finding) = found(&on, FindingKind::StoppedSchedulers).await;
        assert_eq!(doctor.mend(&finding).await.unwrap(), 1);
        assert_eq!(on.count(JobState::Delayed).await, 2);
        assert_eq!(kinds(&on).await, []);
    }
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
async fn jobs_in_the_paused_list_of_version_5_run_again() {
    let job = format!("HSET @a {JOB}");
    let on = found_and_mended(FindingKind::PausedList, &[&job, "LPUSH @paused a"]).await;
    complete_next(&on).await;
}

/// Returns the doctor of the whole queue and its finding of this kind.
async fn found(on: &Fixture, kind: FindingKind) -> (oxmq::doctor::Doctor, oxmq::doctor::Finding) {
    let doctor = on.client.doctor().queue("q").pause(Duration::ZERO);
    let report = doctor.examine().await.unwrap();
    let finding = report.findings.into_iter().find(|finding| finding.kind == kind).unwrap();
    (doctor, finding)
}

#[tokio::test]
async fn what_has_changed_since_it_was_found_is_left_alone() {
    let on = Fixture::new().await;
    spoil(&on, &[&format!("HSET @a {JOB}"), "LPUSH @paused a"]).await;
    let (doctor, finding) = found(&on, FindingKind::PausedList).await;
    on.queue.pause().await.unwrap();
    assert_eq!(doctor.mend(&finding).await.unwrap(), 0);
    assert!(on.queue.is_paused().await.unwrap(), "who has paused it meanwhile wants that");
    on.queue.resume().await.unwrap();
    on.queue.drain().await.unwrap();

    spoil(&on, &[&format!("HSET @p {JOB}"), "SADD @p:dependencies @c", "ZADD @waiting-children 1 p"]).await;
    let (doctor, finding) = found(&on, FindingKind::StuckParents).await;
    spoil(&on, &[&format!("HSET @c {JOB}"), "LPUSH @wait c"]).await;
    assert_eq!(doctor.mend(&finding).await.unwrap(), 0);
    assert!(on.queue.get_job("c").await.unwrap().is_some(), "a child that came back keeps its data");
    assert_eq!(on.queue.get_job_counts(&[JobState::WaitingChildren]).await.unwrap().waiting_children, 1);
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
    let trimmed = doctor.mend(long).await.unwrap();
    assert!(trimmed > 0, "{trimmed}, of {long:?}");
    assert_eq!(kinds(&on).await, []);
}

#[tokio::test]
async fn findings_that_cannot_be_mended_are_reported() {
    let on = Fixture::new().await;
    let now = now_ms();
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
    assert!(
        found.left_out.iter().any(|text| text.to_string().contains("q: 10 of 100001 completed")),
        "{:?}",
        found.left_out
    );
    spoil(&on, &["DEL @completed"]).await;
}

/// The server records every slow call and every latency spike, has a memory limit and is busy. Only what the server
/// itself has recorded may be reported, since a busy machine can cause that.
#[tokio::test]
async fn a_healthy_server_under_load_is_not_accused() {
    let server = RedisServer::start_with(&[
        "--slowlog-log-slower-than",
        "0",
        "--slowlog-max-len",
        "1000000",
        "--latency-monitor-threshold",
        "1",
        "--maxmemory",
        "1gb",
        "--maxmemory-policy",
        "noeviction",
    ]);
    let on = Fixture::on(&server).await;
    let worker = on.worker(|_: Job<Value, ()>| async { Ok::<_, oxmq::Halt>(()) }).concurrency(50).start().unwrap();
    let mut found = Vec::new();
    for _ in 0..4 {
        on.queue
            .add_bulk((0..500).map(|n| NewJob::new("job", json!({ "n": n, "text": "x".repeat(2_000) }))))
            .await
            .unwrap();
        found.extend(of_server(&server.url()).await);
    }
    worker.close().await;
    let mut redis = server.connection().await;
    type Entry = (u64, u64, u64, Vec<String>, String, String);
    let calls: Vec<Entry> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query_async(&mut redis).await.unwrap();
    assert!(calls.len() > 100, "{}", calls.len());
    // Name, time, the latest and the longest; Valkey adds the sum and the number.
    let stills: Vec<Vec<redis::Value>> = redis::cmd("LATENCY").arg("LATEST").query_async(&mut redis).await.unwrap();
    let is_slow = calls.iter().any(|call| call.2 >= 50_000);
    let was_still = stills.iter().any(|still| matches!(still[3], redis::Value::Int(ms) if ms >= 100));
    found.retain(|(kind, _)| match kind {
        FindingKind::SlowScripts => !is_slow,
        FindingKind::SlowServer => !was_still,
        _ => true,
    });
    assert_eq!(found, []);
}

#[tokio::test]
async fn the_command_reports_asks_and_mends() {
    // This server records no slow scripts, because a busy machine makes any script slow.
    let server = RedisServer::start_with(&["--slowlog-log-slower-than", "-1"]);
    let on = Fixture::on(&server).await;
    let oxmq = async |on: &Fixture, words: &str| oxmq_at(&server.url(), on, words).await;
    assert_eq!(
        oxmq(&on, "doctor q --pause 10ms").await.ok(),
        "nothing is wrong\nsettings written last by: bullmq:oxmq-0.1.0 (1)\n"
    );
    spoil(&on, &["LPUSH @wait gone", "SET @de:x nobody"]).await;
    let ran = oxmq(&on, "doctor q --pause 10ms --memory").await;
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(
        ran.out.contains("missing-jobs")
            && ran.out.contains("JOBS, ABOUT")
            && ran.out.contains("dead-deduplication")
            && ran.out.contains("gone"),
        "{ran:?}"
    );
    assert_eq!(oxmq(&on, "doctor q --pause 10ms --fix").await.code, 4);
    let ran = oxmq(&on, "doctor q --pause 10ms --fix --yes --json").await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, report["mended"].as_array().unwrap().len()), (6, 2));
    assert_eq!(oxmq(&on, "doctor q --pause 10ms").await.code, 0);
}

/// Returns the findings about the server itself.
async fn of_server(url: &str) -> Vec<(FindingKind, String)> {
    let client = oxmq::Client::connect(url).await.unwrap();
    let report = client.doctor().queue("q").pause(Duration::ZERO).examine().await.unwrap();
    let found = report.findings.into_iter().filter(|finding| finding.queue.is_none());
    found.map(|finding| (finding.kind, finding.detail)).collect()
}

#[tokio::test]
async fn faults_of_the_server_are_reported() {
    let healthy = RedisServer::start_with(&["--slowlog-log-slower-than", "-1"]);
    assert_eq!(of_server(&healthy.url()).await, []);
    let server = RedisServer::start_with(&[
        "--maxmemory-policy",
        "allkeys-lru",
        "--slowlog-log-slower-than",
        "1000",
        "--latency-monitor-threshold",
        "1",
    ]);
    let mut redis = server.connection().await;
    let () = redis::cmd("DEBUG").arg("SLEEP").arg("0.11").query_async(&mut redis).await.unwrap();
    // Repeats until the script takes long enough on this machine.
    let mut rounds = 1_000_000;
    loop {
        let slow = format!("local x = 0 for i = 1, {rounds} do x = x + i % 7 end");
        let () = redis::cmd("EVAL").arg(slow).arg(0).query_async(&mut redis).await.unwrap();
        type Entry = (u64, u64, u64, Vec<String>, String, String);
        let entries: Vec<Entry> = redis::cmd("SLOWLOG").arg("GET").arg(1).query_async(&mut redis).await.unwrap();
        if entries.iter().any(|entry| entry.2 >= 50_000 && entry.3[0].eq_ignore_ascii_case("eval")) {
            break;
        }
        rounds *= 2;
    }
    let found = of_server(&server.url()).await;
    let kinds: Vec<FindingKind> = found.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [FindingKind::Eviction, FindingKind::SlowScripts, FindingKind::SlowServer], "{found:?}");
    assert!(found[0].1.contains("allkeys-lru") && found[2].1.contains("command up to "), "{found:?}");
}

/// A library that sets the server's clock back by an hour.
const AN_HOUR_AGO: &str = "#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
int gettimeofday(struct timeval *at, void *zone) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec - 3600;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}
";

#[tokio::test]
async fn a_wrong_clock_is_reported() {
    let dir = oxmq::testing::fresh_dir();
    let (source, library) = (dir.join("clock.c"), dir.join("clock.so"));
    std::fs::write(&source, AN_HOUR_AGO).unwrap();
    let mut compiler = Command::new("cc");
    assert!(compiler.args(["-shared", "-fPIC", "-w", "-o"]).args([&library, &source]).status().unwrap().success());
    let port = oxmq::testing::free_port().to_string();
    let mut command = oxmq::testing::server_in(&dir);
    command.env("LD_PRELOAD", &library).args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(&dir);
    command.args(["--slowlog-log-slower-than", "-1"]);
    let running = oxmq::testing::run(command, &dir, "eady to accept connections").unwrap();
    let found = of_server(&format!("redis://127.0.0.1:{port}")).await;
    running.kill();
    assert!(
        matches!(&found[..], [(FindingKind::ClockOffset, detail)] if detail.ends_with("ms ahead of the server's")),
        "{found:?}"
    );
}

#[tokio::test]
async fn memory_is_measured_by_job_name_on_request() {
    let on = Fixture::new().await;
    for (name, count, text) in [("small", 30, 10), ("large", 10, 20_000)] {
        let jobs = (0..count).map(|_| NewJob::new(name, json!({ "text": "x".repeat(text) })));
        on.queue.add_bulk(jobs).await.unwrap();
    }
    let doctor = on.client.doctor().queue("q").keys(0).pause(Duration::ZERO);
    let report = doctor.examine().await.unwrap();
    assert!(report.memory.is_empty() && report.names.is_empty());
    let report = doctor.memory(true).examine().await.unwrap();
    let weights: Vec<_> = report.names.iter().map(|weight| (weight.name.as_str(), weight.about)).collect();
    assert_eq!(weights, [("large", 10), ("small", 30)]);
    assert!(report.names[0].bytes_each > 10 * report.names[1].bytes_each, "{:?}", report.names);
    assert_eq!((report.memory.len(), report.memory[0].count), (1, 40));
    assert!(report.versions["q"].starts_with("bullmq:oxmq-"), "{:?}", report.versions);
}

#[tokio::test]
async fn the_libraries_of_workers_are_reported() {
    let on = Fixture::new().await;
    let worker = on.worker(async |_: Job<Value, ()>| Ok::<_, oxmq::Halt>(())).start().unwrap();
    eventually("the worker is told", || async {
        let report = on.client.doctor().queue("q").keys(0).examine().await.unwrap();
        report.peers.iter().any(|((queue, library), workers)| queue == "q" && !library.is_empty() && *workers == 1)
    })
    .await;
    worker.close().await;
}

#[tokio::test]
async fn what_was_left_out_is_reported() {
    let on = Fixture::new().await;
    let left_out = async |doctor: oxmq::doctor::Doctor| {
        let report = doctor.queue("q").pause(Duration::ZERO).examine().await.unwrap();
        report.left_out.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(left_out(on.client.doctor()).await, [""; 0]);
    let told = left_out(on.client.doctor().keys(0)).await;
    assert!(matches!(&told[..], [keys] if keys.contains("keys of the server")), "{told:?}");
    let told = left_out(on.client.doctor().keys(1)).await;
    assert!(told.iter().all(|text| text.contains("keys of the server beyond 1")), "{told:?}");
    // The same id many times: it stands for very many waiting jobs.
    let many = "local ids = {} for i = 1, 1000 do ids[i] = 'x' end for i = 1, 1001 do redis.call('RPUSH', KEYS[1], unpack(ids)) end";
    let () = redis::cmd("EVAL").arg(many).arg(1).arg(on.key("wait")).query_async(&mut on.redis.clone()).await.unwrap();
    let told = left_out(on.client.doctor().places(10)).await;
    assert!(told.iter().any(|text| text.contains("q: jobs in no list, since more than 1000000 wait")), "{told:?}");
    assert!(told.iter().any(|text| text.contains("q: 10 of 1001000 waiting jobs")), "{told:?}");
    spoil(&on, &["DEL @wait"]).await;
}

#[tokio::test]
async fn progress_is_reported() {
    let on = Fixture::new().await;
    spoil(&on, &["LPUSH @wait gone"]).await;
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let into = std::sync::Arc::clone(&heard);
    let doctor = on.client.doctor().queue("q").pause(Duration::ZERO);
    doctor.on_stage(move |stage| into.lock().unwrap().push(stage.to_string())).examine().await.unwrap();
    let heard = heard.lock().unwrap();
    assert_eq!(heard.first().map(String::as_str), Some("queue 1 of 1: q"));
    assert_eq!(heard.last().map(String::as_str), Some("a second look at 1 place"));
    assert!(heard.iter().any(|text| text.starts_with("keys of the server: ")), "{heard:?}");
}
