//! Medians, the table on the terminal and the JSON file.

use std::process::Command;

use anyhow::Result;
use serde_json::{Map, Value, json};

use super::options::{Options, PeerName};
use super::run::{Outcome, Series};
use super::server::Server;
use super::work::{Metric, Work};

/// The median, the least and the greatest of some figures.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = figures.collect();
        sorted.sort_unstable_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        Some(Self {
            median: if sorted.len() % 2 == 1 {
                sorted[middle]
            } else {
                f64::midpoint(*sorted.get(middle.checked_sub(1)?)?, sorted[middle])
            },
            min: *sorted.first()?,
            max: *sorted.last()?,
        })
    }

    fn show(&self, decimals: usize) -> String {
        let text = |value| grouped(value, decimals);
        format!("{} ({}–{})", text(self.median), text(self.min), text(self.max))
    }

    fn json(&self) -> Value {
        json!({"median": self.median, "min": self.min, "max": self.max})
    }
}

fn spread(series: &Series, key: &str) -> Option<Spread> {
    Spread::of(series.runs.iter().filter_map(|run| run.get(key).copied()))
}

/// Returns the figure of `first` over that of `rival`, round by round: within a round both met the same machine.
fn ratio(first: &Series, rival: &Series, key: &str) -> Option<Spread> {
    let pairs = first.runs.iter().zip(&rival.runs);
    let ratios = pairs.filter_map(|(ours, theirs)| {
        let theirs = *theirs.get(key)?;
        (theirs > 0.0).then(|| ours.get(key).map(|ours| ours / theirs))?
    });
    Spread::of(ratios)
}

/// Formats `12345.6` as `12,345.6`.
fn grouped(value: f64, decimals: usize) -> String {
    let plain = format!("{value:.decimals$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

/// Columns of a figure.
const WIDTH: usize = 26;

/// Prints the figures of one series, or why it has none; returns true if it has some.
fn print_cells(series: &Series, metrics: &[Metric]) -> bool {
    if let Some(error) = &series.error {
        println!("  ERROR {error}");
        return false;
    }
    for metric in metrics {
        let text = spread(series, metric.key).map_or_else(String::new, |s| s.show(metric.decimals));
        print!("{text:>WIDTH$}");
    }
    true
}

/// Prints one work among others that differ from it in size, beside the smallest of them: the first that was measured.
pub(super) fn print_growth(earlier: &[Outcome], outcome: &Outcome) {
    let is_kin = |other: &&Outcome| {
        let axis = |work: &Work| work.growth.map(|growth| growth.axis);
        other.work.name == outcome.work.name && axis(&other.work) == axis(&outcome.work)
    };
    let first = earlier.iter().find(is_kin).unwrap_or(outcome);
    let metrics = outcome.work.metrics();
    if std::ptr::eq(first, outcome) {
        print!("\n{:<46}", "");
        for metric in metrics {
            print!("{:>WIDTH$}", metric.title);
        }
        println!("{:>14}", "Redis × first");
    }
    for (series, start) in outcome.series.iter().zip(&first.series) {
        print!("{:<37} {:<8}", outcome.work.label(), series.peer.as_str());
        if !print_cells(series, metrics) {
            continue;
        }
        let cost = |series| spread(series, "redis_us_per_job").map(|spread| spread.median);
        let times = cost(series).zip(cost(start)).map(|(now, then)| now / then);
        println!("{:>14}", times.map_or_else(String::new, |times| grouped(times, 2)));
    }
}

/// Prints the block of one work.
pub(super) fn print(options: &Options, outcome: &Outcome) {
    let work = &outcome.work;
    let metrics = work.metrics();
    print!("{:<18}{:<11}", work.label(), "");
    for metric in metrics {
        print!("{:>WIDTH$}", metric.title);
    }
    println!();
    for series in &outcome.series {
        print!("{:<18}{:<11}", "", series.peer.as_str());
        if !print_cells(series, metrics) {
            continue;
        }
        println!();
    }
    let Some((first, rivals)) = outcome.series.split_first() else {
        return;
    };
    for rival in rivals {
        if first.error.is_some() || rival.error.is_some() {
            continue;
        }
        print!("{:<18}{:<11}", "", format!("÷ {}", rival.peer.as_str()));
        for metric in metrics {
            let text = ratio(first, rival, metric.key).map_or_else(String::new, |s| s.show(2));
            print!("{text:>WIDTH$}");
        }
        println!();
    }
    if options.is_trial() {
        println!("{:<18}(a trial: do not quote)", "");
    }
    println!();
}

/// Writes the JSON file.
pub(super) fn write(options: &Options, server: &Server, outcomes: &[Outcome]) -> Result<()> {
    let document = json!({
        "date": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        "trial": options.is_trial(),
        "rounds": options.rounds,
        "pinned": options.pin,
        "growth": options.growth,
        "peers": options.peers.iter().map(|peer| peer.as_str()).collect::<Vec<_>>(),
        "versions": {
            "redis": server.version,
            "node": output("node", &["--version"]),
            "rustc": output("rustc", &["--version"]),
            "oxmq": env!("CARGO_PKG_VERSION"),
            "bullmq": manifest_version("benches/peers/node/package-lock.json", "\"node_modules/bullmq\"", "\"version\": \""),
            "bullmq-official": manifest_version("benches/peers/official/Cargo.lock", "name = \"bullmq-official\"", "version = \""),
        },
        "machine": {
            "cpu": proc_field("/proc/cpuinfo", "model name"),
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "kernel": output("uname", &["-sr"]),
            "load": std::fs::read_to_string("/proc/loadavg").ok().map(|text| text.trim().to_owned()),
        },
        "works": outcomes.iter().map(work_json).collect::<Vec<_>>(),
    });
    if let Some(directory) = options.out.parent() {
        std::fs::create_dir_all(directory)?;
    }
    std::fs::write(&options.out, serde_json::to_string_pretty(&document)? + "\n")?;
    println!("written to {}", options.out.display());
    Ok(())
}

fn work_json(outcome: &Outcome) -> Value {
    let work = &outcome.work;
    let metric =
        |metric: &super::work::Metric| json!({"key": metric.key, "title": metric.title, "decimals": metric.decimals});
    json!({
        "work": work.name,
        "label": work.label(),
        "concurrency": work.concurrency,
        "jobs": work.jobs,
        "axis": work.growth.map(|growth| growth.axis),
        "size": work.growth.map(|growth| growth.size),
        "metrics": work.metrics().iter().map(metric).collect::<Vec<_>>(),
        "peers": outcome.series.iter().map(|series| (series.peer.as_str().to_owned(), series_json(series))).collect::<Map<_, _>>(),
        "ratios": ratios_json(&outcome.series),
    })
}

fn series_json(series: &Series) -> Value {
    let summary: Map<String, Value> =
        keys(series).filter_map(|key| Some((key.to_owned(), spread(series, key)?.json()))).collect();
    json!({"error": series.error, "summary": summary, "runs": series.runs})
}

/// Returns for each rival and figure the ratio to the first peer.
fn ratios_json(series: &[Series]) -> Map<String, Value> {
    let Some((first, rivals)) = series.split_first() else {
        return Map::new();
    };
    let against = |rival: &Series| -> Map<String, Value> {
        keys(first).filter_map(|key| Some((key.to_owned(), ratio(first, rival, key)?.json()))).collect()
    };
    rivals.iter().map(|rival| (PeerName::as_str(rival.peer).to_owned(), Value::Object(against(rival)))).collect()
}

fn keys(series: &Series) -> impl Iterator<Item = &'static str> {
    series.runs.first().into_iter().flat_map(|run| run.keys().copied())
}

fn output(program: &str, words: &[&str]) -> Option<String> {
    let output = Command::new(program).args(words).output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn proc_field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// Returns the version that a lockfile gives for the package named by `entry`.
fn manifest_version(path: &str, entry: &str, before: &str) -> Option<String> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let text = std::fs::read_to_string(path).ok()?;
    let rest = &text[text.find(entry)?..];
    let rest = &rest[rest.find(before)? + before.len()..];
    Some(rest[..rest.find('"')?].to_owned())
}
