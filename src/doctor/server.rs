//! What is wrong with the server as a whole.

use super::finding::{Finding, FindingKind, Report};
use crate::engine::Engine;
use crate::error::Result;
use crate::script::examine_jobs::{memory_info, server_time, slow_log};

/// Clocks that differ by less are not told.
const TOLERATED_MS: u64 = 1_000;

/// A script that takes longer is told.
const SLOW_US: u64 = 50_000;

pub(super) async fn examine(engine: &Engine, report: &mut Report) -> Result<()> {
    match engine.call(memory_info()).await {
        Ok(info) => {
            let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:")).map(str::trim);
            if let Some(policy) = policy.filter(|policy| *policy != "noeviction") {
                let detail = format!("`maxmemory-policy` is `{policy}`");
                report.findings.push(Finding::new(FindingKind::Eviction, None, 1, detail));
            }
        }
        Err(error) => report.left_out.push(format!("the eviction policy: {error}")),
    }
    clock(engine, report).await?;
    match engine.call(slow_log()).await {
        Ok(entries) => slow(&entries, report),
        Err(error) => report.left_out.push(format!("slow scripts: {error}")),
    }
    Ok(())
}

async fn clock(engine: &Engine, report: &mut Report) -> Result<()> {
    if !engine.clock.is_system() {
        return Ok(());
    }
    let before = engine.clock.now_ms();
    let theirs = match engine.call(server_time()).await {
        Ok(theirs) => theirs,
        Err(error) => {
            report.left_out.push(format!("the clock: {error}"));
            return Ok(());
        }
    };
    let after = engine.clock.now_ms();
    // Only what lies outside of the round trip is certain.
    let off = before.saturating_sub(theirs).max(theirs.saturating_sub(after));
    if off > TOLERATED_MS {
        let direction = if theirs < before { "ahead of" } else { "behind" };
        let detail = format!("the clock of this machine is {off} ms {direction} the server's");
        report.findings.push(Finding::new(FindingKind::ClockOffset, None, 1, detail));
    }
    Ok(())
}

fn slow(entries: &[(u64, Vec<String>)], report: &mut Report) {
    let is_script = |words: &[String]| words.first().is_some_and(|verb| verb.to_uppercase().starts_with("EVAL"));
    let scripts: Vec<u64> =
        entries.iter().filter(|(us, words)| *us >= SLOW_US && is_script(words)).map(|(us, _)| *us).collect();
    if let Some(longest) = scripts.iter().max() {
        let detail =
            format!("{} scripts took more than {} ms, one {} ms", scripts.len(), SLOW_US / 1_000, longest / 1_000);
        report.findings.push(Finding::new(FindingKind::SlowScripts, None, scripts.len() as u64, detail));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_scripts_that_took_long_are_told() {
        let entry = |us, verb: &str| (us, vec![verb.to_owned()]);
        let mut report = Report::default();
        slow(&[entry(60_000, "KEYS"), entry(1_000, "EVALSHA")], &mut report);
        assert!(report.findings.is_empty());
        slow(&[entry(60_000, "evalsha"), entry(90_000, "EVAL")], &mut report);
        assert_eq!((report.findings[0].kind, report.findings[0].count), (FindingKind::SlowScripts, 2));
        assert!(report.findings[0].detail.ends_with("one 90 ms"));
    }
}
