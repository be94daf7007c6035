//! Faults on purpose: lost replies, lost servers, lost processes. Each test names what it breaks.

mod access;
mod busy;
pub(crate) mod kill;
mod large;
mod locks;
mod network;
mod outage;
mod quirks;
mod replies;
mod rollback;
mod runtimes;
mod schedulers;
mod server;
mod slow;
mod steps;
mod texts;
#[cfg(feature = "tls")]
mod tls;

use std::time::Duration;

use oxmq::{Halt, Job};
use serde_json::{Value, json};

use crate::common::fixture::Fixture;
use crate::common::proxy::Matcher;

/// A lock duration that no other argument of a call equals, so that it identifies the calls of a worker.
const LOCK: Duration = Duration::from_millis(30_011);

/// Matches calls of workers that settle or fetch.
fn settles() -> Matcher {
    Matcher::new(is_settle)
}

/// Matches calls that tell the server of a completed job.
fn finishes() -> Matcher {
    const KINDS: [&[u8]; 3] = [b"completed", b"done", b"ruled"];
    Matcher::new(|args| is_settle(args) && args.get(12).is_some_and(|kind| KINDS.contains(&&kind[..])))
}

fn is_settle(args: &[Vec<u8>]) -> bool {
    args.first().is_some_and(|verb| verb == b"EVALSHA") && args.get(7).is_some_and(|lock| lock == b"30011")
}

/// Matches adds of jobs with this name.
fn adds(name: &'static str) -> Matcher {
    Matcher::new(move |args| {
        let is_script = args.first().is_some_and(|verb| verb == b"EVALSHA");
        is_script && args.iter().any(|arg| arg == name.as_bytes()) && !is_settle(args)
    })
}

/// Loads all scripts into the server, so that later calls need no second request.
async fn warm_up(fixture: &Fixture) {
    let worker = fixture.client.worker("warm", |_: Job<Value, ()>| async { Ok::<_, Halt>(()) }).start().unwrap();
    let job = fixture.client.queue::<Value, ()>("warm").open().unwrap().add("job", json!(1)).await.unwrap();
    job.wait_until_finished(Duration::from_secs(10)).await.unwrap();
    worker.close().await;
}
