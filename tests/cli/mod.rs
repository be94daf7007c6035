//! Calls the binary `oxmq` on a real server, with queues that Node and oxmq have filled.

mod acting;
mod asking;
mod breaking_off;
mod doctor;
mod healthy;
mod hostile;
mod looking;
mod night;
mod on_cluster;
mod outages;
mod refused;
mod serving;
mod setting_up;
mod stuck;
pub(crate) mod top;
mod transfer;
mod types;

use std::io::Write;
use std::process::{Command, Stdio};

use oxmq::{Job, Queue};
use serde_json::{Value, json};

use crate::common::eventually::eventually;
use crate::common::fixture::Fixture;
use crate::common::node::{BullMq, NodeDriver};
use crate::common::server::shared_server;

/// The result of a call of the binary.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl Ran {
    /// Returns the output of a call that must have succeeded.
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.out
    }

    /// Returns each line of the output as JSON.
    #[track_caller]
    fn json(self) -> Vec<Value> {
        let out = self.ok();
        out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
    }
}

/// Returns a command for the binary without any settings of this machine.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxmq"));
    command.env_clear().stdin(Stdio::null());
    command
}

fn ran(command: &mut Command, input: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writer = std::thread::spawn(move || _ = stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Calls the binary on the queues of a fixture. Spaces separate the words.
async fn oxmq(on: &Fixture, words: &str) -> Ran {
    let words: Vec<&str> = words.split_whitespace().collect();
    call(on, &words, "").await
}

/// Calls the binary on a server other than the one that all tests share.
async fn oxmq_at(url: &str, on: &Fixture, words: &str) -> Ran {
    let words: Vec<&str> = words.split_whitespace().collect();
    call_at(url, on, &words, "").await
}

async fn call(on: &Fixture, words: &[&str], input: &str) -> Ran {
    call_at(&shared_server().url(), on, words, input).await
}

async fn call_at(url: &str, on: &Fixture, words: &[&str], input: &str) -> Ran {
    let mut command = command();
    command.args(["--url", url, "--prefix", &on.prefix]).args(words);
    let input = input.to_owned();
    tokio::task::spawn_blocking(move || ran(&mut command, &input)).await.unwrap()
}

/// Makes a queue `mails` with jobs that Node added. Of 120 jobs with three names the 40 receipts have failed and the
/// others are completed. Of three more, one is delayed, one has a priority and one waits. A flow of Node waits in
/// `reports`.
async fn filled_by_node(on: &Fixture) -> NodeDriver {
    let node = NodeDriver::start(BullMq::V6, &shared_server().url(), &on.prefix).await;
    let name = |n: usize| ["welcome", "receipt", "newsletter"][n % 3];
    let jobs: Vec<Value> = (0..120)
        .map(|n| json!({ "name": name(n), "data": { "n": n, "to": "ada" }, "opts": { "attempts": 1 } }))
        .collect();
    node.call("addBulk", json!({ "queue": "mails", "jobs": jobs })).await.unwrap();
    let work = async |job: Job<Value, Value>| match job.name() {
        "receipt" => Err("ECONNRESET by peer".into()),
        _ => Ok::<_, oxmq::Halt>(json!({ "ok": true })),
    };
    let worker = on.client.worker("mails", work).concurrency(20).start().unwrap();
    let mails: Queue = on.client.queue("mails").open().unwrap();
    eventually("all mails are done", || async {
        let counts = mails.get_job_counts(&[]).await.unwrap();
        counts.completed == 80 && counts.failed == 40
    })
    .await;
    worker.close().await;
    let add =
        |name: &str, opts: Value| json!({ "queue": "mails", "name": name, "data": { "late": true }, "opts": opts });
    node.call("add", add("welcome", json!({ "delay": 3_600_000 }))).await.unwrap();
    node.call("add", add("welcome", json!({ "priority": 4, "attempts": 3 }))).await.unwrap();
    node.call("add", add("\u{1b}[31mred", json!({ "jobId": "odd" }))).await.unwrap();
    let child = json!({ "name": "part", "queueName": "mails", "data": { "p": 1 }, "opts": { "jobId": "part-1" } });
    let flow =
        json!({ "name": "monthly", "queueName": "reports", "data": {}, "opts": { "jobId": "m" }, "children": [child] });
    node.call("flowAdd", json!({ "flow": flow })).await.unwrap();
    node
}
