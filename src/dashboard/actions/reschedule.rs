//! Changes when a job scheduler runs; the name, data and options of its jobs stay as they are stored.

use std::time::Duration;

use crate::clock::epoch_ms;
use crate::dashboard::app::AnyQueue;
use crate::dashboard::format::moment;
use crate::dashboard::request::filter::span;
use crate::dashboard::request::problem::Problem;
use crate::dashboard::request::visit::{Params, given};
use crate::queue::JobScheduler;
use crate::scheduler::{Repeat, replan, seed_of};

/// Reads the form, and stores the scheduler again.
pub(in crate::dashboard) async fn change(queue: &AnyQueue, id: &str, params: &Params) -> Result<String, Problem> {
    let Some(stored) = queue.get_job_scheduler(id).await? else {
        return Err(Problem::no_form("There is no such scheduler any more."));
    };
    let engine = queue.engine();
    let run = engine.get_fields(&format!("repeat:{id}:{}", epoch_ms(stored.next_run))).await?;
    let run = run.iter().find(|(name, _)| name == "opts").map(|(_, opts)| opts.as_str());
    let seed = stored.hash_seed.clone().or_else(|| run.and_then(seed_of));
    let repeat = repeat(&stored, seed, params)?;
    let (data, options) = (stored.data.as_ref(), stored.options.as_ref());
    let (data, options) = (data.map(|data| data.as_str()), options.map(|options| options.as_str()));
    let upsert = replan(id, &repeat, &stored.name, data, options, run, engine.clock.now_ms())?;
    engine.upsert_scheduler(&upsert, true).await?;
    Ok(format!("The scheduler {id} is changed."))
}

fn repeat(stored: &JobScheduler, seed: Option<String>, params: &Params) -> Result<Repeat, Problem> {
    let every = given(params, "every");
    let mut repeat = match (every, given(params, "pattern")) {
        (Some(every), None) => {
            let every = span(every).filter(|every| !every.is_zero());
            let every = every.ok_or_else(|| Problem::no_form("Write the interval as 90s, 15 min, 2h or 3d."))?;
            let mut repeat = Repeat::every(every);
            // An offset belongs to its interval.
            if let Some(offset) = stored.offset.filter(|offset| stored.every == Some(every) && !offset.is_zero()) {
                repeat = repeat.offset(offset);
            }
            repeat
        }
        (None, Some(pattern)) => {
            let mut repeat = Repeat::cron(pattern);
            if let Some(zone) = given(params, "tz") {
                repeat = repeat.tz(zone);
            }
            match seed {
                Some(seed) => repeat.hash_seed(seed),
                None => repeat,
            }
        }
        _ => return Err(Problem::no_form("Give it an interval or a pattern, and not both.")),
    };
    if let Some(limit) = given(params, "limit") {
        let limit = limit.parse().map_err(|_| Problem::no_form("The limit must be a number of runs, 1 at least."))?;
        repeat = repeat.limit(limit);
    }
    if let Some(start) = stored.start_date {
        repeat = repeat.start_date(start);
    }
    let end = match params.get("end").map(|end| end.trim()) {
        None => stored.end_date,
        Some("") => None,
        Some(end) => {
            let end =
                moment::read(end).ok_or_else(|| Problem::no_form("Write the end as 2030-12-31 18:00, in UTC."))?;
            Some(end)
        }
    };
    if let Some(end) = end {
        repeat = repeat.end_date(end);
    }
    Ok(repeat.overlap(stored.overlap).catch_up(stored.catch_up))
}

/// Writes an interval in the form that the form accepts.
pub(in crate::dashboard) fn spelled(every: Duration) -> String {
    let ms = every.as_millis();
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, " min"), (1_000, "s")];
    let unit = units.into_iter().find(|(unit, _)| ms > 0 && ms.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{ms}ms"), |(unit, name)| format!("{}{name}", ms / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_read_back_as_it_was_spelled() {
        for ms in [1, 1_500, 90_000, 900_000, 7_200_000, 259_200_000, 60_001] {
            let every = Duration::from_millis(ms);
            assert_eq!(span(&spelled(every)), Some(every), "{}", spelled(every));
        }
        assert_eq!(spelled(Duration::from_secs(900)), "15 min");
    }
}
