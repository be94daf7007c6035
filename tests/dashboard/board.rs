//! What those look for who come from other boards: pictures, longer histories, groups of queues, the latest jobs of all
//! states, a search in logs, and a retry of all that has failed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;
use oxmq::dashboard::{Action, Audit, Dashboard, Permission};
use oxmq::{Halt, Job, JobState, NewJob, Queue};
use serde_json::{Value, json};

use super::site::{Site, text};
use crate::common::eventually::eventually;
use crate::common::fixture::Fixture;
use crate::common::time::now_ms;

async fn odd_ones_fail(job: Job) -> Result<Value, Halt> {
    if job.data()["n"].as_u64().unwrap_or(0) % 2 == 1 { Err("told to fail".into()) } else { Ok(json!(1)) }
}

/// Adds jobs to a queue of the fixture, and lets those with an odd number fail.
async fn worked_off(fixture: &Fixture, name: &str, jobs: u64) -> Queue {
    let queue: Queue = fixture.client.queue(name).open().unwrap();
    queue.add_bulk((0..jobs).map(|n| NewJob::new("job", json!({ "n": n })))).await.unwrap();
    let worker = fixture.client.worker(name, odd_ones_fail).start().unwrap();
    eventually("all have ended", || async {
        let counts = queue.get_job_counts(&[JobState::Completed, JobState::Failed]).await.unwrap();
        counts.total() == jobs
    })
    .await;
    worker.close().await;
    queue
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_shows_how_long_its_last_jobs_waited_and_ran() {
    let fixture = Fixture::new().await;
    let site = Site::open(&fixture).await;
    assert!(!site.page("/queue/q").await.contains("How long the last"));
    worked_off(&fixture, "q", 70).await;
    let page = site.page("/queue/q").await;
    // Sixty bars, however many jobs there are.
    assert!(page.contains("How long the last 60 jobs waited and ran: the longest took "), "{page}");
    assert_eq!((page.matches("rect class=\"waited\"").count(), page.matches("rect class=\"ran\"").count()), (60, 60));
    let page = site.page_with("/", &["Wait and run time"]).await;
    assert!(text(&page).contains("Medians of the jobs that finished last"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_longer_history_is_shown_as_far_as_it_is_kept() {
    let fixture = Fixture::new().await;
    fixture.queue.write_meta().await.unwrap();
    let mut redis = fixture.redis.clone();
    let key = |part: &str| fixture.key(&format!("metrics:completed{part}"));
    redis::pipe()
        .hset_multiple(key(""), &[("count", "3000"), ("prevTS", &now_ms().to_string()), ("prevCount", "3000")])
        .rpush(key(":data"), vec![1; 3_000])
        .exec_async(&mut redis)
        .await
        .unwrap();
    let site = Site::open(&fixture).await;
    let told = async |history: &str| text(&site.page(&format!("/queue/q?history={history}")).await);
    let hour = told("").await;
    assert!(hour.contains("per minute, last hour") && !hour.contains("known for"), "{hour}");
    let day = told("1d").await;
    assert!(
        day.contains("completed 1 439 failed 0 per 24 minutes, last day") || day.contains("completed 1,439"),
        "{day}"
    );
    let week = told("1w").await;
    assert!(week.contains("per 168 minutes, last week") && week.contains("known for 2 d"), "{week}");
    assert!(told("9y").await.contains("last hour"));
    let page = site.page("/queue/q?history=1w&state=failed&name=mail").await;
    assert!(page.contains("?history=1w&amp;state=failed&amp;name=mail\" aria-current=\"true\""), "{page}");
    assert!(page.contains("?history=1d&amp;state=failed&amp;name=mail\""), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_latest_jobs_of_all_states_stand_on_one_page() {
    let fixture = Fixture::new().await;
    let site = Site::open(&fixture).await;
    assert!(text(&site.page("/queue/q/latest").await).contains("There is no job"));
    worked_off(&fixture, "q", 2).await;
    let hour = Duration::from_secs(3_600);
    fixture.queue.add("later", json!({})).job_id("soon/<b>").delay(hour).await.unwrap();
    fixture.queue.add("first", json!({})).job_id("p").priority(4).await.unwrap();
    let long_ago = std::time::UNIX_EPOCH + Duration::from_millis(now_ms()) - 24 * hour;
    fixture.queue.add("old", json!({})).job_id("o").timestamp(long_ago).await.unwrap();
    let mut redis = fixture.redis.clone();
    redis::cmd("HSET")
        .arg(fixture.key("bad"))
        .arg(&["name", "x", "data", "{no", "timestamp", "1"])
        .exec_async(&mut redis)
        .await
        .unwrap();
    redis::cmd("ZADD").arg(fixture.key("failed")).arg(&["5", "bad"]).exec_async(&mut redis).await.unwrap();
    let page = site.page("/queue/q/latest").await;
    let place = |id: &str| page.find(&format!("/queue/q/job/{id}\"")).unwrap_or_else(|| panic!("{id}: {page}"));
    // The oldest is the last one; all states are there, and one that cannot be read hides no other.
    assert!(["1", "2", "soon%2F%3Cb%3E", "p"].iter().all(|id| place(id) < place("o")), "{page}");
    let told = text(&page);
    for word in ["completed", "failed", "delayed", "prioritized", "waiting", "told to fail", "cannot be read"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert!(site.page("/queue/q").await.contains("/queue/q/latest"));
    let blind = Dashboard::new(fixture.client.clone()).authorize(|_, wanted| *wanted != Permission::See { queue: "q" });
    assert_eq!(Site::with(blind).await.get("/queue/q/latest").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_found_in_a_long_log() {
    let fixture = Fixture::new().await;
    let id = fixture.add(json!({})).await;
    let lines: Vec<String> =
        (1..=2_500).map(|n| format!("line {n} {}", if n % 1_000 == 7 { "Needle" } else { "hay" })).collect();
    let mut redis = fixture.redis.clone();
    redis::cmd("RPUSH").arg(fixture.key(&format!("{id}:logs"))).arg(&lines).exec_async(&mut redis).await.unwrap();
    redis::cmd("RPUSH")
        .arg(fixture.key(&format!("{id}:logs")))
        .arg("password=hunter2")
        .exec_async(&mut redis)
        .await
        .unwrap();
    let site = Site::open(&fixture).await;
    let path = format!("/queue/q/job/{id}");
    let page = site.page(&path).await;
    assert!(
        page.contains("<li value=\"2501\">")
            && page.contains("<li value=\"2402\">")
            && !page.contains("<li value=\"2401\">")
    );
    assert!(site.page(&format!("{path}?line=100")).await.contains("<li value=\"2401\">"));
    let found = site.page(&format!("{path}?find=needle")).await;
    let told = text(&found);
    assert!(told.contains("3 lines shown"), "{told}");
    for number in ["2007", "1007", "7"] {
        assert!(found.contains(&format!("<li value=\"{number}\">line {number} Needle")), "{number}: {told}");
    }
    // The rest is one page on, as of a page without a search.
    let many = site.page(&format!("{path}?find=hay")).await;
    assert_eq!(many.matches("<li value=").count(), 100);
    assert!(many.contains("find=hay#log"), "{many}");
    assert!(
        text(&site.page(&format!("{path}?find=%3Cscript%3E")).await)
            .contains("No line of the 2,501 looked at contains that")
    );
    assert!(!site.page(&format!("{path}?find=hunter2")).await.contains("<li value"), "what is redacted is not found");
    assert_eq!(site.page(&format!("{path}?line=-5&find=%20")).await.matches("<li value=").count(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_are_grouped_by_the_begin_of_their_names() {
    let fixture = Fixture::new().await;
    for name in ["shop.mails", "shop.photos", "lone", "bank.a"] {
        let queue: Queue = fixture.client.queue(name).open().unwrap();
        queue.add_bulk((0..3).map(|n| NewJob::new("job", json!(n)))).await.unwrap();
    }
    let site = Site::open(&fixture).await;
    site.page_with("/", &["shop.mails", "shop.photos", "lone", "bank.a"]).await;
    assert!(!site.page("/").await.contains("class=\"group\""));
    let page = site.page("/?by=.&sort=name").await;
    assert_eq!(page.matches("class=\"group\"").count(), 1, "one queue alone is no group: {page}");
    let told = text(&page);
    assert!(told.contains("shop.… 2 queues 6"), "{told}");
    assert!(page.contains("<option value=\".\" selected>") && page.contains("sort=ready&amp;q=&amp;by=."), "{page}");
    assert!(!site.page("/?by=%3Cb%3E").await.contains("class=\"group\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_that_failed_in_all_queues_runs_again_where_that_is_permitted() {
    let fixture = Fixture::new().await;
    let mut queues = Vec::new();
    for name in ["a", "b", "other", "payroll"] {
        queues.push(worked_off(&fixture, name, 4).await);
    }
    let audits: Arc<Mutex<Vec<Audit>>> = Arc::default();
    let heard = Arc::clone(&audits);
    let dashboard = Dashboard::new(fixture.client.clone())
        .authorize(|_, wanted| match wanted {
            Permission::Act { queue, action } => *action == Action::Retry && *queue != "payroll",
            _ => true,
        })
        .audit(move |audit| heard.lock().unwrap().push(audit.clone()));
    let site = Site::with(dashboard).await;
    // What would be done is told before.
    site.page_with("/", &["Retry 6 failed jobs of 3 queues"]).await;
    site.page_with("/?q=oth", &["Retry 2 failed jobs of 1 queue"]).await;
    let form = [("do", "retry"), ("confirm", "all"), ("q", "")];
    assert_eq!(site.post("/", &[("do", "retry"), ("q", "")]).await.status, StatusCode::BAD_REQUEST, "not confirmed");
    let stale = [("token", "stale"), ("do", "retry"), ("confirm", "all")];
    assert_eq!(site.post_from("/", &stale, &[("sec-fetch-site", "same-origin")]).await.status, StatusCode::FORBIDDEN);
    // A second click finds nothing left.
    let (work, told) = site.done("/", &form).await;
    assert_eq!(told, "It has begun.");
    let again = site.done("/", &form).await.0;
    let ended = |page: &str| page.contains("class=\"done\"");
    for work in [&work, &again] {
        eventually("the work has ended", || async { ended(&site.page(work).await) }).await;
    }
    let sum = |path: String| {
        let site = &site;
        async move { text(&site.page(&path).await) }
    };
    let both = [sum(work.clone()).await, sum(again).await];
    assert!(both[0].contains("Retry all failed jobs of 4 queues"), "{both:?}");
    let failed = async |queue: &Queue| queue.get_job_counts(&[JobState::Failed]).await.unwrap().failed;
    assert_eq!((failed(&queues[0]).await, failed(&queues[1]).await, failed(&queues[2]).await), (0, 0, 0));
    assert_eq!(failed(&queues[3]).await, 2, "the hook forbids it");
    let told = audits.lock().unwrap().clone();
    let done: Vec<&str> = told.iter().filter(|audit| audit.done).map(|audit| audit.queue.as_str()).collect();
    assert!(["a", "b", "other"].iter().all(|name| done.contains(name)) && !done.contains(&"payroll"), "{told:?}");
    // Who does not see all of its queues does not see the work, and who may do nothing begins none.
    let nobody = Site::with(Dashboard::new(fixture.client.clone())).await;
    assert_eq!(nobody.post("/", &form).await.status, StatusCode::FORBIDDEN);
    assert!(!nobody.page("/").await.contains("Retry all"));
}
