//! Shares slots among the workers of several queues: how many jobs all of them run at once, and which worker gets the
//! next slot.
//!
//! In each turn of its loop a worker says how many slots its jobs use and how many more it could use, and is told how
//! many it has. What it does not use goes to the workers that wait, first to the one whose last turn is longest ago:
//!
//! - Each may have its share: the slots divided by the number of workers that have or want some. Slots that nobody else
//!   wants may all go to one.
//! - Where jobs end quickly, slots are passed on in blocks instead of one by one. A block is as many slots as are taken
//!   within a [`WINDOW`], at most half of all. A worker keeps its block for a turn, which is [`ROUNDS`] fillings of it
//!   and at most the time [`TURN`], and then gives it away as a whole. So calls to Redis stay as large as those of a
//!   single queue, and most of them both store outcomes and bring jobs. Where jobs take longer, each slot is passed on
//!   as it becomes free.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::sync::Lock;

/// How often a worker fills its slots again although others wait. The first call of a turn stores no outcome and the
/// last one brings no job, so a turn costs one call more than it has rounds.
const ROUNDS: usize = 8;

/// How long a worker keeps its slots at most although others wait: long enough for many calls to Redis, and short for
/// people.
const TURN: Duration = Duration::from_millis(40);

/// The time over which the pace of jobs is measured.
const WINDOW: Duration = Duration::from_millis(20);

/// How long the slots of a turn that is over are kept until the others have come back too: a block passed on in pieces
/// would come back in smaller ones.
const GATHER: Duration = Duration::from_millis(5);

/// How many checks without a reply to a request for jobs it takes, a check interval apart, until the slots for these
/// jobs are lent to others: this queue's server may be away while those of other queues are not. Checks are counted and
/// not time, since a worker that was not polled itself learns nothing about the server.
const LOOKS: u32 = 4;
const LOOK: Duration = Duration::from_millis(250);

/// A request for jobs that was not answered yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    next_look: Instant,
    looks: u32,
}

impl Asked {
    pub(super) fn at(now: Instant) -> Self {
        Self { next_look: now + LOOK, looks: 0 }
    }

    /// Returns whether the slots for the jobs are lent to others.
    pub(super) fn are_slots_lent(&self) -> bool {
        self.looks >= LOOKS
    }

    /// Returns when to check again; `None` once the slots are lent.
    pub(super) fn next_look(&self) -> Option<Instant> {
        (!self.are_slots_lent()).then_some(self.next_look)
    }

    /// Checks, if it is time, and records that there is no answer.
    pub(super) fn look(&mut self, now: Instant) {
        if now >= self.next_look {
            self.looks += 1;
            self.next_look = now + LOOK;
        }
    }
}

/// The slots of several workers.
pub(crate) struct SlotPool {
    total: AtomicUsize,
    state: Lock<State>,
}

struct State {
    places: Vec<Place>,
    /// The next number for a place, or for a turn; turns order those who wait.
    numbers: u64,
    pace: Pace,
}

struct Place {
    number: u64,
    /// How many slots it may use.
    held: usize,
    /// How many more it waits for.
    wants: usize,
    /// Its position among those who wait: the number of its last turn.
    order: u64,
    /// How many of its slots it was given since its last claim; it keeps these however late that comes.
    fresh: usize,
    /// When it last got slots after waiting.
    turn_began: Instant,
    /// How many slots it has filled since then.
    taken: usize,
    /// Until when it keeps slots that it is about to give away.
    gives_at: Option<Instant>,
    wake: Arc<Notify>,
}

impl Place {
    fn is_turn_over(&self, most: usize, now: Instant) -> bool {
        self.taken >= most.saturating_mul(ROUNDS) || now.saturating_duration_since(self.turn_began) >= TURN
    }
}

/// How many slots were taken within the last full window.
struct Pace {
    began: Instant,
    taken: usize,
    last: usize,
}

impl Pace {
    fn note(&mut self, taken: usize, now: Instant) {
        let passed = now.saturating_duration_since(self.began);
        if passed >= WINDOW {
            // The window may have ended long ago.
            let windows = usize::try_from(passed.as_millis() / WINDOW.as_millis()).unwrap_or(usize::MAX);
            self.last = self.taken / windows;
            (self.began, self.taken) = (now, 0);
        }
        self.taken += taken;
    }
}

impl State {
    fn new(now: Instant) -> Self {
        Self { places: Vec::new(), numbers: 0, pace: Pace { began: now, taken: 0, last: 0 } }
    }

    fn place(&mut self, number: u64) -> Option<&mut Place> {
        self.places.iter_mut().find(|place| place.number == number)
    }

    fn held(&self) -> usize {
        self.places.iter().map(|place| place.held).sum()
    }

    fn others_wait(&self, number: u64) -> bool {
        self.places.iter().any(|place| place.number != number && place.wants > 0)
    }

    fn next_number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    /// Returns how many slots one worker may have while others wait, and whether these are passed on as a block.
    fn most(&self, total: usize) -> (usize, bool) {
        let active = self.places.iter().filter(|place| place.held + place.wants > 0).count();
        let (share, block) = (total.div_ceil(active.max(1)), self.pace.last.min(total.div_ceil(2)));
        (share.max(block), block >= share)
    }

    /// Gives free slots to those who wait: first each up to its share, then what is left. Wakes all but `asks`.
    fn serve(&mut self, total: usize, asks: Option<u64>, now: Instant) {
        let mut free = total.saturating_sub(self.held());
        let (share, _) = self.most(total);
        for most in [share, total] {
            while free > 0 {
                let number = self.next_number();
                let waiting = self.places.iter_mut().filter(|place| place.wants > 0 && place.held < most);
                let Some(next) = waiting.min_by_key(|place| place.order) else { break };
                let given = next.wants.min(free).min(most - next.held);
                if next.held == 0 || next.is_turn_over(share, now) {
                    (next.turn_began, next.taken) = (now, 0);
                }
                next.held += given;
                next.wants -= given;
                free -= given;
                // A worker that got only a part is the first to get the rest.
                if next.wants == 0 || next.held == most {
                    next.order = number;
                }
                if asks != Some(next.number) {
                    next.fresh += given;
                    next.wake.notify_one();
                }
            }
        }
    }
}

impl SlotPool {
    pub(crate) fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { total: AtomicUsize::new(total), state: Lock::new(State::new(Instant::now())) })
    }

    pub(crate) fn total(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Changes the total number of slots.
    pub(crate) fn set_total(&self, total: usize) {
        self.total.store(total, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.serve(total, None, Instant::now());
        // A worker that wants slots may want as many as there are.
        for place in &state.places {
            place.wake.notify_one();
        }
    }

    /// Adds a place for one more worker. Each begins as one that waits, so that workers that join together share from
    /// the first job on; [`open`](Self::open) gives them their slots.
    pub(crate) fn join(self: &Arc<Self>) -> SlotShare {
        let mut state = self.state.lock();
        let (number, wake, now) = (state.next_number(), Arc::new(Notify::new()), Instant::now());
        let wants = self.total();
        state.places.push(Place {
            number,
            held: 0,
            wants,
            order: number,
            fresh: 0,
            turn_began: now,
            taken: 0,
            gives_at: None,
            wake: Arc::clone(&wake),
        });
        SlotShare { pool: Arc::clone(self), number, used: 0, gives_at: None, is_block: false, wake }
    }

    /// Begins to give slots to those who have joined.
    pub(crate) fn open(&self) {
        self.state.lock().serve(self.total(), None, Instant::now());
    }
}

/// The place of one worker; its slots go to the others when it is dropped.
pub(crate) struct SlotShare {
    pool: Arc<SlotPool>,
    number: u64,
    /// How many slots it used at its last claim.
    used: usize,
    gives_at: Option<Instant>,
    is_block: bool,
    wake: Arc<Notify>,
}

impl SlotShare {
    /// Returns the total number of slots.
    pub(super) fn total(&self) -> usize {
        self.pool.total()
    }

    /// Claims slots: says how many are in use here, and how many more could be; returns how many it may use in all. A
    /// worker that gets fewer waits, and is [woken](Self::woken) when there are more.
    pub(super) fn claim(&mut self, used: usize, wants: usize) -> usize {
        let (now, total) = (Instant::now(), self.pool.total());
        let mut state = self.pool.state.lock();
        let taken = used.saturating_sub(self.used);
        state.pace.note(taken, now);
        (self.used, self.gives_at) = (used, None);
        let (others_wait, held, number) = (state.others_wait(self.number), state.held(), state.next_number());
        let (most, is_block) = state.most(total);
        self.is_block = is_block && others_wait;
        let Some(place) = state.place(self.number) else { return used };
        if std::mem::take(&mut place.fresh) > 0 {
            place.turn_began = now;
        }
        place.taken += taken;
        let keeps = !others_wait || !place.is_turn_over(most, now);
        // The total may have been lowered.
        let left = total.saturating_sub(held - place.held + used);
        let spare = if keeps { place.held.saturating_sub(used).min(wants).min(left) } else { 0 };
        let gives_back = place.held > used + spare;
        if gives_back && self.is_block && used > 0 {
            let at = *place.gives_at.get_or_insert(now + GATHER);
            if now < at {
                self.gives_at = Some(at);
                place.wants = wants - spare;
                return used + spare;
            }
        }
        place.gives_at = None;
        place.held = used + spare;
        if gives_back {
            place.order = number;
        }
        place.wants = wants - spare;
        state.serve(total, Some(self.number), now);
        state.place(self.number).map_or(used, |place| place.held)
    }

    /// Returns whether slots are passed on in blocks, and others wait for one, as of the last claim.
    pub(super) fn is_block(&self) -> bool {
        self.is_block
    }

    /// Returns when to claim again even if nothing happens: slots have to be given away then.
    pub(super) fn gives_at(&self) -> Option<Instant> {
        self.gives_at
    }

    /// Resolves when it was given slots for which it had waited.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for SlotShare {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        state.places.retain(|place| place.number != self.number);
        state.serve(self.pool.total(), None, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Creates seats whose workers have as many jobs as they could wish for.
    fn seats(total: usize, count: usize) -> Vec<SlotShare> {
        let pool = SlotPool::new(total);
        let seats = (0..count).map(|_| pool.join()).collect();
        pool.open();
        seats
    }

    /// Lets each claim as much as it can, over and over, and fills `used` with the result.
    fn fill(seats: &mut [SlotShare], used: &mut [usize]) {
        for _ in 0..4 {
            for (seat, used) in seats.iter_mut().zip(&mut *used) {
                *used = seat.claim(*used, 1_000);
            }
        }
    }

    #[test]
    fn slots_are_lent_after_some_looks_and_not_by_one_that_comes_late() {
        let now = Instant::now();
        let mut asked = Asked::at(now);
        asked.look(now + LOOK * 100);
        assert!(!asked.are_slots_lent());
        for look in 101..104 {
            assert_eq!(asked.next_look(), Some(now + LOOK * look));
            asked.look(now + LOOK * look);
        }
        assert!(asked.are_slots_lent() && asked.next_look().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_begin_together_share_from_the_first_slot_on() {
        let mut seats = seats(10, 4);
        let mut used = [0; 4];
        fill(&mut seats, &mut used);
        assert_eq!(used, [3, 3, 3, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn one_may_have_all_that_nobody_else_wants_and_gives_its_share_as_jobs_end() {
        let mut seats = seats(8, 3);
        for seat in &mut seats[1..] {
            assert_eq!(seat.claim(0, 0), 0);
        }
        assert_eq!(seats[0].claim(0, 100), 8);
        assert_eq!(seats[0].claim(8, 100), 8);
        tokio::time::advance(TURN * 3).await;
        // All slots are taken, so another worker waits, and gets the next ones up to its share.
        assert_eq!(seats[1].claim(0, 100), 0);
        assert_eq!(seats[0].claim(7, 100), 7);
        assert_eq!(seats[1].claim(0, 100), 1);
        tokio::time::advance(TURN * 3).await;
        assert_eq!(seats[0].claim(2, 100), 4, "its own share");
        assert_eq!(seats[1].claim(1, 100), 4);
        seats.remove(0);
        assert_eq!(seats[0].claim(4, 100), 8, "who is gone leaves its slots");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_passed_over() {
        // One slot for five workers, whose jobs take longer than a turn: each gets every fifth.
        let mut seats = seats(1, 5);
        let (mut ran, mut used) = ([0; 5], [0; 5]);
        for _ in 0..100 {
            for (i, seat) in seats.iter_mut().enumerate() {
                let now = seat.claim(used[i], 1);
                ran[i] += usize::from(now > used[i]);
                used[i] = seat.claim(now, 1 - now);
            }
            tokio::time::advance(TURN).await;
            used = [0; 5];
        }
        assert!(ran.iter().all(|ran| (15..=25).contains(ran)), "{ran:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_block_stays_together_where_jobs_end_at_once() {
        let mut seats = seats(64, 16);
        let (mut used, mut blocks, mut ran) = ([0; 16], Vec::new(), [0; 16]);
        for _ in 0..4_000 {
            for (i, seat) in seats.iter_mut().enumerate() {
                let now = seat.claim(used[i], 1_000);
                if now > 0 {
                    blocks.push(now);
                    ran[i] += now;
                }
                used[i] = seat.claim(now, 1_000);
            }
            used = [0; 16];
            tokio::time::advance(Duration::from_micros(500)).await;
        }
        let late = &blocks[blocks.len() / 10..];
        let mean = late.iter().sum::<usize>() / late.len();
        assert!(mean >= 24, "blocks of {mean}");
        let (least, most) = (ran.iter().min().unwrap(), ran.iter().max().unwrap());
        assert!(*most < least * 2, "{ran:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn fewer_slots_count_as_jobs_end_and_more_at_once() {
        let mut seats = seats(8, 2);
        let mut used = [0; 2];
        fill(&mut seats, &mut used);
        assert_eq!(used, [4, 4]);
        seats[0].pool.set_total(2);
        assert_eq!(seats[0].claim(3, 100), 3, "nothing beyond what runs");
        assert_eq!(seats[1].claim(0, 100), 0);
        tokio::time::advance(TURN).await;
        assert_eq!(seats[0].claim(0, 100), 1);
        assert_eq!(seats[1].claim(0, 100), 1);
        seats[0].pool.set_total(6);
        assert_eq!(seats[1].claim(1, 100), 3);
    }
}
