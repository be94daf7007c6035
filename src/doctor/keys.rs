//! Finds what is in no list of a queue, by a scan of the server's keys, once for all queues.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

use super::finding::{Diagnosis, FindingKind, Suspect};
use super::stage::{Listener, Stage};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::script;
use crate::script::examine_jobs::{LOCKED, LOST, PARTS, examine_jobs};
use crate::state::JobState;

/// How many keys one step looks at.
const KEYS_PER_STEP: u32 = 1_000;

/// How many jobs one call examines.
const JOBS_PER_CALL: usize = 100;

/// The ids of waiting jobs are held in memory, so that these need no search. In a queue with more waiting jobs, jobs in
/// no list are not looked for.
const MOST_LISTED: u64 = 1_000_000;

/// A job that is in no set is searched for in the lists, where each element takes some 5 ns. After so many elements of a
/// queue, further jobs of it are not looked for: that is a second of the server's time.
const MOST_SEARCHED: usize = 200_000_000;

/// What a scan of the keys would have found.
const UNSEEN: &str = "jobs in no list, stray locks and records, and dead deduplications are not known";

/// The ids in the lists of a queue, by which a waiting job is known to be where it should be.
struct Listed {
    ids: HashSet<String>,
    /// Whether all ids are known, and jobs that are not among them are looked for.
    is_whole: bool,
    /// How many jobs were found to be in no list.
    lost: usize,
}

impl Listed {
    /// Notes what was found, and returns whether it is enough: each lost job was searched for in the lists.
    fn is_enough(&mut self, found: &[Suspect]) -> bool {
        self.lost += found.iter().filter(|suspect| suspect.kind == FindingKind::LostJobs).count();
        self.is_whole && self.lost.saturating_mul(self.ids.len()) > MOST_SEARCHED
    }
}

async fn listed(engine: &Engine) -> Result<Listed> {
    let lists = [JobState::Waiting, JobState::Paused, JobState::Active];
    if engine.get_job_counts(&lists).await?.total() > MOST_LISTED {
        return Ok(Listed { ids: HashSet::new(), is_whole: false, lost: 0 });
    }
    let ids = engine.get_ranges(&lists, 0, -1, true).await?.into_iter().collect();
    Ok(Listed { ids, is_whole: true, lost: 0 })
}

/// A scan of the keys of a server, or of all masters of a cluster.
pub(super) struct Look<'a> {
    pub(super) servers: &'a [Engine],
    pub(super) engines: &'a BTreeMap<String, Engine>,
    /// How many keys it looks at, at most.
    pub(super) most: u64,
}

impl<'a> Look<'a> {
    /// Returns what looks wrong with the keys of these queues.
    pub(super) async fn suspects(
        &self,
        told: &Listener,
        suspects: &mut BTreeMap<&'a str, Vec<Suspect>>,
        report: &mut Diagnosis,
    ) -> Result<()> {
        let Self { engines, most, .. } = *self;
        if most == 0 {
            report.leave_out(None, format!("the keys of the server: {UNSEEN}"));
            return Ok(());
        }
        let mut lists = BTreeMap::new();
        for (name, engine) in engines {
            let list = listed(engine).await?;
            if !list.is_whole {
                let what = format!("jobs in no list, since more than {MOST_LISTED} wait");
                report.leave_out(Some(name), what);
            }
            lists.insert(name.as_str(), list);
        }
        // Servers take turns, so that the limit leaves out some keys of each server, and not whole servers.
        let mut scans: VecDeque<(&Engine, String)> =
            self.servers.iter().map(|server| (server, "0".to_owned())).collect();
        let mut looked_at = 0;
        while let Some((server, cursor)) = scans.pop_front() {
            if looked_at >= most {
                report.leave_out(None, format!("keys of the server beyond {most}: of what they hold {UNSEEN}"));
                return Ok(());
            }
            let (next, found) = match self.step(server, &cursor, &lists).await {
                Err(error @ Error::NotPermitted { .. }) => {
                    report.leave_out(None, format!("the keys of the server ({error}): {UNSEEN}"));
                    return Ok(());
                }
                step => step?,
            };
            looked_at += u64::from(KEYS_PER_STEP);
            for (name, found) in found {
                if let Some(list) = lists.get_mut(name)
                    && list.is_enough(&found)
                {
                    list.is_whole = false;
                    let what = format!("further jobs in no list: {} were found, and each search takes long", list.lost);
                    report.leave_out(Some(name), what);
                }
                suspects.entry(name).or_default().extend(found);
            }
            told.hear(&Stage::Keys { looked_at, of: most });
            if next != "0" {
                scans.push_back((server, next));
            }
        }
        Ok(())
    }

    /// Returns what looks wrong with the next keys, and where to go on.
    async fn step(
        &self,
        server: &Engine,
        cursor: &str,
        lists: &BTreeMap<&str, Listed>,
    ) -> Result<(String, BTreeMap<&'a str, Vec<Suspect>>)> {
        let engines = self.engines;
        let prefix = server.keys.prefix();
        let (next, keys) =
            server.call_command("SCAN", script::scan_prefix("doctor", prefix, cursor, KEYS_PER_STEP)).await?;
        let mut suspects: BTreeMap<&'a str, Vec<Suspect>> = BTreeMap::new();
        let mut ids: BTreeMap<&'a str, BTreeSet<String>> = BTreeMap::new();
        for key in &keys {
            let rest = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(':'));
            let Some((queue, suffix)) = rest.and_then(|rest| rest.split_once(':')) else { continue };
            let Some((name, engine)) = engines.get_key_value(queue) else { continue };
            if let Some(id) = suffix.strip_prefix("de:") {
                suspects.entry(name).or_default().push(Suspect::new(FindingKind::DeadDeduplication, id));
                continue;
            }
            let list = &lists[name.as_str()];
            // For a job that is in a list, only its lock matters.
            if let Some(id) = engine.job_of(key)
                && (suffix.ends_with(":lock") || (list.is_whole && !list.ids.contains(&id)))
            {
                ids.entry(name).or_default().insert(id);
            }
        }
        for (name, ids) in ids {
            let ids: Vec<String> = ids.into_iter().collect();
            suspects.entry(name).or_default().extend(examine(&engines[name], &ids).await?);
        }
        Ok((next, suspects))
    }
}

/// Returns what is wrong with these jobs at this moment.
pub(super) async fn examine(engine: &Engine, ids: &[String]) -> Result<Vec<Suspect>> {
    let mut suspects = Vec::new();
    let mut rest = ids;
    while !rest.is_empty() {
        let chunk = &rest[..rest.len().min(JOBS_PER_CALL)];
        let answers = engine.call(examine_jobs(chunk)).await?;
        for (id, answer) in chunk.iter().zip(&answers) {
            let kinds = [
                (LOST, FindingKind::LostJobs),
                (LOCKED, FindingKind::LockWithoutJob),
                (PARTS, FindingKind::OrphanedParts),
            ];
            let wrong = kinds.into_iter().filter(|(bit, _)| answer & bit != 0);
            suspects.extend(wrong.map(|(_, kind)| Suspect::new(kind, id)));
        }
        rest = &rest[answers.len()..];
    }
    Ok(suspects)
}
