//! The job in steps of `examples/steps.rs`, killed before each of its calls to Redis.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use oxmq::Client;
use redis::AsyncCommands;
use redis::aio::MultiplexedConnection;
use tokio::sync::Notify;

use crate::common::eventually::{DEADLINE, eventually, eventually_within};
use crate::common::proxy::{Matcher, Proxy};
use crate::common::server::RedisServer;

/// More calls than the example makes.
const MOST_CALLS: u32 = 60;

fn example(url: &str) -> Command {
    let this = std::env::current_exe().unwrap();
    let path = this.parent().and_then(|deps| deps.parent()).unwrap().join("examples").join("steps");
    let mut command = Command::new(path);
    command.env("REDIS_URL", url).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Runs the example and kills it instead of its call number `call`, counted over all its scripts. Returns false if it
/// has ended without that call.
async fn killed_before(call: u32, server: &RedisServer) -> bool {
    let proxy = Proxy::start(server.addr()).await;
    let (seen, reached) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let tells = Arc::clone(&reached);
    // From that call on nothing passes, so that the kill comes in time.
    let is_late = move |args: &[Vec<u8>]| {
        if args.first().is_some_and(|verb| verb.starts_with(b"EVAL")) {
            seen.fetch_add(1, Ordering::Relaxed);
        }
        let is_late = seen.load(Ordering::Relaxed) >= call;
        if is_late {
            tells.notify_one();
        }
        is_late
    };
    proxy.drop_request(Matcher::new(is_late).times(u64::MAX));
    let child = std::cell::RefCell::new(example(&proxy.url()).spawn().unwrap());
    let ended =
        eventually_within(DEADLINE * 2, "an end", || async { child.borrow_mut().try_wait().unwrap().is_some() });
    tokio::select! {
        () = reached.notified() => {}
        () = ended => return false,
    }
    let mut child = child.into_inner();
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

/// Recovers jobs whose worker is gone as a worker does, but without waiting for their locks to expire.
async fn recover(redis: &mut MultiplexedConnection, server: &RedisServer) {
    let locks: Vec<String> = redis.keys("bull:*:lock").await.unwrap();
    for lock in locks {
        let _: () = redis.del(lock).await.unwrap();
    }
    let client = Client::connect(&server.url()).await.unwrap();
    for queue in ["counts", "parts"] {
        let worker = client.manual_worker::<serde_json::Value, serde_json::Value>(queue);
        let worker = worker.stalled_interval(Duration::from_millis(1)).open().unwrap();
        eventually("nothing is active", || async {
            // The killed process has checked a moment ago.
            let _: () = redis.clone().del(format!("bull:{queue}:stalled-check")).await.unwrap();
            worker.move_stalled_jobs_to_wait().await.unwrap();
            let active: u32 = redis.clone().llen(format!("bull:{queue}:active")).await.unwrap();
            active == 0
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_in_steps_continues_after_being_killed_anywhere() {
    let server = RedisServer::start();
    let mut redis = server.connection().await;
    let mut kills = 0;
    for call in 1..MOST_CALLS {
        let _: () = redis::cmd("FLUSHDB").query_async(&mut redis).await.unwrap();
        if !killed_before(call, &server).await {
            break;
        }
        kills += 1;
        recover(&mut redis, &server).await;
        let url = server.url();
        let status = tokio::task::spawn_blocking(move || example(&url).status().unwrap()).await.unwrap();
        assert!(status.success(), "started again after it was killed before call {call}");

        // There is one result; nothing is lost, and nothing was done twice.
        let result: String = redis.hget("bull:counts:words", "returnvalue").await.unwrap();
        assert_eq!(result, "9", "call {call}");
        for (queue, jobs) in [("counts", &["words"][..]), ("parts", &["words-0", "words-1", "words-2"])] {
            let key = |name: &str| format!("bull:{queue}:{name}");
            let mut done: Vec<String> = redis.zrange(key("completed"), 0, -1).await.unwrap();
            done.sort();
            assert_eq!(done, jobs, "call {call}");
            for rest in ["wait", "active"] {
                let left: u32 = redis.llen(key(rest)).await.unwrap();
                assert_eq!(left, 0, "call {call}: {queue} {rest}");
            }
            for rest in ["failed", "delayed", "waiting-children"] {
                let left: u32 = redis.zcard(key(rest)).await.unwrap();
                assert_eq!(left, 0, "call {call}: {queue} {rest}");
            }
            for job in jobs {
                let starts: u32 = redis.hget(key(job), "ats").await.unwrap();
                // A part runs once. The job in steps runs once for each step, and once for a child that was not done.
                // The kill costs one more start.
                let most = if queue == "parts" { 2 } else { 6 };
                assert!(starts <= most, "call {call}: {job} was started {starts} times");
            }
        }
    }
    println!("kill -9: before each of {kills} calls");
    assert!(kills >= 8, "{kills}");
}
