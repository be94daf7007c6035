//! The options of an added job, and the operations on a job.

use oxmq::job::RetryOptions;
use oxmq::options::ParentRef;
use oxmq::{Backoff, Deduplication, JobOptions, KeepJobs};

use super::*;

/// Returns a job with these options.
fn with(options: JobOptions) -> NewJob<Value> {
    NewJob::new("job", json!({ "n": 1 })).options(options)
}

fn options() -> JobOptions {
    JobOptions::default()
}

/// Returns a row for an option of a job that is added, run and followed by another one.
fn option<V: Debug + Clone + Send + 'static>(
    name: &'static str,
    values: &[V],
    expected: &str,
    set: impl Fn(V) -> JobOptions + Copy + Send + Sync + 'static,
) -> Row {
    row(name, values, expected, move |on, value| async move { on.runs(with(set(value))).await })
}

/// Returns a row for an operation on a waiting job.
fn waiting<V, Fut>(
    name: &'static str,
    values: &[V],
    expected: &str,
    call: impl Fn(Job, V) -> Fut + Copy + Send + Sync + 'static,
) -> Row
where
    V: Debug + Clone + Send + Sync + 'static,
    Fut: Future<Output = oxmq::Result<()>> + Send + 'static,
{
    row(name, values, expected, move |on, value| async move { call(on.waiting().await, value).await })
}

/// Returns a row for an operation on a locked job.
fn held<V, Fut>(
    name: &'static str,
    values: &[V],
    expected: &str,
    call: impl Fn(Job, V) -> Fut + Copy + Send + Sync + 'static,
) -> Row
where
    V: Debug + Clone + Send + Sync + 'static,
    Fut: Future<Output = oxmq::Result<()>> + Send + 'static,
{
    row(name, values, expected, move |on, value| async move { call(on.held().await, value).await })
}

pub(super) fn rows() -> Vec<Row> {
    [added(), kept(), done_to()].into_iter().flatten().collect()
}

fn added() -> Vec<Row> {
    let retried = |backoff: Backoff| options().attempts(2).backoff(backoff);
    vec![
        row(
            "Queue::add(name)",
            &TEXTS,
            "ooooo",
            |on, name| async move { on.queue.add(name, json!(1)).await.map(drop) },
        ),
        row("NewJob::new(name)", &TEXTS, "ooooo", |on, name| async move { on.runs(NewJob::new(name, json!(1))).await }),
        option("JobOptions::attempts(attempts)", &U32, "ooo", |n| options().attempts(n)),
        option("JobOptions::backoff(backoff)", &SPANS, "ooox", |span| options().attempts(2).backoff(span)),
        option("Backoff::fixed(delay)", &SPANS, "ooox", move |span| retried(Backoff::fixed(span))),
        option("Backoff::exponential(delay)", &SPANS, "ooox", move |span| retried(Backoff::exponential(span))),
        option("Backoff::custom(name)", &TEXTS, "xoooo", move |name| retried(Backoff::custom(name))),
        option("Backoff::delay(delay)", &SPANS, "ooox", move |span| retried(Backoff::custom("mine").delay(span))),
        option("Backoff::max_delay(longest)", &SPANS, "ooox", move |span| {
            retried(Backoff::exponential(Duration::from_secs(1)).max_delay(span))
        }),
        option("Backoff::jitter(jitter)", &[-0.1, 0.0, 1.0, 1.1, f64::NAN, f64::INFINITY], "xooxxx", move |part| {
            retried(Backoff::fixed(Duration::from_secs(1)).jitter(part))
        }),
        option("JobOptions::delay(delay)", &SPANS, "ooox", |span| options().delay(span)),
        option("JobOptions::run_at(at)", &moments(), "ooox", |at| options().run_at(at)),
        option("JobOptions::priority(priority)", &[0, 1, 2_097_151, 2_097_152, u32::MAX], "oooxx", |n| {
            options().priority(n)
        }),
        option("JobOptions::job_id(id)", &TEXTS, "xxxxx", |id| options().job_id(id)),
        option("JobOptions::timestamp(at)", &moments(), "xxox", |at| options().timestamp(at)),
        option("JobOptions::remove_on_complete(keep)", &U64, "oox", |n| options().remove_on_complete(n)),
        option("JobOptions::remove_on_fail(keep)", &U64, "oox", |n| options().remove_on_fail(n)),
        option("JobOptions::keep_logs(lines)", &U32, "ooo", |n| options().keep_logs(n)),
        option("JobOptions::size_limit(bytes)", &USIZE, "oxo", |n| options().size_limit(n)),
        option("JobOptions::stack_trace_limit(traces)", &U32, "ooo", |n| options().stack_trace_limit(n)),
        option("JobOptions::telemetry_metadata(metadata)", &TEXTS, "ooooo", |text| options().telemetry_metadata(text)),
        option("JobOptions::start_by(latest)", &moments(), "xxox", |at| options().start_by(at)),
        option("JobOptions::expires_in(span)", &SPANS, "xoox", |span| options().expires_in(span)),
        option("JobOptions::timeout(timeout)", &SPANS, "xoox", |span| options().timeout(span)),
        option("JobOptions::extra(name)", &TEXTS, "xoooo", |name| options().extra(name, 1)),
        row(
            "JobOptions::from_json(json)",
            &TEXTS,
            "xxxxx",
            |_, json| async move { JobOptions::from_json(json).map(drop) },
        ),
        option("Deduplication::new(id)", &TEXTS, "xooox", |id| options().deduplication(Deduplication::new(id))),
        option("Deduplication::ttl(ttl)", &SPANS, "xoox", |span| {
            options().deduplication(Deduplication::new("d").ttl(span).extend().replace())
        }),
        row("ParentRef::new(id)", &TEXTS, "xxxrr", |on, id| async move {
            let parent = ParentRef::new(id, format!("{}:{}", on.queue.prefix(), on.name))?;
            on.runs(with(options().parent(parent))).await
        }),
        row("ParentRef::new(queue)", &["", "q", ":", "p:", ":q", "p:q", LONG], "xxxxxrx", |on, queue| async move {
            on.runs(with(options().parent(ParentRef::new("1", queue)?))).await
        }),
    ]
}

fn kept() -> Vec<Row> {
    let both = |keep: KeepJobs| options().remove_on_complete(keep).remove_on_fail(keep);
    vec![
        option("KeepJobs::count(count)", &U64, "oox", move |n| both(KeepJobs::new().count(n))),
        option("KeepJobs::age(age)", &SPANS, "ooox", move |age| both(KeepJobs::new().age(age))),
        option("KeepJobs::limit(limit)", &U64, "xox", move |n| both(KeepJobs::new().age(Duration::ZERO).limit(n))),
    ]
}

fn done_to() -> Vec<Row> {
    vec![
        waiting("JobRef::get_children_page(cursor)", &U64, "ooo", |job, cursor| async move {
            for kind in [
                oxmq::job::ChildKind::Processed,
                oxmq::job::ChildKind::Unprocessed,
                oxmq::job::ChildKind::Ignored,
                oxmq::job::ChildKind::Failed,
            ] {
                job.get_children_page(kind, cursor, 10).await?;
            }
            Ok(())
        }),
        waiting("JobRef::get_children_page(count)", &U32, "ooo", |job, count| async move {
            job.get_children_page(oxmq::job::ChildKind::Failed, u64::MAX, count).await?;
            job.get_children_page(oxmq::job::ChildKind::Processed, 0, count).await.map(drop)
        }),
        held("Job::move_to_completed(token)", &TEXTS, "rrrrr", |job, token| async move {
            job.move_to_completed(&json!(1), token).await
        }),
        held("Job::move_to_completed_and_fetch(token)", &TEXTS, "rrrrr", |job, token| async move {
            job.move_to_completed_and_fetch(&json!(1), token).await.map(drop)
        }),
        held("Job::move_to_failed(token)", &TEXTS, "rrrrr", |job, token| async move {
            job.move_to_failed("why", token).await
        }),
        held("Job::move_to_failed_and_fetch(token)", &TEXTS, "rrrrr", |job, token| async move {
            job.move_to_failed_and_fetch("why", token).await.map(drop)
        }),
        held(
            "Job::move_to_delayed(at)",
            &moments(),
            "oooo",
            |job, at| async move { job.move_to_delayed(at, "t").await },
        ),
        held("Job::move_to_delayed(token)", &TEXTS, "rrrrr", |job, token| async move {
            job.move_to_delayed(UNIX_EPOCH, token).await
        }),
        held("Job::move_to_wait(token)", &TEXTS, "rrrrr", |job, token| async move {
            job.move_to_wait(token).await.map(drop)
        }),
        held("Job::move_to_waiting_child(child_key)", &TEXTS, "xoooo", |job, child| async move {
            assert!(!job.move_to_waiting_child(child, "t").await?);
            Ok(())
        }),
        held("Job::move_to_waiting_child(token)", &TEXTS, "ooooo", |job, token| async move {
            job.move_to_waiting_child("bull:q:x", token).await.map(drop)
        }),
        held("Job::move_to_waiting_children(token)", &TEXTS, "ooooo", |job, token| async move {
            job.move_to_waiting_children(token).await.map(drop)
        }),
        held("Job::extend_lock(token)", &TEXTS, "ooooo", |job, token| async move {
            assert!(!job.extend_lock(token, Duration::from_secs(1)).await?);
            Ok(())
        }),
        held("Job::extend_lock(life)", &SPANS, "xxox", |job, life| async move {
            assert!(job.extend_lock("t", life).await?);
            Ok(())
        }),
        waiting(
            "JobRef::wait_until_finished(limit)",
            &[Duration::ZERO, Duration::from_nanos(1)],
            "tt",
            |job, limit| async move { job.wait_until_finished(limit).await.map(drop) },
        ),
        waiting("Job::log(line)", &TEXTS, "ooooo", |job, line| async move { job.log(line).await.map(drop) }),
        waiting(
            "JobRef::cancel(reason)",
            &TEXTS,
            "ooooo",
            |job, reason| async move { job.cancel(reason).await.map(drop) },
        ),
        row("JobRef::change_delay(delay)", &SPANS, "ooox", |on, delay| async move {
            on.delayed().await.change_delay(delay).await
        }),
        waiting(
            "JobRef::change_priority(priority)",
            &[0, 1, 2_097_151, 2_097_152, u32::MAX],
            "oooxx",
            |job, n| async move { job.change_priority(n).await },
        ),
        waiting(
            "JobRef::change_priority_lifo(priority)",
            &[0, 1, 2_097_151, 2_097_152, u32::MAX],
            "oooxx",
            |job, n| async move { job.change_priority_lifo(n).await },
        ),
        waiting("JobRef::retry(state)", &states(), "rrxxxxxxx", |job, state| async move {
            job.retry(state, RetryOptions::default()).await
        }),
        waiting("JobRef::clear_logs(keep)", &U64, "ooo", |job, keep| async move {
            job.log("a line").await?;
            job.clear_logs(keep).await
        }),
    ]
}
