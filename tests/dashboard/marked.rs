//! A secret in everything that others write into a queue: whichever way it comes to a page, it is redacted.

use oxmq::dashboard::Dashboard;
use serde_json::Value;

use super::rights::PAGES;
use super::site::{Site, text};
use super::stuffed::{FIELDS, STATES, Stuffing};
use crate::common::fixture::Fixture;

const MARK: &str = "hunter2";

/// The secret under a name that sounds like one, as JSON.
const MARKED: &str = r#"{"auth":{"user":"me","pass":"hunter2"}}"#;

/// The same in JSON that cannot be read: it ends within an emoji's other half, or says one thing twice.
const HALF: &str = r#"{"emoji":"x\ud83d","jwt":"hunter2"}"#;
const TWICE: &str = r#"{"a":{"token":"hunter2"},"a":1}"#;
const SAME: &str = r#"{"password":"hunter2","password":"y"}"#;

/// The name is written in escapes, and the JSON says one thing twice.
const ESCAPED: &str = r#"{"p\u0061ssword":"hunter2","b":1,"b":2}"#;

/// The secret in a text, as the password of an address and behind its name.
const LINE: &str = "no answer of redis://me:hunter2@host:6379 with token=hunter2";

const KINDS: [&str; 6] = ["plain", "half", "twice", "same", "escaped", "deep"];

async fn marked() -> Fixture {
    let fixture = Fixture::new().await;
    let deep = format!("{}{MARKED}{}", "[".repeat(200), "]".repeat(200));
    for (tag, json) in KINDS.into_iter().zip([MARKED, HALF, TWICE, SAME, ESCAPED, &deep]) {
        Stuffing { tag, json, text: LINE, name: "n" }.fill(&fixture).await;
    }
    fixture
}

/// What is told of events while they come, until the last of them has.
async fn events(site: &Site, fixture: &Fixture) -> String {
    let told = [
        ("completed", "returnvalue", MARKED),
        ("completed", "returnvalue", HALF),
        ("completed", "returnvalue", SAME),
        ("failed", "failedReason", LINE),
        ("progress", "data", MARKED),
        ("deduplicated", "deduplicationId", LINE),
        ("mine", "pass", MARK),
        ("mine", "all", MARKED),
        ("mine", "all", SAME),
        ("mine", "all", LINE),
        ("last", "of", "all"),
    ];
    let mut redis = fixture.redis.clone();
    let mut stream = site.stream("/queue/q/events/live").await;
    stream.until("event: open").await;
    for (event, field, value) in told {
        let mut add = redis::cmd("XADD");
        add.arg(fixture.key("events")).arg("*").arg(&["event", event, "jobId", "1", "prev", "active", field, value]);
        add.exec_async(&mut redis).await.unwrap();
    }
    let told = stream.until("badge last").await;
    redis::cmd("DEL").arg(fixture.key("events")).exec_async(&mut redis).await.unwrap();
    told
}

/// Every page, with every job, and every raw text.
async fn pages(site: &Site, fixture: &Fixture) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    for (route, below) in PAGES.iter().filter(|(route, _)| !route.ends_with("live")) {
        for (path, kind) in below.iter().flat_map(|path| KINDS.map(|kind| (path, kind))) {
            let path = path.replace("QUEUE", "q").replace("TAG", kind).replace("WORK", "1");
            // One of the jobs stands for those of other states, where a route names one.
            match route.contains("{id}") && path.contains("wait-") {
                true => paths.extend(STATES.map(|(list, _)| path.replace("wait-", &format!("{list}-")))),
                false => paths.push(path),
            }
        }
    }
    for kind in KINDS {
        paths.extend(FIELDS.map(|field| format!("/queue/q/job/failed-{kind}/raw?field={field}")));
        paths.extend(STATES.map(|(list, _)| format!("/queue/q/add?like={list}-{kind}")));
    }
    paths.sort();
    paths.dedup();
    let mut pages = Vec::new();
    for path in paths {
        let answer = site.get(&path).await;
        pages.push((path, answer.body));
    }
    pages.push(("the events".to_owned(), events(site, fixture).await));
    pages
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_covered_is_covered_whichever_way_it_comes_to_a_page() {
    let fixture = marked().await;
    let dashboard = || Dashboard::new(fixture.client.clone()).authorize(|_, _| true);
    let site = Site::with(dashboard()).await;
    site.page_with("/", &["/queue/q"]).await;
    site.done("/doctor", &[("do", "examine"), ("memory", "1")]).await;
    site.page_with("/doctor", &["The last examination"]).await;
    for (path, page) in pages(&site, &fixture).await {
        assert!(!page.contains(MARK), "{path} by itself: {page}");
    }
    let all = |_: &oxmq::dashboard::Shown<'_>, value: &mut Value| *value = "(covered)".into();
    let site = Site::with(dashboard().show_secrets(true).redact(all)).await;
    for (path, page) in pages(&site, &fixture).await {
        assert!(!page.contains(MARK), "{path} by the hook: {page}");
    }
    assert!(site.page("/queue/q/job/wait-plain").await.contains("(covered)"));
    // Where nothing is redacted it is there.
    let open = Site::with(dashboard().show_secrets(true)).await;
    for kind in KINDS {
        let page = open.page(&format!("/queue/q/job/wait-{kind}")).await;
        assert!(page.contains(MARK), "{kind}: {}", text(&page));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_huge_or_broken_is_covered_too_and_its_pages_stay_small() {
    let fixture = Fixture::new().await;
    let members: String = (0..100_000).map(|n| format!("\"m{n}\":{n},")).collect();
    let members = format!("{{{members}\"apiKey\":\"{MARK}\"}}");
    let long = format!("{{\"text\":\"{}\",\"password\":\"{MARK}\"}}", "x".repeat(1_000_000));
    let deep = format!("{}{MARKED}{}", "[".repeat(1_000), "]".repeat(1_000));
    let binary = [b"{\"password\":\"hunter2\",\"is\":\"".as_slice(), &[0xff, 0xfe, 0x80], b"\"}"].concat();
    let jobs =
        [("members", members.as_bytes()), ("long", long.as_bytes()), ("deep", deep.as_bytes()), ("binary", &binary)];
    let mut pipe = redis::pipe();
    for (id, data) in jobs {
        pipe.hset_multiple(fixture.key(id), &[("name", "n"), ("opts", "{}"), ("timestamp", "1700000000000")]);
        pipe.hset(fixture.key(id), "data", data).lpush(fixture.key("wait"), id);
    }
    pipe.exec_async(&mut fixture.redis.clone()).await.unwrap();
    let site = Site::with(Dashboard::new(fixture.client.clone())).await;
    let mut paths = vec!["/queue/q?state=waiting".to_owned(), "/queue/q?state=waiting&name=n".to_owned()];
    for (id, _) in jobs {
        paths.extend([format!("/queue/q/job/{id}"), format!("/queue/q/add?like={id}")]);
    }
    for path in paths {
        let page = site.get(&path).await.body;
        assert!(!page.contains(MARK), "{path}");
        assert!(page.len() < 400_000, "{path}: {} bytes", page.len());
    }
    assert!(site.page("/queue/q?state=waiting").await.contains("bytes of JSON"));
    for (id, _) in jobs {
        assert!(!site.get(&format!("/queue/q/job/{id}/raw?field=data")).await.body.contains(MARK), "{id}");
    }
    // What is covered is not found either.
    let found = site.page("/queue/q?state=waiting&data=hunter2").await;
    assert!(text(&found).contains("No job matches"), "{}", text(&found));
}
