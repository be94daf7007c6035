//! Builds search indexes of a directory that changes, with a queue instead of a loop around a distributed lock.
//!
//!     export REDIS_URL=redis://127.0.0.1:6379
//!     cargo run --example index_watcher -- DOCUMENTS OUT
//!     cargo run --example result_watcher -- OUT
//!
//! Each directory below DOCUMENTS is an index, and each file in it a document. Start both programs as often as you like,
//! on any machine that sees the files: every process watches and builds, and no lock is needed. Kill some, and write
//! files meanwhile: what is to be searched is the greatest name in `OUT/<index>/published`.
//!
//! - **One build at a time.** There is one `build-index` job per index, by its deduplication. A change that comes while it
//!   runs is set aside, and makes one more job when it has ended.
//! - **Nothing is missed.** Each process asks for every index once when it starts. An index that is up to date costs a
//!   look at its directory. The system reports changes of its own machine only: where others write to a network file
//!   system, run a watcher there too, or ask for all indexes now and then.
//! - **Crashes do no harm.** The words of each document are kept in OUT, so the next start goes on from there. If a
//!   process dies, another one gets its job once the lock has expired.
//! - **Late builds change nothing.** Each start of a job gets a greater number than all starts before it. The index is
//!   written under this number, and only `result_watcher` publishes it. So a build that was given up and ends late
//!   replaces nothing.

#[path = "support/changes.rs"]
mod changes;
#[path = "support/index.rs"]
mod index;
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use changes::changed_indexes;
use index::{BuildIndex, Built, Index, QUEUE, is_plain, redis_url, revision, write_whole};
use notify::{RecursiveMode, Watcher};
use oxmq::job::CancellationToken;
use oxmq::kind::JobOf;
use oxmq::{Client, Halt, Queue, Router, State};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::mpsc;

/// A change counts once nothing more changes for `QUIET`, and after `LONGEST` at the latest.
const QUIET: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_millis(500);

/// Two changes of a file within this time may leave it with one time of change, by the clocks of file systems.
const TICK: Duration = Duration::from_secs(2);

struct Places {
    documents: PathBuf,
    out: PathBuf,
}

/// What was read of a document.
#[derive(Serialize, Deserialize)]
struct Document {
    /// Whether the last change was old when it was read: soon after it, one more change may leave no trace.
    is_settled: bool,
    changed: SystemTime,
    bytes: u64,
    words: BTreeMap<String, u64>,
}

async fn build_index(
    job: JobOf<BuildIndex>,
    State(places): State<Arc<Places>>,
    cancelled: CancellationToken,
) -> Result<Built, Halt> {
    let index = job.data().index.clone();
    if !is_plain(&index) {
        return Err(Halt::unrecoverable("an index is named as its directory is"));
    }
    let revision = revision(job.id(), job.attempts_started()).ok_or_else(|| Halt::unrecoverable("an id of its own"))?;
    let out = places.out.join(&index);
    let _noted = Noted::begin(&places.out, &format!("{index} {revision}"))?;
    let files = files(&places.documents.join(&index))?;
    let mut built = Index::new();
    for (done, (name, path)) in files.iter().enumerate() {
        if cancelled.is_cancelled() {
            // At a shutdown the job is handed back, and no attempt is spent.
            return Err(Halt::failed("told to stop"));
        }
        // Files are read by threads that may wait.
        let (path, known) = (path.clone(), out.join("documents").join(name));
        if let Some(words) = tokio::task::spawn_blocking(move || words(&path, &known)).await?? {
            built.insert(name.clone(), words);
        }
        if done.is_multiple_of(10) {
            job.update_progress(&json!({ "documents": done, "of": files.len() })).await?;
        }
        if let Some(pause) = std::env::var("SLOWLY_MS").ok().and_then(|ms| ms.parse().ok()) {
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
    write_whole(&out.join("built").join(&revision), &built)?;
    println!("built {index} {revision} of {} documents", built.len());
    Ok(Built { index, revision, documents: built.len() })
}

/// Returns the words of a document, without reading it if it has not changed; `None` if it does not exist or is no text.
/// Any other error fails the attempt: an index without a document that is only unreadable now would be wrong.
fn words(path: &Path, known: &Path) -> std::io::Result<Option<BTreeMap<String, u64>>> {
    let none_if_gone = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::InvalidData => Ok(None),
        _ => Err(error),
    };
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => return none_if_gone(error),
    };
    let (changed, bytes) = (meta.modified()?, meta.len());
    if let Ok(text) = std::fs::read(known)
        && let Ok(document) = serde_json::from_slice::<Document>(&text)
        && (document.changed, document.bytes) == (changed, bytes)
        && document.is_settled
    {
        return Ok(Some(document.words));
    }
    let is_settled = changed.elapsed().is_ok_and(|age| age > TICK);
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return none_if_gone(error),
    };
    let mut words = BTreeMap::new();
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *words.entry(word.to_lowercase()).or_default() += 1;
    }
    let document = Document { is_settled, changed, bytes, words };
    write_whole(known, &document)?;
    Ok(Some(document.words))
}

fn files(dir: &Path) -> std::io::Result<BTreeMap<String, PathBuf>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        // An index whose directory was removed is empty; so is a file that is no index.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(BTreeMap::new());
        }
        Err(error) => return Err(error),
    };
    let named =
        entries.map(|entry| entry.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path())));
    named.collect()
}

/// Logs when a build begins and ends, so that one can see that no two builds of an index overlap. Production needs no
/// such log.
struct Noted(PathBuf, String);

impl Noted {
    fn begin(out: &Path, what: &str) -> std::io::Result<Self> {
        let noted = Self(out.join("builds.log"), format!("{what} {}", std::process::id()));
        noted.note("begin")?;
        Ok(noted)
    }

    fn note(&self, what: &str) -> std::io::Result<()> {
        std::fs::create_dir_all(self.0.parent().unwrap_or(Path::new(".")))?;
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(&self.0)?;
        log.write_all(format!("{what} {}\n", self.1).as_bytes())
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let _ = self.note("end");
    }
}

/// Asks for a build of each index in which something has changed.
async fn watch(queue: &Queue, documents: &Path) -> anyhow::Result<()> {
    let (changed, mut changes) = mpsc::unbounded_channel();
    let root = documents.to_owned();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        for index in changed_indexes(&root, event) {
            let _ = changed.send(index);
        }
    })?;
    watcher.watch(documents, RecursiveMode::Recursive)?;
    // From here on every change is reported. One look at the directory finds the earlier ones.
    let mut dirty: BTreeSet<String> = files(documents)?.into_keys().collect();
    loop {
        let until = tokio::time::Instant::now() + LONGEST;
        while let Ok(Some(index)) = tokio::time::timeout(QUIET, changes.recv()).await {
            dirty.insert(index);
            if tokio::time::Instant::now() > until {
                break;
            }
        }
        for index in std::mem::take(&mut dirty) {
            if let Err(error) = queue.push(BuildIndex { index: index.clone() }).await {
                eprintln!("{index} is asked for again in a second: {error}");
                dirty.insert(index);
            }
        }
        if !dirty.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            continue;
        }
        let Some(index) = changes.recv().await else { return Ok(()) };
        dirty.insert(index);
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(documents), Some(out)) = (args.next(), args.next()) else {
        anyhow::bail!("two directories are needed: DOCUMENTS and OUT");
    };
    let documents = documents.canonicalize()?;
    let client = Client::connect(&redis_url()?).await?;
    let queue: Queue = client.queue(QUEUE).open()?;
    let places = Arc::new(Places { documents: documents.clone(), out });
    let worker = client
        .worker(QUEUE, Router::new().job(build_index).with_state(places))
        .concurrency(4)
        // Another process takes over soon after a kill, and the job survives any number of kills.
        .lock_duration(Duration::from_secs(2))
        .stalled_interval(Duration::from_secs(1))
        .max_stalled_count(1_000)
        .start()?;
    println!("watching {}", documents.display());
    let ended = tokio::select! {
        watched = watch(&queue, &documents) => watched,
        () = support::told_to_stop() => Ok(()),
    };
    worker.close().await;
    ended
}
