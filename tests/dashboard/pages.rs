//! What the pages show.

use std::time::Duration;

use axum::http::StatusCode;
use oxmq::dashboard::Dashboard;
use oxmq::{ConnectOptions, FlowNode, Halt, Job, JobOptions, JobState, Repeat};
use serde_json::{Value, json};

use super::site::{Site, text};
use crate::common::fixture::Fixture;
use crate::common::node::{BullMq, NodeDriver};
use crate::common::proxy::Proxy;
use crate::common::server::shared_server;

async fn fails(job: Job) -> Result<Value, Halt> {
    job.add_log("began", 0).await?;
    match job.data()["fails"].as_str() {
        Some(reason) => Err(reason.into()),
        None => Ok(json!({ "sent": job.id() })),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_page_lists_queues_of_node_and_of_rust() {
    let fixture = Fixture::new().await;
    let node = NodeDriver::start(BullMq::V6, &shared_server().url(), &fixture.prefix).await;
    for n in 0..3 {
        node.call("add", json!({ "queue": "of node", "name": "mail", "data": { "n": n }, "opts": {} })).await.unwrap();
    }
    fixture.add_many(2).await;
    fixture.queue.pause().await.unwrap();
    let site = Site::open(&fixture).await;
    let all = [
        "href=\"/admin/queues/queue/of%20node\"",
        "2 queues",
        "5 ready",
        "0 workers",
        "of node 3 jobs waiting and no worker is connected",
        "q paused with 2 jobs waiting",
        "q paused 2 0 0 0 0 0",
        "of node 3 0 0 0 0 0",
    ];
    site.page_with("/", &all).await;
    // The list is filtered by a part of the name, and sorted.
    let text = super::site::text(&site.page("/?q=NODE&sort=failed").await);
    assert!(text.contains("of node 3 0") && !text.contains("q paused 2 0"), "{text}");
    assert!(super::site::text(&site.page("/?q=nowhere").await).contains("No queue has “nowhere” in its name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_shows_its_jobs_by_state_page_and_filter() {
    let fixture = Fixture::new().await;
    fixture.add_many(120).await;
    fixture.queue.add("rare", json!({ "to": "needle" })).await.unwrap();
    fixture.queue.add("later", json!({})).delay(Duration::from_secs(3_600)).await.unwrap();
    let site = Site::open(&fixture).await;
    let first = text(&site.page("/queue/q?state=waiting").await);
    assert!(first.contains("waiting 121") && first.contains("delayed 1"), "{first}");
    assert!(
        first.contains("Jobs 1 to 50 of 121") && first.contains(r#"{"n":0}"#) && !first.contains(r#"{"n":50}"#),
        "{first}"
    );
    let last = text(&site.page("/queue/q?state=waiting&from=100").await);
    assert!(last.contains("Jobs 101 to 121 of 121") && last.contains("needle") && last.contains("Previous"), "{last}");
    for filter in ["name=rare", "name=r*e", "data=needle"] {
        let found = text(&site.page(&format!("/queue/q?state=waiting&{filter}")).await);
        assert!(found.contains("needle") && !found.contains(r#"{"n":1}"#), "{filter}: {found}");
    }
    assert!(text(&site.page("/queue/q?state=waiting&name=none").await).contains("No job matches"));
    assert!(text(&site.page("/queue/q?state=waiting&older=1h").await).contains("No job matches"));
    let delayed = text(&site.page("/queue/q?state=delayed").await);
    assert!(delayed.contains("later") && delayed.contains("in 59 min"), "{delayed}");
    assert!(text(&site.page("/queue/q?state=failed").await).contains("No job is failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_of_a_job_shows_everything_known_of_it() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker(fails).start().unwrap();
    let options = JobOptions::default().attempts(2).backoff(Duration::from_millis(1)).remove_on_complete(1_000);
    let job = fixture
        .queue
        .add("mail", json!({ "fails": "no such address", "a": [1.50, null] }))
        .options(options)
        .await
        .unwrap();
    fixture.until(JobState::Failed, 1).await;
    let done = fixture.add(json!({ "to": "ada" })).await;
    fixture.until(JobState::Completed, 1).await;
    let site = Site::open(&fixture).await;
    let page = site.page(&format!("/queue/q/job/{}", job.id())).await;
    let failed = text(&page);
    for told in [
        "failed",
        "2 of 2 made, 2 started",
        "Why it failed no such address",
        "Error 2 of 2",
        "Error 1 of 2",
        "up to 2",
        "1 ms between attempts",
        "kept among the last 1,000",
        "began",
        "taken by a worker",
        "failed for good",
        "atm 2",
        "\"no such address\"",
        "1.5",
    ] {
        assert!(failed.contains(told), "{told}: {failed}");
    }
    let completed = text(&site.page(&format!("/queue/q/job/{done}")).await);
    assert!(completed.contains("Result") && completed.contains(&format!("\"{done}\"")), "{completed}");
    // The raw data is shown exactly as it is stored.
    assert_eq!(site.page(&format!("/queue/q/job/{}/raw?field=data", job.id())).await, job.data_json());
    assert_eq!(site.get("/queue/q/job/gone").await.status, StatusCode::NOT_FOUND);
    worker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_no_worker_can_read_is_shown_nevertheless() {
    let fixture = Fixture::new().await;
    let id = fixture.add(json!({})).await;
    let mut redis = fixture.redis.clone();
    () = redis::cmd("HSET").arg(fixture.key(&id)).arg("data").arg("{broken").query_async(&mut redis).await.unwrap();
    let site = Site::open(&fixture).await;
    let page = text(&site.page(&format!("/queue/q/job/{id}")).await);
    assert!(page.contains("This job cannot be read") && page.contains("{broken"), "{page}");
    assert!(text(&site.page("/queue/q?state=waiting").await).contains("A job cannot be read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_of_a_flow_says_why_its_parents_wait() {
    let fixture = Fixture::new().await;
    let kids = (0..3).map(|n| FlowNode::new("q", format!("kid {n}"), json!({})));
    let tree = FlowNode::new("parents", "report", json!({})).children(kids);
    let added = fixture.client.flow_producer().add(tree).await.unwrap();
    let kid = added.children()[1].id().to_owned();
    let site = Site::open(&fixture).await;
    let parent = text(&site.page(&format!("/queue/parents/job/{}", added.id())).await);
    assert!(parent.contains("It waits for 3 of 3 children"), "{parent}");
    for told in ["waiting-children report", "waiting kid 0", "waiting kid 1", "waiting kid 2"] {
        assert!(parent.contains(told), "{told}: {parent}");
    }
    // The page of a child shows the whole tree with the child in it.
    let page = site.page(&format!("/queue/q/job/{kid}")).await;
    assert!(page.contains("aria-current=\"true\"") && text(&page).contains("waiting-children report"), "{page}");
    fixture.queue.job(&kid).remove().await.unwrap();
    assert!(text(&site.page("/queue/parents?state=waiting-children").await).contains("report"));
}

#[tokio::test(flavor = "multi_thread")]
async fn schedulers_workers_events_and_the_server_have_pages() {
    let fixture = Fixture::new().await;
    let every = Repeat::every(Duration::from_secs(60)).limit(5);
    fixture.queue.upsert_job_scheduler("each minute", every).name("tick").data(json!({ "deep": 1 })).await.unwrap();
    fixture.queue.upsert_job_scheduler("nightly", Repeat::cron("0 3 * * *").tz("Europe/Berlin")).await.unwrap();
    let worker = fixture.worker(fails).name("anna").start().unwrap();
    let site = Site::open(&fixture).await;
    let page = text(&site.page("/queue/q/schedulers").await);
    for told in
        ["each minute tick", "every 1 min, 5 times at most", "0 3 * * * in Europe/Berlin", "2 in all", "Run now"]
    {
        assert!(page.contains(told), "{told}: {page}");
    }
    crate::common::eventually::eventually("the worker is listed", || async {
        text(&site.page("/workers").await).contains("anna q")
    })
    .await;
    assert!(text(&site.page("/workers?queue=q").await).contains("What they run"));
    assert!(text(&site.page("/queue/q/events").await).contains("Events of q"));
    site.page_with("/server", &["memory used", "redis_version"]).await;
    worker.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_cluster_times_are_right_and_each_server_is_shown() {
    let cluster = crate::common::cluster::Cluster::start();
    let options = oxmq::ConnectOptions::cluster(&cluster.hosts()[..1]).unwrap();
    // Only the names of the queues have a hash tag.
    let prefix = crate::common::server::fresh_prefix().replace(['{', '}'], "");
    let client = oxmq::Client::builder(options).prefix(prefix).connect().await.unwrap();
    let queue: oxmq::Queue = client.queue("{tagged}").open().unwrap();
    queue.add("job", json!({})).job_id("one").await.unwrap();
    let site = Site::with(Dashboard::new(client)).await;
    let page = text(&site.page("/queue/%7Btagged%7D/job/one").await);
    assert!(page.contains("Added") && !page.contains("(in ") && !page.contains("Added in"), "{page}");
    let page = text(&site.page_with("/server", &["3 servers"]).await);
    assert_eq!(page.matches("commands per second").count(), 3, "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_search_finds_queues_and_jobs() {
    let fixture = Fixture::new().await;
    let other: oxmq::Queue = fixture.client.queue("other").open().unwrap();
    other.add("job", json!({})).job_id("order-7").await.unwrap();
    fixture.queue.add("job", json!({})).job_id("order-8").await.unwrap();
    let site = Site::open(&fixture).await;
    site.page_with("/", &["2 queues"]).await;
    let to = async |q: &str| {
        let answer = site.get(&format!("/search?q={q}")).await;
        answer.headers.get("location").map(|to| to.to_str().unwrap().replace("/admin/queues", ""))
    };
    assert_eq!(to("order-7").await.as_deref(), Some("/queue/other/job/order-7"));
    assert_eq!(to("q%3Aorder-8").await.as_deref(), Some("/queue/q/job/order-8"));
    assert_eq!(to("OTH").await.as_deref(), Some("/queue/other"));
    assert_eq!(to("nothing").await, None);
    // Keys of the queue itself and keys of another type are no jobs. They do not hide a job of that id in another
    // queue.
    let mut redis = fixture.redis.clone();
    let () = redis::cmd("SET").arg(fixture.key("order-7")).arg("odd").query_async(&mut redis).await.unwrap();
    assert_eq!(to("order-7").await.as_deref(), Some("/queue/other/job/order-7"));
    assert_eq!(to("meta").await, None);
    assert!(text(&site.page("/search?q=nothing").await).contains("Nothing is found"));
    assert_eq!(site.get("/nowhere").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_keeps_nobody_waiting_for_each_of_its_answers() {
    let server = shared_server();
    let proxy = Proxy::start(server.addr()).await;
    let options = server.by_way_of(proxy.addr()).command_timeout(Duration::from_millis(300));
    let fixture = Fixture::with(options, server).await;
    let id = fixture.add(json!({})).await;
    let site = Site::open(&fixture).await;
    site.page("/queue/q").await;
    proxy.blackhole_all();
    let (job, raw) = (format!("/queue/q/job/{id}"), format!("/queue/q/job/{id}/raw"));
    let paths = ["/queue/q", &job, &raw, "/queue/q/schedulers", "/server", "/workers?queue=q"];
    for answer in futures::future::join_all(paths.map(|path| site.get(path))).await {
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{}", answer.body);
        assert!(text(&answer.body).contains("Redis does not answer"), "{}", answer.body);
    }
    // The list of queues shows what was known.
    assert_eq!(site.get("/").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_search_for_queues_is_told_to_name_them() {
    let server = crate::common::server::RedisServer::start();
    let fixture = Fixture::on(&server).await;
    fixture.add_many(1).await;
    let user = ["SETUSER", "narrow", "on", ">pass", "~*", "&*", "+@all", "-scan"];
    redis::cmd("ACL").arg(&user).exec_async(&mut server.connection().await).await.unwrap();
    let options = ConnectOptions::from_url(&server.url().replace("://", "://narrow:pass@")).unwrap();
    let client = oxmq::Client::builder(options).prefix(&fixture.prefix).connect().await.unwrap();
    let site = Site::with(Dashboard::new(client.clone())).await;
    let page = site.page_with("/", &["Name them where this dashboard is made"]).await;
    assert!(!page.contains("Still looking for queues") && !page.contains("There is no queue yet"), "{page}");
    let site = Site::with(Dashboard::new(client).queues(["q"])).await;
    site.page_with("/", &["/queue/q"]).await;
    assert!(!site.page("/").await.contains("Name them where"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_runs_of_a_scheduler_are_shown() {
    let fixture = Fixture::new().await;
    let every = Repeat::every(Duration::from_secs(3_600));
    fixture.queue.upsert_job_scheduler("hourly", every).name("tick").data(json!({})).await.unwrap();
    let site = Site::open(&fixture).await;
    assert!(text(&site.page("/queue/q/schedulers").await).contains("None is kept"));
    let worker = fixture.client.worker("q", fails).start().unwrap();
    crate::common::eventually::eventually("a run has ended", || async {
        fixture.queue.get_job_counts(&[JobState::Completed]).await.unwrap().completed == 1
    })
    .await;
    worker.close().await;
    let run =
        fixture.queue.get_ranges(&[JobState::Completed], 0, 0, oxmq::queue::Order::Ascending).await.unwrap().remove(0);
    let page = site.page("/queue/q/schedulers").await;
    let encoded = percent_encoding::utf8_percent_encode(&run, percent_encoding::NON_ALPHANUMERIC).to_string();
    assert!(page.contains(&run) || page.contains(&encoded), "{run}: {page}");
    let all = page
        .split("href=\"")
        .filter_map(|link| link.split('"').next())
        .find(|link| link.contains("&amp;ids="))
        .unwrap();
    let all = all.replace("&amp;", "&").replace("/admin/queues", "");
    assert!(site.page(&all).await.contains(&run), "{all}");
}
