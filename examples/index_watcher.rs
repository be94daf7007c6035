//! Builds a search index from a queue, instead of from a loop around a distributed lock.
//!
//!     cargo run --example index_watcher -- DIR        adds each file of DIR twice, indexes, ends when nothing is left
//!     cargo run --example index_watcher               goes on until Ctrl-C, with what others add
//!
//! No lock is needed: a document is deduplicated by its path, so it is in the queue at most once, and a change that
//! comes while it is being indexed is set aside and indexed afterwards. Prints, for instance,
//!
//!     a.txt: 5 words
//!     …
//!     4 adds, 2 documents, 8 different words; "the" is in 2 of them

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use oxmq::{Client, Deduplication, Halt, Job, Queue};
use serde_json::json;

/// Word → documents. The mutex is held for one document's words, never across a wait.
type Index = Arc<Mutex<BTreeMap<String, BTreeSet<PathBuf>>>>;

async fn index(job: Job<PathBuf, usize>, index: Index) -> Result<usize, Halt> {
    let path = job.data();
    let text = tokio::fs::read_to_string(path).await?;
    job.update_progress(&json!({ "read": text.len() })).await?;
    let words: BTreeSet<String> = words(&text).collect();
    {
        let mut index = index.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for documents in index.values_mut() {
            documents.remove(path);
        }
        for word in &words {
            index.entry(word.clone()).or_default().insert(path.clone());
        }
    }
    println!("{}: {} words", path.file_name().unwrap_or_default().display(), words.len());
    Ok(words.len())
}

fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase)
}

/// Adds each file once more than needed; returns how many adds there were.
async fn add_all(queue: &Queue<PathBuf, usize>, dir: &Path) -> anyhow::Result<usize> {
    let mut adds = 0;
    for entry in std::fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()? {
        for _ in 0..2 {
            let once = Deduplication::new(entry.path().to_string_lossy()).keep_last_if_active();
            queue.add("index", entry.path()).deduplication(once).attempts(3).await?;
            adds += 1;
        }
    }
    Ok(adds)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    let queue: Queue<PathBuf, usize> = client.queue("index").open()?;
    let built = Index::default();
    let shared = Arc::clone(&built);
    let worker = client.worker("index", move |job| index(job, Arc::clone(&shared))).concurrency(4);
    let Some(dir) = std::env::args_os().nth(1) else {
        worker.start()?.run_until(async { drop(tokio::signal::ctrl_c().await) }).await;
        return Ok(());
    };
    let adds = add_all(&queue, Path::new(&dir)).await?;
    let worker = worker.start()?;
    while queue.count().await? + queue.get_job_counts(&[oxmq::JobState::Active]).await?.active > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let documents = worker.close().await.counts.completed;
    let index = built.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let most = index.iter().max_by_key(|(_, documents)| documents.len());
    let (word, found) = most.map_or(("", 0), |(word, documents)| (word, documents.len()));
    println!("{adds} adds, {documents} documents, {} different words; \"{word}\" is in {found} of them", index.len());
    Ok(())
}
