//! Tests of a program with queues: its processors without a server, its queues on a private one.
//!
//!     cargo test --features testing --example testing
//!
//! As a program it runs the same checks as the tests and prints
//!
//!     a processor without a server: sent
//!     what was enqueued: 1 job, as expected
//!     worked off, two hours later: 1 completed, 1 retried

use std::sync::Arc;
use std::time::Duration;

use oxmq::kind::JobOf;
use oxmq::testing::{Expected, TestJob, TestQueue, fail_attempt, perform};
use oxmq::{Backoff, Halt, JobKind, JobOptions, Queue, Router, State};
use serde::{Deserialize, Serialize};

/// The program under test: a new user gets a mail an hour after signing up.
#[derive(Serialize, Deserialize)]
struct Welcome {
    to: String,
}

impl JobKind for Welcome {
    const NAME: &'static str = "welcome";
    type Output = String;

    fn options(&self) -> JobOptions {
        JobOptions::default().delay(HOUR).attempts(3).backoff(Backoff::fixed(HOUR))
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// Sends the mails of the program.
trait Mailer: Send + Sync {
    fn send(&self, to: &str) -> Result<(), std::io::Error>;
}

struct Silent;

impl Mailer for Silent {
    fn send(&self, _: &str) -> Result<(), std::io::Error> {
        Ok(())
    }
}

async fn welcome(job: JobOf<Welcome>, State(mailer): State<Arc<dyn Mailer>>) -> Result<String, Halt> {
    if !job.data().to.contains('@') {
        return Err(Halt::unrecoverable("no address"));
    }
    mailer.send(&job.data().to)?;
    job.update_progress(&100).await?;
    Ok("sent".to_owned())
}

async fn sign_up(queue: &Queue, address: &str) -> oxmq::Result<()> {
    queue.push(Welcome { to: address.to_owned() }).await.map(drop)
}

fn router() -> Router {
    Router::new().job(welcome).with_state(Arc::new(Silent))
}

#[cfg_attr(test, tokio::test)]
async fn a_mail_is_sent_and_reported() {
    let performed = perform(router(), TestJob::of(Welcome { to: "ada@example.org".into() })).await;
    assert_eq!(performed.value::<String>(), "sent");
    assert_eq!(performed.progress, [100]);
    println!("a processor without a server: {}", performed.value::<String>());
}

#[cfg_attr(test, tokio::test)]
async fn who_signs_up_is_welcomed_an_hour_later() {
    let queue = TestQueue::new("mails").await;
    sign_up(&queue, "ada@example.org").await.expect("a queue that takes jobs");
    queue.assert_enqueued([Expected::of(Welcome { to: "ada@example.org".into() }).delay(HOUR)]).await;
    println!("what was enqueued: {} job, as expected", queue.enqueued().await.len());

    let drained = queue.drain(router().layer(fail_attempt(1, "the mail server is away"))).await;
    assert_eq!((drained.completed, drained.retried, drained.moved_clock), (1, 1, 2 * HOUR));
    println!("worked off, two hours later: {} completed, {} retried", drained.completed, drained.retried);
}

#[cfg(not(test))]
fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        a_mail_is_sent_and_reported().await;
        who_signs_up_is_welcomed_an_hour_later().await;
    });
}
