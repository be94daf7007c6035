//! Adds three jobs, processes them, and waits for their results.
//!
//!     cargo run --example quickstart
//!
//! prints
//!
//!     ada@example.org: sent, 1 attempt
//!     bob@example.org: sent, 2 attempts
//!     nobody: job 3 failed: no @ in the address

mod support;

use std::time::Duration;

use oxmq::{Client, Halt, Job, JobOptions, Queue};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Email {
    to: String,
}

#[derive(Serialize, Deserialize)]
struct Receipt {
    attempts: u32,
}

async fn send(job: Job<Email, Receipt>) -> Result<Receipt, Halt> {
    let to = &job.data().to;
    if !to.contains('@') {
        // No further attempt would help.
        return Err(Halt::unrecoverable("no @ in the address"));
    }
    if to.starts_with("bob") && job.attempts_made() == 0 {
        // Any error will do; the job is tried again as its options say.
        return Err("the mail server is busy".into());
    }
    Ok(Receipt { attempts: job.attempts_made() + 1 })
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let redis = support::redis();
    let client = Client::connect(&redis.url).await?;
    // Finished jobs stay in Redis for ever unless somebody says how many to keep.
    let keep = JobOptions::default().remove_on_complete(1_000).remove_on_fail(10_000);
    let queue: Queue<Email, Receipt> = client.queue("quickstart").default_job_options(keep).open()?;
    let worker = client.worker("quickstart", send).concurrency(10).timeout(Duration::from_secs(30)).start()?;

    let mut jobs = Vec::new();
    for to in ["ada@example.org", "bob@example.org", "nobody"] {
        let email = Email { to: to.to_owned() };
        jobs.push(queue.add("welcome", email).attempts(3).backoff(Duration::from_millis(50)).await?);
    }
    for job in jobs {
        let to = job.data().to.clone();
        match job.wait_until_finished(Duration::from_secs(10)).await {
            Ok(Receipt { attempts: 1 }) => println!("{to}: sent, 1 attempt"),
            Ok(Receipt { attempts }) => println!("{to}: sent, {attempts} attempts"),
            Err(error) => println!("{to}: {error}"),
        }
    }
    worker.close().await;
    Ok(())
}
