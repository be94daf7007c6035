//! Builds every Redis key of a queue from the prefix and its name. Without I/O.

use std::fmt;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, Result};

/// BullMQ's default prefix.
pub(crate) const DEFAULT_PREFIX: &str = "bull";

/// The longest queue name and prefix accepted, in bytes.
const MAX_NAME: usize = 256;

/// The suffixes that a queue uses itself; a job id must not be one of them.
///
/// `groups` and `groups-lid` belong to BullMQ Pro; `priority` and `delay` are from old versions.
const RESERVED: [&str; 21] = [
    "active",
    "wait",
    "waiting-children",
    "paused",
    "id",
    "delayed",
    "prioritized",
    "stalled-check",
    "completed",
    "failed",
    "stalled",
    "repeat",
    "limiter",
    "meta",
    "events",
    "pc",
    "marker",
    "de",
    "priority",
    "delay",
    "groups",
];

/// The first segments of keys with further parts.
const RESERVED_FAMILIES: [&str; 6] = ["de", "dn", "repeat", "metrics", "groups", "oxmq"];

/// The keys of one queue. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct QueueKeys(Arc<Names>);

#[derive(PartialEq, Eq, Hash)]
struct Names {
    /// `<prefix>:<queue>:`; the key of a job hash is this followed by the id.
    base: String,
    prefix_len: usize,
}

macro_rules! keys {
    ($($(#[$doc:meta])* $name:ident = $suffix:literal;)*) => {
        impl QueueKeys {
            $($(#[$doc])* pub(crate) fn $name(&self) -> String { self.key($suffix) })*
        }
    };
}

keys! {
    /// Hash: the queue's settings.
    meta = "meta";
    /// Zset: when to wake a worker.
    marker = "marker";
    /// Stream: the queue's events.
    events = "events";
}

impl QueueKeys {
    /// Returns the keys of `queue` under `prefix`.
    pub(crate) fn new(prefix: &str, queue: &str) -> Result<Self> {
        check_name("prefix", prefix)?;
        check_name("queue name", queue)?;
        if queue.contains(':') {
            return Err(Error::invalid("queue name", format!("it must not contain a colon: {queue:?}")));
        }
        Ok(Self(Arc::new(Names { base: format!("{prefix}:{queue}:"), prefix_len: prefix.len() })))
    }

    /// Returns `<prefix>:<queue>:`, with which every other key begins.
    pub(crate) fn base(&self) -> &str {
        &self.0.base
    }

    /// Returns `<prefix>:<queue>`, the name by which children refer to their parent's queue.
    pub(crate) fn qualified(&self) -> &str {
        &self.0.base[..self.0.base.len() - 1]
    }

    pub(crate) fn prefix(&self) -> &str {
        &self.0.base[..self.0.prefix_len]
    }

    pub(crate) fn queue(&self) -> &str {
        &self.0.base[self.0.prefix_len + 1..self.0.base.len() - 1]
    }

    /// Returns the key with this suffix.
    pub(crate) fn key(&self, suffix: &str) -> String {
        let mut key = String::with_capacity(self.0.base.len() + suffix.len());
        key.push_str(&self.0.base);
        key.push_str(suffix);
        key
    }

    /// Returns the name under which BullMQ finds the connections of this queue in `CLIENT LIST`: workers have it, and
    /// the names of named workers and event readers begin with it.
    ///
    /// Redis accepts only printable ASCII in a name, so other bytes of the prefix are written as `%` and two digits.
    /// Node sends them unchanged, is refused, and works without a name; so there is no name of Node's to agree with.
    pub(crate) fn client_name(&self) -> String {
        self.client_prefix() + &STANDARD.encode(self.queue())
    }

    /// Returns how the names of the connections of all queues with this prefix begin.
    pub(crate) fn client_prefix(&self) -> String {
        printable(self.prefix()) + ":"
    }

    /// Returns the name of a worker's connection. It ends with the worker's name, or else with where it runs.
    pub(crate) fn worker_client_name(&self, worker: Option<&str>) -> String {
        let place = || format!("{}:{}", host(), std::process::id());
        let worker = worker.map_or_else(place, str::to_owned);
        format!("{}:w:{}", self.client_name(), printable(&worker))
    }

    /// Returns the name of an event reader's connection.
    pub(crate) fn reader_client_name(&self) -> String {
        self.client_name() + ":qe"
    }

    /// Returns the key of a job's hash.
    pub(crate) fn job(&self, id: &str) -> String {
        self.key(id)
    }
}

impl fmt::Debug for QueueKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.qualified())
    }
}

/// Returns the name of this machine or container, as far as it can be read without further permissions or crates.
fn host() -> String {
    let file = || std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let named = ["HOSTNAME", "COMPUTERNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    let host = file().or(named).unwrap_or_default();
    let host = host.trim();
    if host.is_empty() { "unknown".to_owned() } else { host.to_owned() }
}

/// Returns the text in the form that a client's name may have, with other bytes as `%` and two hexadecimal digits.
fn printable(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() {
            name.push(char::from(byte));
        } else {
            // Writing to a `String` cannot fail.
            let _ = write!(name, "%{byte:02X}");
        }
    }
    name
}

fn check_name(option: &'static str, name: &str) -> Result<()> {
    if name.is_empty() {
        return Err(Error::invalid(option, "it must not be empty"));
    }
    if name.len() > MAX_NAME {
        return Err(Error::invalid(option, format!("it must not be longer than {MAX_NAME} bytes")));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::invalid(option, "it must not contain control characters"));
    }
    Ok(())
}

/// Checks a job id chosen by the caller.
///
/// The rules are Node's, and two more: no id that is a key of the queue itself, and `0:` is refused everywhere, not
/// only in `add`.
pub(crate) fn check_job_id(id: &str) -> Result<()> {
    const OPTION: &str = "job_id";
    const MAX_ID: usize = 512;
    if id.is_empty() {
        return Err(Error::invalid(OPTION, "it must not be empty"));
    }
    if id.len() > MAX_ID {
        return Err(Error::invalid(OPTION, format!("it must not be longer than {MAX_ID} bytes")));
    }
    if id.chars().any(char::is_control) {
        return Err(Error::invalid(OPTION, "it must not contain control characters"));
    }
    if id == "0" || id.starts_with("0:") {
        return Err(Error::invalid(OPTION, "it must not be '0' or start with '0:'"));
    }
    if is_integer(id) {
        return Err(Error::invalid(OPTION, "it must not be an integer: those are the queue's own ids"));
    }
    let colons = id.matches(':').count();
    if colons != 0 && colons != 2 {
        return Err(Error::invalid(OPTION, "it must not contain a colon"));
    }
    let family = id.split(':').next().unwrap_or(id);
    if RESERVED.contains(&id) || (colons > 0 && RESERVED_FAMILIES.contains(&family)) {
        return Err(Error::invalid(OPTION, format!("'{id}' is a key of the queue itself")));
    }
    Ok(())
}

/// Checks the id of a deduplication: it becomes the end of a key, and may be any text.
pub(crate) fn check_deduplication_id(id: &str) -> Result<()> {
    const OPTION: &str = "deduplication.id";
    const MAX_ID: usize = 1024;
    if id.is_empty() {
        return Err(Error::invalid(OPTION, "it must not be empty"));
    }
    if id.len() > MAX_ID {
        return Err(Error::invalid(OPTION, format!("it must not be longer than {MAX_ID} bytes")));
    }
    Ok(())
}

/// Checks the id of a job scheduler: followed by a time, it becomes the id of a job.
pub(crate) fn check_scheduler_id(id: &str) -> Result<()> {
    const OPTION: &str = "scheduler id";
    const MAX_ID: usize = 480;
    if id.is_empty() {
        return Err(Error::invalid(OPTION, "it must not be empty"));
    }
    if id.len() > MAX_ID {
        return Err(Error::invalid(OPTION, format!("it must not be longer than {MAX_ID} bytes")));
    }
    if id.chars().any(char::is_control) {
        return Err(Error::invalid(OPTION, "it must not contain control characters"));
    }
    Ok(())
}

/// Returns whether an id would name a key of the queue itself, or a part of another job. Ids that Node has given, for a
/// scheduler or beyond our rules, are not refused.
pub(crate) fn is_no_job(id: &str) -> bool {
    const PARTS: [&str; 6] = ["logs", "lock", "dependencies", "processed", "failed", "unsuccessful"];
    let is_part = |id: &str| id.rsplit_once(':').is_some_and(|(_, part)| PARTS.contains(&part));
    let is_family = |id: &str| id.split_once(':').is_some_and(|(family, _)| ["de", "metrics"].contains(&family));
    id.is_empty() || RESERVED.contains(&id) || is_part(id) || is_family(id)
}

/// The parts of a job's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct JobKey<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) queue: &'a str,
    pub(crate) id: &'a str,
}

impl<'a> JobKey<'a> {
    /// Splits a key at its last colon, in front of which the queue's name stands.
    pub(crate) fn at_last_colon(key: &'a str) -> Option<Self> {
        let (home, id) = key.rsplit_once(':')?;
        let (prefix, queue) = home.rsplit_once(':')?;
        Some(Self { prefix, queue, id })
    }

    /// Splits a key that belongs to this prefix and has an id with two colons, as callers may choose one. The prefix of
    /// another queue may begin like this one, so the key may also be one to split at its last colon.
    pub(crate) fn with_colons(key: &'a str, prefix: &'a str) -> Option<Self> {
        let (queue, id) = key.strip_prefix(prefix)?.strip_prefix(':')?.split_once(':')?;
        (id.matches(':').count() == 2).then_some(Self { prefix, queue, id })
    }

    /// Splits a key that a job with this prefix has named: by that prefix if its id has two colons, else at its last one.
    pub(crate) fn near(key: &'a str, prefix: &'a str) -> Option<Self> {
        Self::with_colons(key, prefix).or_else(|| Self::at_last_colon(key))
    }
}

/// Returns whether a key with this first segment belongs to the queue itself and not to a job.
pub(crate) fn is_reserved(segment: &str) -> bool {
    RESERVED.contains(&segment) || RESERVED_FAMILIES.contains(&segment)
}

/// Returns whether the text is the canonical form of an integer.
fn is_integer(id: &str) -> bool {
    let digits = id.strip_prefix('-').unwrap_or(id);
    digits == "0" || (!digits.is_empty() && !digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_a_job_is_split_by_the_prefix_that_is_near() {
        let split = |key, prefix| JobKey::near(key, prefix).map(|JobKey { prefix, queue, id }| (prefix, queue, id));
        assert_eq!(split("bull:q:1", "bull"), Some(("bull", "q", "1")));
        assert_eq!(split("bull:q:a:b:c", "bull"), Some(("bull", "q", "a:b:c")));
        assert_eq!(split("bull:eu:q:1", "bull"), Some(("bull:eu", "q", "1")));
        assert_eq!(split("bull:eu:q:a:b:c", "bull:eu"), Some(("bull:eu", "q", "a:b:c")));
        assert_eq!(split("other:q:1", "bull"), Some(("other", "q", "1")));
        assert_eq!(split("bullish:q:1", "bull"), Some(("bullish", "q", "1")));
        assert_eq!((split("q:1", "bull"), split("x", "bull"), split("", "bull")), (None, None, None));
    }

    #[test]
    fn a_queue_knows_its_parts() {
        let keys = QueueKeys::new("a:b", "mails é").unwrap();
        assert_eq!(keys.base(), "a:b:mails é:");
        assert_eq!(keys.qualified(), "a:b:mails é");
        assert_eq!((keys.prefix(), keys.queue()), ("a:b", "mails é"));
        assert_eq!(keys.meta(), "a:b:mails é:meta");
    }

    #[test]
    fn client_names_hold_what_redis_accepts() {
        let keys = QueueKeys::new("my app é", "mails é").unwrap();
        assert_eq!(keys.client_name(), "my%20app%20%C3%A9:bWFpbHMgw6k=");
        let named = keys.worker_client_name(None);
        let place = named.strip_prefix(&format!("{}:w:", keys.client_name())).unwrap();
        let (host, process) = place.rsplit_once(':').unwrap();
        assert!(!host.is_empty() && process == std::process::id().to_string(), "{place}");
        assert_eq!(keys.worker_client_name(Some("the 1st")), "my%20app%20%C3%A9:bWFpbHMgw6k=:w:the%201st");
        assert_eq!(QueueKeys::new("bull", "q").unwrap().reader_client_name(), "bull:cQ==:qe");
    }

    #[test]
    fn bad_names_are_refused() {
        for (prefix, queue) in [("", "q"), ("p", ""), ("p", "a:b"), ("p", "a\nb"), ("p", &"x".repeat(257))] {
            assert!(QueueKeys::new(prefix, queue).is_err(), "{prefix:?} {queue:?}");
        }
    }

    #[test]
    fn job_ids_follow_nodes_rules_and_stay_away_from_the_queues_keys() {
        for good in ["a", "+5", "05", "5.0", "1e3", "a:b:c", "é", "with space", "9a", "metrics-1"] {
            assert!(check_job_id(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "0",
            "-0",
            "0:",
            "0:1:2",
            "5",
            "-5",
            "9007199254740992",
            "a:b",
            ":",
            "a:b:c:d",
            "meta",
            "wait",
            "delayed",
            "stalled-check",
            "pc",
            "metrics:completed:data",
            "repeat:x:1",
            "de:a:b",
        ] {
            assert!(check_job_id(bad).is_err(), "{bad}");
        }
    }
}
