//! Waits for work without a connection to wait on.
//!
//! On a cluster one blocking read can wait only for keys of one slot. So where each queue has a slot of its own, workers
//! beyond the first ones of a client would need a connection each; instead they have an empty queue watched, and are told
//! when it changes. While it cannot be watched, or has jobs that others may fetch, they look for the marker now and then,
//! all of a client at the same moments, so that their commands to a node travel together.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};

use super::shared_wait::{SOON, Seat};
use crate::connection::Watch;
use crate::engine::look::{BUSY_LOOK, Has, LOOK, WATCH, WORK, next_look, watch_work, which_have};
use crate::engine::marker::{Woken, look_for_marker};

/// Waits at most `block` for a marker. Where only the drain delay would end the wait, it goes on as long as the queue has
/// no jobs, since a fetch would find nothing. `epoch` is the same for all workers of a client.
pub(super) async fn wait_looking(seat: &Seat, epoch: Instant, block: Duration, is_busy: bool) -> Woken {
    let began = Instant::now();
    let until = (block < seat.drain_delay).then(|| began + block);
    let mut check_at = began + seat.drain_delay;
    let mut is_watched = true;
    loop {
        let watched = if is_watched { watch_work(&seat.engine).await } else { None };
        // What was found or told of may be taken by others again and again. So it is looked for next time.
        is_watched = watched.is_none();
        match watched {
            Some((Has::Marker, _)) => {}
            Some((Has::Jobs, watch)) => {
                let end = until.map_or(check_at, |until| until.min(check_at));
                let _ = timeout_at(end, watch.changed()).await;
            }
            Some((Has::Nothing, watch)) => {
                let last = Instant::now() + WATCH;
                let end = until.map_or(last, |until| until.min(last));
                if !is_told(&watch, seat, end).await && end == last {
                    (is_watched, check_at) = (true, Instant::now() + seat.drain_delay);
                    continue;
                }
            }
            None => {
                let now = Instant::now();
                let pace = if is_busy && now < began + SOON { BUSY_LOOK } else { LOOK };
                let next = next_look(epoch, now, pace);
                sleep_until(until.map_or(next, |until| until.min(next))).await;
            }
        }
        if let Some(woken) = look_for_marker(&seat.engine).await {
            return woken;
        }
        let now = Instant::now();
        if until.is_some_and(|until| until <= now) {
            return Woken::TimeOver;
        }
        if check_at <= now {
            // The marker may have been lost with another worker.
            match which_have(&[&seat.engine], WORK).await[..] {
                [Some(true)] => return Woken::TimeOver,
                [Some(false)] => seat.last_fetch.note(now),
                _ => {}
            }
            check_at = Instant::now() + seat.drain_delay;
        }
    }
}

/// Waits until an empty queue has changed, until `end` at the latest, and returns whether it has. As long as its node
/// answers, a fetch would have found nothing.
async fn is_told(watch: &Watch, seat: &Seat, end: Instant) -> bool {
    let began = Instant::now();
    loop {
        let next = end.min(Instant::now() + seat.drain_delay.max(LOOK));
        if timeout_at(next, watch.changed()).await.is_ok() {
            return true;
        }
        if let Some(sure) = watch.sure().filter(|sure| began < *sure) {
            seat.last_fetch.note(sure);
        }
        if end <= next {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::engine::testing;

    #[tokio::test]
    async fn it_ends_with_a_marker_or_a_job_without_one_or_when_the_time_is_over() {
        let engine = testing::queue().await;
        let seat = |drain_delay| Seat {
            name: String::new(),
            engine: engine.clone(),
            marker: engine.keys.marker(),
            drain_delay,
            last_fetch: Arc::default(),
        };
        let (long, short) = (seat(Duration::from_secs(60)), seat(Duration::from_millis(1)));
        let wait = async |seat: &Seat, block| wait_looking(seat, Instant::now(), block, true).await;
        assert_eq!(wait(&long, Duration::from_millis(1)).await, Woken::TimeOver);
        engine.redis("ZADD @marker 7 0").await;
        assert_eq!(wait(&long, long.drain_delay).await, Woken::Marker(7.0));
        assert_eq!(engine.redis("EXISTS @marker").await, redis::Value::Int(0));
        let ends = wait(&short, short.drain_delay);
        tokio::pin!(ends);
        assert!(
            tokio::time::timeout(Duration::from_millis(120), &mut ends).await.is_err(),
            "there is nothing to fetch"
        );
        assert!(short.last_fetch.ago().is_some());
        engine.redis("RPUSH @wait 1").await;
        assert_eq!(ends.await, Woken::TimeOver);
    }
}
