//! Finds what is wrong with the server as a whole.

use super::finding::{Diagnosis, Finding, FindingKind};
use crate::engine::Engine;
use crate::error::Result;
use crate::script::examine_jobs::{LatencyEvent, SlowCall, latency_events, memory_info, server_time, slow_log};

/// Smaller differences of clocks are not reported, in ms.
const TOLERATED_MS: u64 = 1_000;

/// Scripts that take longer are reported, in µs.
const SLOW_US: u64 = 50_000;

/// Longer latency spikes of the server are reported, in ms.
const STILL_MS: u64 = 100;

/// What happened longer ago is not reported, in seconds.
const LATELY_S: u64 = 3_600;

/// Reports what is wrong with this server; for a node of a cluster each line names it.
pub(super) async fn examine(engine: &Engine, report: &mut Diagnosis) -> Result<()> {
    let mut found = Diagnosis::default();
    look(engine, &mut found).await?;
    let of_it = |text: String| match engine.link.node_name() {
        Some(node) => format!("{node}: {text}"),
        None => text,
    };
    report.findings.extend(found.findings.into_iter().map(|finding| {
        let detail = of_it(finding.detail);
        Finding { detail, ..finding }
    }));
    for left in found.left_out {
        report.leave_out(None, of_it(left.what));
    }
    Ok(())
}

async fn look(engine: &Engine, report: &mut Diagnosis) -> Result<()> {
    match engine.call(memory_info()).await {
        Ok(info) => {
            let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim);
            if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
                let detail = format!("`maxmemory-policy` is `{policy}`");
                report.findings.push(Finding::new(FindingKind::Eviction, None, 1, detail));
            }
        }
        Err(error) => report.leave_out(None, format!("the eviction policy: {error}")),
    }
    let now_s = clock(engine, report).await / 1_000;
    match engine.call(slow_log()).await {
        Ok(calls) => slow(&calls, now_s, report),
        Err(error) => report.leave_out(None, format!("slow scripts, which SLOWLOG would tell: {error}")),
    }
    match engine.call(latency_events()).await {
        Ok(events) => still(&events, now_s, report),
        Err(error) => report.leave_out(None, format!("stand-stills, which LATENCY would tell: {error}")),
    }
    Ok(())
}

/// Returns the server's time in ms, if it tells.
async fn clock(engine: &Engine, report: &mut Diagnosis) -> u64 {
    let before = engine.clock.now_ms();
    let theirs = match engine.call(server_time()).await {
        Ok(theirs) => theirs,
        Err(error) => {
            report.leave_out(None, format!("the clock: {error}"));
            return before;
        }
    };
    let after = engine.clock.now_ms();
    // Only the difference that lies outside the round trip is certain.
    let off = before.saturating_sub(theirs).max(theirs.saturating_sub(after));
    if engine.clock.is_system() && off > TOLERATED_MS {
        let direction = if theirs < before { "ahead of" } else { "behind" };
        let detail = format!("the clock of this machine is {off} ms {direction} the server's");
        report.findings.push(Finding::new(FindingKind::ClockOffset, None, 1, detail));
    }
    theirs
}

/// Reports slow calls of the last hour: older ones say nothing about the server's present state.
fn slow(calls: &[SlowCall], now_s: u64, report: &mut Diagnosis) {
    let is_script = |call: &SlowCall| call.words.first().is_some_and(|verb| verb.to_uppercase().starts_with("EVAL"));
    let is_told = |call: &&SlowCall| call.us >= SLOW_US && is_script(call) && call.at_s + LATELY_S >= now_s;
    let scripts: Vec<u64> = calls.iter().filter(is_told).map(|call| call.us).collect();
    if let Some(longest) = scripts.iter().max() {
        let detail = format!(
            "{} script{} took more than {} ms within the last hour, one {} ms",
            scripts.len(),
            if scripts.len() == 1 { "" } else { "s" },
            SLOW_US / 1_000,
            longest / 1_000
        );
        report.findings.push(Finding::new(FindingKind::SlowScripts, None, scripts.len() as u64, detail));
    }
}

fn still(events: &[LatencyEvent], now_s: u64, report: &mut Diagnosis) {
    let is_told = |event: &&LatencyEvent| event.most_ms >= STILL_MS && event.at_s + LATELY_S >= now_s;
    let mut told: Vec<&LatencyEvent> = events.iter().filter(is_told).collect();
    told.sort_by_key(|event| std::cmp::Reverse(event.most_ms));
    if told.is_empty() {
        return;
    }
    let words: Vec<String> = told.iter().map(|event| format!("{} up to {} ms", event.name, event.most_ms)).collect();
    let detail = format!("it has stood still within the last hour: {}", words.join(", "));
    report.findings.push(Finding::new(FindingKind::SlowServer, None, told.len() as u64, detail));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scripts_that_took_long_are_told() {
        let entry = |us, verb: &str, at_s| SlowCall { at_s, us, words: vec![verb.to_owned()] };
        let mut report = Diagnosis::default();
        let harmless = [entry(60_000, "KEYS", 9_000), entry(1_000, "EVALSHA", 9_000), entry(60_000, "EVALSHA", 5_000)];
        slow(&harmless, 9_000, &mut report);
        assert!(report.findings.is_empty());
        slow(&[entry(60_000, "evalsha", 8_999), entry(90_000, "EVAL", 5_401)], 9_000, &mut report);
        assert_eq!((report.findings[0].kind, report.findings[0].count), (FindingKind::SlowScripts, 2));
        assert!(report.findings[0].detail.ends_with("one 90 ms"));
    }

    #[test]
    fn only_stand_stills_of_late_are_told_the_longest_first() {
        let event = |name: &str, at_s, most_ms| LatencyEvent { name: name.to_owned(), at_s, most_ms };
        let mut report = Diagnosis::default();
        still(&[event("fork", 5_000, 900), event("command", 9_000, 99)], 9_000, &mut report);
        assert!(report.findings.is_empty());
        still(&[event("command", 9_000, 100), event("fork", 8_000, 300)], 9_000, &mut report);
        assert!(report.findings[0].detail.ends_with("fork up to 300 ms, command up to 100 ms"));
    }
}
