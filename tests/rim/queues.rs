//! The arguments of a queue and of its listeners.

use oxmq::client::Clock;
use oxmq::events::{EventId, EventsFrom, QueueEventsBuilder};
use oxmq::job::RetryOptions;
use oxmq::options::JobFilter;
use oxmq::queue::{JobCounts, Order};
use oxmq::{FlowNode, JobOptions, Repeat};

use super::*;

/// Returns a row for a call on a queue with one job, `job`, which is delayed.
fn asked<V, Fut>(
    name: &'static str,
    values: &[V],
    expected: &str,
    call: impl Fn(Queue, V) -> Fut + Copy + Send + Sync + 'static,
) -> Row
where
    V: Debug + Clone + Send + Sync + 'static,
    Fut: Future<Output = oxmq::Result<()>> + Send + 'static,
{
    row(name, values, expected, move |on, value| async move {
        on.delayed().await.log("a line").await?;
        call(on.queue, value).await
    })
}

pub(super) fn rows() -> Vec<Row> {
    [steered(), cleaned(), filtered(), by_id(), read(), listened(), flows(), schedulers(), repeats(), dashboards()]
        .into_iter()
        .flatten()
        .collect()
}

/// Whatever the arguments are, the first page is shown.
fn dashboards() -> Vec<Row> {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use oxmq::dashboard::Dashboard;
    use tower::ServiceExt;

    fn shown(name: &'static str, told: impl Fn(Dashboard, &'static str) -> Dashboard + Clone + Send + 'static) -> Row {
        row(name, &TEXTS, "ooooo", move |on, text| {
            let router: axum::Router = told(Dashboard::new(on.client), text).router();
            async move {
                let answer = router.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
                assert_eq!(answer.status(), StatusCode::OK);
                Ok(())
            }
        })
    }
    vec![
        shown("Dashboard::base_path(path)", |dashboard, path| dashboard.base_path(path)),
        shown("Dashboard::queues(names)", |dashboard, name| dashboard.queues([name])),
        row("Dashboard::stream_life(life)", &SPANS, "oooo", |on, life| {
            let router: axum::Router = Dashboard::new(on.client).stream_life(life).router();
            async move {
                let request = Request::get("/live?of=queues").body(Body::empty()).unwrap();
                assert_eq!(router.oneshot(request).await.unwrap().status(), StatusCode::OK);
                Ok(())
            }
        }),
        shown("Dashboard::title(title)", |dashboard, title| dashboard.title(title)),
    ]
}

fn steered() -> Vec<Row> {
    vec![
        row(
            "Client::queue(name)",
            &["", "a:b", "a\nb", "é", &LONG[..256], &LONG[..257]],
            "xxxoox",
            |on, name| async move { on.client.queue::<Value, Value>(name).open()?.add("job", json!(1)).await.map(drop) },
        ),
        asked("Queue::set_global_concurrency(jobs)", &U32, "xoo", |queue, jobs| async move {
            queue.set_global_concurrency(jobs).await
        }),
        asked("Queue::set_global_rate_limit(max)", &U64, "xox", |queue, max| async move {
            queue.set_global_rate_limit(max, Duration::from_secs(1)).await?;
            queue.remove_global_rate_limit().await.map(drop)
        }),
        asked("Queue::set_global_rate_limit(window)", &SPANS, "xxox", |queue, window| async move {
            queue.set_global_rate_limit(5, window).await?;
            queue.remove_global_rate_limit().await.map(drop)
        }),
        asked("Queue::rate_limit(pause)", &SPANS, "xxox", |queue, pause| async move { queue.rate_limit(pause).await }),
        row("QueueBuilder::max_len_events(events)", &U64, "ooo", |on, events| async move {
            let queue = on.client.queue::<Value, Value>(&on.name).max_len_events(events).open()?;
            queue.add("job", json!(1)).await.map(drop)
        }),
        asked(
            "Queue::trim_events(keep)",
            &U64,
            "ooo",
            |queue, keep| async move { queue.trim_events(keep).await.map(drop) },
        ),
        asked("Queue::publish_event(name)", &TEXTS, "xoooo", |queue, name| async move {
            queue.publish_event(name, &[]).await.map(drop)
        }),
        asked("Queue::publish_event(fields)", &TEXTS, "ooooo", |queue, text| async move {
            queue.publish_event("mine", &[(text, text)]).await.map(drop)
        }),
        asked("Queue::retry_jobs(state)", &states(), "ooxxxxxxx", |queue, state| async move {
            queue.retry_jobs(state, None).await.map(drop)
        }),
        asked("Queue::retry_jobs(until)", &moments(), "oooo", |queue, until| async move {
            queue.retry_jobs(JobState::Failed, Some(until)).await.map(drop)
        }),
        asked("Queue::retry_jobs_by_priority(state)", &states(), "ooxxxxxxx", |queue, state| async move {
            queue.retry_jobs_by_priority(state, None).await.map(drop)
        }),
        asked("Queue::retry_jobs_by_priority(until)", &moments(), "oooo", |queue, until| async move {
            queue.retry_jobs_by_priority(JobState::Failed, Some(until)).await.map(drop)
        }),
        row("Clock::manual(at)", &moments(), "oooo", |_, at| async move {
            assert!(Clock::manual(at).now() <= UNIX_EPOCH + Duration::from_millis(1 << 52));
            Ok(())
        }),
        row("Clock::set(at)", &moments(), "oooo", |_, at| async move {
            let clock = Clock::manual(UNIX_EPOCH);
            clock.set(at);
            assert!(clock.now() <= UNIX_EPOCH + Duration::from_millis(1 << 52));
            Ok(())
        }),
        row("Clock::advance(by)", &SPANS, "oooo", |_, by| async move {
            let [middle, end] = [1 << 51, 1 << 52].map(|ms| UNIX_EPOCH + Duration::from_millis(ms));
            let clock = Clock::manual(middle);
            clock.advance(by);
            assert!((middle..=end).contains(&clock.now()));
            Ok(())
        }),
    ]
}

fn cleaned() -> Vec<Row> {
    vec![
        asked("Queue::clean(grace)", &SPANS, "oooo", |queue, grace| async move {
            queue.clean(grace, 0, JobState::Failed).await.map(drop)
        }),
        asked("Queue::clean(limit)", &U64, "ooo", |queue, limit| async move {
            queue.clean(Duration::ZERO, limit, JobState::Delayed).await.map(drop)
        }),
        asked("Queue::clean(state)", &states(), "oooooooox", |queue, state| async move {
            queue.clean(Duration::ZERO, 0, state).await.map(drop)
        }),
        asked("Queue::remove_orphaned_jobs(limit)", &U64, "ooo", |queue, limit| async move {
            queue.remove_orphaned_jobs(limit).await.map(drop)
        }),
        asked("Queue::remove_deduplication_key(deduplication_id)", &TEXTS, "ooooo", |queue, id| async move {
            queue.remove_deduplication_key(id).await.map(drop)
        }),
    ]
}

/// The least, the greatest and absurd values of a filter, each used in a call.
fn filtered() -> Vec<Row> {
    /// Counts, reads a page and removes with the filter.
    async fn found(queue: Queue, filter: JobFilter) -> oxmq::Result<()> {
        queue.jobs(filter.clone()).count().await?;
        queue.jobs(filter.clone()).page(5).await?;
        queue.jobs(filter).remove().await.map(drop)
    }
    let text: [&str; 6] = ["", "meta", "job:logs", "\0\n", &LONG[..1024], LONG];
    vec![
        asked("JobFilter::new(states)", &states(), "oooooooox", |queue, state| found(queue, JobFilter::new([state]))),
        asked("JobFilter::only(state)", &states(), "oooooooox", |queue, state| {
            found(queue, JobFilter::all().only(state))
        }),
        asked("JobFilter::name(pattern)", &text, "ooooox", |queue, text| found(queue, JobFilter::all().name(text))),
        asked("JobFilter::id(pattern)", &text, "ooooox", |queue, text| found(queue, JobFilter::all().id(text))),
        asked("JobFilter::data_contains(text)", &text, "ooooox", |queue, text| {
            found(queue, JobFilter::all().data_contains(text))
        }),
        asked("JobFilter::reason_contains(text)", &text, "ooooox", |queue, text| {
            found(queue, JobFilter::all().reason_contains(text))
        }),
        asked("JobFilter::older_than(age)", &SPANS, "oooo", |queue, age| {
            found(queue, JobFilter::all().older_than(age))
        }),
        asked("JobFilter::newer_than(age)", &SPANS, "oooo", |queue, age| {
            found(queue, JobFilter::all().newer_than(age))
        }),
        asked("JobFilter::since(moment)", &moments(), "oooo", |queue, at| found(queue, JobFilter::all().since(at))),
        asked("JobFilter::until(moment)", &moments(), "oooo", |queue, at| found(queue, JobFilter::all().until(at))),
        asked("Jobs::limit(jobs)", &U64, "ooo", |queue, jobs| async move {
            queue.jobs(JobFilter::all()).limit(jobs).page(9).await?;
            queue.jobs(JobState::Delayed).limit(jobs).promote().await.map(drop)
        }),
        asked("Jobs::page(most)", &U32, "ooo", |queue, most| async move {
            queue.jobs(JobFilter::all()).page(most).await.map(drop)
        }),
        asked("Jobs::move_to(queue)", &["", "a:b", "\n", &LONG[..257], "é"], "xxxxo", |queue, to| async move {
            queue.jobs(JobFilter::waiting()).move_to(to).await.map(drop)
        }),
        asked("Jobs::cancel(reason)", &["", "é\n", LONG], "ooo", |queue, reason| async move {
            queue.jobs(JobFilter::delayed()).cancel(reason).await.map(drop)
        }),
        asked("Jobs::change_priority(priority)", &U32, "oox", |queue, priority| async move {
            queue.jobs(JobFilter::delayed()).change_priority(priority).await.map(drop)
        }),
        asked("Jobs::change_delay(delay)", &SPANS, "ooox", |queue, delay| async move {
            queue.jobs(JobFilter::delayed()).change_delay(delay).await.map(drop)
        }),
        row("Client::get_queue_overview(queue)", &["", "a:b", "a\nb", "é", LONG], "xxxox", |on, name| async move {
            on.client.get_queue_overview(name).await.map(drop)
        }),
        row("Doctor::queue(name)", &["", "a:b", "a\nb", "é", LONG], "xxxox", |on, name| async move {
            on.client.doctor().queue(name).pause(Duration::ZERO).examine().await.map(drop)
        }),
        row("Doctor::places(jobs)", &U64, "ooo", |on, jobs| async move { examined(&on, |d| d.places(jobs)).await }),
        row("Doctor::keys(keys)", &U64, "ooo", |on, keys| async move { examined(&on, |d| d.keys(keys)).await }),
        row(
            "Doctor::pause(pause)",
            &SPANS[..2],
            "oo",
            |on, span| async move { examined(&on, |d| d.pause(span)).await },
        ),
        row("MinuteCounts::per_minute(minutes)", &USIZE, "ooo", |on, minutes| async move {
            let rate = on.client.get_queue_overview("q").await?.completed.per_minute(minutes);
            assert_eq!(rate, None);
            Ok(())
        }),
    ]
}

/// Examines the queue of the test, which is in order.
async fn examined(on: &Ground, set: impl Fn(oxmq::doctor::Doctor) -> oxmq::doctor::Doctor) -> oxmq::Result<()> {
    on.delayed().await;
    let doctor = set(on.client.doctor().queue(on.queue.name()).pause(Duration::ZERO));
    let report = doctor.examine().await?;
    assert!(report.findings.iter().all(|finding| finding.queue.is_none()), "{report:?}");
    Ok(())
}

/// Jobs that do not exist, among them ids that would be keys of the queue itself.
fn by_id() -> Vec<Row> {
    let minute = Duration::from_secs(60);
    vec![
        // This sends nothing; the rows below show what each id leads to.
        asked("Queue::job(id)", &TEXTS, "ooooo", |queue, id| async move {
            assert_eq!(queue.job(id).id(), id);
            Ok(())
        }),
        asked("JobRef::remove of any id", &TEXTS, "ooooo", |queue, id| async move {
            queue.job(id).remove().await.map(drop)
        }),
        asked("JobRef::remove_without_children of any id", &TEXTS, "ooooo", |queue, id| async move {
            queue.job(id).remove_without_children().await.map(drop)
        }),
        asked("Queue::get_job(id)", &TEXTS, "ooooo", |queue, id| async move {
            assert!(queue.get_job(id).await?.is_none());
            Ok(())
        }),
        asked("JobRef::get_outcome of any id", &TEXTS, "ooooo", |queue, id| async move {
            queue.job(id).get_outcome().await.map(drop)
        }),
        asked("JobRef::wait_until_finished of any id", &TEXTS, "rrrrr", |queue, id| async move {
            queue.job(id).wait_until_finished(Duration::from_secs(1)).await.map(drop)
        }),
        asked("JobRef::promote of any id", &TEXTS, "rrrrr", |queue, id| async move { queue.job(id).promote().await }),
        asked("JobRef::change_delay of any id", &TEXTS, "rrrrr", move |queue, id| async move {
            queue.job(id).change_delay(minute).await
        }),
        asked("JobRef::change_priority of any id", &TEXTS, "rrrrr", |queue, id| async move {
            queue.job(id).change_priority(1).await
        }),
        asked("JobRef::change_priority_lifo of any id", &TEXTS, "rrrrr", |queue, id| async move {
            queue.job(id).change_priority_lifo(1).await
        }),
        asked("JobRef::retry of any id", &TEXTS, "rrrrr", |queue, id| async move {
            queue.job(id).retry(JobState::Failed, RetryOptions::default()).await
        }),
        asked("JobRef::update_progress of any id", &TEXTS, "rrrrr", |queue, id| async move {
            queue.job(id).update_progress(&1).await
        }),
        asked("JobRef::update_data of any id", &TEXTS, "rrrrr", |queue, id| async move {
            queue.job(id).update_data(&json!(1)).await
        }),
        asked(
            "JobRef::clear_logs of any id",
            &TEXTS,
            "ooooo",
            |queue, id| async move { queue.job(id).clear_logs(0).await },
        ),
        asked("JobRef::remove_unprocessed_children of any id", &TEXTS, "ooooo", |queue, id| async move {
            queue.job(id).remove_unprocessed_children().await
        }),
        asked("JobRef::get_dependencies of any id", &TEXTS, "ooooo", |queue, id| async move {
            queue.job(id).get_dependencies::<Value>().await.map(drop)
        }),
        asked("JobRef::get_dependencies_count of any id", &TEXTS, "ooooo", |queue, id| async move {
            queue.job(id).get_dependencies_count().await.map(drop)
        }),
        asked("JobRef::get_children_values of any id", &TEXTS, "ooooo", |queue, id| async move {
            queue.job(id).get_children_values::<Value>().await.map(drop)
        }),
        asked("JobRef::get_children_values_of(queue)", &TEXTS, "ooooo", |queue, name| async move {
            assert!(queue.job("1").get_children_values_of::<Value>(name).await?.is_empty());
            Ok(())
        }),
        asked("JobRef::get_ignored_children_failures of any id", &TEXTS, "ooooo", |queue, id| async move {
            queue.job(id).get_ignored_children_failures().await.map(drop)
        }),
        asked("JobRef::get_state of any id", &TEXTS, "ooooo", |queue, id| async move {
            assert_eq!(queue.job(id).get_state().await?, JobState::Unknown);
            Ok(())
        }),
        asked("JobRef::get_status of any id", &TEXTS, "ooooo", |queue, id| async move {
            assert!(queue.job(id).get_status().await?.is_none());
            Ok(())
        }),
        asked("Queue::get_job_status(id)", &TEXTS, "ooooo", |queue, id| async move {
            assert!(queue.get_job_status(id).await?.is_none());
            Ok(())
        }),
        asked("JobOpts::get(name)", &TEXTS, "ooooo", |queue, name| async move {
            let job = queue.add("job", json!(1)).await?;
            assert_eq!(job.opts().get::<Value>(name)?, None);
            Ok(())
        }),
        asked("JobRef::waits_for of any id", &TEXTS, "ooooo", |queue, id| async move {
            assert!(queue.job(id).waits_for().await?.is_none());
            Ok(())
        }),
        row("FlowProducer::get_flow(id)", &TEXTS, "ooooo", |on, id| async move {
            assert!(on.client.flow_producer().get_flow(&on.name, id).await?.is_none());
            Ok(())
        }),
        row("FlowProducer::get_flow(queue)", &["", "a:b", "é"], "xxo", |on, queue| async move {
            on.client.flow_producer().get_flow(queue, "job").await.map(drop)
        }),
        row("GetFlow::depth(levels)", &USIZE, "xox", |on, levels| async move {
            on.waiting().await;
            on.client.flow_producer().get_flow(&on.name, "job").depth(levels).await.map(drop)
        }),
        row("GetFlow::max_children(children)", &U32, "xoo", |on, children| async move {
            on.waiting().await;
            on.client.flow_producer().get_flow(&on.name, "job").max_children(children).await.map(drop)
        }),
        row("FlowProducer::max_jobs(jobs)", &USIZE, "xox", |on, jobs| async move {
            let flow = oxmq::FlowNode::new(&on.name, "root", 0);
            on.client.flow_producer().max_jobs(jobs).add(flow).await.map(drop)
        }),
        asked("JobRef::get_logs of any id", &TEXTS, "ooooo", |queue, id| async move {
            queue.job(id).get_logs(0, -1, Order::Ascending).await.map(drop)
        }),
        asked("JobRef::add_log of any id", &TEXTS, "rrrrr", |queue, id| async move {
            queue.job(id).add_log("a line", 1).await.map(drop)
        }),
        asked("JobRef::add_log(line)", &TEXTS, "ooooo", |queue, line| async move {
            queue.job("job").add_log(line, 1).await.map(drop)
        }),
        asked("JobRef::add_log(keep)", &U32, "ooo", |queue, keep| async move {
            queue.job("job").add_log("a line", keep).await.map(drop)
        }),
        asked("Queue::get_deduplication_job_id(deduplication_id)", &TEXTS, "ooooo", |queue, id| async move {
            queue.get_deduplication_job_id(id).await.map(drop)
        }),
    ]
}

fn read() -> Vec<Row> {
    vec![
        asked("Queue::get_jobs(states)", &states(), "ooooooooo", |queue, state| async move {
            queue.get_jobs(&[state, state], 0, -1, Order::Ascending).await.map(drop)
        }),
        asked("Queue::get_jobs(start)", &I64, "oooo", |queue, start| async move {
            queue.get_jobs(&[], start, -1, Order::Ascending).await?;
            queue.get_jobs(&[], start, i64::MAX, Order::Descending).await.map(drop)
        }),
        asked("Queue::get_jobs(end)", &I64, "oooo", |queue, end| async move {
            queue.get_jobs(&[], 0, end, Order::Ascending).await?;
            queue.get_jobs(&[], i64::MIN, end, Order::Descending).await.map(drop)
        }),
        asked("Queue::get_ranges(states)", &states(), "ooooooooo", |queue, state| async move {
            queue.get_ranges(&[state, state], 0, -1, Order::Ascending).await.map(drop)
        }),
        asked("Queue::get_ranges(start)", &I64, "oooo", |queue, start| async move {
            queue.get_ranges(&JobState::ALL, start, -1, Order::Ascending).await?;
            queue.get_ranges(&JobState::ALL, start, i64::MAX, Order::Descending).await.map(drop)
        }),
        asked("Queue::get_ranges(end)", &I64, "oooo", |queue, end| async move {
            queue.get_ranges(&JobState::ALL, 0, end, Order::Ascending).await?;
            queue.get_ranges(&JobState::ALL, i64::MIN, end, Order::Descending).await.map(drop)
        }),
        asked("Queue::get_job_counts(states)", &states(), "ooooooooo", |queue, state| async move {
            queue.get_job_counts(&[state, state]).await.map(drop)
        }),
        asked("Queue::record_job_counts_metric(states)", &states(), "ooooooooo", |queue, state| async move {
            queue.record_job_counts_metric(&[state, state]).await.map(drop)
        }),
        asked("JobCounts::get(state)", &states(), "ooooooooo", |_, state| async move {
            assert_eq!(JobCounts::default().get(state), 0);
            Ok(())
        }),
        asked("Queue::get_delayed_count_before(before)", &moments(), "oooo", |queue, before| async move {
            queue.get_delayed_count_before(before).await.map(drop)
        }),
        asked("Queue::get_due(ids)", &TEXTS, "ooooo", |queue, id| async move {
            queue.get_due(&[id, id]).await.map(|due| assert_eq!(due.len(), 2))
        }),
        asked("Queue::get_counts_per_priority(priorities)", &U32, "ooo", |queue, n| async move {
            queue.get_counts_per_priority(&[n, n]).await.map(drop)
        }),
        asked("JobRef::get_logs(start)", &I64, "oooo", |queue, start| async move {
            queue.job("job").get_logs(start, -1, Order::Ascending).await?;
            queue.job("job").get_logs(start, -1, Order::Descending).await.map(drop)
        }),
        asked("JobRef::get_logs(end)", &I64, "oooo", |queue, end| async move {
            queue.job("job").get_logs(0, end, Order::Ascending).await?;
            queue.job("job").get_logs(0, end, Order::Descending).await.map(drop)
        }),
        asked("Queue::get_metrics(state)", &states(), "ooxxxxxxx", |queue, state| async move {
            queue.get_metrics(state, 0, -1).await.map(drop)
        }),
        asked("Queue::get_metrics(start)", &I64, "oooo", |queue, start| async move {
            queue.get_metrics(JobState::Failed, start, -1).await.map(drop)
        }),
        asked("Queue::get_metrics(end)", &I64, "oooo", |queue, end| async move {
            queue.get_metrics(JobState::Failed, 0, end).await.map(drop)
        }),
        asked("Queue::export_prometheus_metrics(labels)", &TEXTS, "ooooo", |queue, text| async move {
            queue.export_prometheus_metrics(&[("label", text)]).await.map(drop)
        }),
        asked("Queue::get_rate_limit_ttl(max)", &U64, "ooo", |queue, max| async move {
            queue.get_rate_limit_ttl(Some(max)).await.map(drop)
        }),
    ]
}

fn listened() -> Vec<Row> {
    let hears = |on: Ground, set: Box<dyn FnOnce(QueueEventsBuilder) -> QueueEventsBuilder + Send>| async move {
        let mut events = set(on.client.queue_events(&on.name)).start()?;
        events.ready().await?;
        on.waiting().await;
        assert!(events.recv().await.is_some());
        events.close().await;
        Ok(())
    };
    vec![
        row("Client::queue_events(queue)", &["", "a:b", "é"], "xxo", |on, name| async move {
            on.client.queue_events(name).start().map(drop)
        }),
        row("QueueEventsBuilder::block(block)", &SPANS, "xxox", move |on, block| {
            hears(on, Box::new(move |events| events.block(block)))
        }),
        row("QueueEventsBuilder::buffer(events)", &USIZE, "xoo", move |on, n| {
            hears(on, Box::new(move |events| events.buffer(n)))
        }),
        row("EventId::new(ms)", &U64, "ooo", |on, ms| async move {
            let from = EventsFrom::After(EventId::new(ms, u64::MAX));
            on.client.queue_events(&on.name).from(from).start()?.ready().await.map(drop)
        }),
        row("EventId::new(number)", &U64, "ooo", |on, number| async move {
            let from = EventsFrom::After(EventId::new(u64::MAX, number));
            on.client.queue_events(&on.name).from(from).start()?.ready().await.map(drop)
        }),
    ]
}

fn schedulers() -> Vec<Row> {
    let every = || oxmq::Repeat::every(Duration::from_secs(60));
    vec![
        row("Queue::upsert_job_scheduler(id)", &TEXTS, "xooxx", move |on, id| async move {
            on.queue.upsert_job_scheduler(id, every()).await.map(drop)
        }),
        row("UpsertJobScheduler::name(name)", &TEXTS, "ooooo", move |on, name| async move {
            on.queue.upsert_job_scheduler("s", every()).name(name).await.map(drop)
        }),
        asked("Queue::remove_job_scheduler(id)", &TEXTS, "ooooo", |queue, id| async move {
            assert!(!queue.remove_job_scheduler(id).await?);
            Ok(())
        }),
        asked("Queue::get_job_scheduler(id)", &TEXTS, "ooooo", |queue, id| async move {
            assert!(queue.get_job_scheduler(id).await?.is_none());
            Ok(())
        }),
        asked("Queue::get_job_schedulers(start)", &I64, "oooo", |queue, start| async move {
            queue.get_job_schedulers(start, -1, Order::Ascending).await.map(drop)
        }),
        asked("Queue::get_job_schedulers(end)", &I64, "oooo", |queue, end| async move {
            queue.get_job_schedulers(0, end, Order::Descending).await.map(drop)
        }),
    ]
}

/// When a job repeats, as its scheduler is told.
fn repeats() -> Vec<Row> {
    fn upserted<V: Debug + Clone + Send + Sync + 'static>(
        name: &'static str,
        values: &[V],
        expected: &str,
        repeat: impl Fn(V) -> Repeat + Copy + Send + Sync + 'static,
    ) -> Row {
        row(name, values, expected, move |on, value| async move {
            on.queue.upsert_job_scheduler("s", repeat(value)).data(json!({})).await.map(drop)
        })
    }
    let every = || Repeat::every(Duration::from_secs(60));
    let cron = || Repeat::cron("0 0 H * * *").tz("UTC");
    vec![
        upserted("Repeat::every(span)", &SPANS, "xoox", Repeat::every),
        upserted("Repeat::cron(pattern)", &TEXTS, "xxxxx", Repeat::cron),
        upserted("Repeat::tz(zone)", &TEXTS, "xxxxx", move |zone| cron().tz(zone)),
        upserted("Repeat::hash_seed(seed)", &TEXTS, "ooooo", move |seed| cron().hash_seed(seed)),
        upserted("Repeat::limit(runs)", &U64, "xoo", move |runs| every().limit(runs)),
        upserted("Repeat::start_date(at)", &moments(), "ooox", move |at| every().start_date(at)),
        upserted("Repeat::end_date(at)", &moments(), "xxox", move |at| every().end_date(at)),
        upserted("Repeat::offset(offset)", &SPANS, "ooox", move |offset| every().offset(offset)),
        upserted("Repeat::catch_up(slots)", &U32, "oox", move |slots| every().catch_up(slots)),
        row("Repeat::next_runs(n)", &USIZE, "ooo", move |_, n| async move {
            every().limit(3).next_runs(n, UNIX_EPOCH).map(drop)
        }),
        row("Repeat::next_runs(from)", &moments(), "oooo", move |_, from| async move {
            every().offset(Duration::from_secs(7)).next_runs(3, from).map(drop)
        }),
        row("Repeat::runs(from)", &moments(), "oooo", move |_, from| async move {
            cron().hash_seed("s").runs(from).map(|runs| drop(runs.take(3).collect::<Vec<_>>()))
        }),
    ]
}

fn flows() -> Vec<Row> {
    const NAMES: [&str; 3] = ["", "a\nb", "é"];
    let node = |on: &Ground| FlowNode::new(&on.name, "job", json!(1));
    vec![
        row("FlowNode::new(queue)", &NAMES, "xxo", |on, queue| async move {
            on.client.flow_producer().add(FlowNode::new(queue, "job", json!(1))).await.map(drop)
        }),
        row("Client::event_cursor(queue)", &NAMES, "xxo", |on, queue| async move {
            on.client.event_cursor(queue, "mine").open().await.map(drop)
        }),
        row("Client::event_cursor(name)", &TEXTS, "xooox", |on, name| async move {
            let cursor = on.client.event_cursor(&on.name, name).open().await?;
            cursor.ack(EventId::new(1, 1)).await
        }),
        row("Client::remove_event_cursor(queue)", &NAMES, "xxo", |on, queue| async move {
            on.client.remove_event_cursor(queue, "mine").await.map(drop)
        }),
        row("Client::remove_event_cursor(name)", &TEXTS, "ooooo", |on, name| async move {
            on.client.remove_event_cursor(&on.name, name).await.map(drop)
        }),
        row("FlowNode::of(queue)", &NAMES, "xxo", |on, queue| async move {
            on.client.flow_producer().add(FlowNode::of(queue, Ping)).await.map(drop)
        }),
        row("FlowProducer::push(queue)", &NAMES, "xxo", |on, queue| async move {
            on.client.flow_producer().push(queue, Ping).await.map(drop)
        }),
        row("PushFlow::prefix(prefix)", &NAMES, "xxo", |on, prefix| async move {
            on.client.flow_producer().push(&on.name, Ping).prefix(prefix).await.map(drop)
        }),
        row("PushFlow::job_id(id)", &TEXTS, "xxxxx", |on, id| async move {
            on.client.flow_producer().push(&on.name, Ping).job_id(id).await.map(drop)
        }),
        row("FlowNode::new(name)", &TEXTS, "ooooo", |on, name| async move {
            on.client.flow_producer().add(FlowNode::new(&on.name, name, json!(1))).await.map(drop)
        }),
        row("FlowNode::prefix(prefix)", &NAMES, "xxo", move |on, prefix| async move {
            on.client.flow_producer().add(node(&on).prefix(prefix)).await.map(drop)
        }),
        row("FlowNode::job_id(id)", &TEXTS, "xxxxx", move |on, id| async move {
            on.client.flow_producer().add(node(&on).job_id(id)).await.map(drop)
        }),
        row("FlowProducer::prefix(prefix)", &NAMES, "xxo", move |on, prefix| async move {
            on.client.flow_producer().prefix(prefix).add(node(&on)).await.map(drop)
        }),
        row("FlowProducer::queue_options(queue)", &TEXTS, "ooooo", move |on, queue| async move {
            let flows = on.client.flow_producer().queue_options(queue, JobOptions::default());
            flows.add(node(&on)).await.map(drop)
        }),
    ]
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Ping;

impl oxmq::JobKind for Ping {
    const NAME: &'static str = "ping";
    type Output = ();
}
