//! One client in several runtimes, of which some end or stop while others wait for calls that these carry.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use oxmq::{Client, ConnectOptions, Error, Queue};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};

use crate::common::server::RedisServer;

const DEADLINE: Duration = Duration::from_secs(2);

/// How long a test waits for calls that have a deadline.
const LONG: Duration = Duration::from_secs(120);

fn options(server: &RedisServer) -> ConnectOptions {
    ConnectOptions::from_url(&server.url()).unwrap().command_timeout(DEADLINE).connect_timeout(DEADLINE)
}

fn single() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Adds `n` jobs at once in a runtime of their own, which ends after them. Reports for each add whether its outcome is
/// known.
fn add_elsewhere(queue: &Queue<Value, Value>, n: usize, own_ids: Option<&'static str>) -> mpsc::Receiver<Vec<bool>> {
    let (tell, told) = mpsc::channel();
    let queue = queue.clone();
    thread::spawn(move || {
        let adds = (0..n).map(|i| {
            let add = queue.add("job", json!(i));
            let add = if let Some(name) = own_ids { add.job_id(format!("{name}-{i}")) } else { add };
            async move {
                match add.await {
                    Ok(_) => true,
                    Err(Error::OutcomeUnknown { .. }) => false,
                    Err(other) => panic!("{other:?}"),
                }
            }
        });
        let runtime = single();
        let ended = runtime.block_on(futures::future::join_all(adds));
        drop(runtime);
        let _ = tell.send(ended);
    });
    told
}

#[test]
fn adds_of_four_runtimes_end_although_the_first_runtime_ends_under_them() {
    let server = RedisServer::start();
    for round in 0..3 {
        // Its connection ends with the runtime, and so does the add that the others join as a batch.
        let first = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = first.block_on(Client::builder(options(&server)).connect()).unwrap();
        let queue: Queue<Value, Value> = client.queue(format!("q{round}")).open().unwrap();
        first.block_on(async { queue.add("job", json!(round)).await.unwrap() });
        server.pause();
        let add = queue.clone();
        first.spawn(async move { add.add("job", json!("first")).await.map(|_| ()) });
        // These may happen in any order; all adds end, so the pauses need no certain length.
        thread::sleep(Duration::from_millis(50));
        let others = ["a", "b", "c"].map(|name| add_elsewhere(&queue, 20, Some(name)));
        thread::sleep(Duration::from_millis(50)); // as above
        first.shutdown_background();
        server.resume();
        for other in others {
            let ended = other.recv_timeout(LONG).expect("every add ends");
            assert!(ended.into_iter().all(|known| known), "what may be repeated is known in the end");
        }
        let waiting = waiting(&server, &format!("bull:q{round}:wait"));
        assert!((61..=62).contains(&waiting), "{waiting}");
    }
}

fn waiting(server: &RedisServer, key: &str) -> i64 {
    single().block_on(async {
        let count = redis::cmd("LLEN").arg(key).to_owned();
        count.query_async(&mut server.connection().await).await.unwrap()
    })
}

#[test]
fn adds_end_although_the_runtime_that_carries_them_stands_still() {
    let server = RedisServer::start();
    let still = single();
    let client = still.block_on(Client::builder(options(&server)).connect()).unwrap();
    let queue: Queue<Value, Value> = client.queue("q").open().unwrap();
    still.block_on(async { queue.add("job", json!(0)).await.unwrap() });
    // The runtime stops while the first add and the shared connection are still waiting.
    let add = queue.clone();
    still.block_on(async move {
        let mut add = Box::pin(async move { add.add("job", json!("never")).await });
        assert!(futures::FutureExt::now_or_never(add.as_mut()).is_none());
        tokio::spawn(add);
    });
    let others: Vec<_> = [None, Some("own")].map(|name| add_elsewhere(&queue, 20, name)).into();
    for other in others {
        other.recv_timeout(LONG).expect("every add ends");
    }
    // Later adds are not blocked.
    let later = add_elsewhere(&queue, 20, None);
    assert_eq!(later.recv_timeout(LONG).expect("every add ends"), [true; 20]);
    let waiting = waiting(&server, "bull:q:wait");
    assert!(waiting >= 41, "{waiting}");
    drop(still);
}
