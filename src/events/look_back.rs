//! Finds the outcomes of removed jobs by a search back in the event stream, from the newest event on.
//!
//! A job that removes itself when it completes leaves only its event. A caller that begins to wait a moment later finds
//! it among the newest ones.

use std::time::Instant;

use super::wait_end::WaitEnd;
use crate::engine::Engine;
use crate::engine::events::{EventEffect, EventPage, FinishTrace};
use crate::error::Result;

/// How many events are searched at most: what a stream holds by default.
const DEPTH: usize = 10_000;

/// How many events one call searches.
const STEP: usize = 500;

/// How much later than the reckoned time the job's `added` event may be at most, in ms: one for the time that was cut to
/// whole ms, and one to spare.
const SLACK_MS: u64 = 2;

/// Two clocks drift apart by less than one part in so many.
const DRIFT: u128 = 10_000;

/// When the job that is meant existed. A job added later under its id is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Existed {
    /// At this time of the server, in ms.
    At(u64),
    /// At this moment of our monotonic clock.
    Since(Instant),
}

impl Existed {
    /// Returns a time of the server at which the job certainly existed.
    fn limit(self, now: Option<u64>, asked: Instant) -> u64 {
        match (self, now) {
            (Self::At(ms), _) => ms,
            // The server's clock was read after `asked`, so the job existed at this time or before; our wall clock does
            // not matter. Too late a time is better than one before the job's own `added` event, with which its outcome
            // would be taken for that of another job.
            (Self::Since(seen), Some(now)) => {
                let span = asked.saturating_duration_since(seen);
                // The server's clock was cut to whole ms, and clocks run a little differently.
                let (whole_ms, drift) = (span.as_millis(), span.as_millis() / DRIFT);
                let ago = u64::try_from(whole_ms.saturating_sub(drift)).unwrap_or(u64::MAX);
                now.saturating_add(SLACK_MS).saturating_sub(ago)
            }
            // A user who may not ask for the time gets the last job with that id.
            (Self::Since(_), None) => u64::MAX,
        }
    }
}

/// The search for one job.
#[derive(Debug)]
struct Search {
    existed: Existed,
    /// The newest event that may be of the job. It is the job's if no later `added` event comes before it in the search.
    newest: Option<EventEffect>,
    over: bool,
}

impl Search {
    fn see(&mut self, trace: &FinishTrace, limit: u64) {
        if self.over {
            return;
        }
        let is_later_job = trace.id.ms() > limit && trace.effect == EventEffect::Added;
        if is_later_job {
            self.newest = None;
        } else {
            self.newest.get_or_insert_with(|| trace.effect.clone());
        }
        self.over = trace.id.ms() <= limit;
    }

    fn outcome(self) -> Option<WaitEnd> {
        match self.newest? {
            EventEffect::Completed(json) => Some(WaitEnd::completed(json)),
            EventEffect::Failed(reason) => Some(WaitEnd::Failed(reason)),
            EventEffect::Added | EventEffect::Elsewhere => None,
        }
    }
}

/// Returns how these jobs ended, as far as their events still exist; `None` for a job that was removed before its end.
pub(super) async fn look_back(engine: &Engine, jobs: &[(String, Existed)]) -> Result<Vec<Option<WaitEnd>>> {
    let mut ids: Vec<&str> = jobs.iter().map(|(id, _)| id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut searches: Vec<Search> =
        jobs.iter().map(|(_, existed)| Search { existed: *existed, newest: None, over: false }).collect();
    // Several callers may search for one id, and mean different jobs.
    let mut of_id = vec![Vec::new(); ids.len()];
    for (search, (id, _)) in jobs.iter().enumerate() {
        if let Ok(position) = ids.binary_search(&id.as_str()) {
            of_id[position].push(search);
        }
    }
    let (mut from, mut looked_at) = (None, 0);
    while looked_at < DEPTH && searches.iter().any(|search| !search.over) {
        let asked = Instant::now();
        let EventPage { now, oldest, traces } = engine.find_finish(from, STEP, &ids).await?;
        for trace in &traces {
            for search in &of_id[trace.job] {
                let search = &mut searches[*search];
                search.see(trace, search.existed.limit(now, asked));
            }
        }
        let Some(oldest) = oldest else { break };
        for search in &mut searches {
            search.over |= search.newest.is_some() && oldest.ms() <= search.existed.limit(now, asked);
        }
        from = Some(oldest);
        looked_at += STEP;
    }
    Ok(searches.into_iter().map(Search::outcome).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::wire::EventId;

    /// Searches effects with their times, given newest first.
    fn search(existed: Existed, effects: &[(u64, EventEffect)]) -> Option<WaitEnd> {
        let mut search = Search { existed, newest: None, over: false };
        for (ms, effect) in effects {
            let trace = FinishTrace { id: EventId::new(*ms, 0), job: 0, effect: effect.clone() };
            search.see(&trace, existed.limit(None, Instant::now()));
        }
        search.outcome()
    }

    #[test]
    fn the_added_event_of_a_job_that_was_seen_is_never_that_of_a_later_one() {
        let seen = Instant::now();
        for (since_us, added) in [(0, 1_000), (900, 1_000), (300_100, 700), (300_900, 700), (999_999, 1)] {
            let limit = Existed::Since(seen).limit(Some(1_000), seen + Duration::from_micros(since_us));
            assert!(limit >= added, "{since_us} us: {limit}");
            // Yet not much later: the id may have been used again.
            assert!(limit <= added + 2, "{since_us} us: {limit}");
        }
        let an_hour = Existed::Since(seen).limit(Some(10_000_000), seen + Duration::from_secs(3600));
        assert_eq!(an_hour, 10_000_000 - 3_600_000 + 360 + 2);
    }

    #[test]
    fn the_last_step_of_the_job_that_is_meant_counts() {
        use EventEffect::{Added, Elsewhere, Failed};
        use Existed::At;
        let done = |text: &str| EventEffect::Completed(text.to_owned());
        let result = |text: &str| Some(WaitEnd::Completed(text.to_owned()));
        assert_eq!(search(At(u64::MAX), &[(9, done("1")), (8, Elsewhere), (7, Added)]), result("1"));
        assert_eq!(search(At(u64::MAX), &[(9, Failed("x".into())), (7, Added)]), Some(WaitEnd::Failed("x".into())));
        // It was retried, and then removed without an event.
        assert_eq!(search(At(u64::MAX), &[(9, Elsewhere), (8, Failed("x".into())), (7, Added)]), None);
        // The later job with that id is another one, finished or not.
        let twice = [(9, done("2")), (8, Added), (6, done("1")), (4, Added)];
        assert_eq!(search(At(5), &twice), result("1"));
        assert_eq!(search(At(5), &twice[1..]), result("1"));
        assert_eq!(search(At(9), &twice), result("2"));
        assert_eq!(search(At(5), &twice[..2]), None);
        // Its own events may be later than the moment at which it was known to exist.
        assert_eq!(search(At(5), &[(9, done("1")), (8, Elsewhere), (4, Added)]), result("1"));
        assert_eq!(search(At(5), &[]), None);
    }
}
