//! Publishes the indexes that `index_watcher` has built, and reports builds that have failed for good.
//!
//!     REDIS_URL=redis://127.0.0.1:6379 cargo run --example result_watcher -- OUT [NAME]
//!
//! `index_watcher` says how to run both.
//!
//! It reads the events of the queue with a durable cursor: Redis keeps its position under NAME. After a restart it goes
//! on from there, misses nothing, and gets no event again that it has acknowledged. An event that is delivered twice
//! does no harm, since publishing a revision again changes nothing. Several may run at once, under one name or several.
//!
//! An index is published by a hard link, which is one atomic step. Names sort as revisions do, and readers take the
//! greatest name. So readers never go back to an older revision, whichever process publishes first.

#[path = "support/index.rs"]
mod index;
mod support;

use std::path::{Path, PathBuf};

use index::{BuildIndex, Built, QUEUE, greatest, is_plain, prune, redis_url};
use oxmq::events::{Delivery, QueueEvent};
use oxmq::{Client, JobKind};

/// How many revisions of an index are kept.
const KEPT: usize = 3;

/// Publishes a revision of an index; returns whether readers take it from now on.
fn publish(out: &Path, index: &str, revision: &str) -> std::io::Result<bool> {
    let published = out.join(index).join("published");
    if greatest(&published).is_some_and(|newest| *newest >= *revision) {
        return Ok(false);
    }
    std::fs::create_dir_all(&published)?;
    let built = out.join(index).join("built");
    match std::fs::hard_link(built.join(revision), published.join(revision)) {
        Ok(()) => {
            let is_newest = greatest(&published).is_some_and(|newest| newest == revision);
            prune(&built, KEPT)?;
            prune(&published, KEPT)?;
            Ok(is_newest)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        // Somebody has removed the file. A later build has an event of its own, and this one must not be delivered
        // again for ever.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Publishes the newest build of each index: at the start, since the first listener under a name begins with the events
/// from then on, and if events were trimmed before they were read.
fn publish_all(out: &Path) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(out) {
        Ok(entries) => entries,
        // Nothing was built yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.filter_map(Result::ok) {
        let index = entry.file_name().to_string_lossy().into_owned();
        if let Some(revision) = greatest(&entry.path().join("built")) {
            publish(out, &index, &revision)?;
        }
    }
    Ok(())
}

fn take(out: &Path, event: QueueEvent) -> anyhow::Result<()> {
    match event {
        QueueEvent::Completed { job_id, return_value, .. } => {
            let Ok(Built { index, revision, documents }) = return_value.parse() else { return Ok(()) };
            if is_plain(&index) && is_plain(&revision) && publish(out, &index, &revision)? {
                println!("published {index} {revision}: {documents} documents, by job {job_id}");
            }
        }
        QueueEvent::Progress { job_id, data, .. } => println!("job {job_id}: {data}"),
        QueueEvent::Failed { job_id, failed_reason, .. } => {
            // This event is written when the last attempt has failed: alert somebody here.
            println!("ALERT: {} job {job_id}: {}", BuildIndex::NAME, failed_reason.unwrap_or_default());
        }
        _ => {}
    }
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args_os().skip(1);
    let Some(out) = args.next().map(PathBuf::from) else { anyhow::bail!("a directory is needed: OUT") };
    let name = args.next().map_or_else(|| "publisher".to_owned(), |name| name.to_string_lossy().into_owned());
    let client = Client::connect(&redis_url()?).await?;
    let mut cursor = client.event_cursor(QUEUE, &name).open().await?;
    println!("reading results as {name}");
    publish_all(&out)?;
    // One for all rounds: a signal that comes between two of them is not lost.
    let mut stop = std::pin::pin!(support::told_to_stop());
    loop {
        let delivery = tokio::select! {
            delivery = cursor.recv() => delivery,
            () = &mut stop => return Ok(()),
        };
        match delivery {
            Delivery::Event { id, event } => {
                take(&out, event)?;
                // Acknowledging a later event acknowledges this one too, so an outage is no reason to end.
                if let Err(error) = cursor.ack(id).await {
                    eprintln!("not acknowledged: {error}");
                }
            }
            // It goes on by itself when the cause is mended.
            Delivery::Refused { problem } => println!("ALERT: the events cannot be read: {problem}"),
            gap => {
                println!("{gap:?}: publishing the newest build of each index");
                publish_all(&out)?;
            }
        }
    }
}
