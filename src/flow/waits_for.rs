//! Tells why a parent waits.

use std::fmt;

use crate::engine::Engine;
use crate::error::Result;
use crate::job::JobRef;
use crate::keys;
use crate::options::OnChildFailure;
#[cfg(feature = "doctor")]
use crate::script::waits_for::waits_for_page;
use crate::script::waits_for::{Child, Held};
use crate::state::JobState;
use crate::wire::options::Parent;

/// How many children of each kind are looked up.
const MOST: u32 = 200;

/// Why a parent waits, or cannot finish. `Display` tells it in words.
///
/// ```no_run
/// # async fn demo(queue: oxmq::Queue) -> oxmq::Result<()> {
/// if let Some(why) = queue.job("report-7").waits_for().await? {
///     println!("{why}");
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WaitsFor {
    /// The state of the parent.
    pub state: JobState,
    /// How many children have not finished, or have failed without a policy. The parent waits as long as there are any.
    pub pending: u64,
    /// Some of them, up to 200.
    pub pending_children: Vec<WaitedChild>,
    /// How many children failed in such a way that the parent has to fail.
    pub failed: u64,
    /// Some of them, up to 200, those that failed first.
    pub failed_children: Vec<WaitedChild>,
    /// How many children failed whose failure the parent ignores.
    pub ignored: u64,
    /// How many children completed.
    pub processed: u64,
    /// The reason with which the parent will fail as soon as a worker takes it.
    pub deferred_failure: Option<String>,
}

/// A child that holds its parent back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct WaitedChild {
    /// The qualified name of its queue, `<prefix>:<queue>`.
    pub queue: String,
    /// Its id.
    pub id: String,
    /// Its state; `None` if the job does not exist any more: then its parent waits for ever unless the dependency is
    /// removed. In a long list of waiting jobs, a child that was not found among the next 2,000 counts as waiting.
    pub state: Option<JobState>,
    /// Why it failed.
    pub failed_reason: Option<String>,
    /// What its failure does to the parent; with `None` the parent goes on waiting.
    pub policy: Option<OnChildFailure>,
    /// How many children it waits for itself.
    pub pending: u64,
    /// Some of them: up to 200 in the whole tree, level by level.
    pub pending_children: Vec<WaitedChild>,
}

impl WaitsFor {
    fn new(held: Held) -> Self {
        let mut children: Vec<Option<(bool, WaitedChild)>> = Vec::with_capacity(held.children.len());
        let mut above = Vec::with_capacity(held.children.len());
        for child in held.children {
            above.push(child.above);
            children.push(Some((child.is_pending, WaitedChild::new(child))));
        }
        // In reverse order, so that a child has all of its own before it is put below the one above.
        for at in (0..children.len()).rev() {
            let Some(above) = above[at] else { continue };
            if let (Some((_, child)), Some((_, above))) = (children[at].take(), children[above].as_mut()) {
                above.pending_children.push(child);
            }
        }
        let (pending, failed) = children.into_iter().flatten().partition::<Vec<_>, _>(|(is_pending, _)| *is_pending);
        let plain = |children: Vec<(bool, WaitedChild)>| children.into_iter().map(|(_, child)| child).collect();
        Self {
            state: held.state.parse().unwrap_or(JobState::Unknown),
            pending: held.pending,
            pending_children: plain(pending),
            failed: held.failed,
            failed_children: plain(failed),
            ignored: held.ignored,
            processed: held.processed,
            deferred_failure: Some(held.deferred_failure).filter(|reason| !reason.is_empty()),
        }
    }

    pub(crate) async fn read(engine: &Engine, id: &str) -> Result<Option<Self>> {
        if keys::is_no_job(id) {
            return Ok(None);
        }
        Ok(engine.waits_for(id, MOST).await?.map(Self::new))
    }

    /// Returns whether the parent will never run by itself, whatever its other children do: at least one of the pending
    /// children that were looked up is missing, has failed without a policy, is in no list or set, or waits for such a job.
    #[must_use]
    pub fn is_stuck(&self) -> bool {
        self.state == JobState::WaitingChildren && hold_of(self.pending, &self.pending_children).is_some()
    }

    /// Looks for what holds a parent back for ever, in calls of up to 200 of its pending children, until about `most` are
    /// looked up.
    #[cfg(feature = "doctor")]
    pub(crate) async fn find_hold(engine: &Engine, id: &str, most: u64) -> Result<FoundHold> {
        let none = |seen| FoundHold { hold: None, seen, is_whole: true };
        if keys::is_no_job(id) {
            return Ok(none(0));
        }
        let (mut cursor, mut seen) = (0, 0);
        loop {
            let Some(held) = engine.call(waits_for_page(id, MOST, cursor)).await? else { return Ok(none(seen)) };
            cursor = held.cursor;
            let page = Self::new(held);
            if page.state != JobState::WaitingChildren {
                return Ok(none(seen));
            }
            let hold = hold_of(page.pending, &page.pending_children);
            seen += page.pending_children.len() as u64;
            if hold.is_some() || cursor == 0 || seen >= most {
                return Ok(FoundHold { hold, seen, is_whole: hold.is_some() || cursor == 0 });
            }
        }
    }
}

/// The result of a search for what holds a parent back.
#[cfg(feature = "doctor")]
#[derive(Debug)]
pub(crate) struct FoundHold {
    pub(crate) hold: Option<Hold>,
    /// How many children were looked up.
    pub(crate) seen: u64,
    /// Tells whether nothing else had to be looked up.
    pub(crate) is_whole: bool,
}

/// Why a parent will never run by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Hold {
    /// A child does not exist, or is in no list and no set.
    Missing,
    /// A child has failed, and its failure means nothing to the parent.
    Failed,
}

/// Returns what holds a job with these children back for ever; what no retry can change counts first.
fn hold_of(pending: u64, children: &[WaitedChild]) -> Option<Hold> {
    if pending == 0 {
        return Some(Hold::Missing);
    }
    children.iter().filter_map(WaitedChild::hold).min()
}

impl WaitedChild {
    fn new(child: Child) -> Self {
        Self {
            queue: child.home.strip_suffix(':').unwrap_or(&child.home).to_owned(),
            id: child.id,
            state: if child.state == "missing" { None } else { Some(child.state.parse().unwrap_or(JobState::Unknown)) },
            failed_reason: Some(child.failed_reason).filter(|reason| !reason.is_empty()),
            policy: Parent::parse(&child.link).ok().and_then(|link| link.policy),
            pending: child.pending,
            pending_children: Vec::new(),
        }
    }

    /// Returns whether it will never end by itself, and why.
    fn hold(&self) -> Option<Hold> {
        match self.state {
            None | Some(JobState::Completed | JobState::Unknown) => Some(Hold::Missing),
            Some(JobState::Failed) => Some(Hold::Failed),
            Some(JobState::WaitingChildren) => hold_of(self.pending, &self.pending_children),
            Some(_) => None,
        }
    }

    /// Writes what it waits for itself, each level further to the right.
    fn write_below(&self, f: &mut fmt::Formatter<'_>, indent: usize) -> fmt::Result {
        for child in &self.pending_children {
            write!(f, "\n{:indent$}which waits for {child}", "")?;
            child.write_below(f, indent + 2)?;
        }
        let unseen = self.pending.saturating_sub(self.pending_children.len() as u64);
        if unseen > 0 {
            write!(f, "\n{:indent$}which waits for {unseen} more", "")?;
        }
        Ok(())
    }
}

impl fmt::Display for WaitsFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state, pending, processed, ignored, failed, .. } = self;
        write!(f, "{state}: {processed} children completed, {pending} pending, {failed} failed, {ignored} ignored")?;
        if let Some(reason) = &self.deferred_failure {
            write!(f, "\n  it fails when a worker takes it: {}", OneLine(reason))?;
        }
        // A parent that fails with one child ends before its others do; and a child may be added to one that has ended.
        let has_ended = matches!(state, JobState::Completed | JobState::Failed);
        let (pending_is, failed_is) = if has_ended {
            ("has ended without waiting for", "has ended with a failed child:")
        } else {
            ("waits for", "cannot complete because of")
        };
        for child in &self.pending_children {
            write!(f, "\n  {pending_is} {child}")?;
            child.write_below(f, 4)?;
        }
        let unseen = pending.saturating_sub(self.pending_children.len() as u64);
        if unseen > 0 {
            write!(f, "\n  and for {unseen} more")?;
        }
        for child in &self.failed_children {
            write!(f, "\n  {failed_is} {child}")?;
        }
        if self.is_stuck() {
            write!(
                f,
                "\n  nothing will release it: retry or remove the children that failed or are gone, or remove their dependency"
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for WaitedChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}, ", OneLine(&self.queue), OneLine(&self.id))?;
        match self.state {
            None => write!(f, "which does not exist any more")?,
            Some(state) => write!(f, "which is {state}")?,
        }
        if let Some(reason) = &self.failed_reason {
            write!(f, " ({})", OneLine(reason))?;
        }
        Ok(())
    }
}

/// Writes a text that others chose on one line: behind a line break it could look like a line of this crate.
struct OneLine<'a>(&'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, line) in self.0.lines().enumerate() {
            f.write_str(if n > 0 { " " } else { "" })?;
            f.write_str(line.trim())?;
        }
        Ok(())
    }
}

impl<D, R> JobRef<D, R> {
    /// Tells why a parent waits or cannot finish: which children it waits for, and their states; which have failed; and
    /// which are missing; and the same of the children below that wait for others. `None` if there is no such job. One round trip, read at one moment, and bounded even for a
    /// parent of a million children.
    ///
    /// # Errors
    ///
    /// Errors of the connection.
    pub async fn waits_for(&self) -> Result<Option<WaitsFor>> {
        WaitsFor::read(self.queue_core().engine(), self.id()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waits(pending: u64, states: &[Option<JobState>]) -> WaitsFor {
        let child = |state: &Option<JobState>| WaitedChild {
            queue: "bull:q".into(),
            id: "1".into(),
            state: *state,
            failed_reason: None,
            policy: None,
            pending: 0,
            pending_children: Vec::new(),
        };
        WaitsFor {
            state: JobState::WaitingChildren,
            pending,
            pending_children: states.iter().map(child).collect(),
            failed: 0,
            failed_children: Vec::new(),
            ignored: 0,
            processed: 0,
            deferred_failure: None,
        }
    }

    #[test]
    fn a_parent_that_has_ended_waits_for_nothing() {
        let mut why = waits(2, &[Some(JobState::Active)]);
        assert!(why.to_string().contains("\n  waits for bull:q:1, which is active\n  and for 1 more"), "{why}");
        why.state = JobState::Completed;
        let expected = "completed: 0 children completed, 2 pending, 0 failed, 0 ignored\n  \
                        has ended without waiting for bull:q:1, which is active\n  and for 1 more";
        assert_eq!(why.to_string(), expected);
    }

    #[test]
    fn a_reason_makes_no_lines_of_its_own() {
        let mut why = waits(1, &[Some(JobState::Failed)]);
        why.pending_children[0].failed_reason = Some("boom\n  nothing will release it".into());
        why.deferred_failure = Some("child\r\nfailed".into());
        let expected = "waiting-children: 0 children completed, 1 pending, 0 failed, 0 ignored\n  \
                        it fails when a worker takes it: child failed\n  \
                        waits for bull:q:1, which is failed (boom nothing will release it)\n  \
                        nothing will release it: retry or remove the children that failed or are gone, or remove their dependency";
        assert_eq!(why.to_string(), expected);
    }

    #[test]
    fn a_parent_is_stuck_if_one_of_its_children_never_ends() {
        use JobState::{Active, Delayed, Failed, Unknown};
        let hold = |pending, states: &[_]| hold_of(pending, &waits(pending, states).pending_children);
        assert_eq!(hold(3, &[Some(Failed), None, Some(Unknown)]), Some(Hold::Missing));
        assert_eq!(hold(4, &[Some(Failed), Some(Delayed)]), Some(Hold::Failed), "the others change nothing");
        assert_eq!(hold(4, &[Some(Active), Some(Delayed)]), None, "two were not looked up");
        let mut ended = waits(1, &[None]);
        ended.state = JobState::Failed;
        assert!(!ended.is_stuck());
        let mut deep = waits(1, &[Some(JobState::WaitingChildren)]);
        deep.pending_children[0].pending = 2;
        assert!(!deep.is_stuck(), "what is below was not looked up");
        deep.pending_children[0].pending_children = waits(2, &[Some(Failed), None]).pending_children;
        assert!(deep.is_stuck());
        let expected = "waiting-children: 0 children completed, 1 pending, 0 failed, 0 ignored\n  \
                        waits for bull:q:1, which is waiting-children\n    \
                        which waits for bull:q:1, which is failed\n    \
                        which waits for bull:q:1, which does not exist any more\n  \
                        nothing will release it: retry or remove the children that failed or are gone, or remove their dependency";
        assert_eq!(deep.to_string(), expected);
    }
}
