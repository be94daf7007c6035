//! What the two watchers share: the kind of job, and the files of an index.
//!
//!     OUT/<index>/documents/…            the words of each document, written after each change of the document
//!     OUT/<index>/built/<revision>       whole indexes, one for each build
//!     OUT/<index>/published/<revision>   the published ones; readers take the greatest
//!
//! Of built and published ones the last few are kept.

#![allow(dead_code, reason = "each example takes what it needs")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use oxmq::{Backoff, Deduplication, JobKind, JobOptions};
use serde::{Deserialize, Serialize};

pub(crate) const QUEUE: &str = "indexes";

/// Returns the URL of the server that all processes share.
pub(crate) fn redis_url() -> anyhow::Result<String> {
    std::env::var("REDIS_URL")
        .context("set REDIS_URL, such as redis://127.0.0.1:6379: all watchers have to share one server")
}

/// Brings an index up to date with its documents.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct BuildIndex {
    pub(crate) index: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Built {
    pub(crate) index: String,
    pub(crate) revision: String,
    pub(crate) documents: usize,
}

impl JobKind for BuildIndex {
    const NAME: &'static str = "build-index";
    type Output = Built;

    /// Adds one job per index, however many watchers ask for it. A change during a build makes one more job after it.
    fn options(&self) -> JobOptions {
        let once = Deduplication::new(&*self.index).keep_last_if_active();
        JobOptions::default()
            .deduplication(once)
            .attempts(5)
            .backoff(Backoff::exponential(std::time::Duration::from_millis(200)))
    }
}

/// An index: the words of each document, and how often each occurs.
pub(crate) type Index = BTreeMap<String, BTreeMap<String, u64>>;

/// Returns the name of a revision; names sort as their numbers do.
///
/// The number of a job grows from job to job, and the number of its starts from start to start. So of two builds of an
/// index the one that started later has the greater revision, even if the earlier one ends last. The numbers begin again
/// when the queue is obliterated: then remove what was published before, or put a number of your own in front.
pub(crate) fn revision(job_id: &str, attempts_started: u32) -> Option<String> {
    Some(format!("{:016}-{attempts_started:06}", job_id.parse::<u64>().ok()?))
}

/// Returns whether a name may be that of an index or a revision. Whoever adds a job chooses the names in it, so they must
/// not lead out of our directories.
pub(crate) fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}

/// Removes revisions but for the `keep` greatest, so that the disk does not fill. Whoever reads an older one goes on
/// reading it, and finds a newer one the next time.
pub(crate) fn prune(dir: &Path, keep: usize) -> std::io::Result<()> {
    let names = std::fs::read_dir(dir)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
    names.sort_unstable();
    let too_many = names.len().saturating_sub(keep);
    for name in &names[..too_many] {
        match std::fs::remove_file(dir.join(name)) {
            // Another process was faster.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    Ok(())
}

/// Returns the greatest name in a directory; `None` if it is empty or does not exist.
pub(crate) fn greatest(dir: &Path) -> Option<String> {
    let names = std::fs::read_dir(dir).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).max()
}

/// Writes a file in one atomic step: a reader never sees a part of it, even if this process is killed or the machine loses
/// its power. A killed process leaves its draft; names that begin with a dot can be removed when they are a day old.
pub(crate) fn write_whole(path: &Path, value: &impl Serialize) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // In containers all processes may have the number 1, so that is no name of a draft.
    let draft: PathBuf = path.with_file_name(format!(".{name}.{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    let mut file = std::fs::File::create(&draft)?;
    file.write_all(&serde_json::to_vec(value)?)?;
    file.sync_all()?;
    std::fs::rename(&draft, path)
}
