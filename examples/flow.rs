//! Binds a book once its pages are rendered. Each kind of work has a queue of its own.
//!
//!     cargo run --example flow
//!
//! prints
//!
//!     the book waits for 3 pages
//!     Emma: pages 1, 2, 3
//!     the second book waits for 2 pages
//!     waiting-children: 1 children completed, 1 pending, 0 failed, 0 ignored
//!     page 13 failed for good: no ink
//!     retried: Persuasion: pages 12, 13

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use oxmq::{Client, FlowNode, Halt, Job, JobState, Queue};

async fn bind(job: Job<String, String>) -> Result<String, Halt> {
    let mut pages: Vec<u32> = job.get_children_values().await?.into_iter().map(|(_, page)| page).collect();
    pages.sort_unstable();
    let pages: Vec<String> = pages.iter().map(u32::to_string).collect();
    Ok(format!("{}: pages {}", job.data(), pages.join(", ")))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    let has_ink = Arc::new(AtomicBool::new(false));
    let ink = Arc::clone(&has_ink);
    let render = move |page: Job<u32, u32>| {
        let ink = Arc::clone(&ink);
        async move {
            let page = *page.data();
            if page == 13 && !ink.load(Ordering::Relaxed) { Err(Halt::failed("no ink")) } else { Ok(page) }
        }
    };
    let pages_worker = client.worker("pages", render).start()?;
    let books_worker = client.worker("books", bind).start()?;

    let pages = (1..=3).map(|page| FlowNode::new("pages", "render", page));
    let book = client.flow_producer().add(FlowNode::new("books", "bind", "Emma").children(pages)).await?;
    println!("the book waits for {} pages", book.children().len());
    let bound: Job<String, String> = book.job()?;
    println!("{}", bound.wait_until_finished(Duration::from_secs(10)).await?);

    // A child that fails without a policy holds its parent until somebody retries or removes it.
    let pages = [12, 13].map(|page| FlowNode::new("pages", "render", page));
    let book = client.flow_producer().add(FlowNode::new("books", "bind", "Persuasion").children(pages)).await?;
    println!("the second book waits for {} pages", book.children().len());
    let books: Queue<String, String> = client.queue("books").open()?;
    let held = loop {
        let why = books.job(book.id()).waits_for().await?.expect("the book is there");
        if why.processed == 1 && why.is_stuck() {
            break why;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    println!("{}", held.to_string().lines().next().unwrap_or_default());
    let bad = &held.pending_children[0];
    println!("page 13 failed for good: {}", bad.failed_reason.as_deref().unwrap_or_default());

    has_ink.store(true, Ordering::Relaxed);
    let pages: Queue<u32, u32> = client.queue("pages").open()?;
    pages.job(&bad.id).retry(JobState::Failed, oxmq::job::RetryOptions::default()).await?;
    let bound: Job<String, String> = book.job()?;
    println!("retried: {}", bound.wait_until_finished(Duration::from_secs(10)).await?);
    pages_worker.close().await;
    books_worker.close().await;
    Ok(())
}
