//! Searches a queue for the jobs that match a filter, in short steps, each of which goes on where the last one ended.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Engine;
use crate::error::{Error, Result};
use crate::options::JobFilter;
use crate::script::remove_jobs::Gone;
use crate::script::scan_jobs::{LookedAt, Scanned, Search};
use crate::script::{self, Call, Resend};
use crate::state::{JobState, Order};
use crate::wire::job::{RawJob, Undecodable, UndecodableKind};

/// How many places one call looks at: one to three milliseconds of the server's time, depending on what is compared.
const PLACES_PER_CALL: u32 = 500;

/// How many jobs one call returns or works on.
pub(crate) const JOBS_PER_CALL: u32 = 100;

/// The position of a search through a queue's jobs. It can be written as text, and read again to go on.
///
/// It stays valid while jobs come and go: places that were looked at are left behind, and no job is skipped unless it
/// changes its state meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobsCursor {
    /// The position in the filter's list of states.
    state: usize,
    after: String,
    after_id: Vec<u8>,
    /// The highest score when the state was begun: jobs behind it came later.
    last: String,
    /// How many places of the state are still to be looked at; `None` before its first step. It ends a search through
    /// jobs that are put behind it again and again.
    left: Option<u64>,
    since: Option<u64>,
    until: Option<u64>,
    looked_at: u64,
}

impl JobsCursor {
    /// Returns how many jobs have been looked at so far.
    #[must_use]
    pub fn looked_at(&self) -> u64 {
        self.looked_at
    }

    fn next_state(&mut self) {
        self.state += 1;
        self.after.clear();
        self.after_id.clear();
        self.last.clear();
        self.left = None;
    }

    /// Takes over where a step has ended; `is_ascending` is the order of that step, and `again` how many of its jobs had been
    /// dealt with before.
    fn advance(&mut self, seen: LookedAt, is_ascending: bool, again: u64) {
        let is_list = seen.top.is_empty();
        let left = self.left.unwrap_or(seen.length).saturating_sub(seen.looked_at.saturating_sub(again));
        self.looked_at += seen.looked_at;
        // A list is searched towards an end where no new jobs are added; some of it may be looked at twice.
        if seen.done || seen.looked_at == 0 || (left == 0 && !is_list) {
            return self.next_state();
        }
        if self.last.is_empty() && is_ascending {
            self.last = seen.top;
        }
        self.left = Some(left);
        self.after = seen.after;
        self.after_id = seen.after_id;
    }
}

/// The error of parsing a text that is no [`JobsCursor`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a cursor of a search for jobs")]
pub struct BadCursor;

type Fields = (usize, String, String, String, Option<u64>, Option<u64>, Option<u64>, u64);

impl fmt::Display for JobsCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = URL_SAFE_NO_PAD.encode(&self.after_id);
        let fields: Fields =
            (self.state, self.after.clone(), id, self.last.clone(), self.left, self.since, self.until, self.looked_at);
        let json = serde_json::to_vec(&fields).map_err(|_| fmt::Error)?;
        f.write_str(&URL_SAFE_NO_PAD.encode(json))
    }
}

impl FromStr for JobsCursor {
    type Err = BadCursor;

    fn from_str(text: &str) -> std::result::Result<Self, BadCursor> {
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| BadCursor)?;
        let fields: Fields = serde_json::from_slice(&json).map_err(|_| BadCursor)?;
        let (state, after, id, last, left, since, until, looked_at) = fields;
        let after_id = URL_SAFE_NO_PAD.decode(id).map_err(|_| BadCursor)?;
        // Scores and positions are numbers, and nothing else is sent to the server.
        let is_number = |text: &String| text.is_empty() || text.parse::<f64>().is_ok();
        if !is_number(&after) || !is_number(&last) {
            return Err(BadCursor);
        }
        Ok(Self { state, after, after_id, last, left, since, until, looked_at })
    }
}

/// A search: its filter, its order, and its position.
#[derive(Debug, Clone)]
pub(crate) struct Scan {
    filter: JobFilter,
    /// `None` for the order in which no job is skipped: ascending in sorted sets, and in lists towards the end that
    /// workers take from.
    order: Option<Order>,
    cursor: JobsCursor,
    /// What the last step found in a list; the next step may look at some of it again.
    met: HashSet<Vec<u8>>,
    /// Jobs that were dealt with and then put at another place, where the search may come to them once more.
    replaced: HashSet<String>,
}

/// What one step has found.
pub(crate) struct Found<T> {
    pub(crate) state: JobState,
    pub(crate) items: Vec<T>,
}

impl Engine {
    /// Begins a search, or continues one at a cursor.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] for a filter that breaks a rule.
    pub(crate) fn scan(&self, filter: JobFilter, order: Option<Order>, cursor: Option<JobsCursor>) -> Result<Scan> {
        filter.check()?;
        let (since, until) = filter.span(&self.clock);
        let cursor = cursor.unwrap_or(JobsCursor {
            state: 0,
            after: String::new(),
            after_id: Vec::new(),
            last: String::new(),
            left: None,
            since,
            until,
            looked_at: 0,
        });
        Ok(Scan { filter, order, cursor, met: HashSet::new(), replaced: HashSet::new() })
    }

    /// Returns how many jobs the states of a filter have now, whatever else it says. One round trip.
    pub(crate) async fn count_places(&self, filter: &JobFilter) -> Result<u64> {
        Ok(self.get_job_counts(&filter.states).await?.total())
    }
}

impl Scan {
    pub(crate) fn cursor(&self) -> &JobsCursor {
        &self.cursor
    }

    /// Notes that a job was dealt with and stands at another place now: the search passes it over if it comes to it.
    pub(crate) fn was_replaced(&mut self, id: &str) {
        self.replaced.insert(id.to_owned());
    }

    /// Looks at the rest of a state whatever its length was: what an earlier search has put at other places is met again.
    pub(crate) fn look_at_all(&mut self) {
        self.cursor.left = None;
    }

    pub(crate) fn is_done(&self) -> bool {
        self.cursor.state >= self.filter.states.len()
    }

    /// Counts the matches among the next jobs. One round trip; none once the search is done.
    pub(crate) async fn count_step(&mut self, engine: &Engine, most: u64) -> Result<u64> {
        let Some((found, seen)) = self.ask(engine, most, script::count_matches).await? else { return Ok(0) };
        self.advance(seen, 0);
        Ok(found.items.len() as u64)
    }

    /// Returns the ids of the matches among the next jobs. Ids that are not UTF-8 are skipped.
    pub(crate) async fn ids_step(&mut self, engine: &Engine, most: u64) -> Result<Option<Found<String>>> {
        let most = most.min(JOBS_PER_CALL.into());
        let Some((Found { state, items }, seen)) = self.ask(engine, most, script::find_ids).await? else {
            return Ok(None);
        };
        let fresh = self.not_met(state, items, |id| id);
        let mut items: Vec<_> = fresh.into_iter().filter_map(|id| String::from_utf8(id).ok()).collect();
        let found = items.len();
        items.retain(|id| !self.replaced.remove(id));
        self.advance(seen, (found - items.len()) as u64);
        Ok(Some(Found { state, items }))
    }

    /// Returns the matches among the next jobs.
    pub(crate) async fn jobs_step(
        &mut self,
        engine: &Engine,
        most: u64,
    ) -> Result<Option<Found<Result<RawJob, Undecodable>>>> {
        let most = most.min(JOBS_PER_CALL.into());
        let Some((Found { state, items }, seen)) = self.ask(engine, most, script::find_jobs).await? else {
            return Ok(None);
        };
        let mut fresh = self.not_met(state, items, |(id, _)| id);
        let found = fresh.len();
        fresh.retain(|(id, _)| !std::str::from_utf8(id).is_ok_and(|id| self.replaced.remove(id)));
        self.advance(seen, (found - fresh.len()) as u64);
        let decoded = fresh.into_iter().map(|(id, pairs)| RawJob::from_pairs(id, pairs));
        let is_job =
            |job: &Result<RawJob, Undecodable>| !matches!(job, Err(ghost) if ghost.kind == UndecodableKind::Ghost);
        Ok(Some(Found { state, items: decoded.filter(is_job).collect() }))
    }

    /// Removes the matches among the next jobs, or moves them to the queue with this base key. With `once` the call is not
    /// sent again when its reply is lost: it might find other jobs.
    pub(crate) async fn remove_step(
        &mut self,
        engine: &Engine,
        target: Option<&str>,
        most: u64,
        once: bool,
    ) -> Result<Option<Found<Gone>>> {
        let most = most.min(JOBS_PER_CALL.into());
        let ask = |search: &Search<'_>| {
            let call = match target {
                Some(target) => script::move_jobs(target, search),
                None => script::remove_jobs(search),
            };
            if once { call.resend(Resend::Never) } else { call }
        };
        let Some((found, seen)) = self.ask(engine, most, ask).await? else { return Ok(None) };
        self.advance(seen, 0);
        Ok(Some(found))
    }

    /// Returns the items that the last step has not found already.
    fn not_met<T>(&mut self, state: JobState, mut items: Vec<T>, id: impl Fn(&T) -> &Vec<u8>) -> Vec<T> {
        if state.is_list() {
            let met = items.iter().map(|item| id(item).clone()).collect();
            items.retain(|item| !self.met.contains(id(item)));
            self.met = met;
        }
        items
    }

    fn is_ascending(&self, state: JobState) -> bool {
        self.order.map_or(!state.is_list(), Order::is_ascending)
    }

    /// Goes on behind what a step has seen.
    fn advance(&mut self, seen: LookedAt, again: u64) {
        let state = self.filter.states.get(self.cursor.state);
        let is_ascending = state.is_some_and(|&state| self.is_ascending(state));
        self.cursor.advance(seen, is_ascending, again);
    }

    /// Asks what the next places hold. One round trip; the search stays where it is.
    async fn ask<T>(
        &self,
        engine: &Engine,
        most: u64,
        ask: impl Fn(&Search<'_>) -> Call<Scanned<T>>,
    ) -> Result<Option<(Found<T>, LookedAt)>> {
        let Some(&state) = self.filter.states.get(self.cursor.state) else { return Ok(None) };
        let Some(suffix) = state.suffix() else {
            return Err(Error::invalid("filter", "there is no such set of jobs"));
        };
        let JobFilter { name, id, data, reason, .. } = &self.filter;
        let cursor = &self.cursor;
        let left = cursor.left.filter(|_| !state.is_list());
        let budget = left.map_or(PLACES_PER_CALL, |left| u32::try_from(left).unwrap_or(u32::MAX).min(PLACES_PER_CALL));
        let search = Search {
            state: suffix,
            ascending: self.is_ascending(state),
            after: &cursor.after,
            after_id: &cursor.after_id,
            budget,
            wanted: u32::try_from(most).unwrap_or(u32::MAX).max(1),
            last: &cursor.last,
            since: cursor.since,
            until: cursor.until,
            name,
            id,
            data,
            reason,
        };
        let Scanned { items, seen } = engine.call(ask(&search)).await?;
        Ok(Some((Found { state, items }, seen)))
    }
}
