//! A server for the tests of this module.

use std::sync::Arc;
use std::time::Duration;

use redis::Value;

use crate::clock::Clock;
use crate::connection::{Address, ConnectOptions, Link};
use crate::engine::Engine;
use crate::keys::QueueKeys;
use crate::script::reply::string;
use crate::script::{Call, Resend};
use crate::testing::RedisServer;

/// A `redis-server` for one test, which ends with it.
pub(super) struct TestServer(RedisServer);

impl TestServer {
    pub(super) fn start() -> Self {
        Self(RedisServer::start_with(&["--repl-diskless-sync-delay", "0"]))
    }

    /// Starts one that replicas can reach; returns it with its port.
    pub(super) fn start_on_a_port() -> (Self, u16) {
        let server = Self::start();
        let port = server.0.port();
        (server, port)
    }

    /// Kills the server as a power cut would, and starts one in its place: empty, or with what was saved.
    pub(super) fn restart(&mut self) {
        self.0.restart();
    }

    /// Returns the queue `mails é` under the prefix `t`.
    pub(super) async fn queue(&self) -> TestQueue {
        let options = ConnectOptions::new(Address::Unix(self.0.socket())).wait_for_server(true);
        let link = Link::connect(Arc::new(options)).await.unwrap();
        TestQueue { engine: Engine::new(link, QueueKeys::new("t", "mails é").unwrap(), Clock::system()) }
    }
}

/// A queue that is written to as scripts of other peers would.
pub(super) struct TestQueue {
    pub(super) engine: Engine,
}

impl TestQueue {
    /// `printf 'mails é' | base64`, as Node's dashboards look for it.
    pub(super) const CLIENT_NAME: &str = "t:bWFpbHMgw6k=:qe";

    /// Sends the words of a command; `@` in front of one stands for the queue's base key.
    pub(super) async fn send(&self, words: &[&str]) -> Value {
        let call = words[1..].iter().fold(Call::command("test", words[0]), |call, word| match word.strip_prefix('@') {
            Some(suffix) => call.text(self.engine.keys.key(suffix)),
            None => call.text(word),
        });
        let call = call.resend(Resend::Safe).read(Some);
        self.engine.call(call).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// Writes an event; returns its id.
    pub(super) async fn emit(&self, fields: &[&str]) -> String {
        string(self.send(&[&["XADD", "@events", "*", "event"], fields].concat()).await).unwrap()
    }

    /// Writes the events `from`…`to`, in calls to the server of a few hundred.
    pub(super) async fn emit_range(&self, from: u64, to: u64) {
        const LUA: &str = "for i = ARGV[1], ARGV[2] do redis.call('XADD', KEYS[1], '*', 'event', i) end";
        for start in (from..to).step_by(300) {
            let end = (start + 299).min(to - 1);
            self.send(&["EVAL", LUA, "1", "@events", &start.to_string(), &end.to_string()]).await;
        }
    }

    /// Saves everything. While the child process that has served a replica is still ending, the server refuses to save.
    pub(super) async fn save(&self) {
        let is_idle = async || self.info("persistence").await.contains("rdb_bgsave_in_progress:0");
        eventually("no other save is going on", is_idle).await;
        self.send(&["SAVE"]).await;
    }

    pub(super) async fn info(&self, section: &str) -> String {
        string(self.send(&["INFO", section]).await).unwrap()
    }

    /// Returns how often the newest entry of a stream was asked for: a listener without events does so each time.
    pub(super) async fn surveys(&self) -> u64 {
        self.calls("xrevrange").await
    }

    /// Returns how often a command was called.
    pub(super) async fn calls(&self, command: &str) -> u64 {
        let stats = self.info("commandstats").await;
        let calls = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
    }

    /// Waits until a listener has checked the present stream.
    pub(super) async fn surveyed(&self) {
        let before = self.surveys().await;
        eventually("the listener has looked", async || self.surveys().await > before + 1).await;
    }

    /// Returns the ids of the connections with the name of a listener.
    pub(super) async fn listeners(&self) -> Vec<String> {
        let Value::BulkString(list) = self.send(&["CLIENT", "LIST"]).await else { panic!() };
        let name = format!("name={}", Self::CLIENT_NAME);
        let list = String::from_utf8(list).unwrap();
        let lines = list.lines().filter(|line| line.split(' ').any(|word| word == name));
        lines.map(|line| line.split(' ').next().unwrap().replace("id=", "")).collect()
    }

    /// Returns whether a listener waits in a blocking read.
    pub(super) async fn is_blocked(&self) -> bool {
        let info = self.info("clients").await;
        !info.contains("blocked_clients:0")
    }

    /// Cuts the connections of all listeners; returns how many.
    pub(super) async fn kill_listeners(&self) -> usize {
        let ids = self.listeners().await;
        for id in &ids {
            self.send(&["CLIENT", "KILL", "ID", id]).await;
        }
        ids.len()
    }

    pub(super) async fn add_job(&self, id: &str) {
        self.send(&["HSET", &format!("@{id}"), "name", "n"]).await;
    }

    /// Completes a job as a worker would, in one step.
    pub(super) async fn complete(&self, id: &str, value: &str, keep: bool, announce: bool) {
        const LUA: &str = "local q, id, value = KEYS[1], ARGV[1], ARGV[2]
            if ARGV[3] == 'true' then
              redis.call('ZADD', q .. 'completed', 1, id)
              redis.call('HSET', q .. id, 'returnvalue', value)
            else
              redis.call('DEL', q .. id)
            end
            if ARGV[4] == 'true' then
              redis.call('XADD', q .. 'events', '*', 'event', 'completed', 'jobId', id, 'returnvalue', value)
            end";
        self.send(&["EVAL", LUA, "1", "@", id, value, &keep.to_string(), &announce.to_string()]).await;
    }
}

/// Polls until the condition holds; fails after a minute.
pub(super) async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not within 60 s: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the value of a future that must not hang.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future).await.expect("not within 60 s")
}
