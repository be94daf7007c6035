//! Publishes what `index_watcher` has built, and tells of builds that have failed for good.
//!
//!     cargo run --example result_watcher -- OUT [NAME]
//!
//! It reads the events of the queue by a durable cursor: how far it has come is kept in Redis under NAME. Killed and started
//! again it goes on where it was, misses nothing, and repeats nothing that it has acknowledged. What is read twice does no
//! harm, since publishing a revision again changes nothing. Several may run at once, under one name or several.
//!
//! An index is published by giving its file a second name, which is one atomic step. Names sort as revisions do, and readers
//! take the greatest: so what is published never goes back, whoever publishes when.

#[path = "support/index.rs"]
mod index;
mod support;

use std::path::{Path, PathBuf};

use index::{BuildIndex, Built, QUEUE, greatest};
use oxmq::events::{Delivery, QueueEvent};
use oxmq::{Client, JobKind};

/// Publishes a revision of an index; returns whether it is what readers take from now on.
fn publish(out: &Path, index: &str, revision: &str) -> std::io::Result<bool> {
    let published = out.join(index).join("published");
    if greatest(&published).is_some_and(|newest| *newest >= *revision) {
        return Ok(false);
    }
    std::fs::create_dir_all(&published)?;
    match std::fs::hard_link(out.join(index).join("built").join(revision), published.join(revision)) {
        Ok(()) => Ok(greatest(&published).is_some_and(|newest| newest == revision)),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        // Cleared away by somebody: a later build tells of itself, and this event is not to be met again for ever.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Where events were trimmed away unread, the directory tells what they said.
fn publish_all(out: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(out)?.filter_map(Result::ok) {
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
            if publish(out, &index, &revision)? {
                println!("published {index} {revision}: {documents} documents, by job {job_id}");
            }
        }
        QueueEvent::Progress { job_id, data, .. } => println!("job {job_id}: {data}"),
        QueueEvent::Failed { job_id, failed_reason, .. } => {
            // Written when the last attempt has failed: here somebody is woken.
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
    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    let mut cursor = client.event_cursor(QUEUE, &name).open().await?;
    println!("reading results as {name}");
    loop {
        let delivery = tokio::select! {
            delivery = cursor.recv() => delivery,
            signal = tokio::signal::ctrl_c() => return Ok(signal?),
        };
        match delivery {
            Delivery::Event { id, event } => {
                take(&out, event)?;
                cursor.ack(id).await?;
            }
            gap => {
                println!("{gap:?}: publishing the newest build of each index");
                publish_all(&out)?;
            }
        }
    }
}
