//! Checks the server when a client has connected: whether it may evict keys, and whether its clock agrees with ours.
//! Both lose or delay jobs without any error, so both are logged once as a warning.

use std::time::Duration;

use redis::{Cmd, Value};
use tokio::time::{Instant, timeout};

use super::link::Link;
use crate::clock::Clock;

/// The policy under which the server refuses writes when its memory is full, instead of evicting keys.
const SAFE_POLICY: &str = "noeviction";

/// Smaller differences of clocks are not reported: a delay that is off by a second surprises nobody.
const TOLERATED: Duration = Duration::from_secs(1);

/// How long a node of a cluster may take to answer: a silent node must not delay the connect.
const NODE: Duration = Duration::from_secs(1);

/// The findings; what the server does not tell is `None`.
#[derive(Debug, PartialEq)]
struct Findings {
    policy: Option<String>,
    clock: Option<Offset>,
}

/// How far our clock differs from the server's.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Offset {
    by: Duration,
    is_ahead: bool,
}

/// Logs a warning if a server may evict keys, or its clock differs. One round trip; answers that the server does not
/// give, or not to this user, are skipped. In a cluster it asks all masters that may have keys that begin with `base`,
/// on connections that are closed afterwards, since most of them may never be needed.
pub(crate) async fn survey(link: &Link, base: &str, clock: &Clock) {
    let server = &link.options().servers;
    let now = || clock.is_system().then_some(|| clock.now_ms());
    let found = if link.is_cluster() {
        let nodes = link.another().everywhere_for(base);
        let asked = nodes.iter().map(|node| async { (node.node_name(), timeout(NODE, look(node, now())).await) });
        let answers = futures::future::join_all(asked).await.into_iter();
        answers.filter_map(|(node, found)| Some((node, found.ok()?))).collect()
    } else {
        vec![(None, look(link, now()).await)]
    };
    let evicts =
        |found: &&(Option<String>, Findings)| found.1.policy.as_deref().is_some_and(|policy| policy != SAFE_POLICY);
    for (node, Findings { policy, .. }) in found.iter().filter(evicts) {
        tracing::warn!(
            target: "oxmq::connection",
            ?server,
            node,
            policy,
            "the server may evict jobs and locks: set `maxmemory-policy` to `noeviction`"
        );
    }
    // The clocks of one cluster usually agree, so the one that differs most is enough.
    let clocks = found.iter().filter_map(|(node, found)| Some((node, found.clock?)));
    if let Some((node, Offset { by, is_ahead })) =
        clocks.max_by_key(|(_, offset)| offset.by).filter(|(_, offset)| offset.by > TOLERATED)
    {
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

/// Asks for everything at once. `now` returns the ms of the clock to compare, if any.
async fn look(link: &Link, now: Option<impl Fn() -> u64>) -> Findings {
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
    let (clock, config, info) =
        futures::join!(clock, ask(&["CONFIG", "GET", "maxmemory-policy"]), ask(&["INFO", "memory"]));
    let policy = config.as_ref().and_then(policy_of_config).or_else(|| policy_of_info(info.as_ref()?));
    if policy.is_none() {
        link.dialer().is_refused("CONFIG, INFO", "nobody warns if it may evict jobs and locks");
    }
    Findings { policy, clock }
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
            let found = look(&link, Some(|| system.now_ms().saturating_add_signed(shift))).await.clock.unwrap();
            assert!(found.is_ahead == is_ahead && found.by.abs_diff(Duration::from_secs(60)) < TOLERATED, "{found:?}");
        }
        let found = look(&link, Some(|| system.now_ms())).await;
        assert!(found.clock.unwrap().by < TOLERATED, "{found:?}");
        assert_eq!(found.policy.as_deref(), Some(SAFE_POLICY));
        // A custom clock is meant to differ.
        assert!(!Clock::manual_ms(5).is_system());
        assert_eq!(look(&link, None::<fn() -> u64>).await.clock, None);
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
