//! Slots that move to another node under load, and nodes that are replaced.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use oxmq::events::{Delivery, QueueEvent};
use oxmq::worker::WorkerEvent;
use oxmq::{Client, Error, Halt, Job, Queue};
use serde_json::{Value, json};

use super::client;
use crate::common::cluster::{Cluster, name_on, slot_of};
use crate::common::eventually::eventually_within;
use crate::common::failovers::{HEAD, Row, failovers, given_twice, is_wanted};
use crate::common::fixture::{Heard, Ledger, PATIENCE, listen};
use crate::common::node::BullMq;
use crate::faults::kill::{spawn_node, start_oxmq};

/// Two producers that keep adding jobs, one with ids of its own and one with those that the server chooses, and a worker
/// that runs them.
struct Traffic {
    prefix: String,
    name: String,
    _client: Client,
    queue: Queue<Value, Value>,
    ran: Ledger,
    acked: Arc<Mutex<Vec<String>>>,
    failed: Arc<Mutex<Vec<String>>>,
    /// Adds of jobs without ids of their own of which nobody knows whether they were made.
    unknown: Arc<AtomicUsize>,
    completed: Arc<Mutex<Vec<Instant>>>,
    heard: Heard,
    stop: Arc<AtomicBool>,
    producers: Vec<tokio::task::JoinHandle<()>>,
    worker: oxmq::Worker,
}

impl Traffic {
    async fn start(cluster: &Cluster, name: String, pause: Duration) -> Self {
        Self::on(cluster, "p", name, pause).await
    }

    async fn on(cluster: &Cluster, prefix: &str, name: String, pause: Duration) -> Self {
        let client = client(cluster, prefix).await;
        let queue: Queue<Value, Value> = client.queue(&name).open().unwrap();
        let ran = Ledger::default();
        let ledger = ran.clone();
        let processor = move |job: Job<Value, ()>| {
            ledger.note(job.id());
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await; // the work itself
                Ok::<_, Halt>(())
            }
        };
        let worker = client.worker(&name, processor).concurrency(10).start().unwrap();
        let heard = listen(&worker);
        let completed = Arc::new(Mutex::new(Vec::new()));
        let (mut events, into) = (worker.events(), Arc::clone(&completed));
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if matches!(event, WorkerEvent::Completed { .. }) {
                    into.lock().unwrap().push(Instant::now());
                }
            }
        });
        let mut traffic = Self {
            prefix: prefix.to_owned(),
            name,
            _client: client,
            queue,
            ran,
            acked: Arc::default(),
            failed: Arc::default(),
            unknown: Arc::default(),
            completed,
            heard,
            stop: Arc::default(),
            producers: Vec::new(),
            worker,
        };
        traffic.producers = (0..2).map(|number| tokio::spawn(traffic.produce(number, pause))).collect();
        traffic
    }

    fn produce(&self, number: u32, pause: Duration) -> impl Future<Output = ()> + Send + 'static {
        let (queue, stop) = (self.queue.clone(), Arc::clone(&self.stop));
        let (acked, failed, unknown) = (Arc::clone(&self.acked), Arc::clone(&self.failed), Arc::clone(&self.unknown));
        let has_ids = number == 0;
        async move {
            let mut next = 0;
            while !stop.load(Ordering::SeqCst) {
                let add = queue.add("job", json!({ "n": next })).attempts(3);
                let add = if has_ids { add.job_id(format!("own-{next}")) } else { add };
                match add.await {
                    Ok(job) => {
                        acked.lock().unwrap().push(job.id().to_owned());
                        next += 1;
                        tokio::time::sleep(pause).await; // its pace
                    }
                    Err(Error::OutcomeUnknown { .. }) if !has_ids => _ = unknown.fetch_add(1, Ordering::SeqCst),
                    Err(error) => failed.lock().unwrap().push(format!("{error:?}")),
                }
            }
        }
    }

    fn slot(&self) -> u16 {
        slot_of(&format!("{}:{}:", self.prefix, self.name))
    }

    fn acked(&self) -> usize {
        self.acked.lock().unwrap().len()
    }

    fn completed(&self) -> usize {
        self.completed.lock().unwrap().len()
    }

    /// Waits until that many more jobs have been added and run.
    async fn more(&self, jobs: usize) {
        let (acked, completed) = (self.acked(), self.completed());
        eventually_within(PATIENCE * 2, "more jobs", || async {
            self.acked() >= acked + jobs && self.completed() >= completed + jobs
        })
        .await;
    }

    /// Returns when the first job after this moment was completed.
    async fn resumed(&self, after: Instant) -> Instant {
        eventually_within(PATIENCE * 2, "a job is completed", || async {
            self.completed.lock().unwrap().iter().find(|at| **at >= after).copied()
        })
        .await
    }

    /// Stops the producers and lets the worker finish all jobs.
    async fn end(mut self, cluster: &Cluster) -> Outcome {
        self.stop.store(true, Ordering::SeqCst);
        for producer in self.producers.drain(..) {
            producer.await.unwrap();
        }
        eventually_within(PATIENCE * 3, "all jobs have run", || async {
            let counts = self.queue.get_job_counts(&[]).await.ok()?;
            (counts.waiting + counts.active + counts.delayed == 0).then_some(())
        })
        .await;
        let mut admin = cluster.admin(cluster.owner(self.slot()));
        let key = format!("{}:{}:completed", self.prefix, self.name);
        let done: HashSet<String> = redis::cmd("ZRANGE").arg(key).arg(0).arg(-1).query(&mut admin).unwrap();
        let acked = self.acked.lock().unwrap().clone();
        let failed_key = format!("{}:{}:failed", self.prefix, self.name);
        let failed: HashSet<String> = redis::cmd("ZRANGE").arg(failed_key).arg(0).arg(-1).query(&mut admin).unwrap();
        let failed_jobs = failed.len();
        let lost = acked.iter().filter(|id| !done.contains(*id) && !failed.contains(*id)).count();
        let twice = self.ran.tally().values().filter(|runs| **runs > 1).count();
        self.worker.close().await;
        let failed = self.failed.lock().unwrap().clone();
        Outcome {
            acked: acked.len(),
            lost,
            ids_twice: given_twice(acked.iter().map(String::as_str)),
            failed_jobs,
            twice,
            failed,
            unknown: self.unknown.load(Ordering::SeqCst),
            errors: self.heard.errors(),
        }
    }
}

#[derive(Debug)]
struct Outcome {
    acked: usize,
    lost: usize,
    /// Ids that were acknowledged for another job before: their counter began again, or is on two nodes.
    ids_twice: usize,
    /// Jobs that failed for good, as those that stalled too often.
    failed_jobs: usize,
    /// Jobs that ran more than once.
    twice: usize,
    failed: Vec<String>,
    unknown: usize,
    errors: Vec<String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_under_load_costs_nothing_but_a_pause() {
    let cluster = Arc::new(Cluster::start());
    moves_under_load(&cluster, |cluster, slot, to| cluster.move_slot(slot, to, Duration::from_millis(5))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "only Valkey 9 moves slots in one step: `make test-servers-core` runs it there"]
async fn a_slot_that_moves_in_one_step_costs_nothing_but_a_pause() {
    let cluster = Arc::new(Cluster::start());
    assert!(cluster.moves_in_one_step(), "this server cannot do it");
    moves_under_load(&cluster, Cluster::move_slot_in_one_step).await;
}

async fn moves_under_load(cluster: &Arc<Cluster>, move_slot: fn(&Cluster, u16, usize)) {
    let name = name_on("moves", 0);
    let slot = slot_of(&name);
    let traffic = Traffic::start(cluster, name.clone(), Duration::from_millis(4)).await;
    let mut events = traffic._client.queue_events(&name).start().unwrap();
    events.ready().await.unwrap();
    let told = tokio::spawn(async move {
        let mut told = (HashSet::new(), 0);
        while let Some(next) = events.recv().await {
            match next {
                Delivery::Event { event: QueueEvent::Completed { job_id, .. }, .. } => {
                    _ = told.0.insert(job_id.to_string())
                }
                Delivery::Gap { .. } => told.1 += 1,
                Delivery::Event { event: QueueEvent::Paused, .. } => break,
                _ => {}
            }
        }
        told
    });
    traffic.more(200).await;
    let mut pauses = Vec::new();
    for to in [1, 2, 0] {
        let moved = {
            let cluster = Arc::clone(cluster);
            tokio::task::spawn_blocking(move || {
                move_slot(&cluster, slot, to);
                Instant::now()
            })
        };
        let moved = moved.await.unwrap();
        pauses.push(traffic.resumed(moved).await - moved);
        traffic.more(100).await;
        assert_eq!(cluster.owner(slot), to);
    }
    let queue = traffic.queue.clone();
    let outcome = traffic.end(cluster).await;
    println!("resumed after {pauses:?}; {outcome:?}");
    assert_eq!(
        (outcome.lost + outcome.failed_jobs, outcome.twice, &outcome.failed, &outcome.errors),
        (0, 0, &vec![], &vec![])
    );
    assert_eq!((outcome.ids_twice, outcome.unknown), (0, 0));
    queue.pause().await.unwrap();
    let (told, gaps) = tokio::time::timeout(PATIENCE, told).await.unwrap().unwrap();
    assert_eq!(gaps, 0);
    assert_eq!(told.len(), outcome.acked);
}

/// The worker's client sends nothing but its blocked read, and so asks nobody for the owners of slots: only the server's
/// answer to that read can tell it that the slot has moved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_worker_follows_its_slot() {
    let cluster = Arc::new(Cluster::start());
    let name = name_on("idle", 1);
    let slot = slot_of(&name);
    let ours = client(&cluster, "p").await;
    let worker = ours
        .worker(&name, async |_: Job<Value, ()>| Ok::<_, Halt>(()))
        .drain_delay(Duration::from_secs(3_600))
        .skip_stalled_check(true)
        .skip_scheduler_check(true)
        .start()
        .unwrap();
    let heard = listen(&worker);
    eventually_within(PATIENCE, "it waits", || async { worker.health().last_fetch.is_some() }).await;
    // A second client, which has not learned where the slot moved.
    let theirs: Queue<Value, ()> = client(&cluster, "p").await.queue(&name).open().unwrap();
    for (jobs, to) in [(1, 2), (2, 0)] {
        let moving = Arc::clone(&cluster);
        tokio::task::spawn_blocking(move || moving.move_slot(slot, to, Duration::ZERO)).await.unwrap();
        theirs.add("job", json!(1)).await.unwrap();
        eventually_within(PATIENCE / 2, "the job is done", || async { heard.completed() == jobs }).await;
    }
    worker.close().await;
}

/// What happens to the master.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Its replica takes over in a planned failover.
    Planned,
    Killed,
    Paused,
}

#[derive(Debug)]
#[allow(dead_code, reason = "printed")]
struct Figures {
    fault: Fault,
    /// From the fault until the replica serves.
    election: Duration,
    /// From there to the first job that is completed on it.
    resumed: Duration,
    outcome: Outcome,
}

/// How many acknowledged jobs may be lost where a master is gone at once: replication is asynchronous.
const FEW: usize = 30;

async fn fail_over(fault: Fault) -> Figures {
    let mut cluster = Cluster::with_replicas();
    let name = name_on("dies", 1);
    let slot = slot_of(&name);
    let traffic = Traffic::start(&cluster, name, Duration::from_millis(8)).await;
    traffic.more(100).await;
    let began = Instant::now();
    match fault {
        Fault::Planned => cluster.fail_over_to(4),
        Fault::Killed => cluster.nodes[1].kill(),
        Fault::Paused => cluster.nodes[1].pause(),
    }
    eventually_within(PATIENCE * 2, "the replica has taken over", || async { cluster.is_owner(4, slot) }).await;
    let elected = Instant::now();
    let resumed = traffic.resumed(elected).await;
    traffic.more(100).await;
    match fault {
        Fault::Planned => {}
        Fault::Killed => cluster.nodes[1].restart(),
        Fault::Paused => cluster.nodes[1].resume(),
    }
    traffic.more(100).await;
    cluster.until_well();
    let outcome = traffic.end(&cluster).await;
    Figures { fault, election: elected - began, resumed: resumed - elected, outcome }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_hands_over_loses_nothing() {
    let figures = fail_over(Fault::Planned).await;
    println!("{figures:?}");
    assert_eq!((figures.outcome.lost, figures.outcome.ids_twice), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_dies_is_followed_by_its_replica() {
    let figures = fail_over(Fault::Killed).await;
    println!("{figures:?}");
    assert!(figures.outcome.lost + figures.outcome.ids_twice < FEW, "{figures:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_silent_is_followed_by_its_replica() {
    let figures = fail_over(Fault::Paused).await;
    println!("{figures:?}");
    assert!(figures.outcome.lost + figures.outcome.ids_twice < FEW, "{figures:?}");
}

/// A row of what has been printed of each: how long work stood still, and what it cost.
fn row(what: &str, elected: Vec<Duration>, resumed: Vec<Duration>, outcomes: &[Outcome]) -> Row {
    let sum = |of: fn(&Outcome) -> usize| outcomes.iter().map(of).sum::<usize>();
    Row {
        what: format!("Cluster: {what}"),
        elected,
        resumed,
        acknowledged: sum(|outcome| outcome.acked),
        lost: sum(|outcome| outcome.lost),
        ids_twice: sum(|outcome| outcome.ids_twice),
        ran_twice: sum(|outcome| outcome.twice),
        failed_adds: sum(|outcome| outcome.failed.len() + outcome.unknown),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten minutes: prints how long work stands still when slots move and masters are replaced, as `make failovers` does"]
async fn figures_of_many_moves_and_failovers() {
    println!("{HEAD}");
    if is_wanted("a slot moves") {
        moves("a slot moves", |cluster, slot, to| cluster.move_slot(slot, to, Duration::from_micros(200))).await;
    }
    let in_one_step = "a slot moves in one step";
    if is_wanted(in_one_step) && Cluster::start().moves_in_one_step() {
        moves(in_one_step, Cluster::move_slot_in_one_step).await;
    }
    let kinds = [
        ("a replica takes over by agreement", Fault::Planned),
        ("a master is killed", Fault::Killed),
        ("a master is silent", Fault::Paused),
    ];
    for (what, fault) in kinds.into_iter().filter(|(what, _)| is_wanted(what)) {
        let (mut elected, mut resumed, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..failovers() {
            let figures = fail_over(fault).await;
            elected.push(figures.election);
            resumed.push(figures.resumed);
            outcomes.push(figures.outcome);
        }
        row(what, elected, resumed, &outcomes).print();
    }
}

async fn moves(what: &str, move_slot: fn(&Cluster, u16, usize)) {
    let cluster = Arc::new(Cluster::start());
    let name = name_on("moves", 0);
    let slot = slot_of(&name);
    let traffic = Traffic::start(&cluster, name, Duration::from_millis(4)).await;
    let mut pauses = Vec::new();
    for to in [1, 2, 0].into_iter().cycle().take(3 * failovers()) {
        let moving = Arc::clone(&cluster);
        let moving = tokio::task::spawn_blocking(move || {
            move_slot(&moving, slot, to);
            Instant::now()
        });
        let moved = moving.await.unwrap();
        pauses.push(traffic.resumed(moved).await - moved);
        traffic.more(20).await;
    }
    row(what, Vec::new(), pauses, &[traffic.end(&cluster).await]).print();
}

/// What disturbs the work in each round of the soak, in turn.
const TROUBLES: [&str; 5] = [
    "the slot moves",
    "a master is killed",
    "a replica takes over by agreement",
    "a process of oxmq is killed",
    "a process of Node is killed",
];

/// For minutes slots move, masters die or hand over, and worker processes of oxmq and of Node are killed, one after the
/// other, while jobs are added and run. `OXMQ_SOAK_ROUNDS` says how often.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: run it with --ignored, as `make soak CLUSTER=1` does"]
async fn a_cluster_that_never_rests_loses_no_more_than_its_replication() {
    let rounds = std::env::var("OXMQ_SOAK_ROUNDS").map_or(40, |rounds| rounds.parse().unwrap());
    let mut cluster = Cluster::with_replicas();
    let prefix = name_on("soak", 0);
    let slot = slot_of(&prefix);
    let traffic = Traffic::on(&cluster, &prefix, "q".to_owned(), Duration::from_millis(4)).await;
    let finished = Finished::listen(&traffic).await;
    traffic.more(100).await;
    let url = cluster.url();
    let mut ours = start_oxmq(&url, &prefix).await;
    let versions = [BullMq::V5, BullMq::V6];
    let mut nodes = Vec::new();
    for version in versions {
        nodes.push(spawn_node(version, &url, &prefix).await);
    }
    let mut pauses = TROUBLES.map(|_| Vec::new());
    let begun = Instant::now();
    for round in 0..rounds {
        let owner = cluster.owner(slot);
        let others = (0..cluster.nodes.len()).filter(|node| *node != owner && cluster.is_live_master(*node));
        let to = others.collect::<Vec<_>>()[round % 2];
        // The replica has this distance from its master in the list, whichever of the two is the master at the moment.
        let heir = (owner + cluster.nodes.len() / 2) % cluster.nodes.len();
        let trouble = round % TROUBLES.len();
        match trouble {
            0 => cluster.move_slot(slot, to, Duration::from_micros(500)),
            1 => {
                cluster.nodes[owner].kill();
                let taken_over = || async { cluster.is_owner(heir, slot) };
                eventually_within(PATIENCE * 2, "the replica has taken over", taken_over).await;
            }
            2 => cluster.hand_over_to(heir, slot),
            3 => {
                ours.kill().unwrap();
                ours.wait().unwrap();
                ours = start_oxmq(&url, &prefix).await;
            }
            _ => {
                let which = pauses[trouble].len() % versions.len();
                // Killed as it is dropped.
                nodes[which] = spawn_node(versions[which], &url, &prefix).await;
            }
        }
        let at = Instant::now();
        pauses[trouble].push(traffic.resumed(at).await - at);
        traffic.more(20).await;
        if !cluster.nodes[owner].is_running() {
            cluster.nodes[owner].restart();
        }
        cluster.until_well();
    }
    let by_node = nodes_have_run(&cluster, &traffic).await;
    ours.kill().unwrap();
    ours.wait().unwrap();
    drop(nodes);
    let took = begun.elapsed();
    let deaths = pauses[1].len();
    let outcome = traffic.end(&cluster).await;
    for (trouble, pauses) in TROUBLES.iter().zip(&mut pauses) {
        pauses.sort_unstable();
        let (median, longest) = (pauses.get(pauses.len() / 2), pauses.last());
        println!("{trouble}, {} times: work resumes after {median:?} (median), {longest:?} (longest)", pauses.len());
    }
    println!(
        "in {took:?} {} acknowledged, {by_node} of them run by Node, {} lost, {} failed, {} heard completed twice, {} gaps, {} run twice by \
         the worker of this process, {} ids given twice, {} failed adds, {} more unknown; worker errors {:?}",
        outcome.acked,
        outcome.lost,
        outcome.failed_jobs,
        finished.twice(),
        finished.gaps.load(Ordering::SeqCst),
        outcome.twice,
        outcome.ids_twice,
        outcome.failed.len(),
        outcome.unknown,
        outcome.errors.len(),
    );
    print_each("a failed add", &outcome.failed);
    print_each("an error of the worker", &outcome.errors);
    assert!(outcome.lost + outcome.ids_twice < FEW * deaths.max(1), "{outcome:?}");
    assert!(by_node > 0, "Node has worked along");
}

/// Prints each distinct text with the number of times it occurs, the most frequent first.
fn print_each(what: &str, texts: &[String]) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for text in texts {
        *counts.entry(text).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    for (text, count) in counts {
        println!("{what}, {count} times: {text}");
    }
}

/// How often each job was heard to be completed, whoever ran it.
#[derive(Clone, Default)]
struct Finished {
    ids: Ledger,
    gaps: Arc<AtomicUsize>,
}

impl Finished {
    async fn listen(traffic: &Traffic) -> Self {
        let finished = Self::default();
        let mut events = traffic._client.queue_events(&traffic.name).start().unwrap();
        events.ready().await.unwrap();
        let told = finished.clone();
        tokio::spawn(async move {
            while let Some(next) = events.recv().await {
                match next {
                    Delivery::Event { event: QueueEvent::Completed { job_id, .. }, .. } => told.ids.note(&job_id),
                    Delivery::Gap { .. } => _ = told.gaps.fetch_add(1, Ordering::SeqCst),
                    _ => {}
                }
            }
        });
        finished
    }

    fn twice(&self) -> usize {
        self.ids.tally().values().filter(|times| **times > 1).count()
    }
}

/// How many of the jobs that are completed workers of Node have run: those are named.
async fn nodes_have_run(cluster: &Cluster, traffic: &Traffic) -> usize {
    let mut admin = cluster.admin(cluster.owner(traffic.slot()));
    let base = format!("{}:{}:", traffic.prefix, traffic.name);
    let done: Vec<String> =
        redis::cmd("ZRANGE").arg(format!("{base}completed")).arg(0).arg(-1).query(&mut admin).unwrap();
    let by = |id: &String| -> Option<String> {
        redis::cmd("HGET").arg(format!("{base}{id}")).arg("pb").query(&mut admin).unwrap()
    };
    done.iter().filter_map(by).filter(|name| name.starts_with("node")).count()
}
