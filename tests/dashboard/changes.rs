//! The priority and the delay of many jobs at once.

use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use oxmq::{JobOptions, JobState, NewJob};
use serde_json::{Value, json};

use super::site::{Site, text};
use crate::common::fixture::Fixture;

/// Adds jobs and returns their ids.
async fn add(fixture: &Fixture, jobs: usize, name: &str, options: JobOptions) -> Vec<String> {
    let jobs = (0..jobs).map(|n| NewJob::new(name, json!({ "n": n, "of": name })).options(options.clone()));
    let added = fixture.queue.add_bulk(jobs).await.unwrap();
    added.into_iter().map(|job| job.unwrap().id().to_owned()).collect()
}

async fn due(fixture: &Fixture, id: &str) -> SystemTime {
    let score: f64 =
        redis::cmd("ZSCORE").arg(fixture.key("delayed")).arg(id).query_async(&mut fixture.redis.clone()).await.unwrap();
    SystemTime::UNIX_EPOCH + Duration::from_secs_f64(score / 4_096_000.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn chosen_jobs_get_another_priority_and_others_are_told() {
    let fixture = Fixture::new().await;
    let done = fixture.add_many(1).await;
    let ends = async |_: oxmq::Job<Value, Value>| Ok::<_, oxmq::Halt>(json!(null));
    let worker = fixture.worker(ends).start().unwrap();
    fixture.until(JobState::Completed, 1).await;
    worker.close().await;
    let waiting = fixture.add_many(3).await;
    let delayed = add(&fixture, 1, "later", JobOptions::default().delay(Duration::from_secs(3_600))).await;
    let site = Site::open(&fixture).await;
    let page = site.page("/queue/q?state=waiting").await;
    // Enter in the field does nothing that was not meant.
    let form = page.split("id=\"choice\"").nth(1).unwrap();
    let first = form.split("<button").nth(1).unwrap();
    assert!(first.starts_with(" disabled hidden>"), "{first}");
    assert!(form.contains("name=\"priority\"") && !form.contains("name=\"delay\""), "{form}");
    let chosen = |value: &'static str| {
        let ids = [&waiting[0], &waiting[1], &delayed[0], &done[0]].map(|id| ("id", id.as_str()));
        [&[("do", "change-priority"), ("state", "waiting"), ("priority", value)][..], &ids].concat()
    };
    let (_, told) = site.done("/queue/q/jobs", &chosen(" 5 ")).await;
    assert!(told.starts_with("3 jobs: priority 5. 1 not: "), "{told}");
    assert_eq!(fixture.count(JobState::Prioritized).await, 2);
    assert_eq!(fixture.queue.job(&waiting[2]).get_state().await.unwrap(), JobState::Waiting);
    assert_eq!(fixture.number(&delayed[0], "priority").await, 5);
    assert_eq!(fixture.field(&done[0], "priority").await.as_deref(), Some("0"));
    for wrong in ["", "first", "-1", "2097152"] {
        assert_eq!(site.post("/queue/q/jobs", &chosen(wrong)).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chosen_jobs_are_due_at_another_time() {
    let fixture = Fixture::new().await;
    let delayed = add(&fixture, 2, "later", JobOptions::default().delay(Duration::from_secs(3_600))).await;
    let waiting = fixture.add_many(1).await;
    let site = Site::open(&fixture).await;
    let ids = [&delayed[0], &waiting[0]].map(|id| ("id", id.as_str()));
    let (_, told) = site
        .done(
            "/queue/q/jobs",
            &[&[("do", "change-delay"), ("state", "delayed"), ("delay", "2030-12-31")][..], &ids].concat(),
        )
        .await;
    assert!(told.starts_with("1 job: due in ") && told.contains(" 1 not: "), "{told}");
    let expected = SystemTime::UNIX_EPOCH + Duration::from_secs(1_924_905_600);
    let late = due(&fixture, &delayed[0]).await.duration_since(expected).unwrap();
    // The moment is told to Redis as a delay, by a clock that has gone on meanwhile.
    assert!(late < Duration::from_secs(60), "{late:?}");
    assert!(due(&fixture, &delayed[1]).await < expected);
    assert_eq!(fixture.count(JobState::Waiting).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_a_filter_get_another_priority_or_delay_in_the_background() {
    let fixture = Fixture::new().await;
    let hour = || JobOptions::default().delay(Duration::from_secs(3_600));
    add(&fixture, 130, "mail", JobOptions::default()).await;
    add(&fixture, 20, "film", JobOptions::default()).await;
    let later = add(&fixture, 120, "mail", hour()).await;
    let others = add(&fixture, 5, "film", hour()).await;
    let site = Site::open(&fixture).await;
    site.page_with("/queue/q?state=waiting", &["Priority of all…"]).await;
    site.page_with("/queue/q?state=delayed&name=mail", &["Delay of all that match…", "Priority of all that match…"])
        .await;
    assert!(!site.page("/queue/q?state=waiting").await.contains("Delay of all"));
    let all = async |form: &[(&str, &str)], told: &[&str]| {
        let (to, _) = site.done("/queue/q/jobs", &[&[("all", "1")], form].concat()).await;
        site.page_with(&to, told).await;
    };
    let form = [("do", "change-priority"), ("state", "waiting"), ("name", "mail"), ("priority", "7")];
    let told = "Change the priority of waiting jobs named “mail” to 7";
    all(&form, &[told, "Done to 130 jobs. They have: priority 7."]).await;
    assert_eq!((fixture.count(JobState::Prioritized).await, fixture.count(JobState::Waiting).await), (130, 20));
    let before = due(&fixture, &later[0]).await;
    let others = others[0].as_str();
    let stays = due(&fixture, others).await;
    let form = [("do", "change-delay"), ("state", "delayed"), ("name", "mail"), ("delay", "2h")];
    all(&form, &["Done to 120 jobs. They have: due in 2 h."]).await;
    for id in &later {
        assert!(due(&fixture, id).await > before + Duration::from_secs(3_000));
    }
    let form = [("do", "change-delay"), ("state", "delayed"), ("name", "mail"), ("delay", "2030-12-31 18:00 UTC")];
    all(&form, &["Done to 120 jobs."]).await;
    for id in &later {
        assert!(due(&fixture, id).await > SystemTime::UNIX_EPOCH + Duration::from_secs(1_924_970_000));
    }
    assert_eq!(due(&fixture, others).await, stays);
    for wrong in [
        [("do", "change-delay"), ("state", "waiting"), ("delay", "2h")],
        [("do", "change-delay"), ("state", "delayed"), ("delay", "soon")],
        [("do", "change-priority"), ("state", "failed"), ("priority", "1")],
        [("do", "change-priority"), ("state", "waiting"), ("priority", "2097152")],
    ] {
        let answer = site.post("/queue/q/jobs", &[&wrong[..], &[("all", "1")]].concat()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong:?}: {}", text(&answer.body));
    }
}

/// Jobs that are put behind others on the way are not met instead of those.
#[tokio::test(flavor = "multi_thread")]
async fn jobs_found_by_their_data_are_all_changed_once() {
    let fixture = Fixture::new().await;
    for priority in [1, 2, 5] {
        add(&fixture, 150, "mail", JobOptions::default().priority(priority)).await;
    }
    let site = Site::open(&fixture).await;
    let form = [("do", "change-priority"), ("state", "prioritized"), ("data", "mail"), ("all", "1"), ("priority", "2")];
    let (to, _) = site.done("/queue/q/jobs", &form).await;
    site.page_with(&to, &["Done to 450 jobs."]).await;
    let counts = fixture.queue.get_counts_per_priority(&[1, 2, 5]).await.unwrap();
    assert_eq!(counts, [(1, 0), (2, 450), (5, 0)]);
}
