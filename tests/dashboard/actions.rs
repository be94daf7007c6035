//! What the forms do.

use std::time::Duration;

use axum::http::StatusCode;
use oxmq::{Halt, Job, JobState, Repeat};
use serde_json::{Value, json};

use super::site::{Site, text};
use crate::common::fixture::Fixture;

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
async fn chosen_jobs_are_worked_on_together() {
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
async fn all_that_a_filter_names_are_worked_on_in_the_background() {
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
        crate::common::eventually::eventually(told, ended).await;
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
