//! The doctor's examinations: the one that is running, and the results of the last ones. An examination that a visitor
//! of fewer queues has begun does not take away the results of those who see more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::task::AbortHandle;

use crate::doctor::{Diagnosis, Doctor, Finding, Stage};
use crate::sync::Lock;

/// A running examination.
#[derive(Default)]
pub(in crate::dashboard) struct Running {
    /// The queues that are examined, in their order.
    pub(in crate::dashboard) names: Vec<String>,
    pub(in crate::dashboard) stage: Lock<Option<Stage>>,
    pub(in crate::dashboard) task: Lock<Option<AbortHandle>>,
}

impl Running {
    pub(in crate::dashboard) fn stage(&self) -> Option<Stage> {
        self.stage.lock().clone()
    }
}

/// A finished examination.
pub(in crate::dashboard) struct Checkup {
    /// Its id: a form names it, so that it never mends the findings of another one.
    pub(in crate::dashboard) id: String,
    /// The queues that were examined.
    pub(in crate::dashboard) names: Vec<String>,
    /// The queues that the visitor who began it could see.
    pub(in crate::dashboard) seen: BTreeSet<String>,
    pub(in crate::dashboard) ended: SystemTime,
    pub(in crate::dashboard) outcome: Result<Diagnosis, String>,
    pub(in crate::dashboard) doctor: Doctor,
    /// How much of each finding was mended.
    pub(in crate::dashboard) mended: Lock<BTreeMap<usize, u64>>,
}

impl Checkup {
    pub(in crate::dashboard) fn mended(&self, finding: usize) -> Option<u64> {
        self.mended.lock().get(&finding).copied()
    }

    /// Returns the findings of a queue, or those about the server, with their places among all.
    pub(in crate::dashboard) fn of<'a>(&'a self, queue: Option<&'a str>) -> impl Iterator<Item = (usize, &'a Finding)> {
        let all = self.outcome.as_ref().ok().map(|report| &*report.findings).unwrap_or_default();
        all.iter().enumerate().filter(move |(_, finding)| finding.queue.as_deref() == queue)
    }
}

/// How many results are kept: as many groups of visitors who see different queues have one each.
const KEPT: usize = 16;

/// The running examination, and the results of the last ones.
#[derive(Default)]
pub(in crate::dashboard) struct Checkups(Lock<Known>);

#[derive(Default)]
struct Known {
    running: Option<Arc<Running>>,
    /// The newest is the last.
    results: Vec<Arc<Checkup>>,
}

impl Known {
    /// Keeps a result in place of those of visitors who see no more than the one who began this.
    fn keep(&mut self, result: Checkup) {
        self.results.retain(|old| !old.seen.is_subset(&result.seen));
        self.results.push(Arc::new(result));
        if self.results.len() > KEPT {
            let fewest = self.results.iter().enumerate().min_by_key(|(_, result)| result.seen.len());
            if let Some(place) = fewest.map(|(place, _)| place) {
                self.results.remove(place);
            }
        }
    }

    /// Returns the result that tells a visitor the most, the newest of several.
    fn last(&self, may_see: impl Fn(&str) -> bool) -> Option<&Arc<Checkup>> {
        let told = self.results.iter().filter(|result| result.names.iter().any(|name| may_see(name)));
        told.max_by_key(|result| result.seen.iter().filter(|name| may_see(name)).count())
    }
}

impl Checkups {
    pub(in crate::dashboard) fn running(&self) -> Option<Arc<Running>> {
        self.0.lock().running.clone()
    }

    pub(in crate::dashboard) fn last(&self, may_see: impl Fn(&str) -> bool) -> Option<Arc<Checkup>> {
        self.0.lock().last(may_see).cloned()
    }

    /// Records that an examination begins; false if one is running already.
    pub(in crate::dashboard) fn begin(&self, running: &Arc<Running>) -> bool {
        let mut known = self.0.lock();
        if known.running.is_some() {
            return false;
        }
        known.running = Some(Arc::clone(running));
        true
    }

    /// Records that no examination is running any more.
    pub(in crate::dashboard) fn end(&self) {
        self.0.lock().running = None;
    }

    pub(in crate::dashboard) fn keep(&self, result: Checkup) {
        self.0.lock().keep(result);
    }

    pub(in crate::dashboard) fn find(&self, id: &str) -> Option<Arc<Checkup>> {
        self.0.lock().results.iter().find(|result| result.id == id).cloned()
    }

    /// Returns a text that changes with what the page shows.
    pub(in crate::dashboard) fn print(&self, may_see: impl Fn(&str) -> bool) -> String {
        let known = self.0.lock();
        let stage = known.running.as_ref().map(|running| running.stage());
        let last = known.last(may_see).map(|last| (&last.id, format!("{:?}", last.mended.lock())));
        format!("{stage:?} {last:?}")
    }
}
