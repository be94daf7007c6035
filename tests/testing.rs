//! The module `testing`, which users have for their tests.

use std::time::Duration;

use futures::FutureExt;
use oxmq::error::FailureKind;
use oxmq::job::CancelReason;
use oxmq::options::{FailedAttempt, OnChildFailure, Retry};
use oxmq::testing::{Drained, Expected, TestJob, TestQueue, fail_attempt, lose_lock, perform, shut_down};
use oxmq::{Backoff, FlowNode, Halt, Job, JobState, Repeat, Router, State};
use serde_json::{Value, json};

use crate::common::eventually::eventually;
use crate::common::server::{RedisServer, connect};

const HOUR: Duration = Duration::from_secs(3600);

async fn done(_: Job<Value, ()>) -> Result<(), Halt> {
    Ok(())
}

/// Returns the message of an assertion that fails.
async fn said(assertion: impl Future<Output = ()>) -> String {
    let panic = std::panic::AssertUnwindSafe(assertion).catch_unwind().await.unwrap_err();
    *panic.downcast::<String>().unwrap()
}

#[tokio::test]
async fn assertions_on_enqueued_jobs_show_the_difference() {
    let queue = TestQueue::new("mails").await;
    queue.add("welcome", json!({ "to": "ada", "lines": [1, 2] })).delay(HOUR).await.unwrap();
    queue.add("invoice", json!(7)).priority(3).job_id("of-7").await.unwrap();
    let welcome = || Expected::job("welcome", json!({ "to": "ada", "lines": [1, 2] })).delay(HOUR);
    let invoice = || Expected::any("invoice").priority(3).id("of-7");
    queue.assert_enqueued([invoice(), welcome()]).await;
    queue.assert_includes([welcome()]).await;
    let text = said(queue.assert_enqueued([Expected::job("welcome", json!({ "to": "bob", "lines": [1] }))])).await;
    let expected = "the queue 'mails' does not hold what is expected
  missing: welcome {\"lines\":[1],\"to\":\"bob\"}
    job 1 differs:
      /lines/1: nothing expected, 2 found
      /to: \"bob\" expected, \"ada\" found
  not expected: job 1: welcome {\"lines\":[1,2],\"to\":\"ada\"}
  not expected: job of-7: invoice 7";
    assert_eq!(text, expected);
    // An expectation that says less takes no job that another one needs.
    queue.add("welcome", json!("bob")).await.unwrap();
    queue.assert_enqueued([Expected::any("welcome"), invoice(), welcome()]).await;
    queue.assert_enqueued([welcome(), Expected::any("welcome"), invoice()]).await;
    let text = said(queue.assert_includes([welcome().delay(2 * HOUR)])).await;
    assert!(text.contains("delay: 7200s expected, 3600s found"), "{text}");
}

#[tokio::test]
async fn a_drain_moves_the_clock_to_what_is_delayed() {
    let queue = TestQueue::new("q").await;
    queue.add("late", json!(1)).delay(24 * HOUR).await.unwrap();
    queue.add("flaky", json!(1)).attempts(3).backoff(Backoff::fixed(HOUR)).await.unwrap();
    queue.add("hopeless", json!(1)).await.unwrap();
    queue.add("snoozed", json!(1)).await.unwrap();
    let drained = queue
        .drain(|job: Job<Value, ()>| async move {
            match (job.name(), job.attempts_started()) {
                ("flaky", 1 | 2) => Err(Halt::failed("not yet")),
                ("hopeless", _) => Err(Halt::failed("never")),
                ("snoozed", 1) => Err(Halt::Delayed(HOUR)),
                _ => Ok(()),
            }
        })
        .await;
    assert_eq!((drained.completed, drained.retried, drained.moved, drained.lost), (3, 2, 1, 0));
    assert_eq!(drained.failed, [("hopeless".to_owned(), "never".to_owned())]);
    assert_eq!(drained.moved_clock, 24 * HOUR);
    queue.assert_enqueued([]).await;
}

#[tokio::test]
async fn a_drain_tells_of_jobs_that_failed_unrun_and_decides_about_panics_and_timeouts_as_a_worker() {
    let queue = TestQueue::new("q").await;
    queue.add("late", json!(1)).expires_in(Duration::from_millis(1)).await.unwrap();
    queue.clock().advance(HOUR);
    queue.add("panics", json!(1)).attempts(9).await.unwrap();
    queue.add("hangs", json!(1)).timeout(Duration::from_millis(10)).await.unwrap();
    let child = FlowNode::new("q", "child", 1).on_child_failure(OnChildFailure::FailParent);
    queue.client().flow_producer().add(FlowNode::new("q", "parent", 1).child(child)).await.unwrap();
    let work = |job: Job<Value, ()>| async move {
        match job.name() {
            "panics" => panic!("at once"),
            "hangs" => std::future::pending().await,
            _ => Err(Halt::unrecoverable("never")),
        }
    };
    let policy = |failed: &FailedAttempt<'_>| match failed.kind {
        FailureKind::Panic => Retry::Never,
        _ => Retry::ByBackoff,
    };
    let drained = queue.drain_with(Duration::MAX, work, |worker| worker.on_error(policy)).await;
    let failed: Vec<&str> = drained.failed.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(failed, ["late", "panics", "hangs", "child", "parent"], "{drained:?}");
    assert_eq!((drained.completed, drained.retried), (0, 0));
}

#[tokio::test]
async fn a_drain_counts_jobs_that_their_processor_has_ended_by_a_call() {
    let queue = TestQueue::new("q").await;
    for name in ["completes", "fails", "snoozes"] {
        queue.add(name, json!(1)).await.unwrap();
    }
    let work = |job: Job<Value, ()>| async move {
        let token = job.token().unwrap_or_default().to_owned();
        match job.name() {
            "completes" => job.move_to_completed(&(), &token).await?,
            "fails" => job.move_to_failed(Halt::unrecoverable("by hand"), &token).await?,
            _ if job.attempts_started() > 1 => {}
            _ => job.move_to_delayed(std::time::UNIX_EPOCH, &token).await?,
        }
        Ok::<_, Halt>(())
    };
    let drained = queue.drain(work).await;
    assert_eq!((drained.completed, drained.moved, drained.lost), (2, 1, 0), "{drained:?}");
    assert_eq!(drained.failed, [("fails".to_owned(), "by hand".to_owned())]);
}

#[tokio::test]
async fn a_scheduler_is_drained_for_a_while() {
    let queue = TestQueue::new("q").await;
    queue.upsert_job_scheduler("hourly", Repeat::every(HOUR)).name("tick").data(json!(1)).await.unwrap();
    let drained = queue.drain_for(24 * HOUR, done).await;
    assert!((24..=25).contains(&drained.completed), "{drained:?}");
    assert_eq!(drained.moved_clock, 24 * HOUR);
    assert_eq!(queue.enqueued().await.len(), 1);
}

#[tokio::test]
async fn a_flow_is_drained_children_first() {
    let queue = TestQueue::new("q").await;
    let flow = FlowNode::new("q", "parent", 0).children((1..=3).map(|n| FlowNode::new("q", "child", n)));
    queue.client().flow_producer().add(flow).await.unwrap();
    let drained = queue.drain(done).await;
    assert_eq!(drained.completed, 4);
}

#[tokio::test]
async fn a_drain_obeys_the_options_of_a_worker() {
    let queue = TestQueue::new("q").await;
    queue.add("job", json!(1)).attempts(5).backoff(Backoff::fixed(HOUR)).await.unwrap();
    let fails = |_: Job<Value, ()>| async { Err::<(), _>(Halt::failed("no")) };
    let drained = queue.drain_with(Duration::MAX, fails, |worker| worker.on_error(|_| Retry::Never)).await;
    assert_eq!((drained.failed.len(), drained.moved_clock), (1, Duration::ZERO));
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_of_a_drain() {
    let queue = TestQueue::new("q").await;
    queue.add("job", json!(1)).await.unwrap();
    let drained = queue.drain(async |_: Job<Value, ()>| -> Result<(), Halt> { panic!("a width of zero") }).await;
    assert_eq!(drained.failed, [("job".to_owned(), "panicked: a width of zero".to_owned())]);
}

/// Waits until it is cancelled, and returns what it was told.
async fn waits(job: Job<Value, String>) -> Result<String, Halt> {
    if job.attempts_started() > 1 {
        return Ok("again".to_owned());
    }
    job.cancellation().cancelled().await;
    Ok(format!("{:?}", job.cancel_reason()))
}

#[tokio::test]
async fn faults_are_simulated_by_layers() {
    let run = async |router: Router| -> (Drained, u32) {
        let queue = TestQueue::new("q").await;
        let id = queue.add("job", json!(1)).attempts(2).await.unwrap().id().to_owned();
        let drained = queue.drain(router).await;
        let job = queue.get_job(&id).await.unwrap().unwrap();
        assert!(job.finished_on().is_some());
        (drained, job.attempts_made())
    };
    let router = || Router::new().on("job", waits);
    let (lost, made) = run(router().layer(lose_lock())).await;
    assert_eq!((lost.completed, lost.lost, made), (1, 1, 1), "{lost:?}");
    let (shut, made) = run(router().layer(shut_down())).await;
    assert_eq!((shut.completed, shut.moved, made), (1, 0, 1), "{shut:?}");
    let stuck = |job: Job<Value, ()>| async move {
        if job.attempts_started() == 1 { std::future::pending().await } else { Ok::<_, Halt>(()) }
    };
    let (cut, made) = run(Router::new().on("job", stuck).layer(shut_down())).await;
    assert_eq!((cut.completed, cut.moved, made), (1, 1, 1), "{cut:?}");
    // The job whose processor gives up at the signal is handed back, and spends no attempt.
    let gives_up = |job: Job<Value, ()>| async move {
        if job.attempts_started() > 1 {
            return Ok(());
        }
        job.cancellation().cancelled().await;
        Err(Halt::failed("stopped"))
    };
    let (back, made) = run(Router::new().on("job", gives_up).layer(shut_down())).await;
    assert_eq!((back.completed, back.moved, back.retried, made), (1, 1, 0, 1), "{back:?}");
    let back = perform(Router::new().on("job", gives_up).layer(shut_down()), TestJob::new("job", 1)).await;
    assert!(matches!(back.halt(), Halt::Waiting), "{back:?}");
    let (failed, made) = run(Router::new().on("job", done).layer(fail_attempt(1, "on purpose"))).await;
    assert_eq!((failed.completed, failed.retried, made), (1, 1, 2), "{failed:?}");
    // The same without a server.
    let told = perform(router().layer(lose_lock()), TestJob::new("job", 1)).await;
    assert_eq!(told.value::<String>(), format!("{:?}", Some(CancelReason::LockLost)));
    let failed = perform(router().layer(fail_attempt(3, "on purpose")), TestJob::new("job", 1).attempts_made(2)).await;
    assert!(matches!(failed.halt(), Halt::Failed(error) if error.to_string() == "on purpose"));
}

#[tokio::test]
async fn a_timeout_in_a_drain_is_told_and_has_failed_whatever_it_answers() {
    let queue = TestQueue::new("q").await;
    let steps_back = |job: Job<Value, ()>| async move {
        job.cancellation().cancelled().await;
        assert_eq!(job.cancel_reason(), Some(&CancelReason::Timeout));
        Err::<(), _>(Halt::Waiting)
    };
    queue.add("job", json!(1)).attempts(2).timeout(Duration::from_millis(5)).await.unwrap();
    let drained = queue.drain(steps_back).await;
    assert_eq!((drained.retried, drained.moved), (1, 0), "{drained:?}");
    assert_eq!(drained.failed, [("job".to_owned(), "timed out after 5 ms".to_owned())]);
}

#[tokio::test]
async fn a_processor_runs_without_a_server() {
    async fn greet(mut job: Job<String, String>, State(word): State<&'static str>) -> Result<String, Halt> {
        job.update_progress(&json!({ "half": true })).await?;
        job.log("a line").await?;
        job.update_data("other".to_owned()).await?;
        Ok(format!("{word}, {} for the {}. time", job.id(), job.attempts_made() + 1))
    }
    let router = || Router::new().on("greet", greet).with_state("hello");
    let performed = perform(router(), TestJob::new("greet", "ada").id("of-ada").attempts_made(1)).await;
    assert_eq!(performed.value::<String>(), "hello, of-ada for the 2. time");
    assert_eq!((performed.progress, performed.logs), (vec![json!({ "half": true })], vec!["a line".to_owned()]));
    assert_eq!(performed.updated_data, Some(json!("other")));
    // Data of another type, and a method that needs a server.
    let wrong = perform(router(), TestJob::new("greet", json!([1]))).await;
    assert!(
        matches!(wrong.halt(), Halt::Failed(error) if error.to_string().starts_with("the data of job")),
        "{wrong:?}"
    );
    let asks = |job: Job<Value, ()>| async move { job.get_state().await.map(drop) };
    let asked = perform(asks, TestJob::new("asks", 1)).await;
    let sentence = "get_state: there is no server in `perform`: take a `TestQueue`";
    assert!(matches!(asked.halt(), Halt::Failed(error) if error.to_string() == sentence), "{asked:?}");
}

#[tokio::test]
async fn a_test_queue_deletes_its_keys_when_dropped() {
    let server = RedisServer::start();
    let queue = TestQueue::at(&server.url(), "q").await;
    let other = TestQueue::at(&server.url(), "q").await;
    queue.add("job", json!(1)).await.unwrap();
    assert_eq!(other.count().await.unwrap(), 0);
    other.add("job", json!(1)).await.unwrap();
    drop(queue);
    let mut redis = connect(&server.url()).await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut redis).await.unwrap();
    assert!(!keys.is_empty() && keys.iter().all(|key| key.starts_with(other.prefix())), "{keys:?}");
    drop(other);
    let left =
        || async { redis::cmd("DBSIZE").query_async::<u64>(&mut connect(&server.url()).await).await.unwrap() == 0 };
    eventually("nothing is left", left).await;
}

#[tokio::test]
async fn delayed_jobs_of_a_worker_become_due_by_the_clock_of_the_test() {
    let queue = TestQueue::new("q").await;
    let job = queue.add("job", json!(1)).delay(HOUR).await.unwrap();
    queue.advance(HOUR);
    let worker = queue.client().worker("q", done).start().unwrap();
    job.wait_until_finished(Duration::from_secs(60)).await.unwrap();
    assert_eq!(queue.job(job.id()).get_state().await.unwrap(), JobState::Completed);
    worker.close().await;
}

#[tokio::test]
async fn a_flow_over_several_queues_is_drained_from_its_leaves() {
    let books = TestQueue::new("books").await;
    let pages = books.beside("pages");
    let book = FlowNode::new("books", "bind", 1).child(FlowNode::new("pages", "render", "intro"));
    books.client().flow_producer().add(book).await.unwrap();
    let bind = |job: Job<u32, usize>| async move {
        let letters = job.get_children_values::<usize>().await?;
        Ok::<_, Halt>(letters.into_iter().map(|(_, letters)| letters).sum())
    };
    let left = books.drain(bind).await;
    assert_eq!((left.completed, left.waiting_for_children), (0, 1));
    let render = |job: Job<String, usize>| async move { Ok::<_, Halt>(job.data().len()) };
    assert_eq!(pages.drain(render).await.completed, 1);
    let drained = books.drain(bind).await;
    assert_eq!((drained.completed, drained.waiting_for_children), (1, 0));
}

#[tokio::test]
async fn a_parent_is_performed_with_the_results_of_its_children() {
    async fn bind(job: Job<Vec<String>, usize>) -> Result<usize, Halt> {
        if job.get_dependencies_count().await?.processed == 0 {
            job.add_children(job.data().iter().map(|page| FlowNode::new("pages", "render", page).job_id(page))).await?;
            assert_eq!(job.get_dependencies_count().await?.unprocessed, 2);
            return Err(Halt::WaitingChildren);
        }
        Ok(job.get_children_values::<usize>().await?.into_iter().map(|(_, letters)| letters).sum())
    }
    let job = || TestJob::new("bind", ["a", "b"]);
    let first = perform(bind, job()).await;
    assert!(matches!(first.halt(), Halt::WaitingChildren), "{first:?}");
    let [a, b] = &first.added_children[..] else { panic!("{first:?}") };
    assert_eq!((&*a.queue, &*a.name, &a.data, &*a.id, &*b.id), ("pages", "render", &json!("a"), "a", "b"));
    let values = job().child_value("bull:pages:a", 3).child_value("bull:pages:b", 4);
    assert_eq!(perform(bind, values).await.value::<usize>(), 7);
}

#[test]
fn who_has_no_server_is_told_how_to_name_one() {
    let mut tests = std::process::Command::new(std::env::current_exe().unwrap());
    tests.args(["testing::assertions_on_enqueued_jobs_show_the_difference", "--exact", "--include-ignored"]);
    tests.env("OXMQ_TEST_SERVER", "/no/such/server").env_remove("OXMQ_TEST_REDIS");
    let told = String::from_utf8(tests.output().unwrap().stdout).unwrap();
    assert!(told.contains("cannot run /no/such/server") && told.contains("OXMQ_TEST_REDIS"), "{told}");
}
