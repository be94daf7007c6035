//! BullMQ itself, in a Node process that executes one operation per line (`tests/interop/node/driver.mjs`).

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

/// The versions of BullMQ that we are measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BullMq {
    /// 5.81.5, the last of version 5.
    V5,
    /// 6.7.0.
    V6,
}

impl BullMq {
    fn arg(self) -> &'static str {
        match self {
            Self::V5 => "5",
            Self::V6 => "6",
        }
    }
}

/// An error thrown by BullMQ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {message} (code {code:?})")]
pub struct NodeError {
    /// Its text.
    pub message: String,
    /// The negative number a script answered, if it was one.
    pub code: Option<i64>,
    /// Its class.
    pub name: String,
}

/// How long one call may take.
const DEADLINE: Duration = Duration::from_secs(60);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// A Node process with one version of BullMQ. It ends when this value is dropped or this process dies.
///
/// Not bound to one tokio runtime. The clock is one per process, so tests that set it do not share a driver.
#[derive(Debug)]
pub struct NodeDriver {
    child: Child,
    stdin: Mutex<Option<ChildStdin>>,
    waiting: Waiting,
    stderr: Arc<Mutex<String>>,
    next: AtomicU64,
    prefix: String,
}

impl NodeDriver {
    /// Starts a process; `prefix` is the one of all calls that name no other.
    ///
    /// # Panics
    ///
    /// When there is no node on the PATH or BullMQ is not installed.
    pub async fn start(version: BullMq, redis_url: &str, prefix: &str) -> Self {
        let dir: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "interop", "node"].iter().collect();
        assert!(dir.join("node_modules").is_dir(), "BullMQ is not installed in {}: run `make setup`", dir.display());
        let mut child = Command::new("node")
            .args(["driver.mjs", version.arg(), redis_url])
            .current_dir(&dir)
            // Cron expressions without a time zone mean the one of the process.
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|err| panic!("these tests need node on the PATH: {err}"));

        let waiting = Waiting::default();
        let (hello, ready) = oneshot::channel();
        lock(&waiting).insert(0, hello);
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        std::thread::spawn({
            let waiting = Arc::clone(&waiting);
            move || read_replies(stdout, &waiting)
        });
        let stderr = Arc::new(Mutex::new(String::new()));
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        std::thread::spawn({
            let stderr = Arc::clone(&stderr);
            move || {
                for line in lines.map_while(Result::ok) {
                    let mut text = lock(&stderr);
                    // Enough to explain a failure, and bounded in case Node never stops writing.
                    if text.len() < 64 * 1024 {
                        text.push_str(&line);
                        text.push('\n');
                    }
                }
            }
        });
        let driver = Self {
            stdin: Mutex::new(child.stdin.take()),
            child,
            waiting,
            stderr,
            next: AtomicU64::new(1),
            prefix: prefix.to_owned(),
        };
        driver.answer("start", ready).await;
        driver
    }

    /// Returns the default prefix of all calls.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Returns what the process has written to stderr so far.
    pub fn stderr(&self) -> String {
        lock(&self.stderr).clone()
    }

    /// Does one operation with the fields of `args`, which must be an object.
    ///
    /// # Errors
    ///
    /// What BullMQ threw.
    ///
    /// # Panics
    ///
    /// When the process is gone or does not answer within 60 s.
    pub async fn call(&self, op: &str, args: Value) -> Result<Value, NodeError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let Value::Object(args) = args else { panic!("{op}: arguments must be an object") };
        let mut request = Map::new();
        request.insert("prefix".into(), json!(self.prefix));
        request.extend(args);
        request.insert("id".into(), json!(id));
        request.insert("op".into(), json!(op));
        let (sender, reply) = oneshot::channel();
        lock(&self.waiting).insert(id, sender);
        self.send(&Value::Object(request));
        let reply = self.answer(op, reply).await;
        match reply.get("err") {
            None => Ok(reply["ok"].clone()),
            Some(err) => Err(NodeError {
                message: err["message"].as_str().unwrap_or_default().to_owned(),
                code: err["code"].as_i64(),
                name: err["name"].as_str().unwrap_or_default().to_owned(),
            }),
        }
    }

    /// Fixes the time that Node sees, in ms; `None` lets it run.
    pub async fn clock(&self, now: Option<i64>) {
        self.call("clock", json!({ "to": now })).await.expect("clock");
    }

    fn send(&self, request: &Value) {
        let mut stdin = lock(&self.stdin);
        let line = format!("{request}\n");
        if let Some(Err(err)) = stdin.as_mut().map(|s| s.write_all(line.as_bytes())) {
            panic!("node is gone ({err}); stderr:\n{}", self.stderr());
        }
    }

    async fn answer(&self, op: &str, reply: oneshot::Receiver<Value>) -> Value {
        match tokio::time::timeout(DEADLINE, reply).await {
            Ok(Ok(value)) => value,
            Ok(Err(_)) => panic!("{op}: node ended; stderr:\n{}", self.stderr()),
            Err(_) => panic!("{op}: no answer of node within {DEADLINE:?}; stderr:\n{}", self.stderr()),
        }
    }
}

impl Drop for NodeDriver {
    fn drop(&mut self) {
        lock(&self.stdin).take();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_replies(stdout: impl BufRead, waiting: &Waiting) {
    for line in stdout.lines().map_while(Result::ok) {
        let Ok(reply) = serde_json::from_str::<Value>(&line) else {
            continue;
        };
        let id = reply["id"].as_u64().unwrap_or(u64::MAX);
        if let Some(sender) = lock(waiting).remove(&id) {
            let _ = sender.send(reply);
        }
    }
    // The process has ended: the dropped senders tell every waiting caller.
    lock(waiting).clear();
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[tokio::test]
async fn node_adds_and_says_what_is_wrong() {
    let server = super::server::shared_server();
    let prefix = super::server::fresh_prefix();
    let node = NodeDriver::start(BullMq::V6, &server.url(), &prefix).await;
    node.clock(Some(1_700_000_000_000)).await;
    let added = json!({ "queue": "q", "name": "n", "data": {}, "opts": { "jobId": "a" } });
    assert_eq!(node.call("add", added).await, Ok(json!({ "id": "a" })));
    let job = node.call("getJob", json!({ "queue": "q", "job": "a" })).await.unwrap();
    assert_eq!(job["timestamp"], json!(1_700_000_000_000_i64));
    let missing = node.call("promote", json!({ "queue": "q", "job": "b" })).await.unwrap_err();
    assert_eq!(missing.code, Some(-3));
}

#[tokio::test]
async fn node_works_listens_and_waits() {
    let server = super::server::shared_server();
    for version in [BullMq::V5, BullMq::V6] {
        let prefix = super::server::fresh_prefix();
        let node = NodeDriver::start(version, &server.url(), &prefix).await;
        let call = async |op: &str, args: Value| {
            let mut all = json!({ "queue": "q" });
            all.as_object_mut().expect("an object").extend(args.as_object().cloned().unwrap_or_default());
            node.call(op, all).await
        };
        call("startQueueEvents", json!({ "opts": { "lastEventId": "0-0" } })).await.unwrap();
        let behaviour = json!({ "kind": "failFirst", "times": 1, "message": "not yet" });
        let opts = json!({ "name": "ada", "concurrency": 3 });
        call("startWorker", json!({ "behaviour": behaviour, "opts": opts })).await.unwrap();
        let workers = call("getWorkers", json!({})).await.unwrap();
        assert_eq!(workers[0]["rawname"], format!("{prefix}:cQ==:w:ada"));

        let job = |attempts: u32| json!({ "name": "n", "data": 1, "opts": { "attempts": attempts } });
        call("add", job(2)).await.unwrap();
        call("add", job(1)).await.unwrap();
        let wait = |id: &str| json!({ "job": id, "ttl": 10_000 });
        assert_eq!(call("waitUntilFinished", wait("1")).await, Ok(Value::Null));
        let failed = call("waitUntilFinished", wait("2")).await.unwrap_err();
        assert_eq!(failed.message, "not yet");

        let ledger = call("workerLedger", json!({})).await.unwrap();
        let mut runs: Vec<_> = ledger["ledger"].as_array().expect("runs").clone();
        runs.sort_by_key(|run| (run["id"].to_string(), run["attempt"].as_u64()));
        let outcomes: Vec<_> = runs.iter().map(|run| (&run["id"], &run["outcome"])).collect();
        let (one, two) = (json!("1"), json!("2"));
        let (no, yes) = (json!("not yet"), json!("completed"));
        assert_eq!(outcomes, [(&one, &no), (&one, &yes), (&two, &no)]);
        call("stopWorker", json!({})).await.unwrap();
        let mut names = Vec::new();
        for event in call("takeEvents", json!({})).await.unwrap().as_array().expect("events") {
            if event["jobId"] == "1" {
                names.push(event["event"].as_str().expect("a name").to_owned());
            }
        }
        assert_eq!(names, ["added", "waiting", "active", "waiting", "active", "completed"]);
    }
}

#[tokio::test]
async fn the_end_of_node_is_noticed() {
    let server = super::server::shared_server();
    let node = NodeDriver::start(BullMq::V6, &server.url(), "unused").await;
    let pid = node.child.id().to_string();
    assert!(Command::new("kill").args(["-9", &pid]).status().expect("kill").success());
    let call = std::panic::AssertUnwindSafe(node.call("quit", json!({})));
    let panicked = futures::FutureExt::catch_unwind(call).await.unwrap_err();
    let text = panicked.downcast_ref::<String>().expect("a text");
    assert!(text.contains("node"), "{text}");
}
