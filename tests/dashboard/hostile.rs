//! Hostile names, ids and data: whatever others have stored is shown as text only.

use oxmq::{Halt, Job, JobState};
use serde_json::{Value, json};

use super::rights::PAGES;
use super::site::Site;
use super::stuffed::Stuffing;
use crate::common::fixture::Fixture;

const EVIL: &str = r#""><script>alert(1)</script><img src=x onerror='alert(2)'>"#;

async fn refuses(_: Job) -> Result<Value, Halt> {
    Err(EVIL.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn foreign_data_is_escaped_on_every_page() {
    let fixture = Fixture::new().await;
    let evil: oxmq::Queue = fixture.client.queue(EVIL).open().unwrap();
    evil.write_meta().await.unwrap();
    let worker = fixture.client.worker(EVIL, refuses).name("<b>anna").start().unwrap();
    evil.add(EVIL, json!({ EVIL: [EVIL] })).job_id(format!("id{EVIL}")).await.unwrap();
    let listed = async || evil.get_job_counts(&[JobState::Failed]).await.unwrap().failed == 1;
    crate::common::eventually::eventually("it has failed", listed).await;
    evil.job(format!("id{EVIL}")).add_log(EVIL, 0).await.unwrap();
    worker.close().await;
    let site = Site::open(&fixture).await;
    // The list may know the fixture's own queue before this one; its first link may be a warning's, which adds a state.
    let evil_page = "/admin/queues/queue/%22%3E%3Cscript";
    let home = site.page_with("/", &[evil_page]).await;
    let at = home.find(evil_page).unwrap() + "/admin/queues/queue/".len();
    let link = home[at..].split(['"', '?', '/']).next().unwrap().to_owned();
    let list = site.page(&format!("/queue/{link}?state=failed")).await;
    let job = list.split(&format!("{link}/job/")).nth(1).unwrap().split('"').next().unwrap().to_owned();
    let paths = [
        "/".to_owned(),
        "/workers".to_owned(),
        format!(
            "/queue/{link}?state=failed&name=%22%3E%3Cscript%3E&data=%3Cscript%3E&reason=%3Cscript%3E&from=%3Cscript%3E"
        ),
        format!("/queue/{link}/job/{job}"),
        format!("/queue/{link}/add?like={job}"),
        format!("/queue/{link}/schedulers"),
        format!("/queue/{link}/events"),
        "/search?q=%3Cscript%3Ealert".to_owned(),
        "/?q=%22%3E%3Cscript%3Ealert&sort=%22%3E%3Cscript%3E".to_owned(),
    ];
    for path in paths {
        let page = site.get(&path).await.body;
        assert!(!page.contains("<script>") && !page.contains("<img") && !page.contains("<b>anna"), "{path}: {page}");
        assert!(!page.contains(" style=") && !page.contains(" onclick="), "{path}: the policy forbids it");
    }
    // The page shows the job that was asked for.
    assert!(site.page(&format!("/queue/{link}/job/{job}")).await.contains("&lt;script&gt;"));
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_and_jobs_named_like_path_steps_have_pages() {
    let fixture = Fixture::new().await;
    for name in ["..", ".", "=x"] {
        let queue: oxmq::Queue = fixture.client.queue(name).open().unwrap();
        queue.add("job", json!({})).job_id(name).await.unwrap();
    }
    let site = Site::open(&fixture).await;
    for name in ["=..", "=.", "=%3Dx"] {
        site.page_with("/", &[&format!("/queue/{name}")]).await;
        assert!(site.page(&format!("/queue/{name}/job/{name}")).await.contains("Timeline"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_field_stays_text_on_every_page() {
    let fixture = Fixture::new().await;
    let json = json!({ EVIL: [EVIL] }).to_string();
    for (tag, json) in [("json", json.as_str()), ("none", EVIL)] {
        Stuffing { tag, json, text: EVIL, name: EVIL }.fill(&fixture).await;
    }
    let site = Site::open(&fixture).await;
    site.page_with("/", &["/queue/q"]).await;
    site.done("/doctor", &[("do", "examine"), ("memory", "1")]).await;
    site.page_with("/doctor", &["The last examination"]).await;
    let mut stream = site.stream("/queue/q/events/live").await;
    stream.until("event: open").await;
    for event in ["completed", "failed", "progress", "deduplicated", EVIL, "last"] {
        let mut add = redis::cmd("XADD");
        add.arg(fixture.key("events")).arg("*").arg(&["event", event, "jobId", EVIL, "prev", EVIL]);
        for field in ["returnvalue", "failedReason", "data", "deduplicationId", EVIL] {
            add.arg(field).arg(EVIL);
        }
        add.exec_async(&mut fixture.redis.clone()).await.unwrap();
    }
    let mut pages = vec![("the events".to_owned(), stream.until("badge last").await)];
    let routes = PAGES.iter().filter(|(route, _)| !route.ends_with("live") && !route.ends_with("raw"));
    for path in routes.flat_map(|(_, paths)| *paths) {
        for tag in ["json", "none"] {
            let path = path.replace("QUEUE", "q").replace("TAG", tag).replace("WORK", "1");
            let page = site.get(&path).await.body;
            pages.push((path, page));
        }
    }
    for (path, page) in pages {
        assert!(!page.contains("<script>") && !page.contains("<img"), "{path}: {page}");
    }
    // What is sent as it is stored is no page.
    let raw = site.get("/queue/q/job/failed-json/raw?field=data").await;
    assert_eq!(raw.headers["content-type"], "text/plain; charset=utf-8");
    assert!(raw.body.contains("<script>"));
}
