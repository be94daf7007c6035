//! Asks for many queues at once whether there may be something to do.

use std::ops::Range;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::Instant;

use super::Engine;
use crate::connection::Watch;
use crate::script::marker::count_keys;

/// The keys that exist while a worker may find a job.
pub(crate) const WORK: &[&str] = &["wait", "prioritized", "delayed", "paused"];

/// The keys that exist while a check for stalled jobs may find one, this time or the next.
pub(crate) const ACTIVE: &[&str] = &["active", "stalled"];

/// The key that exists while there are job schedulers.
pub(crate) const SCHEDULERS: &[&str] = &["repeat"];

/// How often somebody looks who has no connection to wait on: a job or an event of an idle queue waits at most this long.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// The same for one who has found something a moment ago.
pub(crate) const BUSY_LOOK: Duration = Duration::from_millis(50);

/// How long a queue or a stream is watched before somebody looks all the same.
pub(crate) const WATCH: Duration = Duration::from_secs(30);

/// Returns the next moment after `now` that is a multiple of `pace` after `epoch`.
pub(crate) fn next_look(epoch: Instant, now: Instant, pace: Duration) -> Instant {
    let passed = now.saturating_duration_since(epoch).as_nanos();
    let left = pace.as_nanos() - passed % pace.as_nanos();
    now + Duration::from_nanos(u64::try_from(left).unwrap_or(0))
}

/// How many queues one call asks about at most, which keeps it below a tenth of a millisecond.
const MOST: usize = 256;

/// Into how many parts a group is split in which something was found.
const PARTS: usize = 4;

/// Returns which of these queues have a key with one of these suffixes; `None` for a queue whose server did not answer.
///
/// One call for up to 256 queues if nothing is found, all calls at the same time. Where something is found the group is
/// split and asked again, with about four calls more for each doubling of their number. On a cluster, queues share a
/// call if they share a slot.
pub(crate) async fn which_have(engines: &[&Engine], suffixes: &[&str]) -> Vec<Option<bool>> {
    let mut found = vec![Some(false); engines.len()];
    let mut ranges = together(engines);
    while !ranges.is_empty() {
        let counts = join_all(ranges.iter().map(|range| count(&engines[range.clone()], suffixes))).await;
        let mut narrower = Vec::new();
        for (range, count) in ranges.into_iter().zip(counts) {
            match count {
                Some(0) => {}
                Some(_) if range.len() > 1 => {
                    let step = range.len().div_ceil(PARTS);
                    narrower.extend(range.clone().step_by(step).map(|from| from..range.end.min(from + step)));
                }
                count => found[range].fill(count.map(|_| true)),
            }
        }
        ranges = narrower;
    }
    found
}

/// What a queue has for one who waits for its marker.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Has {
    Marker,
    /// Jobs, but no marker: other workers take them, or they are not due.
    Jobs,
    Nothing,
}

/// Has the keys of a queue watched by which a worker finds a job, and returns what there is now. If there are jobs, only
/// the marker is watched; if there is nothing, whatever makes a fetch possible changes one of the keys. `None` where
/// that is not possible, or not now. One round trip.
pub(crate) async fn watch_work(engine: &Engine) -> Option<(Has, Watch)> {
    let marker = engine.keys.marker();
    let keys: Vec<String> = WORK.iter().map(|suffix| engine.keys.key(suffix)).chain([marker.clone()]).collect();
    // The marker is asked for so often that the number tells it from all others together.
    let asked = keys.iter().cloned().chain(std::iter::repeat_n(marker.clone(), WORK.len()));
    let (found, mut watch) = count_keys(asked).watching(&engine.link, keys).await?;
    let has = match usize::try_from(found) {
        Ok(0) => Has::Nothing,
        Ok(found) if found <= WORK.len() => Has::Jobs,
        _ => Has::Marker,
    };
    if has == Has::Jobs {
        watch.only(&marker);
    }
    Some((has, watch))
}

/// Groups neighbouring queues that one call can ask about.
fn together(engines: &[&Engine]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (at, engine) in engines.iter().enumerate() {
        match ranges.last_mut() {
            Some(range) if range.len() < MOST && engines[range.start].link.is_for_keys(engine.keys.base()) => {
                range.end += 1;
            }
            _ => ranges.push(at..at + 1),
        }
    }
    ranges
}

async fn count(engines: &[&Engine], suffixes: &[&str]) -> Option<u64> {
    let first = engines.first()?;
    let keys = engines.iter().flat_map(|engine| suffixes.iter().map(|suffix| engine.keys.key(suffix)));
    count_keys(keys).send(&first.link, &first.keys).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::testing;
    use crate::keys::QueueKeys;

    #[tokio::test(start_paused = true)]
    async fn all_look_at_the_same_moments() {
        let epoch = Instant::now();
        let after = |ms| epoch + Duration::from_millis(ms);
        for (now, next) in [(0, 500), (1, 500), (499, 500), (500, 1_000), (1_234, 1_500)] {
            assert_eq!(next_look(epoch, after(now), LOOK), after(next));
        }
        assert_eq!(next_look(epoch, after(1_234), BUSY_LOOK), after(1_250));
    }

    #[tokio::test]
    async fn each_queue_that_has_something_is_found() {
        let first = testing::queue().await;
        let prefix = first.keys.qualified();
        let named = |n: usize| Engine {
            keys: QueueKeys::new(&prefix.replace(':', "-"), &format!("q{n}")).unwrap(),
            ..first.clone()
        };
        let engines: Vec<Engine> = (0..600).map(named).collect();
        let engines: Vec<&Engine> = engines.iter().collect();
        assert!(which_have(&engines, ACTIVE).await.into_iter().all(|has| has == Some(false)));
        let some = [0, 255, 256, 300, 301, 599];
        for n in some {
            let suffix = ACTIVE[n % 2];
            engines[n].redis(&format!("SADD @{suffix} 1")).await;
        }
        let found = which_have(&engines, ACTIVE).await;
        let found: Vec<usize> = (0..600).filter(|n| found[*n] == Some(true)).collect();
        assert_eq!(found, some);
        assert!(which_have(&[], ACTIVE).await.is_empty());
    }
}
