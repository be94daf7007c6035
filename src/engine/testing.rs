//! Queues for the unit tests of the engine, on one server for the whole test process.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use redis::{Cmd, Value};

use super::Engine;
use crate::clock::Clock;
use crate::connection::{Address, ConnectOptions, Link};
use crate::keys::QueueKeys;
use crate::testing::RedisServer;

/// Returns a fresh queue, with the clock at a fixed moment.
pub(crate) async fn queue() -> Engine {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let prefix = format!("t{}", COUNT.fetch_add(1, Ordering::Relaxed));
    named(&prefix, "q").await
}

/// Returns the options to connect to the server.
pub(crate) fn options() -> ConnectOptions {
    ConnectOptions::new(Address::Unix(RedisServer::shared().socket()))
}

/// Returns a queue under this prefix, so that two of them can belong to one flow.
pub(crate) async fn named(prefix: &str, queue: &str) -> Engine {
    in_database(0, prefix, queue).await
}

/// Returns a queue in a database of its own, which may be emptied and dumped as a whole.
pub(crate) async fn in_database(number: i64, prefix: &str, queue: &str) -> Engine {
    let link = Link::connect(Arc::new(options().db(number))).await.unwrap();
    Engine::new(link, QueueKeys::new(prefix, queue).unwrap(), Clock::manual_ms(NOW))
}

/// The fixed time of the tests, in ms.
pub(crate) const NOW: u64 = 1_700_000_000_000;

impl Engine {
    /// Sends a command in which `@` stands for the base key of the queue.
    pub(crate) async fn redis(&self, command: &str) -> Value {
        let words: Vec<String> = command.split(' ').map(|word| word.replace('@', self.keys.base())).collect();
        self.redis_words(&words).await
    }

    pub(crate) async fn redis_words<T: AsRef<str>>(&self, words: &[T]) -> Value {
        let mut cmd = Cmd::new();
        for word in words {
            cmd.arg(word.as_ref());
        }
        self.link.send(&cmd).await.unwrap()
    }

    pub(crate) async fn int(&self, command: &str) -> i64 {
        match self.redis(command).await {
            Value::Int(number) => number,
            other => panic!("{command}: {other:?}"),
        }
    }

    /// Returns the reply's texts, separated by spaces.
    pub(crate) async fn says(&self, command: &str) -> String {
        say(self.redis(command).await)
    }

    /// Stores a job with the fields that every job has, and more.
    pub(crate) async fn store(&self, id: &str, more: &[(&str, &str)]) {
        let key = self.keys.job(id);
        let mut words = vec!["HSET", &key, "name", "n", "data", "{}", "opts", "{}", "timestamp", "1600000000000"];
        words.extend(["delay", "0", "priority", "0"]);
        for (field, value) in more {
            words.extend([*field, *value]);
        }
        self.redis_words(&words).await;
    }

    /// Returns the names of events with their fields, oldest first, one per line.
    pub(crate) async fn events(&self) -> Vec<String> {
        let Value::Array(entries) = self.redis("XRANGE @events - +").await else { panic!() };
        let fields = entries.into_iter().map(|entry| match entry {
            Value::Array(mut parts) => say(parts.remove(1)),
            other => panic!("{other:?}"),
        });
        fields.collect()
    }

    /// Returns everything under this prefix, byte for byte.
    pub(crate) async fn dump(&self) -> Vec<(String, Vec<u8>)> {
        let Value::Array(keys) = self.redis_words(&["KEYS", &format!("{}:*", self.keys.prefix())]).await else {
            panic!()
        };
        let mut dump = Vec::new();
        for key in keys {
            let key = say(key);
            let Value::BulkString(bytes) = self.redis_words(&["DUMP", &key]).await else { panic!() };
            dump.push((key, bytes));
        }
        dump.sort();
        dump
    }

    /// Returns the keys of this queue, without the base, sorted.
    pub(crate) async fn left(&self) -> Vec<String> {
        let all = self.dump().await;
        all.iter().filter_map(|(key, _)| key.strip_prefix(self.keys.base())).map(str::to_owned).collect()
    }
}

fn say(value: Value) -> String {
    match value {
        Value::Array(items) => items.into_iter().map(say).collect::<Vec<_>>().join(" "),
        Value::Nil => "nil".to_owned(),
        other => crate::script::reply::string(other).unwrap(),
    }
}
