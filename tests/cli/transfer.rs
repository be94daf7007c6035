use oxmq::client::Clock;
use oxmq::{Backoff, JobOptions};

use super::*;

#[tokio::test]
async fn what_is_exported_can_be_imported_with_its_options() {
    let on = Fixture::new().await;
    let node = filled_by_node(&on).await;
    let opts = json!({
        "jobId": "special", "attempts": 7, "backoff": { "type": "exponential", "delay": 500, "jitter": 0.25 },
        "removeOnComplete": { "age": 3600, "count": 10 }, "removeOnFail": true, "keepLogs": 5, "stackTraceLimit": 2,
        "mine": { "odd": [1] },
    });
    node.call("add", json!({ "queue": "mails", "name": "special", "data": { "é": "ü" }, "opts": opts })).await.unwrap();
    let exported = oxmq(&on, "export mails -s waiting,delayed,prioritized").await.ok();
    assert_eq!(exported.lines().count(), 5);
    let ran = call(&on, &["import", "copy", "--yes"], &exported).await;
    assert_eq!(ran.ok(), "5 jobs added, 0 were there already, 0 refused\n");
    let again = call(&on, &["import", "copy", "--yes", "--json"], &exported).await.json().remove(0);
    // Jobs with an id of the user exist already. The others have numbers of the queue, and are added as new jobs.
    assert_eq!((&again["added"], &again["existing"]), (&json!(2), &json!(3)));

    let of = async |queue: &str| {
        let mut opts = oxmq(&on, &format!("show {queue} special --json")).await.json().remove(0)["opts"].clone();
        opts.as_object_mut().unwrap().remove("timestamp");
        opts
    };
    assert_eq!(of("copy").await, of("mails").await);
    let copy: Queue = on.client.queue("copy").open().unwrap();
    let counts = copy.get_job_counts(&[]).await.unwrap();
    assert_eq!((counts.delayed, counts.prioritized), (2, 2));
    let fresh = call(&on, &["import", "fresh", "--yes", "--new-ids"], &exported).await;
    assert!(fresh.ok().starts_with("5 jobs added"));
    assert_eq!(copy.get_job("special").await.unwrap().unwrap().data(), &json!({ "é": "ü" }));
}

#[tokio::test]
async fn what_has_finished_does_not_run_again_by_itself() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let mails: Queue = on.client.queue("mails").open().unwrap();
    mails.upsert_job_scheduler("often", oxmq::Repeat::every(std::time::Duration::from_secs(60))).await.unwrap();
    let exported = oxmq(&on, "export mails").await.ok();
    let ran = call(&on, &["import", "copy", "--yes"], &exported).await;
    assert!(ran.err.contains("which make their own: 1 job") && ran.err.contains("run again): 120 jobs"), "{ran:?}");
    assert_eq!(ran.ok(), "4 jobs added, 0 were there already, 0 refused\n");
    let parents = oxmq(&on, "export reports").await.ok();
    let ran = call(&on, &["import", "copy", "--yes", "--json"], &parents).await;
    assert!(ran.err.contains("(--rerun adds them): 1 job"), "{ran:?}");
    assert_eq!(ran.json()[0]["added"], 0);
    let again = call(&on, &["import", "again", "--yes", "--rerun", "--json"], &exported).await.json().remove(0);
    assert_eq!(again["added"], 124);
}

#[tokio::test]
async fn data_stay_as_they_are_written() {
    let on = Fixture::new().await;
    let data = "{\"z\":12345678901234567890123,\"a\":1.10,\"far\":1e999}";
    let dry = call(&on, &["add", "exact", "job", data, "--id", "x", "--dry-run"], "").await;
    assert_eq!(dry.ok(), "1 job 'job' would be added to exact; nothing was changed\n");
    assert_eq!(oxmq(&on, "jobs exact").await.code, 3);
    call(&on, &["add", "exact", "job", data, "--id", "x"], "").await.ok();
    let exported = oxmq(&on, "export exact").await.ok();
    assert!(exported.contains(data), "{exported}");
    call(&on, &["import", "copy", "--yes"], &exported).await.ok();
    let mut redis = on.redis.clone();
    let stored: String =
        redis::cmd("HGET").arg(format!("{}:copy:x", on.prefix)).arg("data").query_async(&mut redis).await.unwrap();
    assert_eq!(stored, data);
    let shown = oxmq(&on, "show copy x").await.ok();
    assert!(shown.contains("\"z\": 12345678901234567890123") && shown.contains("1e999"), "{shown}");
}

/// The delay of a retry counts from the failure, which no field of the job tells.
#[tokio::test]
async fn a_job_that_waits_for_its_next_attempt_is_due_when_it_was() {
    let on = Fixture::new().await;
    let hour = std::time::Duration::from_secs(3600);
    let long_ago = Clock::system().now() - 12 * hour;
    let options = JobOptions::default().attempts(3).backoff(Backoff::fixed(hour)).timestamp(long_ago).job_id("x");
    let from: Queue = on.client.queue("from").open().unwrap();
    from.add("job", json!(1)).options(options).await.unwrap();
    let worker: oxmq::ManualWorker = on.client.manual_worker("from").open().unwrap();
    worker.get_next_job("token").await.unwrap().unwrap().move_to_failed("no", "token").await.unwrap();
    let due = from.get_due(&["x", "none"]).await.unwrap();
    assert!(due[0].is_some_and(|due| due > Clock::system().now()) && due[1].is_none(), "{due:?}");

    let shown = oxmq(&on, "show from x").await.ok();
    assert!(shown.lines().any(|line| line.contains("due") && line.contains("in 59m")), "{shown}");
    let exported = oxmq(&on, "export from").await.ok();
    call(&on, &["import", "to", "--yes"], &exported).await.ok();
    let to: Queue = on.client.queue("to").open().unwrap();
    let again = to.get_due(&["x"]).await.unwrap()[0].expect("it is delayed");
    let seconds = |at: std::time::SystemTime| at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(seconds(again).abs_diff(seconds(due[0].unwrap())) <= 30, "{again:?} {due:?}");
}

#[tokio::test]
async fn a_line_that_no_add_would_take_is_named_before_anything_is_added() {
    let on = Fixture::new().await;
    let lines = "{\"name\":\"good\"}\n{\"name\":\"odd\",\"id\":\"a\\nb\"}\n";
    let ran = call(&on, &["import", "copy", "--yes"], lines).await;
    assert!(ran.code == 1 && ran.err.contains("line 2") && ran.err.contains("--new-ids"), "{ran:?}");
    assert_eq!(oxmq(&on, "jobs copy").await.code, 3);
    let ran = call(&on, &["import", "copy", "--yes", "--new-ids"], lines).await;
    assert_eq!(ran.ok(), "2 jobs added, 0 were there already, 0 refused\n");
    let out_of_range = "{\"name\":\"good\"}\n\n{\"name\":\"odd\",\"priority\":99999999}\n";
    let ran = call(&on, &["import", "none", "--yes"], out_of_range).await;
    assert!(ran.code == 1 && ran.err.contains("line 3") && !ran.err.contains("--new-ids"), "{ran:?}");
}

#[tokio::test]
async fn a_bad_line_is_named_before_anything_is_added() {
    let on = Fixture::new().await;
    let lines = "{\"name\":\"good\",\"data\":1}\n\n{\"data\":1}\n";
    let ran = call(&on, &["import", "copy", "--yes"], lines).await;
    assert!(ran.code == 1 && ran.err.contains("line 3"), "{ran:?}");
    assert_eq!(oxmq(&on, "jobs copy").await.code, 3);
    let dry = call(&on, &["import", "copy", "--dry-run"], "{\"name\":\"good\"}").await;
    assert_eq!(dry.ok(), "1 job would be added to copy; nothing was changed\n");
    let unsaid = call(&on, &["import", "copy"], "{\"name\":\"good\"}").await;
    assert_eq!(unsaid.code, 4);
}

/// Returns the numbers in the data of all jobs of a queue, in the order in which workers get them.
async fn in_order(on: &Fixture, queue: &str) -> Vec<u64> {
    let worker: oxmq::ManualWorker = on.client.manual_worker(queue).open().unwrap();
    let mut numbers = Vec::new();
    while let Some(job) = worker.get_next_job("token").await.unwrap() {
        numbers.push(job.data()["n"].as_u64().unwrap());
        job.move_to_completed(&json!(null), "token").await.unwrap();
    }
    numbers
}

#[tokio::test]
async fn what_is_imported_runs_in_the_order_in_which_it_would_have_run() {
    let on = Fixture::new().await;
    let from: Queue = on.client.queue("from").open().unwrap();
    let job = |n: u32| oxmq::NewJob::new("job", json!({ "n": n }));
    from.add_bulk((0..5).map(job).chain((5..10).map(|n| job(n).priority(3)))).await.unwrap();
    let exported = oxmq(&on, "export from").await.ok();
    call(&on, &["import", "to", "--yes"], &exported).await.ok();
    assert_eq!(in_order(&on, "to").await, (0..10).collect::<Vec<u64>>());
    let first = oxmq(&on, "export from -s waiting --limit 2").await.ok();
    call(&on, &["import", "first", "--yes"], &first).await.ok();
    assert_eq!(in_order(&on, "first").await, [0, 1]);
}

#[tokio::test]
async fn a_child_that_loses_its_parent_is_told() {
    let on = Fixture::new().await;
    let node = oxmq::FlowNode::new("wholes", "whole", json!({ "n": 0 }));
    let children = (0..2).map(|n| oxmq::FlowNode::new("parts", "part", json!({ "n": n })));
    on.client.flow_producer().add(node.children(children)).await.unwrap();
    let exported = oxmq(&on, "export parts").await.ok();
    let ran = call(&on, &["import", "copy", "--yes"], &exported).await;
    assert!(ran.err.contains("without their parents") && ran.err.contains("2 jobs"), "{ran:?}");
    assert_eq!(ran.ok(), "2 jobs added, 0 were there already, 0 refused\n");
    let opts = r#"{"parent":{"id":"1","queue":"bull:wholes"}}"#;
    let ran = call(&on, &["add", "parts", "part", "{}", "--opts", opts], "").await;
    assert!(ran.code == 2 && ran.err.contains("parent"), "{ran:?}");
}

#[tokio::test]
async fn an_export_that_reads_nothing_leaves_the_file_as_it_is() {
    let on = Fixture::new().await;
    let queue: Queue = on.client.queue("odd").open().unwrap();
    queue.add("job", json!(1)).await.unwrap();
    let file = oxmq::testing::fresh_dir().join("jobs.jsonl");
    std::fs::write(&file, "of yesterday").unwrap();
    let path = file.to_str().unwrap();
    let mut redis = on.redis.clone();
    let wait = format!("{}:odd:wait", on.prefix);
    let () = redis::cmd("RENAME").arg(&wait).arg(format!("{wait}2")).query_async(&mut redis).await.unwrap();
    let () = redis::cmd("SET").arg(&wait).arg("x").query_async(&mut redis).await.unwrap();
    let ran = call(&on, &["export", "odd", "-s", "waiting", "-o", path], "").await;
    assert!(ran.code == 1, "{ran:?}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "of yesterday");
    let () = redis::cmd("RENAME").arg(format!("{wait}2")).arg(&wait).query_async(&mut redis).await.unwrap();
    call(&on, &["export", "odd", "-s", "waiting", "-o", path], "").await.ok();
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("{\"id\":\"1\""));
    call(&on, &["export", "odd", "-s", "failed", "-o", path], "").await.ok();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
}

#[cfg(unix)]
#[tokio::test]
async fn an_export_keeps_who_may_read_the_file_and_the_link_to_it() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let on = Fixture::new().await;
    on.add_many(3).await;
    let dir = oxmq::testing::fresh_dir();
    let (file, link) = (dir.join("jobs.jsonl"), dir.join("link"));
    std::fs::write(&file, "of yesterday").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    symlink("jobs.jsonl", &link).unwrap();
    call(&on, &["export", "q", "-o", link.to_str().unwrap()], "").await.ok();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 3);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 2);
    // What is no file is written to as it is.
    call(&on, &["export", "q", "-o", "/dev/null"], "").await.ok();
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    let ran = call(&on, &["export", "q", "-o", dir.join("missing/jobs.jsonl").to_str().unwrap()], "").await;
    assert!(ran.code == 1 && ran.err.contains("missing/jobs.jsonl"), "{ran:?}");
}
