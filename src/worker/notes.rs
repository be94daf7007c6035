//! What a worker records about its jobs for its report; bounded, however long it runs.

use std::collections::HashSet;

use super::{Report, WorkerCounts};

/// How many ids of each kind are kept at least.
const KEPT: usize = 1_000;

/// The parts of a worker's report that are no counts.
#[derive(Default)]
pub(crate) struct ReportNotes {
    pub(crate) moved: u64,
    pub(crate) handed_back: LastIds,
    pub(crate) abandoned: Vec<String>,
    pub(crate) lost: LastIds,
}

/// The last ids of a repeated happening, and how often it happened.
#[derive(Default)]
pub(crate) struct LastIds {
    ids: Vec<String>,
    times: u64,
}

impl LastIds {
    /// Adds an id. At most twice as many ids are held as a worker with `slots` slots keeps.
    pub(crate) fn push(&mut self, id: String, slots: usize) {
        let most = KEPT.max(slots);
        if self.ids.len() >= most.saturating_mul(2) {
            self.ids.drain(..self.ids.len() - most);
        }
        self.ids.push(id);
        self.times += 1;
    }

    fn last(&self, slots: usize) -> &[String] {
        &self.ids[self.ids.len().saturating_sub(KEPT.max(slots))..]
    }
}

impl ReportNotes {
    /// Returns the report of a worker with `slots` slots.
    pub(super) fn report(&self, counts: WorkerCounts, slots: usize) -> Report {
        // A job may be handed out again under the token of a lost reply, and is then put back twice.
        let mut seen = HashSet::new();
        let handed_back = self.handed_back.last(slots).iter().filter(|id| seen.insert(id.as_str()));
        Report {
            counts,
            moved: self.moved,
            handed_back: handed_back.cloned().collect(),
            times_handed_back: self.handed_back.times,
            abandoned: self.abandoned.clone(),
            lost: self.lost.last(slots).to_vec(),
            times_lost: self.lost.times,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_for_ever_is_counted_and_the_last_of_it_kept() {
        let mut notes = ReportNotes::default();
        for n in 0..10_000 {
            notes.lost.push(n.to_string(), 10);
            assert!(notes.lost.ids.len() <= 2 * KEPT);
            notes.handed_back.push((n % 7).to_string(), 10);
        }
        let report = notes.report(WorkerCounts::default(), 10);
        assert_eq!((report.times_lost, report.lost.len()), (10_000, KEPT));
        assert_eq!((report.lost[0].as_str(), report.lost[KEPT - 1].as_str()), ("9000", "9999"));
        assert_eq!((report.times_handed_back, report.handed_back.len()), (10_000, 7));
        // All running jobs of a closing worker are put back, however many there are.
        for n in 0..5_000 {
            notes.handed_back.push(format!("closing {n}"), 5_000);
        }
        let report = notes.report(WorkerCounts::default(), 5_000);
        assert_eq!((report.handed_back.len(), report.handed_back[0].as_str()), (5_000, "closing 0"));
    }
}
