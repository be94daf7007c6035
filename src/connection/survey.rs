//! Checks the server when a client has connected, and after each break: whether it may evict keys, whether the user may
//! call what scripts write with, and whether its clock agrees with ours. Each of them loses or delays jobs, so each is
//! logged once as a warning.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use super::link::Link;
use super::outage::Listener;
use crate::clock::Clock;
use crate::sync::{Lock, spawn};

/// The policy under which the server refuses writes when its memory is full, instead of evicting keys.
const SAFE_POLICY: &str = "noeviction";

/// Answers which of the commands behind the first argument, which the keys begin with, this user may not call. Before
/// Redis 7 there is no such question, and no check of what scripts call.
const ASK_RIGHTS: &str = "\
local missing = {}
for i = 2, #ARGV do
  if not redis.acl_check_cmd(ARGV[i], ARGV[1], ARGV[1]) then missing[#missing + 1] = ARGV[i] end
end
return missing";

/// Smaller differences of clocks are not reported: a delay that is off by a second surprises nobody.
const TOLERATED: Duration = Duration::from_secs(1);

/// How long a node of a cluster may take to answer: a silent node must not delay the connect.
const NODE: Duration = Duration::from_secs(1);

/// The findings; what the server does not tell is `None`.
#[derive(Debug, PartialEq)]
struct Findings {
    policy: Option<String>,
    clock: Option<Offset>,
    /// The commands that scripts write with and this user may not call.
    refused: Option<Vec<String>>,
}

/// How far our clock differs from the server's.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Offset {
    by: Duration,
    is_ahead: bool,
}

/// How long to wait after a break, in which there may be others, before the server is asked again.
const SETTLES: Duration = Duration::from_millis(200);

/// Asks how the servers of a client are set up when it connects, and again after a break: another server may have taken
/// over.
pub(crate) struct Surveyor {
    me: Weak<Self>,
    link: Link,
    /// What the client's keys begin with.
    base: String,
    /// The commands that scripts write with.
    writes: &'static [&'static str],
    clock: Clock,
    told: Lock<Told>,
    /// Whether a task is about to ask.
    is_due: AtomicBool,
}

/// What was logged, so that it is not repeated.
#[derive(Default)]
struct Told {
    /// The policies of nodes, or of the only server, that evict.
    policies: HashMap<Option<String>, String>,
    /// The commands that nodes, or the only server, do not permit to scripts.
    refused: HashMap<Option<String>, Vec<String>>,
    is_clock_off: bool,
}

impl Listener for Surveyor {
    fn away(&self, _why: &str) {}

    fn back(&self, _after: Duration) {}

    fn mended(&self) {
        let Some(me) = self.me.upgrade() else { return };
        if Handle::try_current().is_err() {
            return;
        }
        if !self.is_due.swap(true, Ordering::Relaxed) {
            let due = Due(me);
            spawn(async move {
                tokio::time::sleep(SETTLES).await;
                let surveyor = Arc::clone(&due.0);
                drop(due);
                surveyor.survey().await;
            });
        }
    }
}

/// Stands for a task that is about to ask; it may end with its runtime before it does.
struct Due(Arc<Surveyor>);

impl Drop for Due {
    fn drop(&mut self) {
        self.0.is_due.store(false, Ordering::Relaxed);
    }
}

impl Surveyor {
    /// Creates the surveyor of a client whose keys begin with `base`, and whose scripts write with the commands `writes`.
    pub(crate) fn new(link: &Link, base: String, writes: &'static [&'static str], clock: &Clock) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            link: link.clone(),
            base,
            writes,
            clock: clock.clone(),
            told: Lock::default(),
            is_due: AtomicBool::new(false),
        })
    }

    /// Asks now, and after each break from now on, as long as somebody holds this.
    pub(crate) async fn begin(&self) {
        self.survey().await;
        let me: Weak<dyn Listener> = self.me.clone();
        self.link.tell_of_all(me);
    }

    /// Logs a warning if a server may evict keys, refuses a command to scripts, or has another time, unless that was
    /// logged before. One round trip; answers that the server does not give, or not to this user, are skipped. In a
    /// cluster it asks all masters that may have keys of the client, on connections that are closed afterwards, since most
    /// of them may never be needed.
    async fn survey(&self) {
        let link = &self.link;
        let server = &link.options().servers;
        let now = || self.clock.is_system().then_some(|| self.clock.now_ms());
        let rights: Vec<&str> = ["EVAL", ASK_RIGHTS, "0", &self.base].iter().chain(self.writes).copied().collect();
        let found: Vec<(Option<String>, Findings)> = if link.is_cluster() {
            let nodes = link.another().everywhere_for(&self.base);
            let asked =
                nodes.iter().map(|node| async { (node.node_name(), timeout(NODE, look(node, &rights, now())).await) });
            let answers = futures::future::join_all(asked).await.into_iter();
            answers.filter_map(|(node, found)| Some((node, found.ok()?))).collect()
        } else {
            vec![(None, look(link, &rights, now()).await)]
        };
        for (node, Findings { policy, refused, .. }) in &found {
            // A user who may not write at all only looks.
            let is_half = |refused: &&Vec<String>| !refused.is_empty() && refused.len() < self.writes.len();
            if let Some(commands) = refused
                && is_news(&mut self.told.lock().refused, node, Some(commands).filter(is_half).cloned())
            {
                tracing::warn!(
                    target: "oxmq::connection",
                    ?server,
                    node,
                    ?commands,
                    "the user may not call commands that scripts write with, which then stop half-way: permit them all, or no \
                     writing at all"
                );
            }
            if let Some(policy) = policy
                && is_news(&mut self.told.lock().policies, node, Some(policy).filter(|it| *it != SAFE_POLICY).cloned())
            {
                tracing::warn!(
                    target: "oxmq::connection",
                    ?server,
                    node,
                    policy,
                    "the server may evict jobs and locks: set `maxmemory-policy` to `noeviction`"
                );
            }
        }
        // The clocks of one cluster usually agree, so the one that differs most is enough.
        let clocks = found.iter().filter_map(|(node, found)| Some((node, found.clock?)));
        let Some((node, Offset { by, is_ahead })) = clocks.max_by_key(|(_, offset)| offset.by) else { return };
        let is_off = by > TOLERATED;
        if !std::mem::replace(&mut self.told.lock().is_clock_off, is_off) && is_off {
            let direction = if is_ahead { "ahead of" } else { "behind" };
            tracing::warn!(
                target: "oxmq::connection",
                ?server,
                node,
                ?by,
                "our clock is {direction} the server's: delayed jobs start at the wrong time"
            );
        }
    }
}

/// Returns whether a node, or the only server, has this fault, and did not have it when it was asked before.
fn is_news<T: PartialEq + Clone>(
    told: &mut HashMap<Option<String>, T>,
    node: &Option<String>,
    fault: Option<T>,
) -> bool {
    let before = match &fault {
        Some(fault) => told.insert(node.clone(), fault.clone()),
        None => told.remove(node),
    };
    fault.is_some() && fault != before
}

/// Asks for everything at once: for the rights with these words. `now` returns the ms of the clock to compare, if any.
async fn look(link: &Link, rights: &[&str], now: Option<impl Fn() -> u64>) -> Findings {
    let ask = async |words: &[&str]| {
        let mut cmd = Cmd::new();
        for word in words {
            cmd.arg(*word);
        }
        match link.send(&cmd).await {
            Ok(reply) => Some(reply),
            Err(failure) => {
                let error = failure.to_read_error("survey");
                tracing::debug!(%error, command = words[0], "the settings of the server could not be checked");
                None
            }
        }
    };
    let clock = async {
        let now = now?;
        let (before, start) = (now(), Instant::now());
        let theirs = server_ms(&ask(&["TIME"]).await?)?;
        Some(offset(before, start.elapsed(), theirs))
    };
    let (clock, config, info, rights) =
        tokio::join!(clock, ask(&["CONFIG", "GET", "maxmemory-policy"]), ask(&["INFO", "memory"]), ask(rights));
    let policy = config.as_ref().and_then(policy_of_config).or_else(|| policy_of_info(info.as_ref()?));
    if policy.is_none() {
        link.dialer().is_refused("CONFIG, INFO", "nobody warns if it may evict jobs and locks");
    }
    Findings { policy, clock, refused: rights.as_ref().and_then(texts) }
}

/// Returns how far a clock is off that showed `before` when the server was asked. The server answered at some moment of
/// the round trip, so half of that is subtracted: the rest is certain.
fn offset(before: u64, round_trip: Duration, theirs: u64) -> Offset {
    let half = round_trip / 2;
    let ours = Duration::from_millis(before) + half;
    let theirs = Duration::from_millis(theirs);
    Offset { by: ours.abs_diff(theirs).saturating_sub(half), is_ahead: ours > theirs }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    let Value::Array(items) = value else { return None };
    items.iter().map(|item| text(item).map(str::to_owned)).collect()
}

/// Reads seconds and microseconds as milliseconds.
fn server_ms(time: &Value) -> Option<u64> {
    let Value::Array(parts) = time else { return None };
    let [seconds, micros] = &parts[..] else { return None };
    let number = |value| text(value)?.parse::<u64>().ok();
    number(seconds)?.checked_mul(1000)?.checked_add(number(micros)? / 1000)
}

fn policy_of_config(reply: &Value) -> Option<String> {
    let value = match reply {
        Value::Array(items) => items.get(1)?,
        Value::Map(items) => &items.first()?.1,
        _ => return None,
    };
    text(value).map(str::to_owned)
}

fn policy_of_info(reply: &Value) -> Option<String> {
    text(reply)?.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(|policy| policy.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing;

    const RIGHTS: &[&str] = &["EVAL", ASK_RIGHTS, "0", "bull:", "XADD"];

    #[test]
    fn only_what_is_certain_counts() {
        let ms = Duration::from_millis;
        assert_eq!(offset(10_000, ms(0), 10_000), Offset { by: ms(0), is_ahead: false });
        assert_eq!(offset(70_000, ms(200), 10_000), Offset { by: ms(60_000), is_ahead: true });
        assert_eq!(offset(10_000, ms(200), 70_000), Offset { by: ms(59_800), is_ahead: false });
        // A reply that took four seconds says nothing about a difference of two.
        assert_eq!(offset(10_000, ms(4_000), 14_000).by, ms(0));
    }

    #[tokio::test]
    async fn a_clock_that_is_a_minute_off_is_found() {
        let link = testing::queue().await.link.clone();
        let system = Clock::system();
        let minute = 60_000;
        for (shift, is_ahead) in [(minute, true), (-minute, false)] {
            let found = look(&link, RIGHTS, Some(|| system.now_ms().saturating_add_signed(shift))).await.clock.unwrap();
            assert!(found.is_ahead == is_ahead && found.by.abs_diff(Duration::from_secs(60)) < TOLERATED, "{found:?}");
        }
        let found = look(&link, RIGHTS, Some(|| system.now_ms())).await;
        assert!(found.clock.unwrap().by < TOLERATED, "{found:?}");
        assert_eq!(found.policy.as_deref(), Some(SAFE_POLICY));
        // A custom clock is meant to differ.
        assert!(!Clock::manual_ms(5).is_system());
        assert_eq!(look(&link, RIGHTS, None::<fn() -> u64>).await.clock, None);
    }

    #[test]
    fn the_policy_is_read_from_what_the_server_tells() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let info = bulk("# Memory\r\nmaxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n");
        assert_eq!(policy_of_info(&info).as_deref(), Some("allkeys-lru"));
        let config = Value::Array(vec![bulk("maxmemory-policy"), bulk("volatile-ttl")]);
        assert_eq!(policy_of_config(&config).as_deref(), Some("volatile-ttl"));
        assert_eq!(policy_of_config(&Value::Array(vec![])), None);
    }
}
