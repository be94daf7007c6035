//! One client in several runtimes, of which some end or stop while others wait for calls that these carry.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use oxmq::{Client, ConnectOptions, Error, NewJob, Queue};
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

/// Reads the jobs of a queue over and over, and gives some reads up at a random moment. A read may fail when its
/// connection is closed, but the answer of another one is never taken for its own.
async fn read_often(queue: Queue<Value, Value>, ids: Arc<Vec<String>>, rounds: usize) {
    for _ in 0..rounds {
        let n = fastrand::usize(0..ids.len());
        let (queue, ids) = (queue.clone(), Arc::clone(&ids));
        let mut read = Box::pin(async move {
            match queue.get_job(&ids[n]).await {
                Ok(job) => assert_eq!(*job.unwrap().data(), json!(n)),
                Err(error) => assert!(matches!(error, Error::Redis { .. }), "{error:?}"),
            }
        });
        match fastrand::u8(..8) {
            0 => drop(futures::poll!(read.as_mut())),
            1 => drop(tokio::time::timeout(Duration::from_micros(fastrand::u64(..300)), read).await),
            2 => {
                let read = tokio::spawn(read);
                tokio::task::yield_now().await;
                read.abort();
            }
            _ => tokio::time::timeout(LONG, read).await.expect("every read ends"),
        }
    }
}

#[test]
fn calls_that_are_given_up_disturb_no_other_in_any_runtime() {
    let server = RedisServer::start();
    let main = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let client = main.block_on(Client::builder(options(&server).command_timeout(LONG)).connect()).unwrap();
    let queue: Queue<Value, Value> = client.queue("q").open().unwrap();
    let ids = main.block_on(async {
        let jobs = queue.add_bulk((0..20).map(|n| NewJob::new("job", json!(n)))).await.unwrap();
        Arc::new(jobs.into_iter().map(|job| job.unwrap().id().to_owned()).collect::<Vec<_>>())
    });
    let readers: Vec<_> = (0..3).map(|_| main.spawn(read_often(queue.clone(), Arc::clone(&ids), 300))).collect();
    let elsewhere = thread::spawn({
        let (queue, ids) = (queue.clone(), Arc::clone(&ids));
        move || single().block_on(read_often(queue, ids, 300))
    });
    let mut redis = main.block_on(server.connection());
    for round in 0..40 {
        // A runtime that ends while calls of it are under way.
        let short = single();
        for _ in 0..round % 3 {
            short.spawn(read_often(queue.clone(), Arc::clone(&ids), 5));
        }
        short.block_on(read_often(queue.clone(), Arc::clone(&ids), 1));
        drop(short);
        if round % 10 == 9 {
            let kill = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).to_owned();
            let _: usize = main.block_on(kill.query_async(&mut redis)).unwrap();
        }
    }
    main.block_on(async {
        for reader in readers {
            reader.await.unwrap();
        }
    });
    elsewhere.join().unwrap();
}
