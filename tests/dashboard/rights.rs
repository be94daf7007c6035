//! Every route of the dashboard, by everybody who may come: nobody learns of a queue that he may not see, and nobody does
//! what he may not do. The routes and the actions are read from the sources, so that a new one without a row fails.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::http::StatusCode;
use oxmq::client::Clock;
use oxmq::dashboard::{Action, Audit, Dashboard, Permission};
use oxmq::{Client, ConnectOptions, Repeat};
use serde_json::json;

use super::site::{Site, text};
use crate::common::dump::Dump;
use crate::common::fixture::Fixture;
use crate::common::server::shared_server;

const ROUTER: &str = include_str!("../../src/dashboard/router.rs");
const ACCESS: &str = include_str!("../../src/dashboard/access.rs");

/// The queue that some may not see. Its number stands in all that it holds, and in nothing else.
const HIDDEN: &str = "pay4711roll";
const MARK: &str = "4711";

/// What is looked at below each route; `QUEUE` is one of the queues, and `TAG` what its ids end with.
pub(super) const PAGES: &[(&str, &[&str])] = &[
    ("/", &["/", "/?sort=concern", "/?sort=oldest", "/?q=o"]),
    ("/workers", &["/workers", "/workers?queue=QUEUE"]),
    ("/schedulers", &["/schedulers", "/schedulers?q=s-"]),
    ("/doctor", &["/doctor", "/doctor?queue=q"]),
    ("/server", &["/server"]),
    ("/search", &["/search?q=o", "/search?q=wait-TAG", "/search?q=QUEUE:wait-TAG", "/search?q=QUEUE"]),
    ("/work/{id}", &["/work/WORK"]),
    ("/live", &["/live?of=queue&queue=QUEUE", "/live?of=job&queue=QUEUE&job=wait-TAG", "/live?of=work&work=WORK"]),
    ("/assets/{version}/{name}", &["/assets/0/app.css"]),
    (
        "/queue/{queue}",
        &[
            "/queue/QUEUE",
            "/queue/QUEUE?state=waiting",
            "/queue/QUEUE?state=active",
            "/queue/QUEUE?state=delayed",
            "/queue/QUEUE?state=prioritized",
            "/queue/QUEUE?state=completed",
            "/queue/QUEUE?state=failed",
            "/queue/QUEUE?state=failed&reason=child",
            "/queue/QUEUE?state=waiting-children",
            "/queue/QUEUE?state=waiting&data=4711",
        ],
    ),
    ("/queue/{queue}/add", &["/queue/QUEUE/add", "/queue/QUEUE/add?like=wait-TAG"]),
    (
        "/queue/{queue}/job/{id}",
        &[
            "/queue/QUEUE/job/wait-TAG",
            "/queue/QUEUE/job/active-TAG",
            "/queue/QUEUE/job/failed-TAG",
            "/queue/QUEUE/job/waiting-children-TAG",
        ],
    ),
    (
        "/queue/{queue}/job/{id}/raw",
        &[
            "/queue/QUEUE/job/failed-TAG/raw",
            "/queue/QUEUE/job/failed-TAG/raw?field=opts",
            "/queue/QUEUE/job/failed-TAG/raw?field=parent",
            "/queue/QUEUE/job/failed-TAG/raw?field=parentKey",
            "/queue/QUEUE/job/failed-TAG/raw?field=failedReason",
            "/queue/QUEUE/job/failed-TAG/raw?field=defa",
            "/queue/QUEUE/job/failed-TAG/raw?field=stacktrace",
            "/queue/QUEUE/job/failed-TAG/raw?field=returnvalue",
            "/queue/QUEUE/job/failed-TAG/raw?field=progress",
            "/queue/QUEUE/job/failed-TAG/raw?field=pb",
            "/queue/QUEUE/job/failed-TAG/raw?field=deid",
        ],
    ),
    ("/queue/{queue}/latest", &["/queue/QUEUE/latest"]),
    ("/queue/{queue}/schedulers", &["/queue/QUEUE/schedulers"]),
    ("/queue/{queue}/events", &["/queue/QUEUE/events"]),
    ("/queue/{queue}/events/live", &["/queue/QUEUE/events/live"]),
];

/// What is done by the forms of each route; everything else they refuse.
const FORMS: &[(&str, &str)] = &[
    ("/", "pause resume"),
    ("/doctor", "mend examine"),
    ("/work/{id}", ""),
    ("/queue/{queue}", "pause resume limit drain obliterate"),
    ("/queue/{queue}/jobs", "retry promote cancel remove clean change-priority change-delay"),
    ("/queue/{queue}/add", "add"),
    ("/queue/{queue}/job/{id}", "retry promote remove cancel change-priority change-delay change-data remove-children"),
    ("/queue/{queue}/schedulers", "run-scheduler change-scheduler remove-scheduler"),
];

/// The routes that answer a method, by the sources of the router.
fn routes(method: &str) -> BTreeSet<&'static str> {
    let lines = ROUTER.lines().map(str::trim).filter_map(|line| line.strip_prefix(".route(\""));
    let found: Vec<(&str, &str)> = lines.map(|line| line.split_once('"').unwrap()).collect();
    assert_eq!(found.len(), ROUTER.matches(".route(").count(), "each route stands on a line of its own");
    let call = format!("{method}(");
    found.into_iter().filter(|(_, methods)| methods.contains(&call)).map(|(path, _)| path).collect()
}

/// The words of all actions, by the sources.
fn actions() -> Vec<&'static str> {
    let list = ACCESS.split("\nactions! {").nth(1).unwrap().split("\n}").next().unwrap();
    list.lines().filter_map(|line| line.split('"').nth(1)).collect()
}

#[test]
fn every_route_and_every_action_has_a_row() {
    assert_eq!(PAGES.iter().map(|(route, _)| *route).collect::<BTreeSet<_>>(), routes("get"));
    assert_eq!(FORMS.iter().map(|(route, _)| *route).collect::<BTreeSet<_>>(), routes("post"));
    let done: BTreeSet<&str> = FORMS.iter().flat_map(|(_, does)| does.split_whitespace()).collect();
    assert_eq!(done, actions().into_iter().collect());
}

/// Which queues somebody sees.
#[derive(Clone, Copy)]
enum Sees {
    None,
    One,
    All,
}

/// What somebody may do in them.
#[derive(Clone, Copy)]
enum May {
    Nothing,
    Only(&'static str),
    AllBut(&'static str),
}

/// One dashboard, and who comes to it.
struct House {
    fixture: Fixture,
    site: Site,
    who: Arc<Mutex<(Sees, May)>>,
    heard: Arc<Mutex<Vec<Audit>>>,
}

impl House {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        fill(&fixture, "q", "0815").await;
        fill(&fixture, HIDDEN, MARK).await;
        relate(&fixture).await;
        // Its clock stands, so that the same page is the same text.
        let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
        let clock = Clock::manual(Clock::system().now() + Duration::from_secs(3_600));
        let client = Client::builder(options).prefix(&fixture.prefix).clock(clock).connect().await.unwrap();
        let who = Arc::new(Mutex::new((Sees::All, May::AllBut(""))));
        let heard: Arc<Mutex<Vec<Audit>>> = Arc::default();
        let (asked, into) = (Arc::clone(&who), Arc::clone(&heard));
        let may = move |_: &axum::http::request::Parts, wanted: &Permission<'_>| {
            let (sees, may) = *asked.lock().unwrap();
            match (wanted, sees, may) {
                (_, Sees::None, _) => false,
                (Permission::See { queue }, Sees::One, _) => *queue == "q",
                (Permission::Act { action, .. }, _, May::Only(only)) => action.as_str() == only,
                (Permission::Act { action, .. }, _, May::AllBut(one)) => action.as_str() != one,
                (Permission::Act { .. }, _, May::Nothing) => false,
                _ => true,
            }
        };
        let dashboard = Dashboard::new(client).authorize(may).actor(|_| Some("somebody".to_owned()));
        let site = Site::with(dashboard.audit(move |audit| into.lock().unwrap().push(audit.clone()))).await;
        crate::common::eventually::eventually("all queues are found", || async {
            let page = site.page("/").await;
            page.contains(HIDDEN) && !page.contains("there may be more")
        })
        .await;
        Self { fixture, site, who, heard }
    }

    fn comes(&self, sees: Sees, may: May) -> &Site {
        *self.who.lock().unwrap() = (sees, may);
        &self.site
    }

    async fn dump(&self) -> Dump {
        Dump::take(&mut self.fixture.redis.clone(), &self.fixture.prefix).await
    }

    /// All pages that name no queue but the visible one.
    async fn pages(&self, sees: Sees) -> BTreeMap<String, (StatusCode, String)> {
        let site = self.comes(sees, May::AllBut(""));
        let mut pages = BTreeMap::new();
        for (route, paths) in PAGES {
            for path in *paths {
                let path = path.replace("QUEUE", "q").replace("TAG", "0815").replace("WORK", "1");
                if !matches!(*route, "/live" | "/queue/{queue}/events/live") {
                    let answer = site.get(&path).await;
                    pages.insert(path, (answer.status, answer.body));
                }
            }
        }
        pages
    }
}

/// A queue with a job in each state, a scheduler, and an id without a job.
async fn fill(fixture: &Fixture, queue: &str, tag: &str) {
    let handle: oxmq::Queue = fixture.client.queue(queue).open().unwrap();
    handle.write_meta().await.unwrap();
    let key = |suffix: &str| format!("{}:{queue}:{suffix}", fixture.prefix);
    let now = Clock::system().now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis();
    let mut pipe = redis::pipe();
    for state in ["wait", "active", "delayed", "prioritized", "completed", "failed", "waiting-children"] {
        let id = format!("{state}-{tag}");
        let (data, opts) = (json!({ "d": tag }).to_string(), json!({ "attempts": 1 }).to_string());
        let (at, name, is_delayed) = (now.to_string(), format!("n-{tag}"), state == "delayed");
        let delay = if is_delayed { "86400000" } else { "0" };
        let fields = [("name", &*name), ("data", &data), ("opts", &opts), ("timestamp", &at), ("delay", delay)];
        pipe.hset_multiple(key(&id), &fields).hset(key(&id), "priority", if state == "prioritized" { 1 } else { 0 });
        match state {
            "wait" | "active" => pipe.rpush(key(state), &id),
            "delayed" => pipe.zadd(key(state), &id, ((now + 86_400_000) * 4_096).to_string()),
            _ => pipe.zadd(key(state), &id, now.to_string()),
        };
        if matches!(state, "completed" | "failed") {
            pipe.hset(key(&id), "finishedOn", &at).hset(key(&id), "processedOn", &at);
        }
        if state == "failed" {
            pipe.hset(key(&id), "failedReason", format!("because of {tag}"));
        }
    }
    pipe.sadd(key(&format!("waiting-children-{tag}:dependencies")), key(&format!("wait-{tag}")));
    pipe.rpush(key("wait"), format!("gone-{tag}"));
    pipe.exec_async(&mut fixture.redis.clone()).await.unwrap();
    handle.upsert_job_scheduler(format!("s-{tag}"), Repeat::cron("0 3 1 1 *")).data(json!({ "d": tag })).await.unwrap();
}

/// Everything in the visible queue that may name a job of the other one.
async fn relate(fixture: &Fixture) {
    let theirs = |id: &str| format!("{}:{HIDDEN}:{id}-{MARK}", fixture.prefix);
    let mut pipe = redis::pipe();
    let parent = fixture.key("waiting-children-0815");
    for (part, id) in [("dependencies", "wait"), ("dependencies", "active")] {
        pipe.sadd(format!("{parent}:{part}"), theirs(id));
    }
    let told = format!("child {} failed", theirs("failed"));
    pipe.hset(format!("{parent}:processed"), theirs("completed"), "1").hset(
        format!("{parent}:failed"),
        theirs("failed"),
        &told,
    );
    pipe.zadd(format!("{parent}:unsuccessful"), theirs("failed"), 1);
    let (job, key) = (fixture.key("failed-0815"), theirs("waiting-children"));
    let queue = format!("{}:{HIDDEN}", fixture.prefix);
    let link = json!({ "id": format!("waiting-children-{MARK}"), "queue": queue, "queueKey": queue }).to_string();
    let holds = json!({ "of": [theirs("wait")] }).to_string();
    let opts = format!(r#"{{"attempts":1,"parent":{link}}}"#);
    let traces = json!([told]).to_string();
    for (field, value) in [
        ("parentKey", &key),
        ("parent", &link),
        ("opts", &opts),
        ("failedReason", &told),
        ("defa", &told),
        ("stacktrace", &traces),
        ("returnvalue", &holds),
        ("progress", &holds),
        ("data", &holds),
        ("pb", &told),
        ("deid", &told),
        ("theirs", &told),
    ] {
        pipe.hset(&job, field, value);
    }
    pipe.rpush(format!("{job}:logs"), &told);
    for other in ["wait-0815", "active-0815"] {
        pipe.hset(fixture.key(other), "failedReason", &told).hset(fixture.key(other), "data", &holds);
        pipe.hset(fixture.key(other), "parentKey", &key).hset(fixture.key(other), "progress", &holds);
    }
    pipe.exec_async(&mut fixture.redis.clone()).await.unwrap();
}

/// What differs between two answers is told by the first place.
fn first_difference(left: &str, right: &str) -> String {
    let at = left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count();
    let part =
        |text: &str| text.get(at.saturating_sub(80)..).map_or("", |rest| rest.get(..200).unwrap_or(rest)).to_owned();
    format!("…{}\n…{}", part(left), part(right))
}

#[tokio::test(flavor = "multi_thread")]
async fn hidden_queues_look_like_queues_that_do_not_exist() {
    let house = House::new().await;
    let (place, _) = house.site.done("/doctor", &[("do", "examine")]).await;
    house.site.page_with(&place, &[&format!("missing-jobs of {HIDDEN}"), "missing-jobs of q"]).await;
    let clean = [("do", "clean"), ("state", "paused"), ("all", "1")];
    let (work, _) = house.site.done(&format!("/queue/{HIDDEN}/jobs"), &clean).await;
    for sees in [Sees::None, Sees::One] {
        let site = house.comes(sees, May::AllBut(""));
        for path in PAGES.iter().flat_map(|(_, paths)| *paths) {
            // Of a queue that may not be seen as much is said as of one that does not exist.
            let work = work.rsplit('/').next().unwrap();
            let at = |queue: &str, tag: &str| path.replace("QUEUE", queue).replace("TAG", tag);
            let hidden = at(HIDDEN, MARK).replace("WORK", work);
            let (hidden, none) = (hidden, at("pay0007roll", "0007").replace("WORK", "7"));
            if hidden == none {
                continue;
            }
            let (hidden, none) = (site.get(&hidden).await, site.get(&none).await);
            let plain = hidden.body.replace(MARK, "0007").replace(work, "7");
            assert_eq!(hidden.status, none.status, "{path}");
            assert!(plain == none.body, "{path}: {}", first_difference(&plain, &none.body));
        }
        let names = |body: &str| body.contains(MARK) || body.contains("payroll");
        for (path, (status, body)) in house.pages(sees).await {
            let asked = path.contains(MARK);
            assert!(asked || !names(&body), "{path}: {status}: {}", text(&body));
            assert!(matches!(sees, Sees::One) || !body.contains("0815") || path.contains("0815"), "{path}: {body}");
        }
        let server = house.site.get("/server").await;
        assert!(!names(&server.body));
        assert_eq!(server.status == StatusCode::OK, matches!(sees, Sees::One));
    }
    let page = house.pages(Sees::One).await["/queue/q/job/failed-0815"].1.clone();
    assert!(text(&page).contains("child a job that you may not see failed"), "{page}");
    // Who sees both is told all.
    for path in ["/queue/q/job/failed-0815", "/queue/q/job/waiting-children-0815", "/", "/doctor", "/schedulers"] {
        assert!(house.pages(Sees::All).await[path].1.contains(HIDDEN), "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_of_a_hidden_queue_change_no_page() {
    let house = House::new().await;
    let before = [house.pages(Sees::None).await, house.pages(Sees::One).await];
    let hidden: oxmq::Queue = house.fixture.client.queue(HIDDEN).open().unwrap();
    hidden.add_bulk((0..1_357).map(|n| oxmq::NewJob::new("more", json!(n)))).await.unwrap();
    hidden.pause().await.unwrap();
    let worker = house
        .fixture
        .client
        .worker(HIDDEN, async |_: oxmq::Job<serde_json::Value, ()>| Ok::<_, oxmq::Halt>(()))
        .start()
        .unwrap();
    house.comes(Sees::All, May::Nothing);
    house.site.page_with("/?sort=ready", &["1,360", "paused"]).await;
    house.site.page_with("/workers", &["1 worker"]).await;
    let after = [house.pages(Sees::None).await, house.pages(Sees::One).await];
    for (before, after) in before.iter().zip(&after) {
        for (path, (status, body)) in before {
            assert_eq!(*status, after[path].0, "{path}");
            assert!(*body == after[path].1, "{path}: {}", first_difference(body, &after[path].1));
        }
    }
    worker.close().await;
}

/// A form, its action first.
type Form<'a> = (&'a str, &'a [(&'a str, &'a str)]);

/// Something that each action does, in an order in which each can be done.
const DEEDS: &[Form<'_>] = &[
    ("/queue/QUEUE/job/failed-TAG", &[("do", "retry")]),
    ("/queue/QUEUE/job/delayed-TAG", &[("do", "change-delay"), ("delay", "2h")]),
    ("/queue/QUEUE/job/delayed-TAG", &[("do", "promote")]),
    ("/queue/QUEUE/job/wait-TAG", &[("do", "change-priority"), ("priority", "3")]),
    ("/queue/QUEUE/job/wait-TAG", &[("do", "change-data"), ("data", "7")]),
    ("/queue/QUEUE/job/wait-TAG", &[("do", "cancel"), ("reason", "no")]),
    ("/queue/QUEUE/jobs", &[("do", "change-priority"), ("state", "waiting"), ("id", "wait-TAG"), ("priority", "4")]),
    ("/queue/QUEUE/jobs", &[("do", "change-priority"), ("state", "prioritized"), ("all", "1"), ("priority", "5")]),
    ("/queue/QUEUE/jobs", &[("do", "retry"), ("state", "completed"), ("id", "completed-TAG")]),
    ("/queue/QUEUE/jobs", &[("do", "remove"), ("state", "waiting"), ("id", "completed-TAG")]),
    ("/queue/QUEUE/job/prioritized-TAG", &[("do", "remove")]),
    ("/queue/QUEUE/job/waiting-children-TAG", &[("do", "remove-children")]),
    ("/queue/QUEUE/add", &[("do", "add"), ("name", "new"), ("data", "1"), ("delay", "1h"), ("id", "new-TAG")]),
    ("/queue/QUEUE/jobs", &[("do", "change-delay"), ("state", "delayed"), ("id", "new-TAG"), ("delay", "2h")]),
    ("/queue/QUEUE/jobs", &[("do", "change-delay"), ("state", "delayed"), ("all", "1"), ("delay", "3h")]),
    ("/queue/QUEUE/jobs", &[("do", "promote"), ("state", "delayed"), ("id", "new-TAG")]),
    ("/queue/QUEUE/schedulers", &[("do", "change-scheduler"), ("id", "s-TAG"), ("every", "1h")]),
    ("/queue/QUEUE/schedulers", &[("do", "remove-scheduler"), ("id", "s-TAG")]),
    ("/queue/QUEUE", &[("do", "limit"), ("concurrency", "5")]),
    ("/queue/QUEUE", &[("do", "pause")]),
    ("/queue/QUEUE", &[("do", "resume")]),
    ("/", &[("do", "pause"), ("confirm", "all")]),
    ("/", &[("do", "resume"), ("confirm", "all")]),
    ("/doctor", &[("do", "mend"), ("queue", "QUEUE")]),
    ("/queue/QUEUE/jobs", &[("do", "clean"), ("state", "waiting-children"), ("all", "1")]),
    ("/queue/QUEUE", &[("do", "drain")]),
    ("/queue/QUEUE", &[("do", "obliterate"), ("confirm", "QUEUE"), ("force", "1")]),
];

/// Actions that need what only a page knows, or that are no rights: they are tried by themselves.
const ELSEWHERE: [&str; 2] = ["run-scheduler", "examine"];

#[tokio::test(flavor = "multi_thread")]
async fn actions_without_permission_change_nothing() {
    let house = House::new().await;
    house.site.done("/doctor", &[("do", "examine")]).await;
    let found = house.site.page_with("/doctor", &["missing-jobs of q", &format!("missing-jobs of {HIDDEN}")]).await;
    let checkup = found.split("name=\"checkup\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let missing = |queue: &str| {
        let section = found.split(&format!("aria-label=\"missing-jobs of {queue}\"")).nth(1).unwrap();
        section.split("name=\"finding\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let tried: BTreeSet<&str> = DEEDS.iter().map(|(_, form)| form[0].1).collect();
    assert_eq!(tried, actions().into_iter().filter(|action| !ELSEWHERE.contains(action)).collect());
    let mut now = house.dump().await;
    for (path, form) in DEEDS {
        let action = form[0].1;
        let ours = |text: &str| text.replace("QUEUE", "q").replace("TAG", "0815");
        let theirs = |text: &str| text.replace("QUEUE", HIDDEN).replace("TAG", MARK);
        let send = async |sees, may, at: &dyn Fn(&str) -> String, queue: &str| {
            let mut fields: Vec<(&str, String)> = form.iter().map(|(name, value)| (*name, at(value))).collect();
            if action == "mend" {
                fields.extend([("checkup", checkup.to_owned()), ("finding", missing(queue))]);
            }
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
            house.heard.lock().unwrap().clear();
            house.comes(sees, may).post(&at(path), &fields).await
        };
        let unseen = if *path == "/" { StatusCode::FORBIDDEN } else { StatusCode::NOT_FOUND };
        assert_eq!(send(Sees::None, May::AllBut(""), &ours, "q").await.status, unseen, "{path} {action}");
        if *path != "/" {
            let answer = send(Sees::One, May::AllBut(""), &theirs, HIDDEN).await;
            assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path} {action}: {}", answer.body);
        }
        for (sees, may) in [(Sees::One, May::Nothing), (Sees::All, May::Nothing), (Sees::All, May::AllBut(action))] {
            let answer = send(sees, may, &ours, "q").await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{path} {action}: {}", answer.body);
            let heard = house.heard.lock().unwrap();
            assert!(*path == "/" || heard.iter().any(|audit| audit.action.as_str() == action), "{path} {action}");
            assert!(heard.iter().all(|audit| !audit.done), "{path} {action}: {heard:?}");
        }
        let then = house.dump().await;
        assert_eq!(Dump::diff(&now, &then), [""; 0], "{path} {action}");
        let answer = send(Sees::One, May::Only(action), &ours, "q").await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path} {action}: {}", text(&answer.body));
        now = crate::common::eventually::eventually(&format!("{path} {action} is done and told"), || async {
            let is_it = |audit: &Audit| audit.action.as_str() == action && audit.done && audit.queue == "q";
            // What was told is done, and no dump shows half of it.
            if !house.heard.lock().unwrap().iter().any(is_it) {
                return None;
            }
            Some(house.dump().await).filter(|then| !Dump::diff(&now, then).is_empty())
        })
        .await;
        let theirs: Vec<String> = house.heard.lock().unwrap().iter().map(|audit| audit.queue.clone()).collect();
        assert!(theirs.iter().all(|queue| queue == "q"), "{path} {action}: {theirs:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_does_only_its_own_actions() {
    let house = House::new().await;
    let now = house.dump().await;
    // All fields that any form knows.
    let fields = [
        ("name", "evil"),
        ("data", "{}"),
        ("id", "wait-0815"),
        ("state", "waiting"),
        ("all", "1"),
        ("next", "1"),
        ("every", "1h"),
        ("priority", "1"),
        ("delay", "1h"),
        ("concurrency", "1"),
        ("confirm", "q"),
        ("queue", "q"),
        ("checkup", "0"),
        ("finding", "0"),
    ];
    for action in actions() {
        let site = house.comes(Sees::All, May::Only(action));
        for (route, does) in FORMS.iter().filter(|(route, _)| *route != "/work/{id}") {
            if !does.split_whitespace().any(|does| does == action) {
                let path = route.replace("{queue}", "q").replace("{id}", "wait-0815");
                let answer = site.post(&path, &[&[("do", action)][..], &fields].concat()).await;
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {action}: {}", text(&answer.body));
            }
        }
    }
    assert!(house.heard.lock().unwrap().iter().all(|audit| !audit.done));
    assert_eq!(Dump::diff(&now, &house.dump().await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn running_a_scheduler_needs_a_permission_and_an_examination_covers_visible_queues() {
    let house = House::new().await;
    let next = {
        let page = house.site.page("/queue/q/schedulers").await;
        page.split("name=\"next\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    };
    let run = [("do", "run-scheduler"), ("id", "s-0815"), ("next", &*next)];
    let now = house.dump().await;
    for (sees, may, status) in [
        (Sees::None, May::AllBut(""), StatusCode::NOT_FOUND),
        (Sees::One, May::Nothing, StatusCode::FORBIDDEN),
        (Sees::All, May::AllBut("run-scheduler"), StatusCode::FORBIDDEN),
    ] {
        assert_eq!(house.comes(sees, may).post("/queue/q/schedulers", &run).await.status, status);
    }
    assert_eq!(Dump::diff(&now, &house.dump().await), [""; 0]);
    house.comes(Sees::One, May::Only("run-scheduler")).done("/queue/q/schedulers", &run).await;
    // Who sees nothing takes away nobody's report.
    house.comes(Sees::All, May::Nothing).done("/doctor", &[("do", "examine")]).await;
    house.site.page_with("/doctor", &["2 queues and the server"]).await;
    let nobody = house.comes(Sees::None, May::AllBut(""));
    assert_eq!(nobody.post("/doctor", &[("do", "examine")]).await.status, StatusCode::FORBIDDEN);
    assert_eq!(nobody.post("/doctor", &[("do", "examine"), ("queue", "q")]).await.status, StatusCode::NOT_FOUND);
    assert_eq!(nobody.get("/doctor").await.status, StatusCode::FORBIDDEN);
    let site = house.comes(Sees::One, May::Nothing);
    assert_eq!(site.post("/doctor", &[("do", "examine"), ("queue", HIDDEN)]).await.status, StatusCode::NOT_FOUND);
    assert!(text(&site.page("/doctor").await).contains("1 queue and the server"));
    assert!(text(&house.comes(Sees::All, May::Nothing).page("/doctor").await).contains("2 queues and the server"));
    // Who does not see all of an examination does not stop it.
    house.site.done("/doctor", &[("do", "examine")]).await;
    house.heard.lock().unwrap().clear();
    assert_eq!(
        house.comes(Sees::One, May::Nothing).post("/doctor", &[("do", "stop")]).await.status,
        StatusCode::FORBIDDEN
    );
    house.comes(Sees::All, May::Nothing).done("/doctor", &[("do", "stop")]).await;
    let heard = house.heard.lock().unwrap();
    let told: Vec<_> = heard.iter().map(|audit| (audit.action, audit.done)).collect();
    assert_eq!(told, [(Action::Examine, false), (Action::Examine, true)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_when_their_right_does() {
    let house = House::new().await;
    for path in
        ["/queue/q/events/live", "/live?of=queue&queue=q", "/live?of=job&queue=q&job=wait-0815", "/live?of=doctor"]
    {
        let mut stream = house.comes(Sees::One, May::Nothing).stream(path).await;
        stream.until("event: ").await;
        house.comes(Sees::None, May::Nothing);
        stream.ended().await;
        assert_ne!(house.site.get(path).await.status, StatusCode::OK, "{path}");
    }
    // What has happened since the right ended is not told.
    let mut stream = house.comes(Sees::One, May::Nothing).stream("/queue/q/events/live").await;
    stream.until("event: open").await;
    house.comes(Sees::None, May::Nothing);
    house.fixture.queue.add("secret-name", json!({})).await.unwrap();
    assert!(!stream.ended().await.contains("secret-name"));
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_all_are_for_those_who_see_all() {
    let house = House::new().await;
    let figures = ["used_memory", "commands per second", "connected_clients", "clients"];
    let page = house.site.page_with("/server", &figures).await;
    assert!(page.contains("version"));
    let page = house.comes(Sees::One, May::Nothing).page("/server").await;
    assert!(page.contains("version") && figures.iter().all(|figure| !page.contains(figure)), "{page}");
    // Who sees less takes away nothing from those who see more.
    house.comes(Sees::All, May::AllBut("")).done("/doctor", &[("do", "examine")]).await;
    house.site.page_with("/doctor", &["2 queues and the server"]).await;
    let whole = checkup(&house.site.page("/doctor").await);
    house.comes(Sees::One, May::Only("mend")).done("/doctor", &[("do", "examine")]).await;
    let own = crate::common::eventually::eventually("his own has ended", || async {
        Some(checkup(&house.site.page("/doctor").await)).filter(|found| *found != whole)
    })
    .await;
    let all = house.comes(Sees::All, May::AllBut("")).page("/doctor").await;
    assert_eq!(checkup(&all), whole);
    assert!(all.contains(HIDDEN));
    // What was found can be mended by each of them, by the form of the own page.
    for (sees, of) in [(Sees::One, &own), (Sees::All, &whole)] {
        let found = house.comes(sees, May::AllBut("")).page("/doctor").await;
        assert_eq!(checkup(&found), *of);
    }
}

/// The id of the examination that a page of the doctor shows.
fn checkup(page: &str) -> String {
    page.split("name=\"checkup\" value=\"").nth(1).map_or("", |rest| rest.split('"').next().unwrap()).to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_goes_on_where_it_ended() {
    let house = House::new().await;
    let mut stream = house.site.stream("/queue/q/events/live").await;
    stream.until("event: open").await;
    house.fixture.queue.add("first", json!({})).job_id("a").await.unwrap();
    let told = stream.until("data-job=\"a\"").await;
    drop(stream);
    house.fixture.queue.add("second", json!({})).job_id("b").await.unwrap();
    let place = told.split("\nid: ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let mut again = house.site.stream_from("/queue/q/events/live", &place).await;
    again.until("data-job=\"b\"").await;
}
