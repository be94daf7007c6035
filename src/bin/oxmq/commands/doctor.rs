//! `oxmq doctor`

use std::time::Duration;

use indicatif::ProgressBar;
use oxmq::doctor::{Finding, QueueMemory};
use serde_json::{Value, json};

use crate::args::{Doctor, Global};
use crate::connect;
use crate::failure::{FOUND, Failure, Outcome};
use crate::say::{self, Column};

pub(crate) async fn run(global: &Global, args: Doctor) -> Outcome {
    let client = connect::client(global).await?;
    let mut doctor = client.doctor().places(args.places).keys(args.keys).pause(args.pause);
    for queue in &args.queues {
        doctor = doctor.queue(queue);
    }
    let spinner = if global.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    spinner.set_message("examining");
    spinner.enable_steady_tick(Duration::from_millis(100));
    let report = doctor.examine().await?;
    spinner.finish_and_clear();
    for text in &report.left_out {
        eprintln!("not looked at: {}", say::clean(text));
    }
    if !global.json {
        show(&report.findings);
        if args.memory {
            memory(&report.memory);
        }
    }
    let mendable: Vec<&Finding> = report.findings.iter().filter(|finding| finding.kind.can_be_mended()).collect();
    let mut mended = Vec::new();
    if args.fix && !mendable.is_empty() && !args.consent.dry_run {
        say::confirm(
            &format!("{} of {} findings would be mended", mendable.len(), report.findings.len()),
            args.consent.yes,
        )
        .await?;
        for finding in mendable {
            let count = doctor.mend(finding).await?;
            mended.push(json!({ "kind": finding.kind.as_str(), "queue": finding.queue, "mended": count }));
            if !global.json {
                let queue = finding.queue.as_deref().unwrap_or("the server");
                say::line(format!("mended: {}: {}, {count} of {}", say::clean(queue), finding.kind, finding.count));
            }
        }
    }
    if global.json {
        say::json(&json!({
            "findings": report.findings.iter().map(finding).collect::<Vec<_>>(),
            "memory": report.memory.iter().map(weight).collect::<Vec<_>>(),
            "versions": report.versions,
            "leftOut": report.left_out,
            "mended": mended,
        }));
    }
    if report.findings.is_empty() { Ok(()) } else { Err(Failure::new(FOUND, String::new())) }
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
