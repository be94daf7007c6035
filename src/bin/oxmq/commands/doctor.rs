//! `oxmq doctor`

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::ProgressBar;
use oxmq::Client;
use oxmq::doctor::{Diagnosis, Finding, FindingKind, NameMemory, QueueMemory, Stage};
use serde_json::{Value, json};

use super::queues;
use crate::args::{Doctor, Global};
use crate::connect;
use crate::failure::{ERROR, FOUND, Failure, IN_PART, Outcome, STOPPED};
use crate::say::{self, Column};

pub(crate) async fn run(global: &Global, args: Doctor) -> Outcome {
    let client = connect::client(global).await?;
    all_exist(&client, &args.queues).await?;
    let spinner = if global.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let doctor = asked(&client, &args, &spinner);
    spinner.set_message("the server");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let Some(report) = say::unless_stopped(doctor.examine()).await else {
        spinner.finish_and_clear();
        return Err(Failure::new(STOPPED, "stopped; nothing was changed"));
    };
    spinner.finish_and_clear();
    let report = report?;
    // A queue that is gone by now would look healthy.
    all_exist(&client, &args.queues).await?;
    for text in &report.left_out {
        eprintln!("not looked at: {}", say::clean(&text.to_string()));
    }
    if !global.json {
        if report.queues > 0 || !report.findings.is_empty() {
            show(&report.findings);
        }
        if args.memory {
            memory(&report.memory);
            names(&report.names);
        }
        peers(&report);
    }
    let (mended, ended) = if args.fix && !args.consent.dry_run {
        mend(global, &args, &doctor, &report.findings).await?
    } else {
        (Vec::new(), Ok(()))
    };
    if global.json {
        say::json(&to_json(&report, &mended));
    }
    ended?;
    if report.queues == 0 {
        return Err(queues::none(global));
    }
    if report.findings.is_empty() { Ok(()) } else { Err(Failure::new(FOUND, String::new())) }
}

/// Refuses a queue that was never opened: its name is probably misspelt.
pub(super) async fn all_exist(client: &Client, queues: &[String]) -> Outcome {
    for (name, found) in queues.iter().zip(client.get_queue_overviews(queues).await) {
        if found.is_ok_and(|found| found.version.is_none() && found.counts.total() == 0) {
            return Err(Failure::no_such("queue", name));
        }
    }
    Ok(())
}

/// Returns the doctor as the arguments want it, which tells `spinner` how far it is.
fn asked(client: &Client, args: &Doctor, spinner: &ProgressBar) -> oxmq::doctor::Doctor {
    let told = spinner.clone();
    let hear = move |stage: &Stage| told.set_message(say::short(&stage.to_string(), 70));
    let doctor = client.doctor().places(args.places).keys(args.keys).pause(args.pause).memory(args.memory);
    args.queues.iter().fold(doctor.on_stage(hear), |doctor, queue| doctor.queue(queue))
}

/// Mends what can be mended, after asking; what was mended, and what broke it off.
async fn mend(
    global: &Global,
    args: &Doctor,
    doctor: &oxmq::doctor::Doctor,
    findings: &[Finding],
) -> Outcome<(Vec<Value>, Outcome)> {
    let mut mended = Vec::new();
    let mendable: Vec<&Finding> = findings.iter().filter(|finding| finding.kind.can_be_mended()).collect();
    if mendable.is_empty() {
        return Ok((mended, Ok(())));
    }
    let of = say::many(findings.len() as u64, "finding");
    let question = format!("{} of {of} would be mended", mendable.len());
    say::confirm(&question, args.consent.yes).await?;
    for finding in mendable {
        // What was mended before an error is reported.
        let count = match say::unless_stopped(doctor.mend(finding)).await {
            Some(Ok(count)) => count,
            Some(Err(error)) => {
                let ended = failed_at(finding, error, !mended.is_empty());
                return Ok((mended, Err(ended)));
            }
            None => return Ok((mended, Err(stopped_at(finding)))),
        };
        mended.push(json!({ "kind": finding.kind.as_str(), "queue": finding.queue, "mended": count }));
        if !global.json {
            let queue = finding.queue.as_deref().unwrap_or("the server");
            // Of the other kinds what is not mended is not wrong any more.
            let is_left = finding.kind == FindingKind::StuckParents && count < finding.count;
            let rest = if is_left { format!(": {}", finding.kind.advice()) } else { String::new() };
            say::line(format!("mended: {}: {}, {count} of {}{rest}", say::clean(queue), finding.kind, finding.count));
        }
    }
    Ok((mended, Ok(())))
}

/// Ctrl-C came while a finding was mended, item by item: each is mended in one call, so none is mended by half.
fn stopped_at(finding: &Finding) -> Failure {
    let (kind, queue) = (finding.kind, finding.queue.as_deref().unwrap_or("the server"));
    let text = format!("stopped at {kind} of {queue}: some may be mended, none by half; the same call continues");
    Failure::new(STOPPED, text)
}

/// Tells at which finding the mending has failed.
fn failed_at(finding: &Finding, error: oxmq::Error, has_mended: bool) -> Failure {
    let (kind, queue) = (finding.kind, finding.queue.as_deref().unwrap_or("the server"));
    let Failure { text, .. } = error.into();
    let code = if has_mended { IN_PART } else { ERROR };
    let text =
        format!("it failed at {kind} of {queue}: {text}; some may be mended, none by half; the same call continues");
    Failure::new(code, text)
}

fn to_json(report: &Diagnosis, mended: &[Value]) -> Value {
    let worker = |((queue, library), count): (&(String, String), &u64)| json!({ "queue": queue, "library": library, "count": count });
    json!({
        "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
        "memory": report.memory.iter().map(weight).collect::<Vec<_>>(),
        "memoryByName": report.names.iter().map(weight_of_name).collect::<Vec<_>>(),
        "versions": report.versions,
        "workers": report.peers.iter().map(worker).collect::<Vec<_>>(),
        "leftOut": report.left_out.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "mended": mended,
    })
}

fn show(findings: &[Finding]) {
    if findings.is_empty() {
        say::line("nothing is wrong");
    }
    for finding in findings {
        let queue = finding.queue.as_deref().unwrap_or("the server");
        let how = if finding.kind.can_be_mended() { "" } else { "  (cannot be mended from here)" };
        say::line(format!("{}  {}{how}", say::clean(queue), finding.kind));
        say::line(format!("  {}", say::clean(&finding.detail)));
        if !finding.examples.is_empty() {
            let examples: Vec<String> = finding.examples.iter().map(|id| say::short(id, 40)).collect();
            say::line(format!("  {}", examples.join(", ")));
        }
        say::line(format!("  {}", finding.kind.advice()));
    }
}

fn memory(weights: &[QueueMemory]) {
    let head = [
        ("QUEUE", Column::Left),
        ("STATE", Column::Left),
        ("JOBS", Column::Right),
        ("BYTES EACH", Column::Right),
        ("MIB", Column::Right),
    ];
    let mut rows: Vec<&QueueMemory> = weights.iter().collect();
    rows.sort_by_key(|weight| std::cmp::Reverse(weight.count.saturating_mul(weight.bytes_each)));
    let row = |weight: &&QueueMemory| {
        let mib = weight.count.saturating_mul(weight.bytes_each) / (1024 * 1024);
        vec![
            say::short(&weight.queue, 40),
            weight.state.clone(),
            say::number(weight.count),
            say::number(weight.bytes_each),
            say::number(mib),
        ]
    };
    say::table(&head, &rows.iter().map(row).collect::<Vec<_>>());
}

fn names(weights: &[NameMemory]) {
    let head = [
        ("QUEUE", Column::Left),
        ("STATE", Column::Left),
        ("NAME", Column::Left),
        ("JOBS, ABOUT", Column::Right),
        ("BYTES EACH", Column::Right),
        ("MIB", Column::Right),
    ];
    let mut rows: Vec<&NameMemory> = weights.iter().collect();
    rows.sort_by_key(|weight| std::cmp::Reverse(weight.about.saturating_mul(weight.bytes_each)));
    let row = |weight: &&NameMemory| {
        vec![
            say::short(&weight.queue, 40),
            weight.state.clone(),
            say::short(&weight.name, 40),
            say::number(weight.about),
            say::number(weight.bytes_each),
            say::number(weight.about.saturating_mul(weight.bytes_each) / (1024 * 1024)),
        ]
    };
    say::table(&head, &rows.iter().map(row).collect::<Vec<_>>());
}

/// Prints who has used the queues, as far as that is known.
fn peers(report: &Diagnosis) {
    let mut libraries: BTreeMap<&str, u64> = BTreeMap::new();
    for library in report.versions.values() {
        *libraries.entry(library).or_default() += 1;
    }
    let mut workers: BTreeMap<&str, u64> = BTreeMap::new();
    for ((_, library), count) in &report.peers {
        *workers.entry(library).or_default() += count;
    }
    for (what, all) in [("settings written last by", libraries), ("workers connected by", workers)] {
        let words: Vec<String> =
            all.iter().map(|(library, count)| format!("{} ({})", say::clean(library), say::number(*count))).collect();
        if !words.is_empty() {
            say::line(format!("{what}: {}", words.join(", ")));
        }
    }
}

fn weight_of_name(weight: &NameMemory) -> Value {
    json!({
        "queue": weight.queue, "state": weight.state, "name": weight.name, "about": weight.about,
        "bytesEach": weight.bytes_each,
    })
}

fn finding(finding: &Finding) -> Value {
    json!({
        "kind": finding.kind.as_str(),
        "queue": finding.queue,
        "count": finding.count,
        "detail": finding.detail,
        "examples": finding.examples,
        "advice": finding.kind.advice(),
        "canBeMended": finding.kind.can_be_mended(),
    })
}

fn weight(weight: &QueueMemory) -> Value {
    json!({ "queue": weight.queue, "state": weight.state, "count": weight.count, "bytesEach": weight.bytes_each })
}
