//! Whether a run did what it was measured for.

use anyhow::{Result, ensure};

use super::peer::PREFIX;
use super::resp::Connection;
use super::server::{Figures, Server};
use super::work::{Kind, Work};
use crate::peers::common::{CHILDREN, WARM_SAMPLES};

/// Keys a run may add besides its jobs: `completed`, `meta`, `events`, `stalled-check` and their like. A job or a
/// lock left behind by every job is thousands.
const SLACK: i64 = 12;

/// Looks at the queue's keys right after the timed part, while the peer still holds its connections.
pub(super) fn check(server: &Server, work: &Work, jobs: usize, before: &Figures, after: &Figures) -> Result<()> {
    let mut queue = Keys { connection: server.connect()? };
    if work.kind == Kind::Scheduler {
        let completed = queue.length("completed")?;
        ensure!(completed >= i64::try_from(jobs)?, "{completed} runs, not {jobs}");
        return Ok(());
    }
    let jobs = i64::try_from(jobs)?;
    let before_it = if work.prefill.is_some() { i64::try_from(work.backlog)? } else { 0 };
    let warm = i64::try_from(WARM_SAMPLES)?;
    let parents = if work.kind == Kind::Flow { jobs / (i64::try_from(CHILDREN)? + 1) } else { 0 };
    let (waiting, completed, more_keys) = match work.kind {
        Kind::Add => (before_it + jobs, 0, jobs),
        Kind::Process | Kind::Layers | Kind::ProcessRetry | Kind::Memory | Kind::Shared(_) => (0, jobs, 0),
        Kind::Lateness | Kind::Waits => (0, jobs, jobs),
        Kind::ProcessRemove | Kind::Erase => (0, 0, -jobs),
        Kind::Part(_) => (before_it - jobs, jobs, 0),
        Kind::Leave => (jobs, 0, 0),
        Kind::Latency => (0, jobs + warm, jobs),
        // Each parent has a set of its children besides.
        Kind::Flow => (jobs - parents, 0, jobs + parents),
        Kind::Idle | Kind::Scheduler | Kind::Events => (0, 0, 0),
    };
    let by_priority = work.kind == Kind::Part("prioritized");
    for (key, expected) in [
        ("wait", if by_priority { 0 } else { waiting }),
        ("active", 0),
        ("paused", 0),
        ("prioritized", if by_priority { waiting } else { 0 }),
        ("delayed", 0),
        ("waiting-children", parents),
        ("failed", 0),
        ("completed", completed),
    ] {
        let found = queue.length(key)?;
        ensure!(found == expected, "{found} jobs in {key}, not {expected}");
    }
    let grown = after.keys - before.keys;
    ensure!(
        (more_keys - SLACK..=more_keys + SLACK).contains(&grown),
        "{grown} keys more than before, not {more_keys}: jobs are missing, or locks were left"
    );

    let last = jobs.to_string();
    match work.kind {
        Kind::Add => {
            let data = queue.job(&last, "data")?.unwrap_or_default();
            ensure!(data.len() == work.bytes, "job {last} has {} bytes", data.len());
        }
        Kind::Process | Kind::Layers | Kind::ProcessRetry | Kind::Memory | Kind::Shared(_) => {
            let attempts = if work.kind == Kind::ProcessRetry { "2" } else { "1" };
            for id in ["1", &last] {
                let made = queue.job(id, "atm")?;
                ensure!(made.as_deref() == Some(attempts), "job {id} had {made:?} attempts, not {attempts}");
                ensure!(queue.job(id, "finishedOn")?.is_some(), "job {id} has no finishedOn");
            }
        }
        _ => {}
    }
    Ok(())
}

/// Looks at what the prefilling peer wrote.
pub(super) fn check_prefill(server: &Server, work: &Work) -> Result<()> {
    let mut queue = Keys { connection: server.connect()? };
    let mut found = 0;
    for key in ["wait", "prioritized", "delayed", "completed", "failed"] {
        found += queue.length(key)?;
    }
    let expected = i64::try_from(work.backlog)?;
    ensure!(found == expected, "{found} jobs prefilled, not {expected}");
    Ok(())
}

struct Keys {
    connection: Connection,
}

impl Keys {
    fn length(&mut self, key: &str) -> Result<i64> {
        let command = match key {
            "wait" | "active" | "paused" => "LLEN",
            _ => "ZCARD",
        };
        self.connection.integer(&[command, &format!("{PREFIX}:bench:{key}")])
    }

    fn job(&mut self, id: &str, field: &str) -> Result<Option<String>> {
        self.connection.text(&["HGET", &format!("{PREFIX}:bench:{id}"), field])
    }
}
