//! A shop with problems: queues of oxmq and of Node in which something is wrong, served on a real socket.

use std::time::{Duration, SystemTime};

use axum::Router;
use oxmq::dashboard::Dashboard;
use oxmq::{FlowNode, Halt, Job, JobOptions, JobState, NewJob, Queue, Repeat, Worker};
use serde_json::{Value, json};

use crate::common::fixture::Fixture;
use crate::common::node::{BullMq, NodeDriver};
use crate::common::server::shared_server;

pub(super) struct Shop {
    pub(super) fixture: Fixture,
    pub(super) url: String,
    /// Id of a job that runs until it is told to end.
    pub(super) running: String,
    pub(super) report: String,
    _workers: Vec<Worker>,
    _node: NodeDriver,
}

async fn deliver(job: Job) -> Result<Value, Halt> {
    job.add_log(&format!("connecting to mx.example.org for {}", job.data()["to"]), 0).await?;
    job.add_log("220 mx.example.org ESMTP ready", 0).await?;
    job.update_progress(&50).await?;
    match job.data()["to"].as_str() {
        Some("nobody@example.org") => Err("550 5.1.1 no such user here".into()),
        Some("slow@example.org") => Err("421 4.7.0 try again later: connection timed out after 30 s".into()),
        _ => Ok(json!({ "queued": "4Xk2", "ms": 35 })),
    }
}

async fn encode(job: Job) -> Result<Value, Halt> {
    job.update_progress(&62).await?;
    if job.name() == "thumbnail" {
        return Ok(json!({ "width": 320, "height": 200 }));
    }
    job.cancellation().cancelled().await;
    Err("cancelled".into())
}

fn ago(minutes: u64) -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "the jobs of a test may be as old as they like")]
    let now = SystemTime::now();
    now - Duration::from_secs(60 * minutes)
}

impl Shop {
    pub(super) async fn open(dashboard: impl FnOnce(Dashboard) -> Dashboard) -> Self {
        let fixture = Fixture::new().await;
        let node = NodeDriver::start(BullMq::V6, &shared_server().url(), &fixture.prefix).await;
        let workers = vec![
            fixture.client.worker("mails", deliver).name("anna").concurrency(4).start().unwrap(),
            fixture.client.worker("photos", encode).name("bert").concurrency(2).start().unwrap(),
        ];
        mails(&fixture).await;
        let running = photos(&fixture).await;
        late(&fixture).await;
        let report = flow(&fixture).await;
        for n in 0..7 {
            let opts = json!({ "priority": n % 3, "attempts": 5, "backoff": { "type": "exponential", "delay": 1000 } });
            let data = json!({ "order": 8100 + n, "currency": "EUR" });
            node.call("add", json!({ "queue": "payments", "name": "capture", "data": data, "opts": opts }))
                .await
                .unwrap();
        }
        metrics(&fixture).await;
        fixture.queue.obliterate().await.unwrap();
        let dashboard = dashboard(Dashboard::new(fixture.client.clone()).title("night shop").authorize(|_, _| true));
        let app: Router = Router::new().nest("/queues", dashboard.router());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/queues", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { fixture, url, running, report, _workers: workers, _node: node }
    }

    /// Returns where each kind of page is.
    pub(super) fn pages(&self) -> Vec<String> {
        let lists =
            ["failed", "completed", "active", "waiting", "delayed"].map(|state| format!("/queue/mails?state={state}"));
        let others = [
            "",
            "/queue/payments?state=prioritized",
            "/queue/photos?state=delayed",
            "/queue/photos?state=active",
            "/queue/search-index?state=waiting",
            "/queue/reports?state=waiting-children",
            "/queue/mails?state=failed&name=nothing",
            "/queue/mails/latest",
            "/queue/mails/schedulers",
            "/queue/mails/events",
            "/queue/mails/add",
            "/queue/mails/job/1",
            "/queue/mails/job/gone",
            "/workers?queue=photos",
            "/schedulers",
            "/doctor",
            "/server",
            "/search?q=nothing",
            "/search?q=mail",
        ];
        let jobs = [("reports", &self.report), ("photos", &self.running)];
        let jobs = jobs.map(|(queue, id)| format!("/queue/{queue}/job/{id}"));
        others.map(str::to_owned).into_iter().chain(lists).chain(jobs).collect()
    }
}

async fn mails(fixture: &Fixture) {
    let queue: Queue = fixture.client.queue("mails").open().unwrap();
    let mail = |n: u64| {
        let (name, to) = match n {
            0..6 => ("welcome", "nobody@example.org".to_owned()),
            6..9 => ("invoice", "slow@example.org".to_owned()),
            n => ("welcome", format!("user{n}@example.org")),
        };
        let data = json!({ "to": to, "template": name, "locale": "en", "order": { "id": 8000 + n, "items": [{ "sku": "OX-1", "count": 2 }] }, "apiToken": "secret" });
        let options = JobOptions::default().attempts(2).backoff(Duration::from_millis(5)).remove_on_complete(1_000);
        NewJob::new(name, data).options(options)
    };
    for added in queue.add_bulk((0..60).map(mail)).await.unwrap() {
        added.unwrap();
    }
    let settled = async || {
        let counts = queue.get_job_counts(&[JobState::Completed, JobState::Failed]).await.unwrap();
        (counts.completed, counts.failed) == (51, 9)
    };
    crate::common::eventually::eventually_within(Duration::from_secs(60), "mails are sent", settled).await;
    let nightly = Repeat::cron("30 2 * * *").tz("Europe/Berlin");
    queue.upsert_job_scheduler("newsletter", nightly).name("newsletter").data(json!({ "list": "all" })).await.unwrap();
    let digest = Repeat::every(Duration::from_secs(3_600));
    queue.upsert_job_scheduler("digest", digest).name("digest").data(json!({})).await.unwrap();
}

/// Fills a queue with a job that keeps running, and returns its id.
async fn photos(fixture: &Fixture) -> String {
    let queue: Queue = fixture.client.queue("photos").open().unwrap();
    for n in 0..12 {
        queue.add("thumbnail", json!({ "photo": n })).await.unwrap();
    }
    let running = queue.add("encode", json!({ "film": "ox.mkv", "codec": "av1" })).await.unwrap();
    queue.add("publish", json!({ "photo": 3 })).delay(Duration::from_secs(5_400)).await.unwrap();
    let is_active = async || queue.job(running.id()).get_state().await.unwrap() == JobState::Active;
    crate::common::eventually::eventually("a film is encoded", is_active).await;
    running.id().to_owned()
}

/// Fills a queue without workers.
async fn late(fixture: &Fixture) {
    let queue: Queue = fixture.client.queue("search-index").open().unwrap();
    let jobs = (0..34)
        .map(|n| NewJob::new("reindex", json!({ "page": n })).options(JobOptions::default().timestamp(ago(47 - n))));
    for added in queue.add_bulk(jobs).await.unwrap() {
        added.unwrap();
    }
}

/// Adds a flow and returns the id of the waiting parent.
async fn flow(fixture: &Fixture) -> String {
    let pages = (0..3).map(|n| {
        let kids = (0..2).map(|k| FlowNode::new("reports", format!("chart {n}.{k}"), json!({ "k": k })));
        FlowNode::new("reports", format!("page {n}"), json!({ "n": n })).children(kids)
    });
    let report = FlowNode::new("reports", "month end", json!({ "month": "2026-10" })).children(pages);
    let added = fixture.client.flow_producer().add(report).await.unwrap();
    added.id().to_owned()
}

/// Stores metrics of an hour, as workers with metrics write them.
async fn metrics(fixture: &Fixture) {
    let mut redis = fixture.redis.clone();
    for (queue, scale) in [("mails", 40.0), ("photos", 12.0), ("payments", 25.0)] {
        for (kind, share) in [("completed", 1.0), ("failed", 0.05)] {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "figures of a test")]
            let minutes: Vec<u64> = (0..60)
                .map(|n| {
                    let wave: f64 = 1.0 + 0.5 * (f64::from(n) / 7.0).sin() + 0.2 * (f64::from(n) * 2.3).sin();
                    (scale * share * wave + if kind == "failed" && (20..26).contains(&n) { 4.0 } else { 0.0 }) as u64
                })
                .collect();
            let key = format!("{}:{queue}:metrics:{kind}", fixture.prefix);
            let at = ago(0).duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis().to_string();
            let count = minutes.iter().sum::<u64>().to_string();
            redis::pipe()
                .hset_multiple(&key, &[("count", &count), ("prevTS", &at), ("prevCount", &count)])
                .rpush(format!("{key}:data"), &minutes)
                .exec_async(&mut redis)
                .await
                .unwrap();
        }
    }
}
