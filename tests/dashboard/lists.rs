//! The lists of jobs: what stays chosen from page to page, what is counted but is no job, and families of many jobs.

use std::time::Duration;

use axum::http::StatusCode;
use oxmq::dashboard::{Action, Dashboard, Permission};
use oxmq::{FlowNode, Halt, Job, JobState, Queue, Repeat};
use serde_json::{Value, json};

use super::site::{Site, text};
use crate::common::eventually::eventually;
use crate::common::fixture::Fixture;
use crate::common::proxy::Proxy;
use crate::common::server::lone_server;
use crate::common::time::now_ms;

#[tokio::test(flavor = "multi_thread")]
async fn the_history_of_a_queue_stays_chosen() {
    let fixture = Fixture::new().await;
    fixture.add_many(120).await;
    let site = Site::open(&fixture).await;
    let page = site.page("/queue/q?state=waiting&history=1w").await;
    let links = |path: &str| format!("href=\"/admin/queues/queue/q?{path}\"");
    for kept in [
        links("state=failed&amp;history=1w"),
        links("state=completed&amp;history=1w"),
        links("state=waiting&amp;history=1w&amp;from=50"),
        links("history=1d&amp;state=waiting"),
        "<input type=\"hidden\" name=\"history\" value=\"1w\">".to_owned(),
    ] {
        assert!(page.contains(&kept), "{kept}: {page}");
    }
    let filtered = site.page("/queue/q?state=waiting&name=x&history=1w").await;
    assert!(filtered.contains(&format!("{}>Clear", links("state=waiting&amp;history=1w"))), "{filtered}");
    assert!(!site.page("/queue/q?state=waiting").await.contains("history\" value"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_comes_back_to_the_list_that_it_was_sent_from() {
    let fixture = Fixture::new().await;
    let ids: Vec<String> = fixture.add_many(120).await;
    let site = Site::open(&fixture).await;
    let page = site.page("/queue/q?state=waiting&name=job&history=6h").await;
    assert!(page.contains("name=\"back\" value=\"state=waiting&amp;name=job&amp;history=6h\""), "{page}");
    let page = site.page("/queue/q?state=waiting&from=100").await;
    assert!(page.contains("name=\"back\" value=\"state=waiting&amp;from=100\""), "{page}");
    let back = ("back", "state=waiting&from=100");
    let list = "/queue/q?state=waiting&from=100";
    let form = [("do", "remove"), ("state", "waiting"), ("id", &*ids[110]), back];
    assert_eq!(site.done("/queue/q/jobs", &form).await.0, list);
    let one = format!("/queue/q/job/{}", ids[111]);
    assert_eq!(site.done(&one, &[("do", "remove"), ("state", "waiting"), back]).await.0, list);
    // Nobody is sent elsewhere, and a job's own page shows the job again.
    let odd = format!("/queue/q/job/{}", ids[112]);
    let to = site.done(&odd, &[("do", "change-priority"), ("priority", "3"), ("back", "//evil.example\r\nX: y")]).await;
    assert_eq!(to.0, "/queue/q?state=waiting");
    let to = site.done(&odd, &[("do", "change-priority"), ("priority", "4")]).await;
    assert_eq!(to.0, odd);
    // There are fewer jobs by now: the last page is shown.
    let last = text(&site.page("/queue/q?state=waiting&from=5000").await);
    assert!(last.contains("Jobs 101 to 117 of 117") && last.contains("Previous"), "{last}");
    assert!(text(&site.page("/queue/q?state=failed&from=5000").await).contains("No job is failed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_problem_leads_back_to_its_page() {
    let fixture = Fixture::new().await;
    let id = fixture.add(json!({})).await;
    let site = Site::open(&fixture).await;
    let again = |path: &str| format!("<a class=\"button\" href=\"/admin/queues{path}\">Look again</a>");
    let job = format!("/queue/q/job/{id}");
    let refused = site.post(&job, &[("do", "retry")]).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.body.contains(&again(&job)), "{}", refused.body);
    let none = site.post("/queue/q/jobs", &[("do", "retry"), ("state", "failed")]).await;
    assert!(none.body.contains(&again("/queue/q")), "{}", none.body);
    assert!(site.get("/queue/q/job/gone").await.body.contains(&again("/queue/q")));
    let blind = Dashboard::new(fixture.client.clone()).authorize(|_, wanted| *wanted != Permission::See { queue: "q" });
    assert!(!Site::with(blind).await.get("/queue/q/job/gone").await.body.contains("Look again"));
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_without_a_job_are_named_and_broken_jobs_linked() {
    let fixture = Fixture::new().await;
    fixture.add_many(2).await;
    let site = Site::open(&fixture).await;
    assert!(!site.page("/queue/q?state=waiting").await.contains("Ids without a job"));
    let mut redis = fixture.redis.clone();
    redis::pipe()
        .rpush(fixture.key("wait"), "lost <b>")
        .zadd(fixture.key("failed"), "evicted", 5)
        .hset(fixture.key("bad/1"), "opts", "{broken")
        .hset(fixture.key("bad/1"), "name", "job")
        .hset(fixture.key("bad/1"), "timestamp", "1")
        .lpush(fixture.key("wait"), "bad/1")
        .exec_async(&mut redis)
        .await
        .unwrap();
    let waiting = site.page("/queue/q?state=waiting").await;
    let told = text(&waiting);
    assert!(told.contains("Ids without a job are counted here: lost <b> ."), "{told}");
    assert!(told.contains("A job cannot be read") && !told.contains("here: lost <b> ,"), "{told}");
    let link = "href=\"/admin/queues/queue/q/job/bad%2F1\"";
    assert!(waiting.contains(link), "{waiting}");
    assert!(site.page("/queue/q/latest").await.contains(link));
    let failed = text(&site.page("/queue/q?state=failed").await);
    assert!(failed.contains("counted here: evicted") && failed.contains("No job is failed"), "{failed}");
}

async fn fails(_: Job) -> Result<Value, Halt> {
    Err("the mail server is gone".into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_family_is_shown_in_part_and_its_children_on_demand() {
    let fixture = Fixture::new().await;
    // 31 jobs below each of the 31 children: too many for one picture.
    let kids = (0..31).map(|n| {
        let grandkids = (0..31).map(move |k| FlowNode::new("q", format!("{n}.{k}"), json!({})));
        FlowNode::new("q", format!("kid {n}"), json!({})).children(grandkids)
    });
    // So many that no server keeps the set of them as a list, which is read whole.
    let wide = (0..200).map(|n| FlowNode::new("q", format!("one of many {n}"), json!({})));
    let flows = fixture.client.flow_producer();
    let large = flows.add(FlowNode::new("q", "large", json!({})).children(kids)).await.unwrap();
    let wide = flows.add(FlowNode::new("q", "wide", json!({})).children(wide)).await.unwrap();
    let site = Site::open(&fixture).await;
    let nodes = |page: &str| page.matches("<span class=\"node\">").count();
    let page = site.page(&format!("/queue/q/job/{}", large.id())).await;
    assert!((30..=300).contains(&nodes(&page)), "{} jobs", nodes(&page));
    assert!(text(&page).contains("Children: 0 done, 31 unfinished, 0 failed, 0 failed and ignored."), "{page}");
    let path = format!("/queue/q/job/{}", wide.id());
    let page = site.page(&path).await;
    assert!(nodes(&page) < 201 && page.contains(&format!("{path}?children=more#family")), "{page}");
    let page = site.page(&format!("{path}?children=more")).await;
    assert_eq!(nodes(&page), 201);
    // Whichever child it is, its own page shows it, and where it belongs.
    for child in wide.children().iter().step_by(4) {
        let page = site.page(&format!("/queue/q/job/{}", child.id())).await;
        assert!(page.contains("aria-current=\"true\""), "{page}");
        assert!(page.contains(&format!("href=\"/admin/queues{path}\"")), "{page}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tree_says_why_a_child_failed() {
    let fixture = Fixture::new().await;
    let kid = FlowNode::new("q", "kid", json!({}));
    let parent = fixture.client.flow_producer().add(FlowNode::new("parents", "p", json!({})).child(kid)).await.unwrap();
    let worker = fixture.worker(fails).start().unwrap();
    fixture.until(JobState::Failed, 1).await;
    worker.close().await;
    let site = Site::open(&fixture).await;
    let told = text(&site.page(&format!("/queue/parents/job/{}", parent.id())).await);
    assert!(told.contains("the mail server is gone"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_overdue_scheduler_tells_runs_to_come_and_when_it_ends() {
    let fixture = Fixture::new().await;
    let hour = Duration::from_secs(3_600);
    let now = std::time::UNIX_EPOCH + Duration::from_millis(now_ms());
    let every = Repeat::every(hour).end_date(now + 500 * hour);
    fixture.queue.upsert_job_scheduler("late", every).await.unwrap();
    let mut redis = fixture.redis.clone();
    // Nobody has taken its run for ninety minutes.
    let missed = (now_ms() - 90 * 60_000).to_string();
    () = redis::cmd("ZADD").arg(fixture.key("repeat")).arg(&missed).arg("late").query_async(&mut redis).await.unwrap();
    let site = Site::open(&fixture).await;
    let told = text(&site.page("/queue/q/schedulers").await);
    let after = told.split("After that").nth(1).unwrap();
    assert!(after.trim().starts_with("in 29 min , in 1 h , in 2 h , in 3 h , in 4 h"), "{told}");
    assert!(told.contains(", until 20") && told.contains("( in 20 d"), "{told}");
    // The end is changed, taken away, and otherwise kept.
    let change = async |more: &[(&str, &str)]| {
        let fields = [&[("do", "change-scheduler"), ("id", "late"), ("every", "1h")], more].concat();
        let status = site.post("/queue/q/schedulers", &fields).await.status;
        (status, fixture.queue.get_job_scheduler("late").await.unwrap().unwrap().end_date)
    };
    let day = |text: &str| Some(chrono::DateTime::parse_from_rfc3339(text).unwrap().into());
    assert_eq!(change(&[]).await, (StatusCode::SEE_OTHER, Some(now + 500 * hour)));
    for end in ["2070-12-31 18:00", "2070-12-31T18:00", "2070-12-31T19:00:00+01:00", "2070-12-31 18:00 UTC"] {
        assert_eq!(change(&[("end", end)]).await, (StatusCode::SEE_OTHER, day("2070-12-31T18:00:00Z")), "{end}");
    }
    assert_eq!(change(&[("end", "soon")]).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(change(&[("end", "")]).await, (StatusCode::SEE_OTHER, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_delayed_until_a_moment_and_added_with_any_option() {
    let fixture = Fixture::new().await;
    let site = Site::open(&fixture).await;
    let add = [("do", "add"), ("name", "mail"), ("data", "{}"), ("id", "a"), ("delay", "2090-01-01 12:00")];
    let more = ("options", r#"{"backoff":{"type":"exponential","delay":70},"removeOnComplete":5,"delay":1}"#);
    let (to, _) = site.done("/queue/q/add", &[&add[..], &[more]].concat()).await;
    assert_eq!(to, "/queue/q/job/a");
    let opts: Value = serde_json::from_str(&fixture.field("a", "opts").await.unwrap()).unwrap();
    assert_eq!((&opts["backoff"]["delay"], &opts["removeOnComplete"]), (&json!(70), &json!(5)));
    let delayed = text(&site.page("/queue/q/job/a").await);
    assert!(delayed.contains("Due 2090-01-01 12:00:00"), "{delayed}");
    site.done("/queue/q/job/a", &[("do", "change-delay"), ("delay", "2091-02-03")]).await;
    assert!(text(&site.page("/queue/q/job/a").await).contains("Due 2091-02-03 00:00:00"));
    for wrong in [("delay", "never"), ("options", "[]"), ("options", r#"{"attempts":"x"}"#)] {
        let answer = site.post("/queue/q/add", &[("do", "add"), ("name", "mail"), ("data", "{}"), wrong]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filtered_list_of_queues_is_paused_as_it_is_filtered() {
    let fixture = Fixture::new().await;
    let mut queues: Vec<Queue> = Vec::new();
    for name in ["shop.mails", "shop.photos", "bank", "shop.secret"] {
        let queue: Queue = fixture.client.queue(name).open().unwrap();
        queue.add("job", json!({})).await.unwrap();
        queues.push(queue);
    }
    let dashboard = Dashboard::new(fixture.client.clone()).authorize(|_, wanted| match wanted {
        Permission::Act { queue, action } => *action != Action::Pause || *queue != "shop.secret",
        _ => true,
    });
    let site = Site::with(dashboard).await;
    site.page_with("/?q=SHOP", &["Pause all with “SHOP”… ", "Pause 2 queues"]).await;
    let form = |q| [("do", "pause"), ("confirm", "all"), ("q", q)];
    assert_eq!(site.done("/", &form("SHOP")).await, ("?q=shop".to_owned(), "2 queues: paused.".to_owned()));
    let mut paused = Vec::new();
    for queue in &queues {
        paused.push(queue.is_paused().await.unwrap());
    }
    assert_eq!(paused, [true, true, false, false]);
    assert_eq!(site.post("/", &form("nowhere")).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_with_spaces_around_them_can_be_acted_on() {
    let fixture = Fixture::new().await;
    let queue: Queue = fixture.client.queue(" lead").open().unwrap();
    queue.upsert_job_scheduler(" s ", Repeat::every(Duration::from_secs(60))).await.unwrap();
    let site = Site::open(&fixture).await;
    let form = [("do", "remove-scheduler"), ("id", " s ")];
    assert_eq!(site.done("/queue/%20lead/schedulers", &form).await.1, "The scheduler  s  is removed.");
    assert_eq!(queue.get_job_schedulers_count().await.unwrap(), 0);
    queue.set_global_rate_limit(7, Duration::from_secs(90)).await.unwrap();
    let page = site.page("/queue/%20lead").await;
    assert!(page.contains("name=\"max\" min=\"1\" value=\"7\"") && page.contains("name=\"window\" value=\"90s\""));
    site.done("/queue/%20lead", &[("do", "obliterate"), ("confirm", " lead")]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_all_queues_say_that_redis_does_not_answer() {
    // On a cluster the other masters answer: `dashboard::on_cluster`.
    let server = lone_server();
    let proxy = Proxy::start(server.addr()).await;
    let options = server.by_way_of(proxy.addr()).command_timeout(Duration::from_millis(300));
    let fixture = Fixture::with(options, server).await;
    fixture.add_many(1).await;
    let site = Site::open(&fixture).await;
    assert!(!site.page_with("/", &["1 queue"]).await.contains("does not answer"));
    proxy.blackhole_all();
    // What was known stays on the page.
    site.page_with("/", &["Redis does not answer. What is shown was read before", "/queue/q\""]).await;
    let workers = site.page_with("/workers", &["Redis does not answer"]).await;
    assert!(!workers.contains("does not permit") && !workers.contains("No worker is connected"), "{workers}");
    // A dashboard that has never reached it does not claim that there is nothing.
    let fresh = Site::open(&fixture).await;
    let home = fresh.page_with("/", &["Redis does not answer"]).await;
    assert!(!home.contains("Still looking") && !home.contains("There is no queue yet"), "{home}");
    let schedulers = fresh.page_with("/schedulers", &["Redis does not answer"]).await;
    assert!(!schedulers.contains("No queue has a job scheduler"), "{schedulers}");
    let examined = fresh.post("/doctor", &[("do", "examine")]).await;
    assert_eq!(examined.status, StatusCode::BAD_GATEWAY, "{}", examined.body);
    proxy.heal();
    for site in [&site, &fresh] {
        let is_as_before = |page: &str| {
            page.contains("/queue/q\"") && !page.contains("does not answer") && !page.contains("Still looking")
        };
        eventually("the page is as before", || async { is_as_before(&site.page("/").await) }).await;
    }
}
