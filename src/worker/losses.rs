//! The tokens of calls whose reply was lost, and when to look for their jobs again.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// When to look again for jobs that a lost request may hand out late: a server that was only slow does so soon, a
/// network that was down when its kernel sends again.
const RECHECK_AFTER: [Duration; 3] = [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(20)];

/// The tokens of lost requests. A request that is carried out late hands out jobs under its token.
#[derive(Default)]
pub(super) struct Losses {
    /// When to look for which token; sorted by time.
    looks: VecDeque<(Instant, Arc<str>)>,
}

impl Losses {
    pub(super) fn add(&mut self, lost_tokens: Vec<Arc<str>>, now: Instant) {
        if lost_tokens.is_empty() {
            return;
        }
        for token in lost_tokens {
            self.looks.extend(RECHECK_AFTER.map(|after| (now + after, Arc::clone(&token))));
        }
        self.looks.make_contiguous().sort_by_key(|(at, _)| *at);
    }

    /// Returns when to look next.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.looks.front().map(|(at, _)| *at)
    }

    /// Takes a token that is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Arc<str>> {
        let is_due = self.next_look().is_some_and(|at| at <= now);
        if is_due { self.looks.pop_front().map(|(_, token)| token) } else { None }
    }

    /// Takes all tokens, each once, when there will be no later look.
    pub(super) fn take_all(&mut self) -> HashSet<Arc<str>> {
        self.looks.drain(..).map(|(_, token)| token).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_token_is_looked_for_a_few_times_in_order() {
        let mut losses = Losses::default();
        let now = Instant::now();
        let s = Duration::from_secs;
        losses.add(vec!["a".into()], now);
        losses.add(vec!["b".into()], now + s(1));
        assert_eq!(losses.next_look(), Some(now + s(1)));
        assert_eq!(losses.due(now), None);
        let mut due =
            |at| std::iter::from_fn(|| losses.due(now + at)).map(|token| token.to_string()).collect::<String>();
        assert_eq!(due(s(2)), "ab");
        assert_eq!(due(s(5)), "a");
        assert_eq!(due(s(100)), "bab");
        assert_eq!(losses.next_look(), None);
    }

    #[test]
    fn at_the_end_each_is_looked_for_once() {
        let mut losses = Losses::default();
        losses.add(vec!["a".into(), "b".into()], Instant::now());
        assert_eq!(losses.take_all().len(), 2);
        assert_eq!(losses.next_look(), None);
    }
}
