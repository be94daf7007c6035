use oxmq::JobState;

use super::*;
use crate::common::dump::Dump;

/// An operator at night: finds which queue is late and why, retries what failed, by name, cancels a job that runs, looks
/// at a flow that waits, cleans up.
#[tokio::test]
async fn failed_jobs_are_found_retried_and_cleaned_in_the_terminal() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let worst = oxmq(&on, "queues --json --sort failed").await.json().remove(0);
    assert_eq!(worst["name"], "mails");
    let why = oxmq(&on, "jobs mails -s failed -l 3").await.ok();
    assert!(why.contains("receipt") && why.contains("ECONNRESET"), "{why}");
    let would = oxmq(&on, "retry mails -n receipt --dry-run").await.ok();
    assert_eq!(would, "40 failed jobs with the name 'receipt' of mails would run again; nothing was changed\n");
    assert_eq!(oxmq(&on, "retry mails -n receipt --yes").await.ok(), "40 jobs retried\n");
    let stops = async |job: Job<Value, Value>| {
        job.cancelled().await;
        Err::<Value, _>(oxmq::Halt::from("stopped"))
    };
    let worker = on.worker(stops).start().unwrap();
    on.add(json!({})).await;
    on.until(JobState::Active, 1).await;
    let running = oxmq(&on, "jobs q -s active --json").await.json().remove(0)["id"].as_str().unwrap().to_owned();
    let asked = oxmq(&on, &format!("cancel q {running} --yes")).await.ok();
    assert_eq!(asked, format!("{running}: its worker is asked to stop it\n"));
    on.until(JobState::Failed, 1).await;
    worker.close().await;
    let waits = oxmq(&on, "flow reports m").await.ok();
    assert!(waits.contains("waits for") && waits.contains("part-1"), "{waits}");
    let cleaned = oxmq(&on, "clean mails --older 0s --yes").await.ok();
    assert_eq!(cleaned, "80 jobs removed\n");
    let mails: Queue = on.client.queue("mails").open().unwrap();
    let counts = mails.get_job_counts(&[]).await.unwrap();
    assert_eq!((counts.waiting, counts.failed, counts.completed), (42, 0, 0));
}

#[tokio::test]
async fn a_command_changes_nothing_without_a_yes() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let dump = async || {
        let mut dump = Dump::take(&mut on.redis.clone(), &on.prefix).await;
        // The worker that filled the queue has left it; it expires after half a minute.
        dump.keys.remove("mails:stalled-check");
        dump
    };
    let before = dump().await;
    for words in [
        "retry mails --all",
        "promote mails --all",
        "remove mails --all",
        "clean mails --older 0s",
        "move mails --all --to other",
        "priority mails --all --to 1",
        "delay mails --all --to 5m",
        "pause mails",
        "drain mails --delayed",
        "obliterate mails --force",
        "remove mails odd",
    ] {
        let ran = oxmq(&on, words).await;
        assert_eq!((ran.code, ran.out.as_str()), (4, ""), "{words}: {ran:?}");
        let ran = oxmq(&on, &format!("{words} --dry-run")).await;
        assert!(ran.code == 0 && ran.out.contains("would"), "{words}: {ran:?}");
        oxmq(&on, &format!("{words} --dry-run --json")).await.json();
    }
    // A call without a filter is refused; it does not mean all jobs.
    for words in ["retry mails --yes", "remove mails --yes", "remove mails -s failed --yes", "clean mails --yes"] {
        assert_eq!(oxmq(&on, words).await.code, 2, "{words}");
    }
    assert_eq!(Dump::diff(&before, &dump().await), [""; 0]);
}

#[tokio::test]
async fn jobs_named_by_their_ids_are_acted_on_where_they_are() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let ids: Vec<Value> = oxmq(&on, "jobs mails -s failed -l 2 --json").await.json();
    let (a, b) = (ids[0]["id"].as_str().unwrap(), ids[1]["id"].as_str().unwrap());
    assert_eq!(oxmq(&on, &format!("retry mails {a} {b} --reset --yes")).await.ok(), "2 jobs retried\n");
    let mails: Queue = on.client.queue("mails").open().unwrap();
    assert_eq!(mails.get_job(a).await.unwrap().unwrap().attempts_made(), 0);
    assert_eq!(oxmq(&on, &format!("retry mails {a} --yes")).await.code, 1);
    assert_eq!(oxmq(&on, "retry mails nobody --yes").await.code, 3);
    assert_eq!(oxmq(&on, &format!("priority mails {a} --to 2 --yes")).await.code, 0);
    assert_eq!(mails.job(a).get_state().await.unwrap(), JobState::Prioritized);
    assert_eq!(oxmq(&on, &format!("move mails {a} --to other --yes")).await.ok(), "1 job moved\n");
    let delayed = oxmq(&on, "jobs mails -s delayed --json").await.json().remove(0);
    let id = delayed["id"].as_str().unwrap();
    oxmq(&on, &format!("delay mails {id} --to 2d --yes")).await.ok();
    oxmq(&on, &format!("promote mails {id} --yes")).await.ok();
    assert_eq!(mails.job(id).get_state().await.unwrap(), JobState::Waiting);
    oxmq(&on, "remove mails odd --yes").await.ok();
    assert!(mails.get_job("odd").await.unwrap().is_none());
}

#[tokio::test]
async fn an_id_with_a_star_is_refused_before_anything_is_done() {
    let on = Fixture::new().await;
    on.queue.add("job", json!(1)).job_id("a").await.unwrap();
    on.queue.add("job", json!(1)).job_id("x*y").await.unwrap();
    let ran = oxmq(&on, "remove q a x*y --yes").await;
    assert!(ran.code == 2 && ran.err.contains("--id"), "{ran:?}");
    assert_eq!(on.count(oxmq::JobState::Waiting).await, 2);
}

#[tokio::test]
async fn a_job_that_is_refused_has_an_exit_code_of_its_own() {
    let on = Fixture::new().await;
    let every = oxmq::Repeat::every(std::time::Duration::from_secs(90));
    on.queue.upsert_job_scheduler("s", every).data(json!({})).await.unwrap();
    on.queue.add("job", json!(1)).delay(std::time::Duration::from_secs(90)).await.unwrap();
    let ran = oxmq(&on, "remove q --all --yes").await;
    assert_eq!(ran.code, 5);
    assert!(
        ran.out.contains("1 job removed") && ran.out.contains("it is the current run of a job scheduler"),
        "{ran:?}"
    );
    let ran = oxmq(&on, "remove q --all --yes --json").await;
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, &report["refused"]), (5, &json!(1)));
}

#[tokio::test]
async fn whole_queues_are_paused_resumed_drained_and_deleted() {
    let on = Fixture::new().await;
    let _node = filled_by_node(&on).await;
    let mails: Queue = on.client.queue("mails").open().unwrap();
    oxmq(&on, "pause mails --yes").await.ok();
    assert!(mails.is_paused().await.unwrap());
    assert!(oxmq(&on, "queues mails").await.ok().contains("paused"));
    oxmq(&on, "resume mails --yes").await.ok();
    assert!(!mails.is_paused().await.unwrap());
    assert_eq!(oxmq(&on, "drain mails --yes").await.ok(), "3 jobs removed\n");
    assert_eq!(oxmq(&on, "add fresh hello {\"a\":1} --id mine --attempts 3").await.ok(), "added: mine\n");
    assert_eq!(oxmq(&on, "add fresh hello {} --id mine").await.ok(), "existing: mine\n");
    let fresh: Queue = on.client.queue("fresh").open().unwrap();
    let job = fresh.get_job("mine").await.unwrap().unwrap();
    assert_eq!((job.attempts(), job.data()), (3, &json!({ "a": 1 })));
    oxmq(&on, "obliterate mails --yes").await.ok();
    assert_eq!(oxmq(&on, "jobs mails").await.code, 3);
}

#[tokio::test]
async fn a_job_that_runs_is_asked_to_stop_and_one_that_waits_fails_without_a_run() {
    let on = Fixture::new().await;
    let stops = async |job: Job<Value, Value>| {
        job.cancelled().await;
        Err::<Value, _>(oxmq::Halt::from("stopped"))
    };
    let worker = on.worker(stops).start().unwrap();
    let running = on.add(json!({})).await;
    on.until(JobState::Active, 1).await;
    let waiting = on.queue.add("job", json!({})).job_id("later").await.unwrap().id().to_owned();
    let would = oxmq(&on, &format!("cancel q {running} {waiting} --dry-run")).await.ok();
    assert_eq!(would, "2 jobs of q, of which 1 runs, would be cancelled; nothing was changed\n");
    assert_eq!(oxmq(&on, "cancel q none --yes").await.code, 3);
    assert_eq!(oxmq(&on, &format!("cancel q {running}")).await.code, 4);
    let told = call(&on, &["cancel", "q", &running, &waiting, "--yes", "--reason", "not at night"], "").await.ok();
    assert!(told.contains(&format!("{running}: its worker is asked to stop it\n")), "{told}");
    assert!(told.contains("later: it fails without a run"), "{told}");
    on.until(JobState::Failed, 2).await;
    // By a filter, what runs and what waits.
    for n in 0..3 {
        on.queue.add("encode", json!({ "customer": 7 })).job_id(format!("encode-{n}")).await.unwrap();
    }
    on.until(JobState::Active, 1).await;
    let would = oxmq(&on, "cancel q -n encode --dry-run").await.ok();
    assert!(would.starts_with("3 active, ") && would.contains("'encode' of q would be cancelled"), "{would}");
    assert_eq!(oxmq(&on, "cancel q --yes").await.code, 2);
    assert_eq!(oxmq(&on, "cancel q later -n encode --yes").await.code, 2);
    let told = call(&on, &["cancel", "q", "--data", "\"customer\":7", "--yes", "--reason", "gone"], "").await.ok();
    assert!(told.contains("3 jobs cancelled"), "{told}");
    on.until(JobState::Failed, 5).await;
    let again = oxmq(&on, &format!("cancel q {running} --yes --json")).await;
    assert!(again.code == 5 && again.out.contains("it had finished before"), "{again:?}");
    worker.close().await;
}
