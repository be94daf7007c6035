use oxmq::*;
use std::time::{Duration, Instant};
async fn work(job: Job<u32, u32>) -> Result<u32, Halt> {
    let n = *job.data();
    if n == 7 {
        panic!("boom {n}");
    }
    if n == 8 && job.attempts_made() == 0 {
        return Err(Halt::failed("first"));
    }
    Ok(n * 2)
}
#[tokio::main(flavor = "multi_thread", worker_threads = 1)]
async fn main() -> anyhow::Result<()> {
    let n: u32 = std::env::args().nth(1).map_or(20, |a| a.parse().unwrap());
    let c: usize = std::env::args().nth(2).map_or(10, |a| a.parse().unwrap());
    let client = Client::connect("redis+unix:///tmp/r.sock").await?;
    let queue: Queue<u32, u32> = client.queue("smoke")?;
    let t = Instant::now();
    let jobs = (0..n).map(|i| NewJob::new("n", i).attempts(2));
    let done = queue.add_bulk(jobs).await?;
    println!("bulk {} in {:?}", done.len(), t.elapsed());
    let t = Instant::now();
    let adds = futures::future::join_all((0..100).map(|i| {
        let q = queue.clone();
        async move { q.add("one", i + 100).delay(Duration::from_millis(200)).await }
    }))
    .await;
    println!("100 adds in {:?} {:?}", t.elapsed(), adds[0].as_ref().map(|j| j.id().to_owned()));
    let t = Instant::now();
    let worker = client.worker("smoke", work).concurrency(c).start()?;
    let mut events = worker.events();
    let mut done = 0;
    while let Some(e) = events.recv().await {
        if n < 50 {
            println!("{e:?}");
        }
        match e {
            WorkerEvent::Completed { .. } | WorkerEvent::Failed { will_retry: false, .. } => {
                done += 1;
                if done == n + 100 {
                    break;
                }
            }
            _ => {}
        }
        if events.missed() > 0 {
            break;
        }
    }
    println!("processed in {:?}", t.elapsed());
    if events.missed() > 0 {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let t = Instant::now();
    let r = worker.close().await;
    println!(
        "closed in {:?}: {} {} {} {:?} {:?} {:?}",
        t.elapsed(),
        r.completed,
        r.failed,
        r.retried,
        r.handed_back,
        r.abandoned,
        r.lost
    );
    Ok(())
}
