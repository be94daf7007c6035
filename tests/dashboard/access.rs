//! Who may see and act, and what is shown to nobody.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use oxmq::dashboard::{Action, Audit, Dashboard, Field, Permission};
use serde_json::json;

use super::site::{Site, text};
use crate::common::fixture::Fixture;
use crate::common::log::Log;

#[tokio::test(flavor = "multi_thread")]
async fn without_a_permission_nobody_may_act() {
    let fixture = Fixture::new().await;
    let id = fixture.add(json!({})).await;
    let site = Site::with(Dashboard::new(fixture.client.clone())).await;
    for path in ["/queue/q?state=waiting", &format!("/queue/q/job/{id}"), "/queue/q/schedulers"] {
        let page = site.page(path).await;
        assert!(!page.contains("method=\"post\"") || !page.contains("name=\"do\""), "{path}: {page}");
    }
    for (path, action) in [("/queue/q".to_owned(), "pause"), (format!("/queue/q/job/{id}"), "remove")] {
        assert_eq!(site.post(&path, &[("do", action)]).await.status, StatusCode::FORBIDDEN);
    }
    assert_eq!(
        site.post("/queue/q/add", &[("do", "add"), ("name", "n"), ("data", "1")]).await.status,
        StatusCode::FORBIDDEN
    );
    assert!(!fixture.queue.is_paused().await.unwrap());
    assert!(fixture.queue.get_job(&id).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_queue_is_not_named_on_any_page() {
    let fixture = Fixture::new().await;
    let hidden: oxmq::Queue = fixture.client.queue("payroll").open().unwrap();
    let id = hidden.add("raise", json!({})).job_id("ann").await.unwrap().id().to_owned();
    fixture.add(json!({})).await;
    let may = |_: &axum::http::request::Parts, wanted: &Permission<'_>| match wanted {
        Permission::See { queue } => *queue != "payroll",
        _ => true,
    };
    let site = Site::with(Dashboard::new(fixture.client.clone()).authorize(may)).await;
    for path in ["/", "/workers", "/schedulers", "/doctor", "/search?q=ann", "/search?q=pay"] {
        let page = site.page(path).await;
        assert!(!page.contains("payroll"), "{path}: {page}");
    }
    for path in [
        "/queue/payroll",
        &format!("/queue/payroll/job/{id}"),
        "/queue/payroll/events",
        "/queue/payroll/events/live",
        "/queue/payroll/schedulers",
        "/live?of=queue&queue=payroll",
        &format!("/queue/payroll/job/{id}/raw"),
        "/queue/payroll/add",
    ] {
        assert_eq!(site.get(path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(site.post("/queue/payroll", &[("do", "pause")]).await.status, StatusCode::NOT_FOUND);
    assert!(!hidden.is_paused().await.unwrap());
    // Only the named queues are shown.
    let site = Site::with(Dashboard::new(fixture.client.clone()).queues(["q"])).await;
    assert!(!site.page("/").await.contains("payroll"));
    assert_eq!(site.get("/queue/payroll").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_for_one_action_permits_no_other() {
    let fixture = Fixture::new().await;
    let id = fixture.add(json!({})).await;
    let may = |_: &axum::http::request::Parts, wanted: &Permission<'_>| {
        matches!(wanted, Permission::See { .. } | Permission::Act { action: Action::Pause, .. })
    };
    let site = Site::with(Dashboard::new(fixture.client.clone()).authorize(may)).await;
    // The form cannot claim another action than the path has.
    for path in ["/queue/q/add", "/queue/q/jobs", "/queue/q/schedulers", &format!("/queue/q/job/{id}")] {
        let fields = [("do", "pause"), ("name", "evil"), ("data", "{}"), ("id", &*id), ("state", "waiting")];
        assert_eq!(site.post(path, &fields).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(fixture.count(oxmq::JobState::Waiting).await, 1);
    let nobody = Site::with(Dashboard::new(fixture.client.clone()).authorize(|_, _| false)).await;
    assert_eq!(nobody.get("/server").await.status, StatusCode::FORBIDDEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn relatives_in_a_queue_that_may_not_be_seen_are_neither_named_nor_removed() {
    let fixture = Fixture::new().await;
    let node = |queue: &str, id: &str| oxmq::FlowNode::new(queue, "step", json!({})).job_id(id);
    let hidden = node("payroll", "ann").children([node("q", "deep")]);
    fixture.client.flow_producer().add(node("q", "top").children([hidden])).await.unwrap();
    let may = |_: &axum::http::request::Parts, wanted: &Permission<'_>| match wanted {
        Permission::See { queue } => *queue != "payroll",
        _ => true,
    };
    let site = Site::with(Dashboard::new(fixture.client.clone()).authorize(may)).await;
    for id in ["top", "deep"] {
        let page = site.page(&format!("/queue/q/job/{id}")).await;
        assert!(!page.contains("payroll") && !page.contains("ann"), "{id}: {page}");
        assert!(text(&page).contains("a job that you may not see"), "{id}: {page}");
        for field in ["parentKey", "parent", "opts"] {
            let raw = site.get(&format!("/queue/q/job/{id}/raw?field={field}")).await.body;
            assert!(!raw.contains("payroll"), "{id} {field}: {raw}");
        }
    }
    site.post("/queue/q/job/top", &[("do", "remove")]).await;
    site.post("/queue/q/jobs", &[("do", "remove"), ("state", "waiting-children"), ("id", "top")]).await;
    let payroll: oxmq::Queue = fixture.client.queue("payroll").open().unwrap();
    assert!(payroll.get_job("ann").await.unwrap().is_some() && fixture.queue.get_job("top").await.unwrap().is_some());
    // If the user may remove jobs in that queue, too, the children are removed.
    let all = Site::with(Dashboard::new(fixture.client.clone()).authorize(|_, _| true)).await;
    all.done("/queue/q/job/top", &[("do", "remove")]).await;
    assert!(payroll.get_job("ann").await.unwrap().is_none());
    // Many at once leave their children where they are.
    let hidden = node("payroll", "joe");
    fixture.client.flow_producer().add(node("q", "other").children([hidden])).await.unwrap();
    let (path, _) = site.done("/queue/q/jobs", &[("do", "clean"), ("state", "waiting-children"), ("all", "1")]).await;
    site.page_with(&path, &["Done to 1 job"]).await;
    assert!(payroll.get_job("joe").await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_of_others_are_refused() {
    let fixture = Fixture::new().await;
    let site = Site::open(&fixture).await;
    let (ours, pause) = (("token", site.token()), ("do", "pause"));
    for (fields, headers) in [
        (&[pause][..], &[][..]),
        (&[("token", "0123456789abcdef0123456789abcdef"), pause], &[]),
        (&[ours, pause], &[("origin", "https://evil.example")]),
        (&[ours, pause], &[("origin", "null")]),
        (&[ours, pause], &[("sec-fetch-site", "cross-site")]),
        (&[ours, pause], &[("sec-fetch-site", "same-site"), ("origin", "http://here")]),
    ] {
        let answer = site.post_from("/queue/q", fields, headers).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{fields:?} {headers:?}");
        assert!(!fixture.queue.is_paused().await.unwrap());
    }
    assert_eq!(
        site.post_from("/queue/q", &[ours, pause], &[("origin", "http://here")]).await.status,
        StatusCode::SEE_OTHER
    );
    assert!(fixture.queue.is_paused().await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_is_reported_with_its_user() {
    let fixture = Fixture::new().await;
    let heard: Arc<Mutex<Vec<Audit>>> = Arc::default();
    let into = Arc::clone(&heard);
    let dashboard = Dashboard::new(fixture.client.clone())
        .authorize(|_, wanted| !matches!(wanted, Permission::Act { action: Action::Obliterate, .. }))
        .actor(|request| request.headers.get("host").map(|host| host.to_str().unwrap().to_owned()))
        .audit(move |audit| into.lock().unwrap().push(audit.clone()));
    let site = Site::with(dashboard).await;
    site.done("/queue/q", &[("do", "pause")]).await;
    assert_eq!(site.post("/queue/q", &[("do", "obliterate"), ("confirm", "q")]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(site.post("/queue/q/job/7", &[("do", "retry")]).await.status, StatusCode::NOT_FOUND);
    let heard = heard.lock().unwrap();
    let told: Vec<_> = heard.iter().map(|audit| (audit.action, audit.target.as_str(), audit.done)).collect();
    assert_eq!(told, [(Action::Pause, "q", true), (Action::Obliterate, "q", false), (Action::Retry, "7", false)]);
    assert!(heard.iter().all(|audit| audit.actor.as_deref() == Some("here") && audit.queue == "q"), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn covered_fields_are_neither_shown_nor_found() {
    let fixture = Fixture::new().await;
    let data = json!({ "password": "hunter2", "name": "Ann Onymous", "deep": [{ "apiKey": "k-4711" }] });
    let id = fixture.queue.add("login", data).await.unwrap().id().to_owned();
    fixture.queue.job(&id).add_log("Ann Onymous came", 0).await.unwrap();
    let dashboard =
        Dashboard::new(fixture.client.clone()).authorize(|_, _| true).redact(|shown, value| match shown.field {
            Field::Log => *value = "(log)".into(),
            _ => {
                if let Some(name) = value.get_mut("name") {
                    *name = "(name)".into();
                }
            }
        });
    let site = Site::with(dashboard).await;
    let job = format!("/queue/q/job/{id}");
    let raw = format!("{job}/raw?field=data");
    let like = format!("/queue/q/add?like={id}");
    for path in [&*job, &raw, &like, "/queue/q?state=waiting"] {
        let page = site.page(path).await;
        for secret in ["hunter2", "Onymous", "k-4711"] {
            assert!(!page.contains(secret), "{path} shows {secret}: {page}");
        }
    }
    assert!(text(&site.page(&job).await).contains("(log)"));
    assert!(!site.page(&job).await.contains("Change the data"), "who does not see it would overwrite it");
    for secret in ["hunter2", "Onymous", "4711"] {
        let found = text(&site.page(&format!("/queue/q?state=waiting&data={secret}")).await);
        assert!(found.contains("No job matches"), "{secret}: {found}");
    }
    // Secrets are hidden in every field.
    let mut redis = fixture.redis.clone();
    let secret = json!({ "token": "hunter2" }).to_string();
    let mut set = redis::cmd("HSET");
    set.arg(fixture.key(&id)).arg("progress").arg(&secret).arg("returnvalue").arg(&secret);
    set.arg("defa")
        .arg("redis://me:hunter2@host")
        .arg("failedReason")
        .arg("redis://me:hunter2@host")
        .arg("odd")
        .arg("x://a:hunter2@b");
    let () = set.query_async(&mut redis).await.unwrap();
    fixture.queue.job(&id).add_log("postgres://me:hunter2@host", 0).await.unwrap();
    let plain = Site::with(Dashboard::new(fixture.client.clone())).await;
    for path in [&*job, "/queue/q?state=waiting"] {
        let page = plain.page(path).await;
        assert!(!page.contains("hunter2"), "{path}: {page}");
    }
    let open = Site::with(Dashboard::new(fixture.client.clone()).show_secrets(true)).await;
    assert!(open.page(&job).await.contains("hunter2"));
}

/// It is the only trace where the app has no hook of its own.
#[tokio::test]
async fn each_action_is_logged_with_its_user() {
    let log = Log::begin();
    let fixture = Fixture::new().await;
    let dashboard = Dashboard::new(fixture.client.clone())
        .authorize(|_, wanted| !matches!(wanted, Permission::Act { action: Action::Obliterate, .. }))
        .actor(|request| request.headers.get("host").map(|host| host.to_str().unwrap().to_owned()));
    let site = Site::with(dashboard).await;
    site.done("/queue/q", &[("do", "pause")]).await;
    site.post("/queue/q", &[("do", "obliterate"), ("confirm", "q")]).await;
    let told = log.with("oxmq::dashboard: dashboard action");
    let line = |action: &str, done: bool| {
        let told =
            told.iter().find(|line| line.contains(&format!("action={action} "))).unwrap_or_else(|| panic!("{told:?}"));
        assert!(
            told.starts_with("INFO ") && told.contains(r#"actor="here""#) && told.contains(r#"queue="q""#),
            "{told}"
        );
        assert!(told.contains(r#"jobs="q""#) && told.ends_with(&format!("done={done}")), "{told}");
    };
    assert_eq!(told.len(), 2);
    line("pause", true);
    line("obliterate", false);
}
