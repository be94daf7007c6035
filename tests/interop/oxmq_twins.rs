//! oxmq beside BullMQ: the scenarios, and random ones.
//!
//! Nothing is skipped silently: each run writes to stderr how many scenarios agree, and why the others do not. A scenario
//! that is marked as different must differ: if it agrees, the run fails, so that the marks stay true.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use proptest::prelude::Strategy;

use super::generate::{self, Amend};
use super::node_side::NodeSide;
use super::ops::{FlowNode, JobOpts, Op, Side};
use super::oxmq_side::{OxmqSide, adds_flow, is_of_scheduler};
use super::scenarios::{Scenario, TABLES, Table};
use super::twin::{Mismatch, Step, Twin, What};
use crate::common::node::BullMq;
use crate::common::server::RedisServer;

type Beside = Twin<NodeSide, OxmqSide>;

/// Starts both on databases of their own, since a test may use several.
async fn beside(version: BullMq, server: &RedisServer, databases: [u8; 2]) -> Beside {
    let left = NodeSide::start(version, &server.database(databases[0])).await;
    Twin::new(left, OxmqSide::start(&server.database(databases[1]), version).await).await
}

fn report(text: &str) {
    // Written past the capture of the test harness, so that these numbers are visible.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Plays the scenarios that a version shares with 6.7.0, and reports the results. With `leaves` BullMQ itself adds
/// flows and schedulers.
async fn play_all(version: BullMq, at_least: usize, long_way: bool, leaves: bool) {
    play(version, TABLES, at_least, long_way, leaves).await;
}

async fn play(version: BullMq, tables: &[Table], at_least: usize, long_way: bool, leaves: bool) {
    let server = RedisServer::start();
    let mut twin = beside(version, &server, [0, 1]).await;
    twin.right.long_way = long_way;
    twin.right.leaves_flows = leaves;
    twin.right.leaves_schedulers = leaves;
    let all = tables.iter().flat_map(|(_, scenarios)| scenarios());
    let (mut agree, mut wrong, mut apart) = (0, Vec::new(), BTreeMap::<_, Vec<_>>::new());
    let (mut helped, mut elsewhere) = (0, 0);
    for scenario in all {
        if version == BullMq::V5 && scenario.differs_v5.is_some() {
            elsewhere += 1;
            continue;
        }
        let by_other = |op: &Op| leaves && is_helped(op);
        let is_helped = scenario.steps.iter().any(|step| matches!(&step.what, What::Op(op) if by_other(op)));
        let expected = scenario.differs_oxmq;
        match (twin.compare(&scenario.steps, scenario.tick).await, expected) {
            (Ok(()), None) => {
                agree += 1;
                helped += usize::from(is_helped);
            }
            // If BullMQ does it on both sides, nothing can differ.
            (Ok(()), Some(_)) if is_helped => helped += 1,
            (Ok(()), Some(why)) => wrong.push(format!("{:?} is said to differ, but does not: {why}", scenario.name)),
            (Err(mismatch), None) => wrong.push(format!("{:?} {mismatch}", scenario.name)),
            (Err(_), Some(why)) => apart.entry(why).or_default().push(scenario.name),
        }
    }
    let name = twin.left.name();
    report(&format!("{name}: {agree} scenarios agree, in {helped} of them BullMQ itself adds the flows or schedulers"));
    if elsewhere > 0 {
        report(&format!("{name}: {elsewhere} are not played: it does something else there than 6.7.0"));
    }
    for (why, names) in &apart {
        report(&format!("{name}: {} differ, {why}: {names:?}", names.len()));
    }
    assert!(wrong.is_empty(), "{name} and oxmq: {} of {} scenarios\n\n{}\n", wrong.len(), agree, wrong.join("\n\n"));
    assert!(agree >= at_least, "only {agree} scenarios were played beside {name}");
}

fn is_helped(op: &Op) -> bool {
    adds_flow(op) || is_of_scheduler(op)
}

#[tokio::test]
async fn oxmq_does_what_version_6_does() {
    play_all(BullMq::V6, 340, false, true).await;
}

#[tokio::test]
async fn oxmq_does_what_version_6_does_also_in_batches() {
    play_all(BullMq::V6, 340, true, false).await;
}

/// A flow whose jobs are all new is added by a script of its own.
#[tokio::test]
async fn oxmq_adds_flows_as_version_6_does() {
    let tables: Vec<Table> = TABLES.iter().filter(|(name, _)| matches!(*name, "flow" | "relatives")).copied().collect();
    play(BullMq::V6, &tables, 30, false, false).await;
}

#[tokio::test]
async fn oxmq_does_what_version_5_does() {
    play_all(BullMq::V5, 270, true, false).await;
}

/// Reads all Rust files below a directory, one after the other.
fn read_sources(dir: &std::path::Path, text: &mut String) {
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() && !path.ends_with("node_modules") {
            read_sources(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a text"));
        }
    }
}

/// The page for users names every scenario that differs, and no other.
#[test]
fn every_difference_is_written_down() {
    let page = include_str!("../../docs/compatibility.md");
    let all: Vec<Scenario> = TABLES.iter().flat_map(|(_, scenarios)| scenarios()).collect();
    for scenario in &all {
        let named = page.contains(&format!("{:?}", scenario.name));
        // A scenario without a difference may be named as the proof of what stays the same.
        assert!(named || scenario.differs_oxmq.is_none(), "{:?} is not in docs/compatibility.md", scenario.name);
    }
    let mut tests = String::new();
    for dir in ["src", "tests"] {
        read_sources(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), &mut tests);
    }
    for row in page.lines().filter(|line| line.starts_with("| ") && line.ends_with(" |")) {
        let Some(proof) = row.trim_end_matches(" |").rsplit(" | ").next().filter(|text| *text != "test") else {
            continue;
        };
        if proof.starts_with("---") {
            continue;
        }
        let known = |name: &str| match name.strip_prefix('`') {
            Some(test) => tests.contains(&format!("fn {}()", test.trim_end_matches('`'))),
            None => all.iter().any(|scenario| format!("{:?}", scenario.name) == name),
        };
        let names = proof.split("\", ").flat_map(|part| part.split(", `"));
        for name in names {
            let name = match name {
                name if name.starts_with('"') => format!("{}\"", name.trim_end_matches('"')),
                name => format!("`{}`", name.trim_matches('`')),
            };
            assert!(known(&name), "{name} is no test");
        }
    }
}

/// Tells how a random scenario goes on after a deliberate difference.
fn on_purpose(steps: &[Step], mismatch: &Mismatch) -> Amend {
    let (step, before) = steps.split_last().expect("the step that differs");
    let all = |is: fn(&str) -> bool| mismatch.differences.iter().all(|difference| is(difference));
    // Here a new limit wakes an idle worker; so does a free place under a limit, and a job that goes back with a
    // priority.
    let wakes = matches!(
        &step.what,
        What::Op(
            Op::SetGlobalConcurrency { .. }
                | Op::RemoveGlobalConcurrency
                | Op::SetGlobalRateLimit { .. }
                | Op::RemoveGlobalRateLimit
                | Op::RemoveRateLimitKey
                | Op::Clean { .. }
                | Op::MoveToCompleted { .. }
                | Op::MoveToFailed { .. }
                | Op::MoveToDelayed { .. }
                | Op::MoveToWait { .. }
                | Op::MoveToWaitingChildren { .. }
                | Op::Remove { .. }
                | Op::StalledCheck
                | Op::ChangePriority { .. }
        )
    );
    let is_marker =
        |text: &str| text.contains(":marker: only right") || text.contains(":marker: score of 0: left nothing");
    if wakes && !mismatch.refused && all(is_marker) {
        return Amend::Remove;
    }
    // An obliterated queue leaves nothing, here also where Node leaves its limiter or a parent.
    let is_left = |text: &String| text.contains(":waiting-children: only left");
    if matches!(&step.what, What::Op(Op::Obliterate { .. }))
        && (all(|text| text.contains("only left")) || mismatch.differences.iter().any(is_left))
    {
        return Amend::Remove;
    }
    // After an obliteration the settings are written again before the next add, which may be refused.
    let obliterates = |step: &Step| matches!(step.what, What::Op(Op::Obliterate { .. }));
    let is_settings = |text: &str| {
        text.contains(":meta: only right: hash") || text.contains(":meta: field opts.maxLenEvents: left nothing")
    };
    if before.iter().any(obliterates) && all(is_settings) {
        return Amend::Remove;
    }
    // The limit of Node counts the jobs that it looks at, ours those that are removed.
    let is_limited = matches!(&step.what, What::Op(Op::Clean { limit, .. }) if *limit > 0);
    if is_limited && !mismatch.differences.iter().any(|text| text.contains("only right: hash")) {
        return Amend::Remove;
    }
    // Beside the pending run of a scheduler, Node drops other ids from the list than those of the jobs that it removes.
    let is_list_of_runs = |text: &str| {
        [":wait: left list", ":paused: left list"].iter().any(|list| text.contains(list))
            && text.split_once("right list").is_some_and(|(_, right)| right.contains("repeat:"))
    };
    if matches!(&step.what, What::Op(Op::Drain { .. })) && all(is_list_of_runs) {
        return Amend::Remove;
    }
    // Version 6 does not find the pending run of a scheduler in a paused queue.
    let last_pause = before.iter().rev().find(|step| matches!(step.what, What::Op(Op::Pause | Op::Resume)));
    let is_paused = last_pause.is_some_and(|step| matches!(step.what, What::Op(Op::Pause)));
    if is_paused && matches!(&step.what, What::Op(Op::UpsertJobScheduler { .. })) {
        return Amend::Remove;
    }
    // What is removed with its children is removed once. Node's script does not notice that it goes in circles.
    let removes = matches!(
        &step.what,
        What::Op(Op::RemoveUnprocessedChildren { .. } | Op::Remove { .. } | Op::RemoveJob { .. } | Op::Clean { .. })
    );
    if removes && goes_in_a_circle(before) {
        return Amend::Remove;
    }
    // If a child that has ended for its parent is added to it again, Node waits for it for ever or runs it again.
    let adds = matches!(
        &step.what,
        What::Op(Op::Add { .. } | Op::AddBulk { .. } | Op::FlowAdd { .. } | Op::FlowAddBulk { .. })
    );
    let ends = |step: &Step| matches!(step.what, What::Op(Op::MoveToFailed { .. } | Op::MoveToCompleted { .. }));
    if adds
        && before.iter().any(ends)
        && mismatch.differences.iter().any(|text| text.contains(":dependencies:") && text.contains("left"))
        && mismatch.differences.iter().all(|text| !is_only_here(text) || follows(text, &mismatch.differences))
    {
        return Amend::Remove;
    }
    // Node leaves the reason of a deferred failure that was not carried out in a job whose attempt has ended otherwise.
    let ends_attempt = matches!(
        &step.what,
        What::Op(
            Op::MoveToCompleted { .. }
                | Op::MoveToFailed { .. }
                | Op::MoveToDelayed { .. }
                | Op::MoveToWaitingChildren { .. }
        )
    );
    if ends_attempt && all(|text| text.contains(": field defa: left") && text.ends_with("right nothing")) {
        return Amend::Remove;
    }
    // BullMQ makes a scheduler's next run in the worker's loop, after the call by hand that fetched the current one.
    if mismatch.differences.iter().any(|text| text.contains(":repeat: score of")) {
        let mut step = step.clone();
        match &mut step.what {
            What::Op(Op::MoveToFailed { fetch_next, .. } | Op::MoveToCompleted { fetch_next, .. }) if *fetch_next => {
                *fetch_next = false;
                return Amend::Replace(step);
            }
            _ => {}
        }
    }
    let fetch_next = match &step.what {
        What::Op(Op::MoveToFailed { fetch_next, .. }) => fetch_next,
        // Jobs that are parents of each other: Node's script never ends.
        What::Op(_) if mismatch.differences[0].contains("stack overflow") => return Amend::Remove,
        _ => return Amend::No,
    };
    // Node does not write the marker for a delayed retry when it fetched another job in the same call.
    if *fetch_next && !mismatch.refused && all(|text| text.contains(":marker: score of 1: left")) {
        let mut step = step.clone();
        if let What::Op(Op::MoveToFailed { fetch_next, .. }) = &mut step.what {
            *fetch_next = false;
        }
        return Amend::Replace(step);
    }
    // Node promotes what is due before it refuses a retry; here a refused call changes nothing.
    let is_promotion = |text: &str| {
        [":wait:", ":delayed:", ":prioritized:", ":pc:", ":marker: score of 0", ": field delay: left \"0\""]
            .iter()
            .any(|part| text.contains(part))
            || text.contains("prev=\"delayed\", right nothing")
    };
    if mismatch.refused && all(is_promotion) { Amend::Remove } else { Amend::No }
}

/// Whether a parent has children here, and none in Node.
fn is_only_here(difference: &str) -> bool {
    difference.contains(":dependencies: only right")
}

/// Whether each of these children has its parent here because in Node it belongs to a job that only Node has added again.
fn follows(difference: &str, all: &[String]) -> bool {
    let children = difference.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(set, _)| set);
    children.split(", ").map(|child| child.trim_matches('"')).all(|child| {
        let link = format!("{child}: field parentKey: left \"");
        let parent = all.iter().find_map(|text| text.strip_prefix(&link)).and_then(|rest| rest.split('"').next());
        parent.is_some_and(|parent| all.iter().any(|text| text.starts_with(&format!("{parent}: only left: hash"))))
    })
}

/// Whether jobs may stand above themselves by the links that these steps make.
fn goes_in_a_circle(steps: &[Step]) -> bool {
    let mut links = Vec::new();
    for step in steps {
        match &step.what {
            What::Op(Op::Add { job }) => link_to_parent(&job.opts, &mut links),
            What::Op(Op::AddBulk { jobs }) => jobs.iter().for_each(|job| link_to_parent(&job.opts, &mut links)),
            What::Op(Op::FlowAdd { flow }) => link_nodes(flow, &mut links),
            What::Op(Op::FlowAddBulk { flows }) => flows.iter().for_each(|flow| link_nodes(flow, &mut links)),
            _ => {}
        }
    }
    // What a job is above, directly or through others, grows until nothing is added.
    let mut above: BTreeSet<(&str, &str)> = links.into_iter().collect();
    loop {
        let through = above.iter().flat_map(|(job, child)| {
            above.iter().filter(move |(parent, _)| parent == child).map(move |(_, below)| (*job, *below))
        });
        let grown: BTreeSet<_> = above.iter().copied().chain(through).collect();
        if grown.len() == above.len() {
            return above.iter().any(|(job, below)| job == below);
        }
        above = grown;
    }
}

/// Adds the link from the parent that the options name, as its id and that of the job.
fn link_to_parent<'a>(opts: &'a JobOpts, links: &mut Vec<(&'a str, &'a str)>) {
    if let (Some(parent), Some(id)) = (&opts.parent, &opts.job_id) {
        links.push((&parent.id, id));
    }
}

fn link_nodes<'a>(flow: &'a FlowNode, links: &mut Vec<(&'a str, &'a str)>) {
    link_to_parent(&flow.opts, links);
    for child in &flow.children {
        if let (Some(parent), Some(id)) = (&flow.opts.job_id, &child.opts.job_id) {
            links.push((parent, id));
        }
        link_nodes(child, links);
    }
}

fn beside_6_at_random(kind: &str, cases: u32, scenarios: impl Strategy<Value = Vec<Step>>) {
    let server = RedisServer::start();
    let apart = Cell::new(0);
    let twin = beside(BullMq::V6, &server, [0, 1]);
    let cases = generate::run_random_but(twin, scenarios, cases, async |steps: &[Step], mismatch: &Mismatch| {
        apart.set(apart.get() + 1);
        on_purpose(&steps[..=mismatch.index], mismatch)
    });
    report(&format!("bullmq 6.7.0: {cases} random {kind} agree; {} steps differ on purpose", apart.get()));
}

#[test]
fn oxmq_does_what_version_6_does_at_random() {
    beside_6_at_random("scenarios", 100, generate::random_scenario(40));
}

#[test]
fn oxmq_does_with_trees_what_version_6_does_at_random() {
    beside_6_at_random("scenarios about trees", 20, generate::random_trees(40));
}

/// Returns whether both sides do the same, but for what differs on purpose.
async fn agrees(twin: &mut Beside, mut steps: Vec<Step>) -> bool {
    while let Err(mismatch) = Box::pin(twin.compare(&steps, 1)).await {
        match on_purpose(&steps[..=mismatch.index], &mismatch) {
            Amend::No => {
                report(&format!("bullmq 6.7.0 differs as well: {mismatch}"));
                return false;
            }
            Amend::Replace(step) => steps[mismatch.index] = step,
            Amend::Remove => drop(steps.remove(mismatch.index)),
        }
    }
    true
}

/// Returns whether this is a fetch by hand that came to a job whose failure was deferred: version 5 fails it and goes on to
/// the next one, version 6 hands it out.
fn fails_in_5(step: &Step, mismatch: &Mismatch) -> bool {
    let fetches = matches!(
        &step.what,
        What::Op(
            Op::GetNextJob { .. }
                | Op::MoveToCompleted { fetch_next: true, .. }
                | Op::MoveToFailed { fetch_next: true, .. }
        )
    );
    fetches && mismatch.differences.iter().any(|text| text.contains(": field defa: left nothing, right \"child "))
}

fn beside_5_at_random(kind: &str, cases: u32, scenarios: impl Strategy<Value = Vec<Step>>) {
    let server = RedisServer::start();
    // If 5 and oxmq differ, 6 tells whether that is a change from 5 to 6, which is no fault of oxmq.
    let judge = RefCell::new(None);
    let (apart, versions) = (Cell::new(0), Cell::new(0));
    let cases = generate::run_random_but(
        beside(BullMq::V5, &server, [0, 1]),
        scenarios,
        cases,
        async |steps: &[Step], mismatch: &Mismatch| {
            let known = on_purpose(&steps[..=mismatch.index], mismatch);
            if !matches!(known, Amend::No) {
                apart.set(apart.get() + 1);
                return known;
            }
            if fails_in_5(&steps[mismatch.index], mismatch) {
                versions.set(versions.get() + 1);
                return Amend::Remove;
            }
            let mut twin = match judge.take() {
                Some(twin) => twin,
                None => Box::pin(beside(BullMq::V6, &server, [2, 3])).await,
            };
            let agrees = Box::pin(agrees(&mut twin, steps[..=mismatch.index].to_vec())).await;
            judge.replace(Some(twin));
            if !agrees {
                return Amend::No;
            }
            versions.set(versions.get() + 1);
            Amend::Remove
        },
    );
    let (apart, versions) = (apart.get(), versions.get());
    report(&format!(
        "bullmq 5.81.5: {cases} random {kind} agree; {apart} steps differ on purpose, {versions} were left out because \
         6.7.0 does something else there, as oxmq does"
    ));
}

#[test]
fn oxmq_does_what_version_5_does_at_random() {
    beside_5_at_random("scenarios", 100, generate::random_scenario_for_5(40));
}

#[test]
fn oxmq_does_with_trees_what_version_5_does_at_random() {
    beside_5_at_random("scenarios about trees", 20, generate::random_trees(40));
}
