//! What each hot script costs Redis, per item, in batches of 1 to 1,000.
//!
//!     cargo bench --features bench --bench scripts [-- ITEMS]
//!
//! ITEMS (2,000 by default) is how many items each figure is taken of. A figure is the server's own: the time of
//! `evalsha` in `INFO commandstats`, divided by the items; neither the network nor this client is in it.

#[path = "../examples/support/mod.rs"]
mod support;

use anyhow::{Context, Result};
use oxmq::bench_support::Scripts;
use redis::Value;
use redis::aio::MultiplexedConnection;

const BATCHES: [usize; 4] = [1, 10, 100, 1000];
const NOW: &str = "1700000000000";

#[derive(Clone, Copy, PartialEq)]
enum Op {
    Add,
    AddPrioritized,
    AddDelayed,
    Take,
    /// The hot path: finishes as many jobs as it takes.
    CompleteAndTake,
    RetryAndTake,
    ExtendLocks,
    SaveProgress,
    UpdateData,
    ReadFinished,
    ListJobs,
}

const OPS: [(&str, Op); 11] = [
    ("add_jobs", Op::Add),
    ("add_jobs, priority", Op::AddPrioritized),
    ("add_jobs, delay", Op::AddDelayed),
    ("settle: take", Op::Take),
    ("settle: complete, take", Op::CompleteAndTake),
    ("settle: retry, take", Op::RetryAndTake),
    ("extend_locks", Op::ExtendLocks),
    ("save_progress", Op::SaveProgress),
    ("update_data", Op::UpdateData),
    ("read_finished", Op::ReadFinished),
    ("list_jobs", Op::ListJobs),
];

struct Bench {
    scripts: Scripts,
    redis: MultiplexedConnection,
    data: String,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let items: usize = std::env::args().skip(1).find_map(|arg| arg.parse().ok()).unwrap_or(2000);
    // Never a server with data: the keys of `bench` are deleted between the figures.
    let server = support::own();
    let bench = Bench {
        scripts: Scripts::connect(&server.url, "q").await?,
        redis: redis::Client::open(&*server.url)?.get_multiplexed_async_connection().await?,
        data: format!(r#"{{"payload":"{}"}}"#, "x".repeat(106)),
    };
    println!("Redis µs per item{}", BATCHES.map(|batch| format!("{batch:>9}")).concat());
    for (name, op) in OPS {
        let mut row = format!("{name:<26}");
        for batch in BATCHES {
            bench.measure(op, batch, batch.min(items)).await?; // loads the script
            row += &format!("{:>9.2}", bench.measure(op, batch, items).await?);
        }
        println!("{row}");
    }
    Ok(())
}

impl Bench {
    /// Returns µs per item, for this many items in batches.
    async fn measure(&self, op: Op, batch: usize, items: usize) -> Result<f64> {
        let rounds = items.div_ceil(batch);
        let mut redis = self.redis.clone();
        redis::cmd("FLUSHDB").exec_async(&mut redis).await?;
        let mut held = Vec::new();
        if !matches!(op, Op::Add | Op::AddPrioritized | Op::AddDelayed) {
            for _ in 0..(rounds + 1) * batch / 1000 + 1 {
                self.add("w", &[], 1000).await?;
            }
            if op != Op::Take {
                held = self.take(batch, &[]).await?;
            }
        }
        redis::cmd("CONFIG").arg("RESETSTAT").exec_async(&mut redis).await?;
        for _ in 0..rounds {
            self.round(op, batch, &mut held).await?;
        }
        let info: String = redis::cmd("INFO").arg("commandstats").query_async(&mut redis).await?;
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).context("no evalsha")?;
        let usec = line.split(',').find_map(|part| part.strip_prefix("usec=")).context("no usec")?;
        Ok(usec.parse::<f64>()? / (rounds * batch) as f64)
    }

    async fn round(&self, op: Op, batch: usize, held: &mut Vec<String>) -> Result<()> {
        let pairs = |value: &str| held.iter().flat_map(|id| [id.clone(), value.to_owned()]).collect::<Vec<_>>();
        match op {
            Op::Add => self.add("w", &[], batch).await?,
            Op::AddPrioritized => self.add("p", &["0", "5"], batch).await?,
            Op::AddDelayed => self.add("d", &["60000", "0"], batch).await?,
            Op::Take => drop(self.take(batch, &[]).await?),
            Op::CompleteAndTake => {
                let ended = held.iter().flat_map(|id| [id, "null"]).map(str::to_owned);
                let head = ["done", "t", "1", &held.len().to_string()].map(str::to_owned);
                *held = self.take(batch, &head.into_iter().chain(ended).collect::<Vec<_>>()).await?;
            }
            Op::RetryAndTake => {
                let ended = held.iter().flat_map(|id| ["retry", id, "t", "no", "[]", "0", ""].map(str::to_owned));
                *held = self.take(batch, &ended.collect::<Vec<_>>()).await?;
            }
            Op::ExtendLocks => {
                let args = [vec!["30000".to_owned()], pairs("t")].concat();
                self.scripts.run("extend_locks", &args).await?;
            }
            Op::SaveProgress => drop(self.scripts.run("save_progress", &pairs("50")).await?),
            Op::UpdateData => drop(self.scripts.run("update_data", &pairs(&self.data)).await?),
            Op::ReadFinished => drop(self.scripts.run("read_finished", held).await?),
            Op::ListJobs => {
                let last = (batch - 1).to_string();
                self.scripts.run("list_jobs", &["jobs", "asc", "1000", "active", "0", &last, ""]).await?;
            }
        }
        Ok(())
    }

    /// Adds so many jobs with this delay and priority, which jobs that just wait are without.
    async fn add(&self, place: &str, delay_and_priority: &[&str], count: usize) -> Result<()> {
        let one = [&[place, "", "n", &self.data, "{}", NOW], delay_and_priority].concat();
        self.scripts.run("add_jobs", &std::iter::repeat_n(&one, count).flatten().collect::<Vec<_>>()).await?;
        Ok(())
    }

    /// Finishes jobs, takes others, and returns their ids.
    async fn take(&self, count: usize, ended: &[String]) -> Result<Vec<String>> {
        let head = [NOW, &count.to_string(), "t", "600000", "bench", "", "", ""].map(str::to_owned);
        let reply = self.scripts.run("settle", &[&head[..], ended].concat()).await?;
        let Value::Array(parts) = reply else { anyhow::bail!("settle: {reply:?}") };
        // A job is its texts, joined, of which the first is the id, and a number whose lowest byte is the length of the id.
        let mut ids = Vec::with_capacity(count);
        for job in parts.chunks_exact(2).take(count) {
            let (texts, lengths): (String, u64) =
                (redis::from_redis_value_ref(&job[0])?, redis::from_redis_value_ref(&job[1])?);
            ids.push(texts[..usize::from(lengths.to_le_bytes()[0])].to_owned());
        }
        anyhow::ensure!(ids.len() == count, "{} jobs instead of {count}", ids.len());
        Ok(ids)
    }
}
