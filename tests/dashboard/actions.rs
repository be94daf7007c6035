//! What the forms of the dashboard do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use oxmq::dashboard::{Audit, Dashboard, Permission};
use oxmq::{Client, ConnectOptions, Halt, Job, JobOptions, JobState, Repeat};
use serde_json::{Value, json};

use super::site::{Site, text};
use crate::common::eventually::eventually;
use crate::common::fixture::Fixture;
use crate::common::node::{BullMq, NodeDriver};
use crate::common::proxy::Proxy;
use crate::common::server::{RedisServer, shared_server};

async fn refuses(job: Job) -> Result<Value, Halt> {
    Err(format!("no {}", job.data()["n"]).into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_is_paused_resumed_limited_drained_and_deleted() {
    let fixture = Fixture::new().await;
    fixture.add_many(3).await;
    let site = Site::open(&fixture).await;
    assert_eq!(site.done("/queue/q", &[("do", "pause")]).await.0, "/queue/q");
    assert!(fixture.queue.is_paused().await.unwrap());
    site.done("/queue/q", &[("do", "resume")]).await;
    assert!(!fixture.queue.is_paused().await.unwrap());
    site.done("/queue/q", &[("do", "limit"), ("concurrency", "3")]).await;
    assert_eq!(fixture.queue.get_global_concurrency().await.unwrap(), Some(3));
    assert_eq!(site.post("/queue/q", &[("do", "limit"), ("concurrency", "-1")]).await.status, StatusCode::BAD_REQUEST);
    site.done("/queue/q", &[("do", "limit"), ("concurrency", "")]).await;
    assert_eq!(fixture.queue.get_global_concurrency().await.unwrap(), None);
    site.done("/queue/q", &[("do", "limit"), ("max", "5"), ("window", "10s")]).await;
    assert_eq!(fixture.queue.get_global_rate_limit().await.unwrap(), Some((5, Duration::from_secs(10))));
    site.done("/queue/q", &[("do", "limit"), ("max", ""), ("window", "")]).await;
    assert_eq!(fixture.queue.get_global_rate_limit().await.unwrap(), None);
    assert_eq!(site.done("/queue/q", &[("do", "drain")]).await.1, "3 jobs removed.");
    assert_eq!(site.post("/queue/q", &[("do", "obliterate"), ("confirm", "p")]).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(site.post("/queue/q", &[("do", "retry")]).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(site.done("/queue/q", &[("do", "obliterate"), ("confirm", "q")]).await.0, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_job_is_retried_promoted_changed_and_removed() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker(refuses).start().unwrap();
    let id = fixture.add(json!({ "n": 1 })).await;
    fixture.until(JobState::Failed, 1).await;
    worker.close().await;
    let site = Site::open(&fixture).await;
    let path = format!("/queue/q/job/{id}");
    assert_eq!(site.done(&path, &[("do", "retry")]).await, (path.clone(), format!("Job {id} runs again.")));
    assert_eq!(fixture.count(JobState::Waiting).await, 1);
    assert_eq!(site.post(&path, &[("do", "retry")]).await.status, StatusCode::CONFLICT);
    site.done(&path, &[("do", "change-priority"), ("priority", "7")]).await;
    assert_eq!(fixture.count(JobState::Prioritized).await, 1);
    site.done(&path, &[("do", "change-data"), ("data", r#"{"n": 1.10}"#)]).await;
    assert_eq!(fixture.field(&id, "data").await.as_deref(), Some(r#"{"n": 1.10}"#));
    assert_eq!(site.post(&path, &[("do", "change-data"), ("data", "{no")]).await.status, StatusCode::BAD_REQUEST);

    let later = fixture.queue.add("later", json!({})).delay(Duration::from_secs(900)).await.unwrap();
    let later = format!("/queue/q/job/{}", later.id());
    site.done(&later, &[("do", "change-delay"), ("delay", "2h")]).await;
    assert!(text(&site.page(&later).await).contains("in 1 h"));
    assert_eq!(site.post(&later, &[("do", "change-delay"), ("delay", "soon")]).await.status, StatusCode::BAD_REQUEST);
    site.done(&later, &[("do", "promote")]).await;
    assert_eq!(fixture.count(JobState::Delayed).await, 0);
    assert_eq!(site.done(&later, &[("do", "remove")]).await.0, "/queue/q?state=waiting");
    assert_eq!(site.get(&later).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_applies_to_all_chosen_jobs() {
    let fixture = Fixture::new().await;
    let ids = fixture.add_many(5).await;
    let worker = fixture.worker(refuses).start().unwrap();
    fixture.until(JobState::Failed, 5).await;
    worker.close().await;
    let site = Site::open(&fixture).await;
    let chosen = [("do", "retry"), ("state", "failed"), ("id", &*ids[0]), ("id", &*ids[1]), ("id", "gone")];
    let (to, told) = site.done("/queue/q/jobs", &chosen).await;
    assert_eq!(to, "/queue/q?state=failed");
    assert!(told.starts_with("2 jobs: run again. 1 not: "), "{told}");
    assert_eq!((fixture.count(JobState::Waiting).await, fixture.count(JobState::Failed).await), (2, 3));
    site.done("/queue/q/jobs", &[("do", "remove"), ("state", "failed"), ("id", &*ids[2])]).await;
    assert_eq!(fixture.count(JobState::Failed).await, 2);
    assert_eq!(
        site.post("/queue/q/jobs", &[("do", "retry"), ("state", "failed")]).await.status,
        StatusCode::BAD_REQUEST
    );
    assert_eq!(site.post("/queue/q/jobs", &[("do", "drain"), ("id", "1")]).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_added_as_the_form_says() {
    let fixture = Fixture::new().await;
    let site = Site::open(&fixture).await;
    let form = [
        ("do", "add"),
        ("name", "mail"),
        ("data", r#"{"big": 12345678901234567890}"#),
        ("id", "my/id"),
        ("delay", "1h"),
        ("attempts", "3"),
    ];
    assert_eq!(site.done("/queue/q/add", &form).await.0, "/queue/q/job/my%2Fid");
    assert_eq!(fixture.field("my/id", "data").await.as_deref(), Some(r#"{"big": 12345678901234567890}"#));
    let page = text(&site.page("/queue/q/job/my%2Fid").await);
    assert!(page.contains("delayed") && page.contains("up to 3"), "{page}");
    assert!(site.page("/queue/q/add?like=my%2Fid").await.contains("12345678901234567890"));
    // A job added like another has all options of that one, except those that belong to one job alone.
    let options = JobOptions::from_json(
        r#"{"attempts":7,"backoff":{"type":"exponential","delay":9},"kl":3,"expiresIn":3600000,"mine":1,"de":{"id":"d"}}"#,
    );
    fixture.queue.add("mail", json!(1)).options(options.unwrap()).job_id("first").await.unwrap();
    let form = [("do", "add"), ("name", "mail"), ("data", "2"), ("id", "second"), ("attempts", "2"), ("like", "first")];
    site.done("/queue/q/add", &form).await;
    let opts: Value = serde_json::from_str(&fixture.field("second", "opts").await.unwrap()).unwrap();
    let same = json!({ "type": "exponential", "delay": 9 });
    assert_eq!((&opts["attempts"], &opts["backoff"], &opts["kl"]), (&json!(2), &same, &json!(3)));
    assert_eq!((&opts["expiresIn"], &opts["mine"], opts.get("de")), (&json!(3_600_000), &json!(1), None));
    for bad in [[("name", ""), ("data", "1")], [("name", "n"), ("data", "{")]] {
        assert_eq!(
            site.post("/queue/q/add", &[&[("do", "add")][..], &bad].concat()).await.status,
            StatusCode::BAD_REQUEST
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_runs_now_and_is_removed() {
    let fixture = Fixture::new().await;
    fixture.queue.upsert_job_scheduler("nightly", Repeat::cron("0 3 * * *")).await.unwrap();
    let site = Site::open(&fixture).await;
    let page = site.page("/queue/q/schedulers").await;
    let next = page.split("name=\"next\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let form = |action| [("do", action), ("id", "nightly"), ("next", &*next)];
    site.done("/queue/q/schedulers", &form("run-scheduler")).await;
    assert_eq!(fixture.count(JobState::Waiting).await, 1);
    assert_eq!(
        site.done("/queue/q/schedulers", &form("remove-scheduler")).await.1,
        "The scheduler nightly is removed."
    );
    assert_eq!(fixture.queue.get_job_schedulers_count().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_runs_is_cancelled() {
    let fixture = Fixture::new().await;
    let process = async |job: Job| {
        job.cancellation().cancelled().await;
        Err::<Value, Halt>("stopped".into())
    };
    let worker = fixture.worker(process).start().unwrap();
    let id = fixture.add(json!({ "n": 1 })).await;
    fixture.until(JobState::Active, 1).await;
    let site = Site::open(&fixture).await;
    let path = format!("/queue/q/job/{id}");
    let form = [("do", "cancel"), ("reason", "by night")];
    assert_eq!(site.done(&path, &form).await.1, format!("The worker of job {id} is asked to stop it."));
    fixture.until(JobState::Failed, 1).await;
    assert!(text(&site.page(&path).await).contains("by night"));
    assert_eq!(site.done(&path, &form).await.1, format!("Job {id} had finished before."));
    worker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_action_on_a_filter_runs_in_the_background() {
    let fixture = Fixture::new().await;
    fixture.add_many(250).await;
    for n in 0..3 {
        fixture.queue.add("rare", json!({ "n": "needle", "of": n })).await.unwrap();
    }
    let worker = fixture.worker(refuses).concurrency(50).start().unwrap();
    fixture.until(JobState::Failed, 253).await;
    worker.close().await;
    let site = Site::open(&fixture).await;
    let all = async |more: &[(&str, &str)], waiting: usize, told: &str| {
        let form = [&[("state", "failed"), ("all", "1")], more].concat();
        let (to, _) = site.done("/queue/q/jobs", &form).await;
        assert!(to.starts_with("/work/"), "{to}");
        let ended = async || text(&site.page(&to).await).contains(told);
        eventually(told, ended).await;
        assert_eq!(fixture.count(JobState::Waiting).await, waiting);
    };
    all(&[("do", "retry"), ("data", "needle")], 3, "Done to 3 jobs.").await;
    all(&[("do", "retry"), ("name", "job")], 253, "Done to 250 jobs.").await;
    for wrong in [[("do", "promote"), ("state", "failed")], [("do", "pause"), ("state", "failed")]] {
        let answer = site.post("/queue/q/jobs", &[&wrong[..], &[("all", "1")]].concat()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(site.get("/work/77").await.status, StatusCode::NOT_FOUND);
}

/// Jobs that were not reached have not moved on.
#[tokio::test(flavor = "multi_thread")]
async fn an_action_on_jobs_one_by_one_outlives_a_break_and_says_what_is_not_known() {
    const JOBS: usize = 600;
    let server = RedisServer::start();
    let proxy = Proxy::start(server.addr()).await;
    let fixture = Fixture::with(ConnectOptions::from_url(&server.url()).unwrap(), &server).await;
    fixture.add_many(JOBS).await;
    let options = server.by_way_of(proxy.addr()).command_timeout(Duration::from_millis(200));
    let client = Client::builder(options).prefix(&fixture.prefix).connect().await.unwrap();
    let site = Site::with(Dashboard::new(client).authorize(|_, _| true)).await;
    proxy.throttle(200_000);
    let form = [("do", "clean"), ("state", "waiting"), ("all", "1"), ("data", "n")];
    let (to, _) = site.done("/queue/q/jobs", &form).await;
    eventually("some are removed", || async { fixture.count(JobState::Waiting).await < JOBS - 20 }).await;
    proxy.blackhole_all();
    tokio::time::sleep(Duration::from_secs(2)).await; // longer than a call tries
    proxy.heal();
    proxy.throttle(u32::MAX);
    let page = eventually("it has ended", || async {
        let page = text(&site.page(&to).await);
        page.contains("Done to").then_some(page)
    })
    .await;
    let number = |before: &str| -> usize {
        let rest = page.split(before).nth(1).unwrap_or_default();
        rest.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0)
    };
    let (done, unknown) = (number("Done to "), number("It may be done to "));
    assert!(done + unknown == JOBS && !page.contains("and not to"), "{page}");
    assert!(fixture.count(JobState::Waiting).await <= unknown, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn chosen_jobs_and_all_of_a_filter_are_cancelled_running_or_not() {
    let fixture = Fixture::new().await;
    let stops = async |job: oxmq::Job<Value, Value>| {
        job.cancelled().await;
        Err::<Value, _>(oxmq::Halt::from("stopped"))
    };
    let worker = fixture.worker(stops).concurrency(3).start().unwrap();
    let ids = fixture.add_many(3).await;
    fixture.until(JobState::Active, 3).await;
    let waiting = fixture.add_many(150).await;
    let site = Site::open(&fixture).await;
    site.page_with("/queue/q?state=active", &["Cancel all…"]).await;
    assert!(!site.page("/queue/q?state=failed").await.contains("Cancel all"));
    let form = [("do", "cancel"), ("state", "active"), ("id", &*ids[0]), ("id", &*ids[1])];
    assert_eq!(site.done("/queue/q/jobs", &form).await.1, "2 jobs: cancelled.");
    fixture.until(JobState::Failed, 2).await;
    let state = fixture.queue.job(&ids[2]).get_state().await.unwrap();
    assert_eq!(state, JobState::Active);
    // Two of those that waited run now; the others wait behind them.
    fixture.until(JobState::Active, 3).await;
    for (state, done) in [("waiting", 148), ("active", 3)] {
        let (to, _) = site.done("/queue/q/jobs", &[("do", "cancel"), ("state", state), ("all", "1")]).await;
        site.page_with(&to, &[&format!("Done to {done} jobs.")]).await;
    }
    fixture.until(JobState::Failed, ids.len() + waiting.len()).await;
    worker.close().await;
    let finished = site.post("/queue/q/jobs", &[("do", "cancel"), ("state", "failed"), ("all", "1")]).await;
    assert_eq!(finished.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_queues_are_paused_and_resumed_once_that_is_confirmed() {
    let fixture = Fixture::new().await;
    fixture.add_many(1).await;
    let other: oxmq::Queue = fixture.client.queue("other").open().unwrap();
    other.write_meta().await.unwrap();
    let closed: oxmq::Queue = fixture.client.queue("closed").open().unwrap();
    closed.write_meta().await.unwrap();
    let heard: Arc<Mutex<Vec<Audit>>> = Arc::default();
    let into = Arc::clone(&heard);
    let may = |_: &axum::http::request::Parts, wanted: &Permission<'_>| match wanted {
        Permission::Act { queue, .. } => *queue != "closed",
        _ => true,
    };
    let dashboard = Dashboard::new(fixture.client.clone()).authorize(may);
    let site = Site::with(dashboard.audit(move |audit| into.lock().unwrap().push(audit.clone()))).await;
    site.page_with("/", &["3 queues", "Pause all…", "Pause 2 queues", "Resume 2 queues"]).await;
    assert_eq!(site.post("/", &[("do", "pause")]).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(site.post("/", &[("do", "obliterate"), ("confirm", "all")]).await.status, StatusCode::BAD_REQUEST);
    let forged = [("do", "pause"), ("confirm", "all")];
    assert_eq!(site.post_from("/", &forged, &[]).await.status, StatusCode::FORBIDDEN);
    assert!(!fixture.queue.is_paused().await.unwrap());
    assert_eq!(site.done("/", &forged).await, (String::new(), "2 queues: paused.".to_owned()));
    let paused = async || {
        (fixture.queue.is_paused().await.unwrap(), other.is_paused().await.unwrap(), closed.is_paused().await.unwrap())
    };
    assert_eq!(paused().await, (true, true, false));
    assert_eq!(site.done("/", &[("do", "resume"), ("confirm", "all")]).await.1, "2 queues: resumed.");
    assert_eq!(paused().await, (false, false, false));
    let heard = heard.lock().unwrap();
    let mut told: Vec<_> = heard.iter().map(|audit| (audit.action.as_str(), &*audit.queue, audit.done)).collect();
    told.sort_unstable();
    let all = [("pause", "other", true), ("pause", "q", true), ("resume", "other", true), ("resume", "q", true)];
    assert_eq!(told, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scheduler_is_changed_and_what_its_jobs_are_made_of_stays() {
    let fixture = Fixture::new().await;
    let node = NodeDriver::start(BullMq::V6, &shared_server().url(), &fixture.prefix).await;
    let template =
        json!({ "name": "tick", "data": { "deep": 1.10 }, "opts": { "attempts": 4, "priority": 3, "ours": "kept" } });
    let every = json!({ "every": 3_600_000, "limit": 9 });
    let upsert = json!({ "queue": "q", "scheduler": "s", "repeat": every, "template": template });
    node.call("upsertJobScheduler", upsert).await.unwrap();
    let site = Site::open(&fixture).await;
    let page = site.page("/queue/q/schedulers").await;
    assert!(page.contains("name=\"every\" value=\"1h\"") && page.contains("name=\"limit\" value=\"9\""), "{page}");
    let change = async |fields: &[(&str, &str)]| {
        let fields = [&[("do", "change-scheduler"), ("id", "s")], fields].concat();
        site.post("/queue/q/schedulers", &fields).await.status
    };
    for wrong in [
        &[][..],
        &[("every", "x")],
        &[("every", "0s")],
        &[("every", "1h"), ("pattern", "0 3 * * *")],
        &[("pattern", "nonsense")],
        &[("pattern", "0 3 * * *"), ("tz", "Nowhere/Else")],
        &[("every", "1h"), ("limit", "0")],
    ] {
        assert_eq!(change(wrong).await, StatusCode::BAD_REQUEST, "{wrong:?}");
    }
    let made_of = |scheduler: &oxmq::queue::JobScheduler| {
        let texts = [&scheduler.data, &scheduler.options].map(|text| text.as_ref().unwrap().as_str());
        texts.map(|text| serde_json::from_str::<Value>(text).unwrap())
    };
    let stored = async || fixture.queue.get_job_scheduler("s").await.unwrap().unwrap();
    let before = stored().await;
    assert_eq!((before.every, before.limit), (Some(Duration::from_secs(3_600)), Some(9)));
    assert_eq!(change(&[("every", "2h"), ("limit", "")]).await, StatusCode::SEE_OTHER);
    let after = stored().await;
    assert_eq!((after.every, after.limit, &after.name), (Some(Duration::from_secs(7_200)), None, &before.name));
    assert_eq!(made_of(&after), made_of(&before));
    assert_eq!(change(&[("pattern", "30 2 * * *"), ("tz", "Europe/Berlin")]).await, StatusCode::SEE_OTHER);
    let after = stored().await;
    assert_eq!(
        (after.pattern.as_deref(), after.tz.as_deref(), after.every),
        (Some("30 2 * * *"), Some("Europe/Berlin"), None)
    );
    assert_eq!(made_of(&after), made_of(&before));
    // Its next run is made of the same options.
    let run = format!("repeat:s:{}", after.next_run.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis());
    let opts: Value = serde_json::from_str(&fixture.field(&run, "opts").await.unwrap()).unwrap();
    assert_eq!((&opts["attempts"], &opts["priority"], &opts["ours"]), (&json!(4), &json!(3), &json!("kept")));
    assert_eq!(fixture.field(&run, "data").await, before.data.map(|data| data.as_str().to_owned()));
    // The seed of the pattern is kept, and so are the unknown members of `repeat`: Node stores both in the runs only.
    let repeat = json!({ "pattern": "H 3 * * *", "hashSeed": "theirs", "tz": "UTC", "ours": [1.10] });
    let upsert = json!({ "queue": "q", "scheduler": "s", "repeat": repeat, "template": { "name": "tick" } });
    node.call("upsertJobScheduler", upsert).await.unwrap();
    assert_eq!(stored().await.hash_seed, None);
    assert_eq!(change(&[("pattern", "H 4 * * *"), ("tz", "UTC")]).await, StatusCode::SEE_OTHER);
    let after = stored().await;
    assert_eq!((after.hash_seed.as_deref(), after.tz.as_deref()), (Some("theirs"), Some("UTC")));
    let run = format!("repeat:s:{}", after.next_run.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis());
    let opts: Value = serde_json::from_str(&fixture.field(&run, "opts").await.unwrap()).unwrap();
    assert_eq!((&opts["repeat"]["hashSeed"], &opts["repeat"]["ours"]), (&json!("theirs"), &json!([1.10])));
    assert_eq!(change(&[("pattern", "H 5 * * *"), ("tz", "UTC")]).await, StatusCode::SEE_OTHER);
    assert_eq!(stored().await.hash_seed.as_deref(), Some("theirs"));
    assert_eq!(change(&[("pattern", "30 2 * * *"), ("tz", "Europe/Berlin")]).await, StatusCode::SEE_OTHER);
    // All schedulers of all queues are on one page.
    let page = site.page_with("/schedulers", &["1 scheduler in 1 queue", "30 2 * * * in Europe/Berlin"]).await;
    assert!(page.contains("href=\"/admin/queues/queue/q/schedulers\""), "{page}");
    assert!(text(&site.page("/schedulers?q=TICK").await).contains("s tick"));
    assert!(text(&site.page("/schedulers?q=nothing").await).contains("No scheduler has “nothing”"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_begun_goes_on_when_the_browser_leaves() {
    const JOBS: usize = 40;
    let fixture = Fixture::new().await;
    let worker = fixture.worker(refuses).concurrency(JOBS).start().unwrap();
    let ids = fixture.add_many(JOBS).await;
    let failed = async || fixture.count(JobState::Failed).await;
    eventually("all have failed", async || failed().await == JOBS).await;
    worker.close().await;
    let heard: Arc<Mutex<Vec<Audit>>> = Arc::default();
    let into = Arc::clone(&heard);
    let dashboard = Dashboard::new(fixture.client.clone()).authorize(|_, _| true);
    let site = Site::with(dashboard.audit(move |audit| into.lock().unwrap().push(audit.clone()))).await;
    let some: Vec<(&str, &str)> = ids.iter().take(JOBS / 2).map(|id| ("id", id.as_str())).collect();
    let chosen = [&[("do", "retry"), ("state", "failed")][..], &some].concat();
    let all = vec![("do", "retry"), ("state", "failed"), ("all", "1")];
    for (fields, left) in [(chosen, JOBS / 2), (all, 0)] {
        heard.lock().unwrap().clear();
        // The request has begun, and is dropped as that of a browser that leaves; now and then it is done at once.
        let _ = futures::poll!(Box::pin(site.post("/queue/q/jobs", &fields)));
        eventually(&format!("{left} are left"), async || failed().await == left).await;
        eventually("it is told", async || heard.lock().unwrap().iter().any(|audit| audit.done)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn children_that_a_parent_waits_for_are_removed_but_for_those_that_run() {
    let fixture = Fixture::new().await;
    let site = Site::open(&fixture).await;
    let child = |id: &str| oxmq::FlowNode::new("q", "part", json!({})).job_id(id);
    let tree = oxmq::FlowNode::new("q", "whole", json!({})).job_id("mum").children([child("one"), child("two")]);
    fixture.client.flow_producer().add(tree).await.unwrap();
    let held = fixture.queue.job("one").get_state().await.unwrap();
    assert_eq!(held, JobState::Waiting);
    let page = site.page("/queue/q/job/mum").await;
    assert!(page.contains("Remove the children"), "{page}");
    let told = site.done("/queue/q/job/mum", &[("do", "remove-children")]).await.1;
    assert_eq!(told, "2 children of mum removed.");
    assert_eq!(fixture.queue.job("mum").get_state().await.unwrap(), JobState::Waiting);
    assert!(fixture.queue.get_job("one").await.unwrap().is_none());
    assert!(!site.page("/queue/q/job/mum").await.contains("Remove the children"));
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_found_by_their_ids_and_data_of_a_failed_job_is_mended() {
    let fixture = Fixture::new().await;
    let site = Site::open(&fixture).await;
    for id in ["order-1", "order-2", "mail-1"] {
        fixture.queue.add("job", json!({ "n": 1 })).options(oxmq::JobOptions::default().job_id(id)).await.unwrap();
    }
    let page = text(&site.page("/queue/q?state=waiting&ids=order-*&newer=1h").await);
    assert!(page.contains("order-1") && page.contains("order-2") && !page.contains("mail-1"), "{page}");
    let page = text(&site.page("/queue/q?state=waiting&ids=order-*&older=1h").await);
    assert!(page.contains("No job matches"), "{page}");
    let fail = async |_: oxmq::Job<serde_json::Value, ()>| Err::<(), _>(oxmq::Halt::from("no such order"));
    let worker = fixture.client.worker("q", fail).start().unwrap();
    eventually("all have failed", || async {
        fixture.queue.get_job_counts(&[JobState::Failed]).await.unwrap().failed == 3
    })
    .await;
    worker.close().await;
    assert!(site.page("/queue/q/job/mail-1").await.contains("Change the data"));
    site.done("/queue/q/job/mail-1", &[("do", "change-data"), ("data", "{\"n\":2}")]).await;
    assert_eq!(fixture.queue.get_job("mail-1").await.unwrap().unwrap().data()["n"], 2);
    // What a filter by ids has found is retried as a whole.
    let form = [("do", "retry"), ("state", "failed"), ("ids", "order-*"), ("all", "1")];
    site.done("/queue/q/jobs", &form).await;
    eventually("the orders wait", || async {
        let counts = fixture.queue.get_job_counts(&[JobState::Failed, JobState::Waiting]).await.unwrap();
        (counts.failed, counts.waiting) == (1, 2)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_that_is_reached_is_shown_and_ended() {
    let fixture = Fixture::new().await;
    let site = Site::open(&fixture).await;
    fixture.queue.add("job", json!({})).await.unwrap();
    assert!(!site.page("/queue/q").await.contains("The rate limit is reached"));
    fixture.queue.rate_limit(Duration::from_secs(3_600)).await.unwrap();
    assert!(site.page("/queue/q").await.contains("The rate limit is reached"));
    let told = site.done("/queue/q", &[("do", "limit"), ("release", "1")]).await.1;
    assert_eq!(told, "Workers fetch jobs again, up to the limit.");
    assert!(!site.page("/queue/q").await.contains("The rate limit is reached"));
}
