//! The steps of a worker, by hand.

use super::options::keep_rules;
use super::*;

impl OxmqSide {
    pub(super) async fn worker(&mut self, name: &str) -> Result<&ManualWorker, Refusal> {
        if !self.workers.contains_key(name) {
            self.queue(name).await;
            let options = self.options.get(name).cloned().unwrap_or_default();
            let drawn = Arc::clone(&self.drawn);
            let builder = with_options(self.client().await.manual_worker(name), &options, drawn);
            // As version 6 does; `tests/worker/by_hand.rs` covers workers without this option.
            let worker = builder.hand_out_deferred_failures(true).open()?;
            self.workers.insert(name.to_owned(), worker);
        }
        Ok(&self.workers[name])
    }

    /// Shows the result of a fetch, and remembers the job.
    pub(super) fn show(&mut self, queue: &str, fetched: Fetched) -> Shown {
        let limited = fetched.limited_for > Duration::ZERO;
        let delay_until = fetched.next_due.map_or(0, ms);
        let job = fetched.job.as_ref().map(view);
        let id = fetched.job.as_ref().map(|job| job.id().to_owned());
        if let Some(job) = fetched.job {
            self.fetched.insert((queue.to_owned(), job.id().to_owned()), job);
        }
        Shown { job, id, limited, delay_until }
    }

    pub(super) async fn worker_step(&mut self, queue: &str, op: &Op) -> Answer {
        let worker = self.worker(queue).await?;
        Ok(match op {
            Op::GetNextJob { token } => {
                let fetched = worker.fetch(token).await?;
                let shown = self.show(queue, fetched);
                json!({ "job": shown.job, "limited": shown.limited, "delayUntil": shown.delay_until })
            }
            Op::ExtendLock { job, token, duration } => {
                let lost = worker.extend_locks(&[(job, token)], Duration::from_millis(*duration)).await?;
                json!(lost.is_empty())
            }
            Op::ExtendLocks { jobs, tokens, duration } => {
                let locks: Vec<(&str, &str)> =
                    jobs.iter().map(String::as_str).zip(tokens.iter().map(String::as_str)).collect();
                json!(worker.extend_locks(&locks, Duration::from_millis(*duration)).await?)
            }
            Op::StalledCheck => {
                let mut ids = worker.move_stalled_jobs_to_wait().await?;
                ids.sort();
                json!(ids)
            }
            Op::WorkerRateLimit { ms } => done(worker.rate_limit(Duration::from_millis(*ms)).await)?,
            Op::MoveToCompleted { job, token, value, fetch_next } => {
                let job = self.some(queue, job).await?;
                if !fetch_next {
                    job.move_to_completed(value, token).await?;
                    return Ok(nothing_next());
                }
                let fetched = job.move_to_completed_and_fetch(value, token).await?;
                self.show(queue, fetched).next()
            }
            Op::MoveToFailed { job, token, message, kind, fetch_next } => {
                let job = self.some(queue, job).await?;
                let halt = match kind {
                    ops::FailKind::Error => Halt::failed(message.clone()),
                    ops::FailKind::Unrecoverable => Halt::unrecoverable(message.clone()),
                };
                let most_starts = self.options.get(queue).and_then(|options| options.max_started_attempts);
                let again = *kind == ops::FailKind::Error
                    && job.attempts_made() + 1 < job.attempts()
                    && most_starts.is_none_or(|most| most == 0 || u64::from(job.attempts_started()) < most);
                // Node fetches no other job together with an immediate retry, and returns only the job with a later
                // retry.
                let at_once = again && !job.opts_json().contains("\"backoff\"");
                if !fetch_next || at_once {
                    job.move_to_failed(halt, token).await?;
                    return Ok(nothing_next());
                }
                let fetched = job.move_to_failed_and_fetch(halt, token).await?;
                match self.show(queue, fetched) {
                    Shown { id: None, .. } if again => nothing_next(),
                    shown => shown.next(),
                }
            }
            Op::MoveToDelayed { job, token, timestamp } => {
                let job = self.some(queue, job).await?;
                done(job.move_to_delayed(moment(*timestamp)?, token).await)?
            }
            Op::MoveToWait { job, token } => {
                let job = self.some(queue, job).await?;
                json!(job.move_to_wait(token).await? > Duration::ZERO)
            }
            Op::MoveToWaitingChildren { job, token, opts } => {
                let job = self.some(queue, job).await?;
                json!(match &opts.child {
                    None => Box::pin(job.move_to_waiting_children(token)).await?,
                    Some(child) => {
                        let key = format!("{}:{}", child.queue, child.id);
                        Box::pin(job.move_to_waiting_child(&key, token)).await?
                    }
                })
            }
            other => unreachable!("{other:?} is no step of a worker"),
        })
    }
}

pub(super) fn is_for_worker(op: &Op) -> bool {
    matches!(
        op,
        Op::GetNextJob { .. }
            | Op::ExtendLock { .. }
            | Op::ExtendLocks { .. }
            | Op::StalledCheck
            | Op::WorkerRateLimit { .. }
            | Op::MoveToCompleted { .. }
            | Op::MoveToFailed { .. }
            | Op::MoveToDelayed { .. }
            | Op::MoveToWait { .. }
            | Op::MoveToWaitingChildren { .. }
    )
}

pub(super) struct Shown {
    job: Option<Json>,
    id: Option<String>,
    limited: bool,
    delay_until: u64,
}

impl Shown {
    fn next(self) -> Json {
        json!({ "next": self.id, "limited": self.limited, "delayUntil": self.delay_until })
    }
}

pub(super) fn nothing_next() -> Json {
    json!({ "next": null, "limited": false, "delayUntil": 0 })
}

pub(super) fn with_options(
    worker: ManualWorkerBuilder,
    opts: &ops::WorkerOpts,
    drawn: Arc<AtomicU32>,
) -> ManualWorkerBuilder {
    let mut options = worker
        // The Node side counts them in the same way.
        .jitter_source(move || f64::from(drawn.fetch_add(1, Ordering::Relaxed) % 10) / 10.0);
    if let Some(name) = &opts.name {
        options = options.name(name);
    }
    if let Some(ms) = opts.lock_duration {
        options = options.lock_duration(Duration::from_millis(ms));
    }
    if let Some(limiter) = opts.limiter {
        options = options.limiter(limiter.max, Duration::from_millis(limiter.duration));
    }
    if let Some(times) = opts.max_stalled_count {
        options = options.max_stalled_count(u32::try_from(times).expect("a small number"));
    }
    if let Some(ms) = opts.stalled_interval {
        options = options.stalled_interval(Duration::from_millis(ms));
    }
    if let Some(times) = opts.max_started_attempts {
        options = options.max_started_attempts(u32::try_from(times).expect("a small number"));
    }
    if let Some(metrics) = opts.metrics {
        options = options.metrics(metrics.max_data_points);
    }
    if let Some(keep) = &opts.remove_on_complete {
        options = options.remove_on_complete(keep_rules(keep));
    }
    if let Some(keep) = &opts.remove_on_fail {
        options = options.remove_on_fail(keep_rules(keep));
    }
    if !opts.backoff_table.is_empty() {
        let table = opts.backoff_table.clone();
        options = options.backoff_strategy(move |attempt| {
            let row = &table[attempt.strategy];
            let made = usize::try_from(attempt.attempts_made).expect("a small number");
            match row[made.min(row.len()) - 1] {
                ..0 => Retry::Never,
                0 => Retry::Now,
                ms => Retry::After(Duration::from_millis(ms.unsigned_abs())),
            }
        });
    }
    options
}
