//! Revives schedulers that have stopped: their hash tells the next run.

use super::next::{self, Members, NextRun, members, object, quoted};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::script::advance_scheduler::{Advance, Advanced, Revives};
use crate::script::list_schedulers::StoredScheduler;
use crate::wire::job::RawJob;
use crate::wire::json;
use crate::wire::options::StoredOptions;

/// Puts back the next run of each scheduler whose current run is over and that has not ended. Returns the ids of the
/// scheduler and the run. A run that exists but is in no list or set is put back itself. A scheduler that cannot go on
/// has an error in its place.
///
/// Missed slots are skipped. If another worker does the same, or creates the next run of a job that has come back,
/// there is still only one run: a scheduler advances only from its current run.
///
/// # Errors
///
/// The server could not be asked, or refuses the call.
pub(crate) async fn revive(engine: &Engine, interval: std::time::Duration) -> Result<Vec<Result<(String, String)>>> {
    let now = engine.clock.now_ms();
    let mut revived = Vec::new();
    for stored in engine.find_stopped_schedulers(now, interval).await? {
        if stored.hash.is_empty() {
            let run = run_of(&stored);
            revived.push(Ok((stored.id, run)));
            continue;
        }
        let fail = |problem: String| Error::Scheduler { scheduler: stored.id.clone(), problem };
        let advance = match fate_of(&stored, now) {
            Ok(Fate::GoesOn(advance)) => advance,
            Ok(Fate::Ended | Fate::Unclear) => continue,
            Err(problem) => {
                revived.push(Err(fail(problem)));
                continue;
            }
        };
        if let Advanced::Created { id } = engine.advance_scheduler(now, &advance, "").await? {
            revived.push(Ok((stored.id, id)));
        }
    }
    Ok(revived)
}

/// Returns the id of the current run.
fn run_of(stored: &StoredScheduler) -> String {
    format!("repeat:{}:{}", stored.id, stored.slot)
}

/// What is known of a scheduler whose current run is over.
#[derive(Debug, PartialEq)]
pub(crate) enum Fate {
    GoesOn(Box<Advance>),
    /// It has reached its limit or its end.
    Ended,
    /// It is a repeatable job of BullMQ 5, and the options of its last run, which tell its limit, are not known.
    Unclear,
}

/// Returns what follows the run that is over, as its options would have said.
pub(crate) fn fate_of(stored: &StoredScheduler, now: u64) -> std::result::Result<Fate, String> {
    let Some(job) = current_run(stored, now)? else { return Ok(Fate::Unclear) };
    Ok(match next::after(&stored.id, &job, now)? {
        NextRun::Run(advance) if advance.is_last => Fate::Ended,
        NextRun::Run(advance) => {
            Fate::GoesOn(Box::new(Advance { revives: Revives::WithNextRun, skips: false, ..*advance }))
        }
        NextRun::Ended => Fate::Ended,
    })
}

/// Returns the current run as it was, without its data; `None` if its options are not known.
fn current_run(stored: &StoredScheduler, now: u64) -> std::result::Result<Option<RawJob>, String> {
    let is_upserted = text(stored, "offset").is_some();
    let opts = if is_upserted { opts_of_scheduler(stored)? } else { opts_of_repeatable(stored)? };
    let Some(opts) = opts else { return Ok(None) };
    let options = StoredOptions::parse(&opts)?;
    Ok(Some(RawJob::added(run_of(stored), String::new(), "{}".to_owned(), opts.into(), options, now, 0, 0)))
}

/// Returns what creates the current run again, which somebody has deleted before it was due; `None` if its options are
/// not known.
#[cfg(feature = "doctor")]
pub(crate) fn same_run(stored: &StoredScheduler, now: u64) -> std::result::Result<Option<Advance>, String> {
    let slot = stored.slot.parse().map_err(|_| format!("its next run is at '{}'", stored.slot))?;
    let Some(job) = current_run(stored, now)? else { return Ok(None) };
    next::again(&stored.id, &job, slot, now).map(Some)
}

/// Returns a field of the scheduler's hash, unless it is empty.
fn text<'a>(stored: &'a StoredScheduler, name: &str) -> Option<&'a str> {
    let (_, value) = stored.hash.iter().find(|(field, _)| field == name.as_bytes())?;
    std::str::from_utf8(value).ok().filter(|text| !text.is_empty())
}

/// Returns how many runs were made after the first one.
fn counter(stored: &StoredScheduler) -> Option<u64> {
    text(stored, "ic")?.parse().ok()
}

/// Returns the options that the current run of a scheduler has had.
fn opts_of_scheduler(stored: &StoredScheduler) -> std::result::Result<Option<String>, String> {
    let text = |name| text(stored, name);
    let Some(count) = counter(stored) else { return Ok(None) };
    // An upsert keeps the count, and restarts the limit.
    let before = text("limitFrom").and_then(|before| before.parse::<u64>().ok()).unwrap_or(0);
    let mut repeat = vec![("count", count.saturating_sub(before).to_string())];
    for name in ["every", "limit", "startDate", "endDate", "catchUp"] {
        let number = text(name).filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite));
        repeat.extend(number.map(|text| (name, text.to_owned())));
    }
    for name in ["pattern", "tz", "hashSeed", "overlap"] {
        repeat.extend(text(name).map(|text| (name, quoted(text))));
    }
    let repeat = object(&Members::new(), &repeat);
    let own = members(text("opts").unwrap_or("{}"))?;
    Ok(Some(object(&own, &[("repeat", repeat), ("prevMillis", stored.slot.clone())])))
}

/// Returns the options that the current run of a repeatable job of BullMQ 5 has, if it is kept, or has had: each run
/// passes them on to the next one, and the check for stopped schedulers records them.
fn opts_of_repeatable(stored: &StoredScheduler) -> std::result::Result<Option<String>, String> {
    let (kept, recorded) = (text(stored, "run"), text(stored, "lastRun"));
    let Some(opts) = kept.or(recorded) else { return Ok(None) };
    let Ok(own) = members(opts) else { return Ok(None) };
    let Some(Ok(repeat)) = own.get("repeat").map(|repeat| members(repeat.get())) else { return Ok(None) };
    // What was recorded may be the options of an earlier run.
    let count = if kept.is_some() { None } else { counter(stored).map(|made| made + 1) };
    let Some(count) = count.or_else(|| json::number(repeat.get("count")?).map(next::whole)) else { return Ok(None) };
    let repeat = object(&repeat, &[("count", count.to_string())]);
    Ok(Some(object(&own, &[("repeat", repeat), ("prevMillis", stored.slot.clone())])))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn stored(fields: &[(&str, &str)]) -> StoredScheduler {
        let hash = fields.iter().map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect();
        StoredScheduler { id: "s".to_owned(), slot: (NOW - 5_000).to_string(), hash }
    }

    #[test]
    fn what_has_ended_is_left_alone() {
        let end = (NOW - 1).to_string();
        for (fields, goes_on) in [
            (vec![("ic", "3"), ("every", "1000")], true),
            (vec![("ic", "3"), ("every", "1000"), ("limit", "4")], true),
            (vec![("ic", "3"), ("every", "1000"), ("limit", "3")], false),
            (vec![("ic", "9"), ("every", "1000"), ("limit", "3"), ("limitFrom", "7")], true),
            (vec![("ic", "9"), ("every", "1000"), ("limit", "3"), ("limitFrom", "6")], false),
            (vec![("ic", "3"), ("every", "1000"), ("endDate", end.as_str())], false),
            (vec![("every", "1000")], false),
        ] {
            let fields: Vec<_> = fields.into_iter().chain([("offset", "0")]).collect();
            let fate = fate_of(&stored(&fields), NOW).unwrap();
            assert_eq!(matches!(fate, Fate::GoesOn(_)), goes_on, "{fields:?}");
            if let Fate::GoesOn(next) = fate {
                assert!(next.revives == Revives::WithNextRun && next.producer == format!("repeat:s:{}", NOW - 5_000));
            }
        }
        assert!(fate_of(&stored(&[("ic", "1"), ("offset", "0")]), NOW).is_err());
    }

    #[test]
    fn a_repeatable_job_goes_on_only_if_a_run_says_so() {
        let run = |repeat: &str| format!(r#"{{"attempts":2,"jobId":"x","repeat":{repeat}}}"#);
        let (limited, endless) = (r#"{"every":1000,"count":2,"limit":3}"#, r#"{"every":1000,"count":2}"#);
        for (kept, recorded, made, expected) in [
            (None, None, "1", "unclear"),
            (Some("{}".to_owned()), None, "1", "unclear"),
            (Some("no JSON".to_owned()), None, "1", "unclear"),
            (Some(run(r#"{"every":1000,"count":2,"limit":2}"#)), None, "1", "ended"),
            (Some(run(limited)), None, "1", "goes on"),
            (Some(run(endless)), None, "1", "goes on"),
            // The count of the hash is one less than that of the runs. What is recorded may be older than that.
            (None, Some(run(limited)), "1", "goes on"),
            (None, Some(run(limited)), "2", "ended"),
            (None, Some(run(endless)), "9", "goes on"),
            (Some(run(limited)), Some(run(endless)), "9", "goes on"),
        ] {
            let mut fields = vec![("ic", made), ("every", "1000")];
            fields.extend(kept.as_deref().map(|run| ("run", run)));
            fields.extend(recorded.as_deref().map(|run| ("lastRun", run)));
            let fate = fate_of(&stored(&fields), NOW).unwrap();
            let found = match &fate {
                Fate::GoesOn(next) => {
                    let opts: serde_json::Value = serde_json::from_str(&next.opts).unwrap();
                    assert!(opts["attempts"] == 2 && opts.get("jobId").is_none(), "{opts}");
                    "goes on"
                }
                Fate::Ended => "ended",
                Fate::Unclear => "unclear",
            };
            assert_eq!(found, expected, "{kept:?} {recorded:?} {made}");
        }
    }
}
