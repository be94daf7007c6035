//! What the two watchers have in common: the kind of job, and where an index lies on disk.
//!
//!     OUT/<index>/documents/…        what is known of each document, written once a document has changed
//!     OUT/<index>/built/<revision>   whole indexes, as their builds have left them
//!     OUT/<index>/published/<revision>   those that are published; the greatest is what readers take

#![allow(dead_code, reason = "each example takes what it needs")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oxmq::{Backoff, Deduplication, JobKind, JobOptions};
use serde::{Deserialize, Serialize};

pub(crate) const QUEUE: &str = "indexes";

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

    /// One job per index, however many watchers add it. A change that comes while it is built makes one more afterwards.
    fn options(&self) -> JobOptions {
        let once = Deduplication::new(&*self.index).keep_last_if_active();
        JobOptions::default()
            .deduplication(once)
            .attempts(5)
            .backoff(Backoff::exponential(std::time::Duration::from_millis(200)))
    }
}

/// An index: each document, and how often each word is in it.
pub(crate) type Index = BTreeMap<String, BTreeMap<String, u64>>;

/// Names that sort as the numbers do.
///
/// The number of a job grows from job to job, that of its starts from start to start. So of two builds of an index the one
/// that was started later has the greater revision, and one that has come back from the dead is told by its own.
pub(crate) fn revision(job_id: &str, attempts_started: u32) -> Option<String> {
    Some(format!("{:016}-{attempts_started:06}", job_id.parse::<u64>().ok()?))
}

/// The greatest name in a directory; `None` if it is empty or not there.
pub(crate) fn greatest(dir: &Path) -> Option<String> {
    let names = std::fs::read_dir(dir).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.filter(|name| !name.starts_with('.')).max()
}

/// Writes a file as a whole: nobody ever sees a part of it, whenever we are killed.
pub(crate) fn write_whole(path: &Path, value: &impl Serialize) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let draft: PathBuf = path.with_file_name(format!(".{name}.{}", std::process::id()));
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    std::fs::write(&draft, serde_json::to_vec(value)?)?;
    std::fs::rename(&draft, path)
}
