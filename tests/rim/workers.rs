//! The options of workers and of connections.

use oxmq::options::Retry;
use oxmq::worker::layer::{Concurrency, Timeouts};
use oxmq::worker::{Report, WorkerBuilder, WorkerEvent};
use oxmq::{Backoff, Halt, KeepJobs, Router};

use super::*;
use crate::common::eventually::eventually;

async fn done(_: Job) -> Result<Value, Halt> {
    Ok(json!(1))
}

/// Returns a row for an option of a worker that runs a job to its end and closes.
fn option<V: Debug + Clone + Send + 'static>(
    name: &'static str,
    values: &[V],
    expected: &str,
    set: impl Fn(WorkerBuilder, V) -> WorkerBuilder + Copy + Send + Sync + 'static,
) -> Row {
    row(name, values, expected, move |on, value| async move {
        let worker = set(on.client.worker(&on.name, done), value).start()?;
        on.waiting().await;
        eventually("the job has ended", || async {
            let counts = worker.counts();
            counts.completed + counts.failed + counts.retried > 0
        })
        .await;
        assert_eq!(worker.close().await.abandoned, [""; 0]);
        Ok(())
    })
}

/// Closes a worker while a job runs that ends when it is told to.
async fn closes(
    on: &Ground,
    builder: impl Fn(WorkerBuilder) -> WorkerBuilder,
    within: Option<Duration>,
) -> oxmq::Result<Report> {
    let obeys = |job: Job| async move {
        if job.data() == &json!("at once") {
            return Ok::<Value, Halt>(json!(1));
        }
        job.cancellation().cancelled().await;
        Err(Halt::failed("told to stop"))
    };
    let data = if within.is_none() { "at once" } else { "when told" };
    let worker = builder(on.client.worker(&on.name, obeys)).start()?;
    let mut events = worker.events();
    on.queue.add("job", json!(data)).await?;
    while !matches!(events.recv().await, Some(WorkerEvent::Active { .. })) {}
    Ok(match within {
        None => worker.close().await,
        Some(within) => worker.close_within(within).await,
    })
}

pub(super) fn rows() -> Vec<Row> {
    [options(), said(), handles(), by_hand(), clients()].into_iter().flatten().collect()
}

fn options() -> Vec<Row> {
    let year = Duration::from_secs(365 * 24 * 3600);
    vec![
        option("WorkerBuilder::name(name)", &TEXTS, "ooooo", |worker, name| worker.name(name)),
        option("WorkerBuilder::concurrency(jobs)", &USIZE, "xoo", |worker, n| worker.concurrency(n)),
        option("WorkerBuilder::prefetch(jobs)", &[0, 1_000, 1_001, usize::MAX], "ooxx", |worker, n| worker.prefetch(n)),
        option(
            "WorkerBuilder::lock_duration(life)",
            &[Duration::ZERO, Duration::from_secs(1), year, Duration::MAX],
            "xoox",
            |worker, span| worker.lock_duration(span),
        ),
        option("WorkerBuilder::max_stalled_count(times)", &U32, "ooo", |worker, n| worker.max_stalled_count(n)),
        option(
            "WorkerBuilder::stalled_interval(interval)",
            &[Duration::ZERO, Duration::from_secs(1), year, Duration::MAX],
            "xoox",
            |worker, span| worker.stalled_interval(span),
        ),
        option(
            "WorkerBuilder::scheduler_check_interval(interval)",
            &[Duration::ZERO, Duration::from_secs(1), year, Duration::MAX],
            "xoox",
            |worker, span| worker.scheduler_check_interval(span),
        ),
        option("WorkerBuilder::max_started_attempts(times)", &U32, "ooo", |worker, n| worker.max_started_attempts(n)),
        option(
            "WorkerBuilder::drain_delay(delay)",
            &[Duration::ZERO, Duration::from_millis(1), Duration::from_secs(3_600), Duration::MAX],
            "xoox",
            |worker, span| worker.drain_delay(span),
        ),
        option("WorkerBuilder::maximum_rate_limit_delay(delay)", &SPANS, "xxoo", |worker, span| {
            worker.maximum_rate_limit_delay(span).limiter(1, Duration::from_secs(60))
        }),
        option("WorkerBuilder::remove_on_complete(keep)", &U64, "oox", |worker, n| worker.remove_on_complete(n)),
        option("WorkerBuilder::remove_on_fail(keep)", &U64, "oox", |worker, n| {
            worker.remove_on_fail(KeepJobs::new().count(n))
        }),
        option("WorkerBuilder::metrics(minutes)", &[0, 1, 527_040, u64::MAX], "xoox", |worker, n| worker.metrics(n)),
        option("WorkerBuilder::timeout(limit)", &SPANS, "xxoo", |worker, span| worker.timeout(span)),
        option("WorkerBuilder::limiter(max)", &U64, "xox", |worker, n| worker.limiter(n, Duration::from_secs(1))),
        option(
            "WorkerBuilder::limiter(window)",
            &[Duration::ZERO, Duration::from_millis(1), year, Duration::MAX],
            "xoox",
            |worker, span| worker.limiter(1, span),
        ),
        option("WorkerBuilder::limiter(max)", &U64, "xox", |worker, n| worker.limiter(n, Duration::from_secs(1))),
        option("WorkerBuilder::limiter(window)", &SPANS, "xxox", |worker, span| worker.limiter(5, span)),
        option("WorkerBuilder::event_buffer(events)", &[0, 1, 1 << 20, usize::MAX], "xoox", |worker, n| {
            worker.event_buffer(n)
        }),
        row(
            "WorkerBuilder::cancel_grace(grace)",
            &[Duration::from_secs(7), Duration::MAX],
            "oo",
            |on, grace| async move {
                let report = closes(&on, |worker| worker.cancel_grace(grace), Some(Duration::ZERO)).await?;
                assert_eq!((report.counts.failed, report.handed_back.len(), report.abandoned.len()), (0, 1, 0));
                Ok(())
            },
        ),
        row("WorkerBuilder::shutdown_timeout(timeout)", &SPANS, "oooo", |on, timeout| async move {
            closes(&on, |worker| worker.shutdown_timeout(timeout), None).await.map(drop)
        }),
    ]
}

/// The answers of processors and strategies.
fn said() -> Vec<Row> {
    /// Runs a job once with this answer, and closes.
    async fn once(
        on: Ground,
        set: impl FnOnce(WorkerBuilder) -> WorkerBuilder,
        answer: impl Fn() -> Halt + Clone + Send + Sync + 'static,
    ) -> oxmq::Result<()> {
        let answers = move |job: Job| {
            let answer = answer.clone();
            async move { if job.attempts_started() == 1 { Err(answer()) } else { Ok(json!(1)) } }
        };
        let worker = set(on.client.worker(&on.name, answers)).start()?;
        let mut events = worker.events();
        let backoff = Backoff::custom("mine").jitter(0.5);
        on.queue.add("job", json!(1)).attempts(2).backoff(backoff).await?;
        while !matches!(events.recv().await, Some(WorkerEvent::Active { .. })) {}
        let report = worker.close().await;
        assert_eq!((report.abandoned.len(), report.lost.len()), (0, 0), "{report:?}");
        Ok(())
    }
    vec![
        row("Halt::Delayed", &SPANS, "oooo", |on, span| once(on, |worker| worker, move || Halt::Delayed(span))),
        row("Halt::RateLimited", &SPANS, "oooo", |on, span| {
            once(on, |worker| worker.limiter(5, Duration::from_secs(1)), move || Halt::RateLimited(span))
        }),
        row("Retry::After", &SPANS, "oooo", |on, span| {
            once(on, move |worker| worker.backoff_strategy(move |_| Retry::After(span)), || Halt::failed("why"))
        }),
        row("Timeouts::on(limit)", &SPANS, "oooo", |on, span| {
            once(on, move |worker| worker.layer(Timeouts::new().on("job", span)), || Halt::failed("why"))
        }),
        row("Timeouts::otherwise(limit)", &SPANS, "oooo", |on, span| {
            once(on, move |worker| worker.layer(Timeouts::new().otherwise(span)), || Halt::failed("why"))
        }),
        row("Timeouts::on(name)", &TEXTS, "ooooo", |on, name| {
            let limits = Timeouts::new().on(name, Duration::from_secs(9));
            once(on, move |worker| worker.layer(limits), || Halt::failed("why"))
        }),
        row("Concurrency::on(jobs)", &USIZE, "ooo", |on, jobs| {
            once(on, move |worker| worker.layer(Concurrency::new().on("job", jobs)), || Halt::failed("why"))
        }),
        row("Concurrency::on(name)", &TEXTS, "ooooo", |on, name| {
            once(on, move |worker| worker.layer(Concurrency::new().on(name, 1)), || Halt::failed("why"))
        }),
        row("WorkerBuilder::on_error", &SPANS, "oooo", |on, span| {
            once(on, move |worker| worker.on_error(move |_| Retry::After(span)), || Halt::failed("why"))
        }),
        row("Halt::retry_after(after)", &SPANS, "oooo", |on, span| {
            once(on, |worker| worker, move || Halt::retry_after(span, "why"))
        }),
        row("WorkerBuilder::jitter_source", &[-1.0, 0.0, 2.0, f64::NAN, f64::INFINITY], "ooooo", |on, part| {
            once(on, move |worker| worker.jitter_source(move || part), || Halt::failed("why"))
        }),
    ]
}

fn handles() -> Vec<Row> {
    vec![
        row("Client::worker(queue)", &["", "a:b", "é"], "xxo", |on, name| async move {
            on.client.worker(name, done).start()?.close().await;
            Ok(())
        }),
        row("Worker::set_concurrency(jobs)", &USIZE, "xoo", |on, jobs| async move {
            let worker = on.client.worker(&on.name, done).start()?;
            worker.set_concurrency(jobs).await?;
            on.waiting().await;
            eventually("the job has ended", || async { worker.counts().completed > 0 }).await;
            worker.close().await;
            Ok(())
        }),
        row("Worker::cancel_job(id)", &TEXTS, "ooooo", |on, id| async move {
            let worker = on.client.worker(&on.name, done).start()?;
            assert!(!worker.cancel_job(id, "why"));
            worker.close().await;
            Ok(())
        }),
        row("Worker::cancel_job(reason)", &TEXTS, "ooooo", |on, reason| async move {
            on.client.worker(&on.name, done).start()?.cancel_job("job", reason);
            Ok(())
        }),
        row("Worker::cancel_all_jobs(reason)", &TEXTS, "ooooo", |on, reason| async move {
            on.client.worker(&on.name, done).start()?.cancel_all_jobs(reason);
            Ok(())
        }),
        row(
            "Worker::close_within(within)",
            &[Duration::ZERO, Duration::from_nanos(1)],
            "oo",
            |on, within| async move {
                assert_eq!(closes(&on, |worker| worker, Some(within)).await?.abandoned, [""; 0]);
                Ok(())
            },
        ),
        row("Router::replace(name)", &TEXTS, "ooooo", |on, name| async move {
            let worker = on.client.worker(&on.name, Router::new().on(name, done).replace(name, done)).start()?;
            worker.close().await;
            Ok(())
        }),
        row("Router::on(name)", &TEXTS, "ooooo", |on, name| async move {
            let worker = on.client.worker(&on.name, Router::new().on(name, done)).start()?;
            on.queue.add(name, json!(1)).await?;
            eventually("the job has ended", || async { worker.counts().completed > 0 }).await;
            worker.close().await;
            Ok(())
        }),
    ]
}

fn by_hand() -> Vec<Row> {
    vec![
        row("Client::manual_worker(queue)", &["", "a:b", "é"], "xxo", |on, name| async move {
            on.client.manual_worker::<Value, Value>(name).open().map(drop)
        }),
        row("ManualWorker::get_next_job(token)", &TEXTS, "xoooo", |on, token| async move {
            on.waiting().await;
            let job = on.manual().get_next_job(token).await?.unwrap();
            job.move_to_completed(&json!(1), token).await
        }),
        row("ManualWorker::fetch(token)", &TEXTS, "xoooo", |on, token| async move {
            on.waiting().await;
            on.manual().fetch(token).await?.job.unwrap().move_to_completed(&json!(1), token).await
        }),
        row("ManualWorker::get_next_job_within(token)", &TEXTS, "xoooo", |on, token| async move {
            on.waiting().await;
            on.manual().get_next_job_within(token, Duration::ZERO).await.map(drop)
        }),
        row("ManualWorker::get_next_job_within(limit)", &SPANS, "oooo", |on, limit| async move {
            on.waiting().await;
            assert!(on.manual().get_next_job_within("t", limit).await?.is_some());
            Ok(())
        }),
        row("ManualWorker::get_job(id)", &TEXTS, "ooooo", |on, id| async move {
            assert!(on.manual().get_job(id).await?.is_none());
            Ok(())
        }),
        row("ManualWorker::move_to_failed(id)", &TEXTS, "rrrrr", |on, id| async move {
            on.manual().move_to_failed(id, "t", "why").await
        }),
        row("ManualWorker::move_to_failed(token)", &TEXTS, "rrrrr", |on, token| async move {
            on.held().await;
            on.manual().move_to_failed("job", token, "why").await
        }),
        row("ManualWorker::extend_locks(locks)", &TEXTS, "ooooo", |on, text| async move {
            on.held().await;
            let lost = on.manual().extend_locks(&[(text, text), ("job", text)], Duration::from_secs(1)).await?;
            assert_eq!(lost, [text, "job"]);
            Ok(())
        }),
        row("ManualWorker::extend_locks(life)", &SPANS, "xxox", |on, life| async move {
            on.held().await;
            assert_eq!(on.manual().extend_locks(&[("job", "t")], life).await?, [""; 0]);
            Ok(())
        }),
        row("ManualWorker::get_cancellations(attempts)", &TEXTS, "ooooo", |on, text| async move {
            on.held().await;
            assert!(on.manual().get_cancellations(&[(text, text), ("job", text)]).await?.is_empty());
            Ok(())
        }),
        row("ManualWorker::rate_limit(pause)", &SPANS, "xxox", |on, pause| async move {
            on.manual().rate_limit(pause).await
        }),
    ]
}

fn clients() -> Vec<Row> {
    /// Connects to the shared server with changed options.
    async fn connect(change: impl FnOnce(ConnectOptions) -> ConnectOptions) -> oxmq::Result<()> {
        let options = change(ConnectOptions::from_url(&shared_server().url())?);
        Client::builder(options)
            .prefix(fresh_prefix())
            .connect()
            .await?
            .queue::<Value, Value>("q")
            .open()?
            .count()
            .await
            .map(drop)
    }
    vec![
        row(
            "Client::connect(url)",
            &["", "\0", "redis://", "redis://localhost:99999", LONG],
            "xxxxx",
            |_, url| async move { Client::connect(url).await.map(drop) },
        ),
        row(
            "ConnectOptions::from_url(url)",
            &["", "\0", "redis://", "redis://localhost:99999", LONG],
            "xxxxx",
            |_, url| async move { ConnectOptions::from_url(url).map(drop) },
        ),
        row("ClientBuilder::own_connections(workers)", &USIZE, "ooo", |on, workers| async move {
            let options = ConnectOptions::from_url(&crate::common::server::shared_server().url())?;
            let client = Client::builder(options).prefix(&on.name).own_connections(workers).connect().await?;
            let work = |_: oxmq::Job<serde_json::Value, ()>| async { Ok::<_, oxmq::Halt>(()) };
            client.worker("q", work).start()?.close().await;
            Ok(())
        }),
        row("ClientBuilder::prefix(prefix)", &["", "a\nb", "a:b é", &LONG[..257]], "xxox", |_, prefix| async move {
            let options = ConnectOptions::from_url(&shared_server().url())?;
            Client::builder(options).prefix(prefix).connect().await.map(drop)
        }),
        row(
            "ConnectOptions::sentinel(sentinels)",
            &["", "a b", "h:99999", "127.0.0.1:1", LONG],
            "xxxss",
            |_, host| async move {
                let options = ConnectOptions::sentinel([host], "m")?;
                Client::builder(options).connect().await.map(drop)
            },
        ),
        row("ConnectOptions::sentinel(master)", &TEXTS, "xssxs", |_, master| async move {
            let options = ConnectOptions::sentinel(["127.0.0.1:1"], master)?;
            Client::builder(options).connect().await.map(drop)
        }),
        row(
            "ConnectOptions::cluster(nodes)",
            &["", "a b", "h:99999", "127.0.0.1:1", LONG],
            "xxxss",
            |_, host| async move { Client::builder(ConnectOptions::cluster([host])?).connect().await.map(drop) },
        ),
        // These matter only for sentinels; `sentinel` tests the rest.
        row("ConnectOptions::sentinel_username(user)", &TEXTS, "ooooo", |_, user| {
            connect(move |o| o.sentinel_username(user))
        }),
        row("ConnectOptions::sentinel_password(secret)", &TEXTS, "ooooo", |_, secret| {
            connect(move |o| o.sentinel_password(secret))
        }),
        // This matters only for addresses that nodes or sentinels announce; `sentinel` and `cluster::named` test the
        // rest.
        row("ConnectOptions::node_addresses(map)", &TEXTS, "ooooo", |_, host| {
            connect(move |o| o.node_addresses(move |_, port| Some((host.to_owned(), port))))
        }),
        // This matters only for TLS; `faults::tls` tests the rest.
        row("ConnectOptions::tls_server_name(name)", &TEXTS, "ooooo", |_, name| async move {
            connect(|options| options.tls_server_name(name)).await
        }),
        row("ConnectOptions::username(user)", &TEXTS, "sssss", |_, user| {
            connect(move |o| o.username(user).password("x"))
        }),
        row("ConnectOptions::password(secret)", &TEXTS, "sssss", |_, secret| connect(move |o| o.password(secret))),
        row("ConnectOptions::db(db)", &I64, "xxos", |_, db| connect(move |o| o.db(db))),
        row("ConnectOptions::connect_timeout(timeout)", &SPANS, "xxox", |_, span| {
            connect(move |o| o.connect_timeout(span))
        }),
        row("ConnectOptions::command_timeout(timeout)", &SPANS, "xxox", |_, span| {
            connect(move |o| o.command_timeout(span))
        }),
    ]
}
