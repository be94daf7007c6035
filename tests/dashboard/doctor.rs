//! The doctor's page: what it finds, who sees it, and who may repair it.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use oxmq::JobState;
use oxmq::dashboard::{Action, Audit, Dashboard, Permission};

use super::site::{Site, text};
use crate::common::fixture::Fixture;

/// Returns the form fields that repair a finding.
fn mending<'a>(page: &'a str, finding: &str) -> Vec<(&'a str, &'a str)> {
    let section =
        page.split(&format!("aria-label=\"{finding}\"")).nth(1).unwrap_or_else(|| panic!("{finding}: {page}"));
    let field =
        |name: &str| section.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap().split('"').next().unwrap();
    vec![("do", "mend"), ("checkup", field("checkup")), ("queue", field("queue")), ("finding", field("finding"))]
}

#[tokio::test(flavor = "multi_thread")]
async fn findings_are_shown_and_mended_with_permission() {
    let fixture = Fixture::new().await;
    let payroll: oxmq::Queue = fixture.client.queue("payroll").open().unwrap();
    payroll.write_meta().await.unwrap();
    for queue in ["q", "payroll"] {
        let key = format!("{}:{queue}:wait", fixture.prefix);
        let () = redis::cmd("LPUSH").arg(key).arg("gone").query_async(&mut fixture.redis.clone()).await.unwrap();
    }
    let heard: Arc<Mutex<Vec<Audit>>> = Arc::default();
    let into = Arc::clone(&heard);
    // A guest sees one queue, and may repair nothing.
    let may = |head: &axum::http::request::Parts, wanted: &Permission<'_>| match wanted {
        Permission::See { queue } => *queue != "payroll" || head.uri.query() == Some("boss"),
        Permission::Act { action, .. } => *action == Action::Mend && head.uri.query() == Some("boss"),
        _ => false,
    };
    let dashboard = Dashboard::new(fixture.client.clone()).authorize(may);
    let site = Site::with(dashboard.audit(move |audit| into.lock().unwrap().push(audit.clone()))).await;
    assert!(text(&site.page("/doctor").await).contains("Examine"));
    assert_eq!(site.post_from("/doctor", &[("do", "examine")], &[]).await.status, StatusCode::FORBIDDEN);
    site.page_with("/?boss", &["payroll"]).await;
    assert_eq!(site.done("/doctor?boss", &[("do", "examine"), ("memory", "1")]).await.0, "/doctor");
    let page = site.page_with("/doctor?boss", &["missing-jobs of payroll", "missing-jobs of q"]).await;
    let guests = site.page("/doctor").await;
    assert!(
        guests.contains("missing-jobs of q") && !guests.contains("payroll") && !guests.contains("Mend"),
        "{guests}"
    );
    let mend = mending(&page, "missing-jobs of q");
    assert_eq!(site.post("/doctor", &mend).await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.post("/doctor", &mending(&page, "missing-jobs of payroll")).await.status, StatusCode::NOT_FOUND);
    let old = [mend[0], ("checkup", "0"), mend[2], mend[3]];
    assert_eq!(site.post("/doctor?boss", &old).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(fixture.count(JobState::Waiting).await, 1);
    assert_eq!(site.done("/doctor?boss", &mend).await.1, "missing-jobs of q: 1 of 1 mended.");
    assert_eq!(fixture.count(JobState::Waiting).await, 0);
    assert!(text(&site.page("/doctor?boss").await).contains("1 mended"));
    let heard = heard.lock().unwrap();
    let told: Vec<_> = heard.iter().map(|audit| (audit.action, &*audit.queue, &*audit.target, audit.done)).collect();
    assert_eq!(told[0], (Action::Examine, "*", "payroll, q", true));
    assert_eq!(told[1..], [(Action::Mend, "q", "missing-jobs", false), (Action::Mend, "q", "missing-jobs", true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_examination_is_of_one_queue_if_that_is_asked_and_can_be_stopped() {
    let fixture = Fixture::new().await;
    fixture.add_many(2).await;
    let site = Site::open(&fixture).await;
    assert_eq!(site.post("/doctor", &[("do", "examine"), ("queue", "a:b")]).await.status, StatusCode::NOT_FOUND);
    site.done("/doctor", &[("do", "examine"), ("queue", "q"), ("memory", "1")]).await;
    let page = site
        .page_with("/doctor", &["1 queue and the server", "What jobs weigh", "settings of queues by bullmq:oxmq"])
        .await;
    assert!(text(&page).contains("Examine"), "another may begin: {page}");
    // A stop is harmless if no examination runs.
    site.done("/doctor", &[("do", "stop")]).await;
    assert_eq!(site.post("/doctor", &[("do", "operate")]).await.status, StatusCode::BAD_REQUEST);
}
