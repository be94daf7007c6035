//! Waits for work without a connection to wait on: looks for the marker now and then over the shared connection.
//!
//! On a cluster one blocking read can wait only for keys of one slot. So where each queue has a slot of its own, workers
//! beyond the first ones of a client would need a connection each; instead they look. All of a client look at the same
//! moments, so that their commands to a node travel together.

use std::time::Duration;

use tokio::time::Instant;

use super::shared_wait::{SOON, Seat};
use crate::engine::look::{BUSY_LOOK, LOOK, WORK, next_look, which_have};
use crate::engine::marker::{Woken, look_for_marker};

/// Waits at most `block` for a marker. Where only the drain delay would end the wait, it goes on as long as the queue has
/// no jobs, since a fetch would find nothing. `epoch` is the same for all workers of a client.
pub(super) async fn wait_looking(seat: &Seat, epoch: Instant, block: Duration, is_busy: bool) -> Woken {
    let began = Instant::now();
    let until = (block < seat.drain_delay).then(|| began + block);
    let mut check_at = began + seat.drain_delay;
    loop {
        let now = Instant::now();
        let pace = if is_busy && now < began + SOON { BUSY_LOOK } else { LOOK };
        let next = next_look(epoch, now, pace);
        tokio::time::sleep_until(until.map_or(next, |until| until.min(next))).await;
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
