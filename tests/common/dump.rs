//! Everything that is stored under a prefix, in a form in which two implementations can be compared.
//!
//! What is the same in meaning is made the same in form: prefixes are cut (also inside values), JSON is parsed, lock
//! tokens are numbered in the order of their keys, stream ids and the frames of stack traces are dropped, and so is
//! the name of who wrote `meta`. All else has to match byte by byte.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use redis::aio::MultiplexedConnection;
use serde_json::Value as Json;

/// Returns how far two remaining times to live may lie apart, in ms. The two sides are never written nor read at the
/// same instant. Long ones may differ by a quarter, since no two that are meant to differ are that close.
fn ttl_tolerance(a: i64, b: i64) -> i64 {
    3_000.max(a.max(b) / 4)
}

/// All keys under a prefix.
#[derive(Clone, PartialEq)]
pub struct Dump {
    /// The keys by name, without the prefix: `emails:wait`.
    pub keys: BTreeMap<String, Key>,
}

/// One key.
#[derive(Clone, PartialEq)]
pub struct Key {
    /// The time to live in ms; `None` if the key does not expire.
    pub ttl: Option<i64>,
    /// The value of the key.
    pub value: Value,
}

/// The value of a key.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// A string.
    Text(Text),
    /// A list, in order.
    List(Vec<String>),
    /// A set.
    Set(BTreeSet<String>),
    /// A sorted set, by score and member.
    Scores(Vec<(f64, String)>),
    /// A hash.
    Hash(BTreeMap<String, Text>),
    /// A stream: the fields of each entry, in order.
    Stream(Vec<Vec<(String, Text)>>),
}

/// A value that may be JSON.
#[derive(Clone, PartialEq)]
pub enum Text {
    /// JSON, in a field that is meant to be so.
    Json(Json),
    /// Anything else.
    Raw(String),
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(json) => write!(f, "json {json}"),
            Self::Raw(text) => write!(f, "{text:?}"),
        }
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "string {text:?}"),
            Self::List(items) => write!(f, "list {items:?}"),
            Self::Set(items) => write!(f, "set {items:?}"),
            Self::Scores(items) => {
                f.write_str("zset")?;
                items.iter().try_for_each(|(score, member)| write!(f, " {member:?}={score}"))
            }
            Self::Hash(fields) => {
                f.write_str("hash")?;
                fields.iter().try_for_each(|(name, value)| write!(f, "\n    {name} = {value:?}"))
            }
            Self::Stream(entries) => {
                f.write_str("stream")?;
                entries.iter().try_for_each(|entry| write!(f, "\n    {}", Event(entry)))
            }
        }
    }
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, key) in &self.keys {
            write!(f, "{name}: {:?}", key.value)?;
            if let Some(ttl) = key.ttl {
                write!(f, " (ttl {ttl} ms)")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

struct Event<'a>(&'a [(String, Text)]);

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.0.iter().enumerate() {
            let gap = if i == 0 { "" } else { " " };
            write!(f, "{gap}{name}={value:?}")?;
        }
        Ok(())
    }
}

impl Dump {
    /// Reads all that is stored under `prefix`. Not atomic: nobody may write meanwhile.
    pub async fn take(connection: &mut MultiplexedConnection, prefix: &str) -> Self {
        let names = scan(connection, prefix).await;
        if names.is_empty() {
            return Self { keys: BTreeMap::new() };
        }
        let mut about = redis::pipe();
        for name in &names {
            about.cmd("TYPE").arg(name).cmd("PTTL").arg(name);
        }
        let about: Vec<redis::Value> = about.query_async(connection).await.expect("types");
        let mut kinds = Vec::new();
        for pair in about.chunks_exact(2) {
            kinds.push((text(&pair[0]), redis::from_redis_value::<i64>(pair[1].clone()).expect("ttl")));
        }
        let mut read = redis::pipe();
        for (name, (kind, _)) in names.iter().zip(&kinds) {
            match kind.as_str() {
                "list" => read.cmd("LRANGE").arg(name).arg(0).arg(-1),
                "set" => read.cmd("SMEMBERS").arg(name),
                "zset" => read.cmd("ZRANGE").arg(name).arg(0).arg(-1).arg("WITHSCORES"),
                "hash" => read.cmd("HGETALL").arg(name),
                "stream" => read.cmd("XRANGE").arg(name).arg("-").arg("+"),
                // `none`: the key has expired since the scan.
                _ => read.cmd("GET").arg(name),
            };
        }
        let values: Vec<redis::Value> = read.query_async(connection).await.expect("values");

        let mut tokens = Tokens::default();
        let mut keys = BTreeMap::new();
        for ((name, (kind, ttl)), value) in names.iter().zip(&kinds).zip(values) {
            if value == redis::Value::Nil {
                continue;
            }
            let name = strip(name, prefix);
            let value = canonical(&name, kind, &value, prefix, &mut tokens);
            keys.insert(name, Key { ttl: (*ttl >= 0).then_some(*ttl), value });
        }
        Self { keys }
    }

    /// Returns all differences, one line each; empty if both sides mean the same.
    pub fn diff(left: &Self, right: &Self) -> Vec<String> {
        let mut found = Vec::new();
        let names: BTreeSet<&String> = left.keys.keys().chain(right.keys.keys()).collect();
        for name in names {
            match (left.keys.get(name), right.keys.get(name)) {
                (Some(l), None) => found.push(format!("{name}: only left: {:?}", l.value)),
                (None, Some(r)) => found.push(format!("{name}: only right: {:?}", r.value)),
                (Some(l), Some(r)) => {
                    diff_values(name, &l.value, &r.value, &mut found);
                    let far = match (l.ttl, r.ttl) {
                        (Some(a), Some(b)) => (a - b).abs() > ttl_tolerance(a, b),
                        (a, b) => a != b,
                    };
                    if far {
                        found.push(format!("{name}: ttl: left {:?}, right {:?} ms", l.ttl, r.ttl));
                    }
                }
                (None, None) => unreachable!("the names are theirs"),
            }
        }
        found
    }
}

/// Removes all that is stored under `prefix`.
pub async fn remove_all(connection: &mut MultiplexedConnection, prefix: &str) {
    let names = scan(connection, prefix).await;
    for some in names.chunks(500) {
        let _: i64 = redis::cmd("DEL").arg(some).query_async(connection).await.expect("DEL");
    }
}

async fn scan(connection: &mut MultiplexedConnection, prefix: &str) -> Vec<String> {
    let pattern: String = prefix
        .chars()
        .flat_map(|c| "*?[]\\".contains(c).then_some('\\').into_iter().chain([c]))
        .chain(":*".chars())
        .collect();
    let mut names = BTreeSet::new();
    let mut cursor = String::from("0");
    loop {
        let mut scan = redis::cmd("SCAN");
        scan.arg(&cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1000);
        let (next, page): (String, Vec<String>) = scan.query_async(connection).await.expect("SCAN");
        names.extend(page);
        if next == "0" {
            return names.into_iter().collect();
        }
        cursor = next;
    }
}

/// Cuts the prefix out of a key or out of a value that mentions keys.
fn strip(text: &str, prefix: &str) -> String {
    text.replace(&format!("{prefix}:"), "")
}

/// Converts bytes into text, so that invalid UTF-8 stays distinguishable.
fn text(value: &redis::Value) -> String {
    match value {
        redis::Value::BulkString(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => format!("bytes {}", bytes.escape_ascii()),
        },
        redis::Value::SimpleString(text) => text.clone(),
        redis::Value::Int(n) => n.to_string(),
        redis::Value::Double(n) => n.to_string(),
        other => panic!("no text: {other:?}"),
    }
}

fn items(value: &redis::Value) -> Vec<&redis::Value> {
    match value {
        redis::Value::Array(items) => items.iter().collect(),
        redis::Value::Set(items) => items.iter().collect(),
        redis::Value::Map(pairs) => pairs.iter().flat_map(|(k, v)| [k, v]).collect(),
        other => panic!("no array: {other:?}"),
    }
}

fn pairs(value: &redis::Value) -> Vec<(String, String)> {
    let all = items(value);
    all.chunks_exact(2).map(|pair| (text(pair[0]), text(pair[1]))).collect()
}

/// Lock tokens, numbered in the order in which they appear.
#[derive(Default)]
struct Tokens(Vec<String>);

impl Tokens {
    fn name(&mut self, token: &str) -> String {
        let known = self.0.iter().position(|t| t == token);
        let index = known.unwrap_or_else(|| {
            self.0.push(token.to_owned());
            self.0.len() - 1
        });
        format!("T{}", index + 1)
    }
}

fn canonical(name: &str, kind: &str, value: &redis::Value, prefix: &str, tokens: &mut Tokens) -> Value {
    let plain = |value: &redis::Value| strip(&text(value), prefix);
    match kind {
        "list" => Value::List(items(value).into_iter().map(plain).collect()),
        "set" => Value::Set(items(value).into_iter().map(plain).collect()),
        "zset" => {
            let mut scores: Vec<(f64, String)> = pairs(value)
                .iter()
                .map(|(member, score)| (score.parse().expect("a score"), strip(member, prefix)))
                .collect();
            scores.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
            Value::Scores(scores)
        }
        "hash" => {
            let all_json = name.ends_with(":processed");
            let mut fields = BTreeMap::new();
            for (field, value) in pairs(value) {
                if field == "version" && name.ends_with(":meta") {
                    continue;
                }
                let json = all_json || JOB_JSON.contains(&field.as_str());
                fields.insert(strip(&field, prefix), field_text(&field, &value, json, prefix));
            }
            Value::Hash(fields)
        }
        "stream" => {
            let entry = |entry: &redis::Value| {
                let parts = items(entry);
                let fields = pairs(parts[1]);
                let json = |field: &str| EVENT_JSON.contains(&field);
                fields.iter().map(|(f, v)| (f.clone(), field_text(f, v, json(f), prefix))).collect()
            };
            Value::Stream(items(value).into_iter().map(entry).collect())
        }
        _ if name.ends_with(":lock") => Value::Text(Text::Raw(tokens.name(&text(value)))),
        _ => Value::Text(Text::Raw(plain(value))),
    }
}

/// The fields of a job (and of a scheduler or a stored next job) that hold JSON.
const JOB_JSON: &[&str] = &["data", "opts", "parent", "progress", "returnvalue", "stacktrace"];
/// The fields of an event that hold JSON.
const EVENT_JSON: &[&str] = &["data", "returnvalue"];

fn field_text(field: &str, value: &str, json: bool, prefix: &str) -> Text {
    let value = strip(value, prefix);
    match serde_json::from_str(&value) {
        Ok(parsed) if json && field == "stacktrace" => Text::Json(messages(parsed)),
        Ok(parsed) if json => Text::Json(canonical_json(parsed)),
        _ => Text::Raw(value),
    }
}

/// Returns JSON with one form for each number: `5.0` and `5` are the same to a JavaScript reader.
pub fn canonical_json(value: Json) -> Json {
    match value {
        Json::Number(n) => match n.as_f64() {
            #[expect(clippy::cast_possible_truncation, reason = "integral and in range")]
            Some(x) if x.fract() == 0.0 && x.abs() < 9e15 => Json::from(x as i64),
            Some(x) => Json::from(x),
            None => Json::Number(n),
        },
        Json::Array(items) => items.into_iter().map(canonical_json).collect(),
        Json::Object(fields) => fields.into_iter().map(|(name, value)| (name, canonical_json(value))).collect(),
        other => other,
    }
}

/// Returns the message of each stack trace: its first line without the class of the error.
fn messages(traces: Json) -> Json {
    let Json::Array(traces) = traces else {
        return traces;
    };
    traces.iter().map(|trace| Json::from(trace_message(trace.as_str().unwrap_or_default()))).collect()
}

/// Returns the message of a stack trace: its first line without the class of the error.
pub fn trace_message(trace: &str) -> String {
    let line = trace.lines().next().unwrap_or_default();
    match line.split_once(": ") {
        Some((class, message)) if class.ends_with("Error") && !class.contains(' ') => message.to_owned(),
        _ => line.to_owned(),
    }
}

fn diff_values(name: &str, left: &Value, right: &Value, found: &mut Vec<String>) {
    match (left, right) {
        (Value::Hash(l), Value::Hash(r)) => {
            let fields: BTreeSet<&String> = l.keys().chain(r.keys()).collect();
            for field in fields {
                let (l, r) = (l.get(field), r.get(field));
                if l != r {
                    found.push(format!("{name}: field {field}: left {}, right {}", shown(l), shown(r)));
                }
            }
        }
        (Value::Scores(l), Value::Scores(r)) => {
            let score =
                |of: &[(f64, String)], member: &str| of.iter().find(|(_, m)| m == member).map(|(score, _)| *score);
            let members: BTreeSet<&String> = l.iter().chain(r).map(|(_, member)| member).collect();
            for member in members {
                let (l, r) = (score(l, member), score(r, member));
                if l != r {
                    found.push(format!("{name}: score of {member}: left {}, right {}", shown(l), shown(r)));
                }
            }
        }
        (Value::Stream(l), Value::Stream(r)) => {
            for i in 0..l.len().max(r.len()) {
                let (l, r) = (l.get(i), r.get(i));
                if l != r {
                    let show =
                        |entry: Option<&Vec<_>>| entry.map_or_else(|| "nothing".to_owned(), |e| Event(e).to_string());
                    found.push(format!("{name}: event {i}: left {}, right {}", show(l), show(r)));
                    // After a missing event the others are shifted, not different.
                    break;
                }
            }
        }
        (l, r) if l == r => {}
        (l, r) => found.push(format!("{name}: left {l:?}, right {r:?}")),
    }
}

fn shown(value: Option<impl fmt::Debug>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"))
}

async fn stored(script: &str) -> Dump {
    let server = super::server::shared_server();
    let prefix = super::server::fresh_prefix();
    let mut connection = server.connection().await;
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let mut words = line.split('|').map(|word| word.replace("{p}", &prefix));
        let mut command = redis::cmd(&words.next().expect("a command"));
        words.for_each(|word| {
            command.arg(word);
        });
        let _: redis::Value = command.query_async(&mut connection).await.expect(line);
    }
    let dump = Dump::take(&mut connection, &prefix).await;
    remove_all(&mut connection, &prefix).await;
    dump
}

/// Asserts that two states that differ in one thing have one difference, described by all of `words`.
async fn differ(left: &str, right: &str, words: &[&str]) {
    let found = Dump::diff(&stored(left).await, &stored(right).await);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(words.iter().all(|word| found[0].contains(word)), "{found:?}");
}

#[tokio::test]
async fn the_same_state_in_other_words_is_the_same() {
    let left = stored(
        r#"HSET|{p}:q:1|data|{"a":1, "b":5.0}|parentKey|{p}:q:P|stacktrace|["Error: boom\n  at x.js:1"]
        SET|{p}:q:1:lock|one|PX|60000
        HSET|{p}:q:meta|version|bullmq:6.7.0|opts.maxLenEvents|10000
        ZADD|{p}:q:completed|5|b|5|a
        XADD|{p}:q:events|1-1|event|completed|jobId|1|returnvalue|{"x":1}"#,
    );
    let right = stored(
        r#"HSET|{p}:q:1|data|{"b":5,"a":1}|parentKey|{p}:q:P|stacktrace|["boom\n  at src/lib.rs:7"]
        SET|{p}:q:1:lock|two|PX|60000
        HSET|{p}:q:meta|version|bullmq:oxmq|opts.maxLenEvents|10000
        ZADD|{p}:q:completed|5|a|5|b
        XADD|{p}:q:events|*|event|completed|jobId|1|returnvalue|{"x": 1}"#,
    );
    assert_eq!(Dump::diff(&left.await, &right.await), Vec::<String>::new());
}

#[tokio::test]
async fn every_kind_of_difference_is_found() {
    differ("SET|{p}:q:id|1", "SET|{p}:q:id|2", &["q:id", "1", "2"]).await;
    differ("SET|{p}:q:id|1", "SADD|{p}:q:id|1", &["q:id", "string", "set"]).await;
    differ("SET|{p}:q:id|1", "", &["q:id", "only left"]).await;
    differ("", "LPUSH|{p}:q:wait|1", &["q:wait", "only right"]).await;
    differ("RPUSH|{p}:q:wait|1|2", "RPUSH|{p}:q:wait|2|1", &["q:wait"]).await;
    differ("ZADD|{p}:q:delayed|4096|1", "ZADD|{p}:q:delayed|4097|1", &["score of 1", "4097"]).await;
    differ("HSET|{p}:q:1|delay|0", "HSET|{p}:q:1|delay|5", &["field delay", "0", "5"]).await;
    differ("HSET|{p}:q:1|delay|0", "HSET|{p}:q:1|delay|0|pb|w", &["field pb", "nothing"]).await;
    differ("HSET|{p}:q:1|data|{}", "HSET|{p}:q:1|data|[]", &["field data"]).await;
    differ("HSET|{p}:q:1|stacktrace|[\"a\"]", "HSET|{p}:q:1|stacktrace|[\"b\"]", &["stacktrace"]).await;
    differ("SET|{p}:q:1:lock|t|PX|60000", "SET|{p}:q:1:lock|t|PX|30000", &["ttl"]).await;
    differ("SET|{p}:q:1:lock|t|PX|60000", "SET|{p}:q:1:lock|t", &["ttl", "None"]).await;
    let two = "SET|{p}:q:1:lock|a\nSET|{p}:q:2:lock|b";
    differ(two, "SET|{p}:q:1:lock|a\nSET|{p}:q:2:lock|a", &["q:2:lock", "T2", "T1"]).await;
    let event = "XADD|{p}:q:events|*|event|waiting|jobId|1";
    differ(event, "XADD|{p}:q:events|*|jobId|1|event|waiting", &["event 0"]).await;
    differ(&format!("{event}\n{event}"), event, &["event 1", "right nothing"]).await;
}
