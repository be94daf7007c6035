//! Kinds of jobs, the state of a router, and the arguments of processors.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use oxmq::error::Reason;
use oxmq::job::AnyJob;
use oxmq::kind::JobOf;
use oxmq::options::ParentRef;
use oxmq::queue::Added;
use oxmq::worker::{FromJob, FromRef};
use oxmq::{
    Client, ConnectOptions, Deduplication, Error, FlowNode, Halt, Job, JobKind, JobOptions, JobState, NewJob, Queue,
    Repeat, Router, State,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::common::fixture::{Fixture, PATIENCE};
use crate::common::server::shared_server;

#[derive(Debug, Clone, Serialize, Deserialize)]
struct BuildIndex {
    index: String,
    shards: Vec<Shard>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Shard {
    path: String,
    size: u32,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Built {
    revision: u64,
}

impl JobKind for BuildIndex {
    const NAME: &'static str = "build-index";
    type Output = Built;

    fn options(&self) -> JobOptions {
        JobOptions::default().attempts(2).job_id(format!("of-{}", self.index))
    }
}

fn products() -> BuildIndex {
    BuildIndex { index: "products".into(), shards: vec![Shard { path: "a".into(), size: 7 }] }
}

#[derive(Debug, Serialize, Deserialize)]
struct Publish {}

impl JobKind for Publish {
    const NAME: &'static str = "publish";
    type Output = ();
}

/// What the processors of these tests share.
#[derive(Clone)]
struct App {
    revision: Arc<AtomicU64>,
    name: &'static str,
}

impl App {
    fn new() -> Self {
        Self { revision: Arc::default(), name: "app" }
    }
}

struct Name(&'static str);

impl FromRef<App> for Name {
    fn from_ref(app: &App) -> Self {
        Self(app.name)
    }
}

struct Attempt(u32);

impl<S> FromJob<S> for Attempt {
    fn from_job(job: &AnyJob, _: &S) -> Result<Self, Halt> {
        if job.data_json().contains("refused") {
            return Err(Halt::unrecoverable("refused by an argument"));
        }
        Ok(Self(job.attempts_made() + 1))
    }
}

async fn build_index(
    job: JobOf<BuildIndex>,
    State(app): State<App>,
    State(Name(name)): State<Name>,
    token: CancellationToken,
    Attempt(attempt): Attempt,
) -> Result<Built, Halt> {
    assert_eq!((name, attempt, token.is_cancelled()), ("app", 1, false));
    let size: u32 = job.data().shards.iter().map(|shard| shard.size).sum();
    Ok(Built { revision: app.revision.fetch_add(u64::from(size), Ordering::Relaxed) + u64::from(size) })
}

async fn publish(_: JobOf<Publish>) -> Result<(), std::io::Error> {
    Ok(())
}

fn router() -> Router {
    Router::new().job(build_index).job(publish).with_state(App::new())
}

#[tokio::test]
async fn a_kind_brings_its_name_data_result_and_options() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker(router()).start().unwrap();
    let job = fixture.queue.push(products()).await.unwrap();
    assert_eq!((job.name(), job.id(), job.attempts()), ("build-index", "of-products", 2));
    let Built { revision } = job.wait_until_finished(PATIENCE).await.unwrap();
    assert_eq!(revision, 7);
    // The options of the add win over those of the kind, and those over the queue's.
    let options = JobOptions::default().attempts(9).priority(5);
    let queue: Queue = fixture.client.queue("q").default_job_options(options).open().unwrap();
    let own = queue.push(products()).attempts(4).job_id("own").await.unwrap();
    assert_eq!((own.attempts(), own.priority(), own.id()), (4, 5, "own"));
    own.wait_until_finished(PATIENCE).await.unwrap();
    let typed: Queue<BuildIndex, Built> = fixture.client.queue("q").open().unwrap();
    let many = typed.add_bulk([NewJob::of(products()).job_id("bulk")]).await.unwrap();
    many[0].as_ref().unwrap().wait_until_finished(PATIENCE).await.unwrap();
    assert_eq!(worker.close().await.counts.completed, 3);
}

#[tokio::test]
async fn a_kind_is_a_child_of_a_flow_and_the_template_of_a_scheduler() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker(router()).start().unwrap();
    let flow = FlowNode::of("q", Publish {}).child(FlowNode::of("q", products()));
    let added = fixture.client.flow_producer().add(flow).await.unwrap();
    let published: JobOf<Publish> = added.job().unwrap();
    published.wait_until_finished(PATIENCE).await.unwrap();
    let hourly = Repeat::every(Duration::from_secs(3600));
    let run = fixture.queue.upsert_job_scheduler("nightly", hourly).kind(products()).await.unwrap();
    assert_eq!((run.name(), run.attempts(), &*run.data().index), ("build-index", 2, "products"));
    assert!(run.wait_until_finished(PATIENCE).await.unwrap().revision > 7);
    worker.close().await;
}

#[tokio::test]
async fn the_root_of_a_flow_has_the_types_and_the_options_of_its_kind() {
    let fixture = Fixture::new().await;
    let flows = fixture.client.flow_producer();
    let pushed = flows.push("q", products()).child(FlowNode::of("q", Publish {})).children([]).await.unwrap();
    assert_eq!((pushed.root().id(), pushed.root().attempts()), ("of-products", 2));
    assert_eq!((pushed.node().outcome(), pushed.children().len()), (Ok(Added::Created), 1));
    let other = flows.push("q", products()).job_id("other").options(JobOptions::default().job_id("its-own"));
    assert_eq!(other.parent(ParentRef::of(pushed.root())).await.unwrap().into_root().id(), "its-own");
    let again = flows.push("q", products()).await.unwrap();
    assert_eq!(again.node().outcome(), Ok(Added::Existing));
    let lost = flows.push("q", Publish {}).parent(ParentRef::of(&fixture.queue.job("nobody"))).await;
    assert!(matches!(lost, Err(Error::Refused { reason: Reason::MissingParent, .. })), "{lost:?}");
    let worker = fixture.worker(router()).start().unwrap();
    let Built { revision } = pushed.into_root().wait_until_finished(PATIENCE).await.unwrap();
    assert_eq!(revision, 14, "the root ran after its child of the same kind");
    worker.close().await;
}

#[tokio::test]
async fn an_extractor_may_end_the_attempt() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker(router()).start().unwrap();
    let refused = BuildIndex { index: "refused".into(), shards: Vec::new() };
    let error = fixture.queue.push(refused).await.unwrap().wait_until_finished(PATIENCE).await.unwrap_err();
    assert!(error.to_string().ends_with("refused by an argument"), "{error}");
    worker.close().await;
}

#[tokio::test]
async fn merged_routers_keep_their_state_and_unknown_names_fail() {
    let fixture = Fixture::new().await;
    let echo = |job: Job| async move { Ok::<_, Halt>(job.data().clone()) };
    let other: Router = Router::new().on("echo", echo);
    let worker = fixture.worker(router().merge(other)).start().unwrap();
    let echoed = fixture.queue.add("echo", json!([1])).await.unwrap().wait_until_finished(PATIENCE).await.unwrap();
    assert_eq!(echoed, json!([1]));
    fixture.queue.push(products()).await.unwrap().wait_until_finished(PATIENCE).await.unwrap();
    let unknown = fixture.queue.add("unknown", Value::Null).await.unwrap();
    assert!(unknown.wait_until_finished(PATIENCE).await.is_err());
    worker.close().await;
}

#[tokio::test]
async fn a_router_without_routes_is_refused() {
    let fixture = Fixture::new().await;
    let refused = fixture.worker(Router::new()).start().unwrap_err().to_string();
    assert!(refused.contains("the router has no routes"), "{refused}");
    let rest = |_: Job<Value, ()>| async { Ok::<_, Halt>(()) };
    fixture.worker(Router::new().otherwise(rest)).start().unwrap().close().await;
}

#[tokio::test]
async fn two_processors_for_a_name_are_refused_unless_that_is_meant() {
    let fixture = Fixture::new().await;
    let echo = |job: Job| async move { Ok::<_, Halt>(job.data().clone()) };
    let twice = || Router::new().on("echo", echo).on("echo", echo);
    let merged = Router::new().on("echo", echo).on("b", echo).merge(Router::new().on("b", echo).on("c", echo));
    let layered = twice().layer(|_: AnyJob, next: oxmq::worker::layer::Next| next.run());
    let stated = router().job(publish);
    for (router, names) in [(twice(), "'echo'"), (merged, "'b'"), (layered, "'echo'"), (stated, "'publish'")] {
        let refused = fixture.worker(router).start().unwrap_err().to_string();
        assert!(refused.contains(&format!("two processors for jobs named {names};")), "{refused}");
    }
    // Partitions lie on all nodes of a cluster, so their prefix must have no hash tag.
    let options = ConnectOptions::from_url(&shared_server().url()).unwrap();
    let client = Client::builder(options).prefix(fixture.prefix.replace(['{', '}'], "")).connect().await.unwrap();
    let partitioned = client.partitioned::<Value, Value>("parts", 2).open().await.unwrap();
    assert!(matches!(partitioned.worker(twice()).start(), Err(Error::InvalidOption { option: "processor", .. })));
    let replaced = twice().replace("echo", |_: Job| async move { Ok::<_, Halt>(json!("replaced")) });
    let worker = fixture.worker(replaced).start().unwrap();
    let job = fixture.queue.add("echo", json!(1)).await.unwrap();
    assert_eq!(job.wait_until_finished(PATIENCE).await.unwrap(), json!("replaced"));
    worker.close().await;
}

#[tokio::test]
async fn data_of_another_shape_fails_with_the_path_of_the_field() {
    let fixture = Fixture::new().await;
    let worker = fixture.worker(router()).start().unwrap();
    for (data, reason) in [
        (
            json!({ "index": "a", "shards": [{ "path": "p", "size": 1 }, { "path": "p", "size": "big" }] }),
            "does not fit its type at `shards[1].size`: expected u32, found a string",
        ),
        (
            json!({ "index": "a", "shards": [{ "path": "p" }] }),
            "does not fit its type at `shards[0]`: missing field `size`",
        ),
        (json!({ "shards": [] }), "does not fit its type: missing field `index`"),
    ] {
        let job = fixture.queue.add("build-index", data).await.unwrap();
        let failed = job.wait_until_finished(PATIENCE).await.unwrap_err().to_string();
        assert!(failed.contains(reason), "{failed}");
    }
    fixture.until(JobState::Failed, 3).await;
    worker.close().await;
}

#[tokio::test]
async fn a_deduplicated_kind_is_in_the_queue_once() {
    #[derive(Serialize, Deserialize)]
    struct Once {
        index: String,
    }
    impl JobKind for Once {
        const NAME: &'static str = "once";
        type Output = ();
        fn options(&self) -> JobOptions {
            JobOptions::default().deduplication(Deduplication::new(&*self.index))
        }
    }
    let fixture = Fixture::new().await;
    for _ in 0..3 {
        fixture.queue.push(Once { index: "a".into() }).await.unwrap();
    }
    assert_eq!(fixture.count(JobState::Waiting).await, 1);
}

/// A kind whose options mean nothing for some of its jobs.
#[derive(Serialize, Deserialize)]
struct Debounced {}

impl JobKind for Debounced {
    const NAME: &'static str = "debounced";
    type Output = ();

    fn options(&self) -> JobOptions {
        JobOptions::default().delay(Duration::from_secs(3600)).deduplication(Deduplication::new("d")).attempts(2)
    }
}

#[tokio::test]
async fn what_a_kind_sets_is_left_out_where_it_means_nothing() {
    let fixture = Fixture::new().await;
    let queue: Queue = fixture.client.queue("q").open().unwrap();
    let run = queue.upsert_job_scheduler("s", Repeat::every(PATIENCE)).kind(Debounced {}).await.unwrap();
    assert_eq!((run.attempts(), run.delay() < PATIENCE), (2, true));
    let defaults = JobOptions::default().delay(Duration::from_secs(3600));
    let delaying: Queue = fixture.client.queue("q").default_job_options(defaults).open().unwrap();
    delaying.upsert_job_scheduler("t", Repeat::every(PATIENCE)).await.unwrap();

    let flows = fixture.client.flow_producer();
    let flow = FlowNode::of("q", Debounced {}).child(FlowNode::of("q", Debounced {}));
    let added = flows.add(flow).await.unwrap();
    let root: Job<Value, ()> = added.job().unwrap();
    let child = added.children()[0].id().to_owned();
    let child = fixture.queue.get_job(&child).await.unwrap().unwrap();
    assert_eq!((root.deduplication_id(), child.deduplication_id()), (None, None));
    assert_eq!(child.delay(), Duration::from_secs(3600), "a child may wait for its time");
    let parent = ParentRef::of(&root);
    let other = queue.push(Debounced {}).parent(parent.clone()).await.unwrap();
    assert_eq!(other.deduplication_id(), None);
    let alone = queue.push(Debounced {}).await.unwrap();
    assert_eq!(alone.deduplication_id(), Some("d"));

    // What the call sets itself is refused.
    let own = || Deduplication::new("own");
    let refused = queue.push(Debounced {}).deduplication(own()).parent(parent).await.unwrap_err().to_string();
    assert!(refused.contains("together with a parent"), "{refused}");
    let options = JobOptions::default().deduplication(own());
    let node = FlowNode::of("q", Debounced {}).options(options).child(FlowNode::of("q", Debounced {}));
    let refused = flows.add(node).await.unwrap_err().to_string();
    assert!(refused.contains("a node with children cannot have it"), "{refused}");
    let options = JobOptions::default().delay(PATIENCE);
    let refused = queue.upsert_job_scheduler("s", Repeat::every(PATIENCE)).options(options).kind(Debounced {}).await;
    assert!(refused.unwrap_err().to_string().contains("a job scheduler sets it"));
}
