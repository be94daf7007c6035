//! Revives schedulers that have stopped: their hash tells the next run.

use super::next::{self, NextRun, members, object, quoted};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::script::advance_scheduler::{Advance, Advanced};
use crate::script::list_schedulers::StoredScheduler;
use crate::wire::job::RawJob;
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
        let advance = match next_of(&stored, now) {
            Ok(Some(advance)) => advance,
            Ok(None) => continue,
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

/// Returns what follows the missing run, as its options would have said; `None` if it was the last one.
fn next_of(stored: &StoredScheduler, now: u64) -> std::result::Result<Option<Advance>, String> {
    let text = |name: &str| {
        let (_, value) = stored.hash.iter().find(|(field, _)| field == name.as_bytes())?;
        std::str::from_utf8(value).ok().filter(|text| !text.is_empty())
    };
    // Without a count it is a repeatable job of BullMQ 5: its data was lost with its run.
    let Some(count) = text("ic").and_then(|count| count.parse::<u64>().ok()) else { return Ok(None) };
    // An upsert keeps the count, and restarts the limit.
    let before = text("limitFrom").and_then(|before| before.parse::<u64>().ok()).unwrap_or(0);
    let mut repeat = vec![("count", count.saturating_sub(before).to_string())];
    if text("offset").is_none() {
        // No upsert has made it, so only its last run says how often it repeats.
        let Some(counted) = text("run").and_then(counted) else { return Ok(None) };
        repeat = counted;
    }
    for name in ["every", "limit", "startDate", "endDate", "catchUp"] {
        let number = text(name)
            .filter(|_| repeat.iter().all(|(known, _)| *known != name))
            .filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite));
        repeat.extend(number.map(|text| (name, text.to_owned())));
    }
    for name in ["pattern", "tz", "hashSeed", "overlap"] {
        repeat.extend(text(name).map(|text| (name, quoted(text))));
    }
    let own = members(text("opts").unwrap_or("{}"))?;
    let opts =
        object(&own, &[("repeat", object(&super::next::Members::new(), &repeat)), ("prevMillis", stored.slot.clone())]);
    let options = StoredOptions::parse(&opts)?;
    let id = run_of(stored);
    let job = RawJob::added(id, String::new(), "{}".to_owned(), opts.into(), options, now, 0, 0);
    Ok(match next::after(&stored.id, &job, now)? {
        NextRun::Run(advance) if advance.is_last => None,
        NextRun::Run(advance) => Some(Advance { revives: true, skips: false, ..*advance }),
        NextRun::Ended => None,
    })
}

/// Returns the count and the limit that the options of a run have; `None` if they have no count.
fn counted(run: &str) -> Option<Vec<(&'static str, String)>> {
    let run: serde_json::Value = serde_json::from_str(run).ok()?;
    let number = |name| run.get("repeat")?.get(name)?.as_u64().map(|number| number.to_string());
    let mut counted = vec![("count", number("count")?)];
    counted.extend(number("limit").map(|limit| ("limit", limit)));
    Some(counted)
}

/// Returns whether a scheduler whose run is gone has another one, by the rule by which workers go on with it.
#[cfg(any(test, feature = "doctor"))]
pub(crate) fn has_next(stored: &StoredScheduler, now: u64) -> bool {
    !matches!(next_of(stored, now), Ok(None))
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
            let next = next_of(&stored(&fields), NOW).unwrap();
            assert_eq!(next.is_some(), goes_on, "{fields:?}");
            assert!(next.is_none_or(|next| next.revives && next.producer == format!("repeat:s:{}", NOW - 5_000)));
        }
        assert!(next_of(&stored(&[("ic", "1"), ("offset", "0")]), NOW).is_err());
    }

    #[test]
    fn a_repeatable_job_goes_on_only_if_its_last_run_says_so() {
        let run = |repeat: &str| format!(r#"{{"repeat":{repeat}}}"#);
        for (run, goes_on) in [
            (None, false),
            (Some("{}".to_owned()), false),
            (Some("no JSON".to_owned()), false),
            (Some(run(r#"{"every":1000,"count":2,"limit":2}"#)), false),
            (Some(run(r#"{"every":1000,"count":2,"limit":3}"#)), true),
            (Some(run(r#"{"every":1000,"count":2}"#)), true),
        ] {
            // The count of the hash is one less than that of the runs.
            let mut fields = vec![("ic", "1"), ("every", "1000")];
            fields.extend(run.as_deref().map(|run| ("run", run)));
            assert_eq!(has_next(&stored(&fields), NOW), goes_on, "{run:?}");
        }
    }
}
