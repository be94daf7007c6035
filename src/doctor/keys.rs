//! What no list knows of: found by a look at the keys of the server, once for all queues.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::finding::{FindingKind, Suspect};
use crate::engine::Engine;
use crate::error::Result;
use crate::script;
use crate::script::examine_jobs::{LOCKED, LOST, PARTS, examine_jobs};
use crate::state::JobState;

/// How many keys one step looks at.
const KEYS_PER_STEP: u32 = 1_000;

/// How many jobs one call looks at.
const JOBS_PER_CALL: usize = 100;

/// The ids of waiting jobs are held to know which need no search; of a queue with more, jobs in no list are not looked for.
const MOST_LISTED: u64 = 1_000_000;

/// Whether a waiting job is where it should be is told by these, or by nothing.
struct Listed {
    ids: HashSet<String>,
    is_whole: bool,
}

async fn listed(engine: &Engine) -> Result<Listed> {
    let lists = [JobState::Waiting, JobState::Paused, JobState::Active];
    if engine.get_job_counts(&lists).await?.total() > MOST_LISTED {
        return Ok(Listed { ids: HashSet::new(), is_whole: false });
    }
    let ids = engine.get_ranges(&lists, 0, -1, true).await?.into_iter().collect();
    Ok(Listed { ids, is_whole: true })
}

/// What looks wrong with the keys of these queues, of which `most` are looked at.
pub(super) async fn suspects<'a>(
    server: &Engine,
    engines: &'a BTreeMap<String, Engine>,
    most: u64,
    suspects: &mut BTreeMap<&'a str, Vec<Suspect>>,
) -> Result<()> {
    if most == 0 {
        return Ok(());
    }
    let mut lists = BTreeMap::new();
    for (name, engine) in engines {
        lists.insert(name.as_str(), listed(engine).await?);
    }
    let (mut cursor, mut looked_at) = ("0".to_owned(), 0);
    loop {
        let prefix = server.keys.prefix();
        let (next, keys) = server.call(script::scan_prefix(prefix, &cursor, KEYS_PER_STEP)).await?;
        looked_at += u64::from(KEYS_PER_STEP);
        let mut ids: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for key in &keys {
            let rest = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix(':'));
            let Some((queue, suffix)) = rest.and_then(|rest| rest.split_once(':')) else { continue };
            let Some((name, engine)) = engines.get_key_value(queue) else { continue };
            if let Some(id) = suffix.strip_prefix("de:") {
                suspects.entry(name).or_default().push(Suspect::new(FindingKind::DeadDeduplication, id));
                continue;
            }
            let list = &lists[name.as_str()];
            // A key of a job that stands in a list is of interest only if it is its lock.
            if let Some(id) = engine.job_of(key)
                && (suffix.ends_with(":lock") || (list.is_whole && !list.ids.contains(&id)))
            {
                ids.entry(name).or_default().insert(id);
            }
        }
        for (name, ids) in ids {
            let ids: Vec<String> = ids.into_iter().collect();
            let found = examine(&engines[name], &ids).await?;
            suspects.entry(name).or_default().extend(found);
        }
        if next == "0" || looked_at >= most {
            return Ok(());
        }
        cursor = next;
    }
}

/// What is wrong with these jobs at this moment.
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
