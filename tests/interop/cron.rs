//! When cron patterns are due: oxmq beside the parser that BullMQ uses.

use std::io::Write;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;
use oxmq::Repeat;
use serde_json::{Value, json};

use crate::common::node::{BullMq, NodeDriver};
use crate::common::server::shared_server;

/// A pattern, its zone, and the time after which the next run is sought.
type Case = (String, &'static str, u64);

/// How many successive runs are compared.
const TIMES: usize = 4;

const HOUR: u64 = 3_600_000;

fn random_pattern(random: &mut fastrand::Rng, fields: [&[&str]; 6], said: u8) -> String {
    let mut words: Vec<&str> = fields.iter().map(|choices| choices[random.usize(..choices.len())]).collect();
    // Most real patterns restrict the days little.
    for word in &mut words[3..] {
        if random.u8(..) >= said {
            *word = "*";
        }
    }
    let from = if random.u8(..4) == 0 { random.usize(0..5) } else { 0 };
    words[from..].join(" ")
}

/// Compares all cases; returns how many agree, and in how many Node gives up where oxmq goes on.
///
/// # Panics
///
/// If anything else differs.
async fn compare(cases: &[Case]) -> (usize, usize) {
    let node = NodeDriver::start(BullMq::V6, &shared_server().url(), "unused").await;
    let (mut agree, mut parted, mut given_up) = (0, Vec::new(), 0);
    // In portions, so that a busy machine answers in time.
    for portion in cases.chunks(50) {
        let ask = |(pattern, tz, from): &Case| json!({ "pattern": pattern, "tz": tz, "from": from, "count": TIMES });
        let asked: Vec<Value> = portion.iter().map(ask).collect();
        let answer = node.call("cron", json!({ "cases": asked })).await.unwrap();
        for ((pattern, tz, from), theirs) in portion.iter().zip(answer.as_array().unwrap()) {
            let ours = ours(pattern, tz, *from);
            if ours == *theirs || (ours.is_string() && theirs.is_string()) {
                agree += 1;
            } else if theirs.as_str().is_some_and(|error| error.contains("loop limit")) {
                given_up += 1;
            } else {
                parted.push(format!("{pattern:?} {tz} {from}: ours {ours}, node {theirs}"));
            }
        }
    }
    assert!(parted.is_empty(), "{} of {} part: {:#?}", parted.len(), cases.len(), &parted[..parted.len().min(40)]);
    (agree, given_up)
}

/// Returns the next times, or why there are none.
fn ours(pattern: &str, tz: &str, from: u64) -> Value {
    let repeat = Repeat::cron(pattern).tz(tz);
    match repeat.next_runs(TIMES, UNIX_EPOCH + Duration::from_millis(from)) {
        Ok(runs) if runs.len() == TIMES => runs
            .iter()
            .map(|at| json!(u64::try_from(at.duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()))
            .collect(),
        Ok(_) => json!("never"),
        Err(error) => json!(error.to_string()),
    }
}

fn report(text: &str) {
    // Written past the capture of the test harness, so that these numbers are visible.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Patterns × zones × moments through the year.
#[tokio::test]
async fn cron_patterns_are_due_when_node_says() {
    let fields: [&[&str]; 6] = [
        &["0", "*", "*/15", "5", "10-20/5", "7,3"],
        &["0", "*", "30", "*/20", "5/15", "15,45", "1-2-3"],
        &["*", "0", "2", "1", "2,3", "0-2", "*/6", "23", "3", "2-4"],
        &["*", "?", "1", "L", "13", "1-31", "*/10", "31", "29", "15,L", "30"],
        &["*", "2", "jan-mar", "JUL", "3,11", "4", "6-9/3", "*/5"],
        &["*", "?", "1-5", "0", "7", "fri#2", "5L", "friL", "5-7", "*/2", "0,6", "1,3L", "sun", "1#5"],
    ];
    let zones = [
        "UTC",
        "America/New_York",
        "Europe/Berlin",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Asia/Beirut",
        "America/Sao_Paulo",
        "Pacific/Apia",
        "Africa/Casablanca",
        "utc+5:45",
    ];
    // A winter's day, and shortly before the clock changes in New York and Berlin, in spring and in autumn.
    let moments: [u64; 6] = [
        1_768_000_000_123,
        1_772_928_000_000,
        1_774_724_400_000,
        1_792_886_400_000,
        1_793_491_200_000,
        1_775_311_200_000,
    ];
    let mut random = fastrand::Rng::with_seed(7);
    let mut cases: Vec<Case> = (0..1_500)
        .map(|_| {
            let pattern = random_pattern(&mut random, fields, 128);
            (pattern, zones[random.usize(..zones.len())], moments[random.usize(..moments.len())])
        })
        .collect();
    for text in [
        "@yearly",
        "@annually",
        "@monthly",
        "@weekly",
        "@daily",
        "@hourly",
        "@minutely",
        "@secondly",
        "@weekdays",
        "@weekends",
        "@midnight",
        "@Daily",
        " @daily",
        "1,1 * * * *",
        "1-5,3 * * * *",
        "22-2 * * *",
        "sat-sun",
        "Monday",
        "* * * * * * *",
        "0 0 30 2 *",
        "0 0 31 4 *",
        "0 0 31 4 1",
        "0 0 W * *",
        "0 0 LW * *",
        "0 0 * * L",
        "0 0 L-2 * *",
        "0 0 1-L * *",
        "0,7",
        "0 0 * * 1#6",
        "0 0 * * 1,2#1",
        "*/0 * * * *",
        "*/90 * * * *",
        "60 * * * *",
        "/5 * * * *",
        "5/ * * * *",
        "1-5/2,6 * * * *",
        "0 0 * nov-feb *",
        "0 0 * * 5-7/2",
        "0 0 * * 0-7",
        "0 0 7L * *",
        "0 0 l * *",
        "0 0 * * 5l",
        "a * * * *",
        "0 0 * * *#2",
        "0\t0  1 * *",
        "jan",
        "0 0 * mon *",
        "0 0 * * jan",
        "05 007 * * *",
    ] {
        cases.push((text.to_owned(), "UTC", moments[0]));
        cases.push((text.to_owned(), "America/New_York", moments[2]));
    }
    let (agree, given_up) = compare(&cases).await;
    report(&format!("cron-parser 5.10.3: {agree} patterns agree; in {given_up} it gives up and oxmq goes on"));
}

/// Patterns about the hours around midnight and morning, on days on which the clock of a zone changes.
#[tokio::test]
async fn cron_patterns_are_due_when_node_says_also_where_the_clock_is_moved() {
    let fields: [&[&str]; 6] = [
        &["0", "0", "0", "30", "*/20", "10-20/5", "59,1"],
        &["0", "30", "*", "*/20", "15,45", "29", "31", "59", "10-40/10", "0,30"],
        &[
            "*", "0", "1", "2", "3", "23", "2,3", "1,2", "0,1", "0-2", "2-4", "1-3", "*/2", "1-23/2", "*/3", "22-23",
            "0-23", "0,2,4", "3,5",
        ],
        &["*", "?", "*/2", "1-31", "L", "1-7", "25-31", "8,15,29"],
        &["*", "3,4,10,11", "1-12", "*/3"],
        &["*", "0", "1-5", "sun,mon", "6,0", "0L", "sun#2", "1#1"],
    ];
    // By year, most from 1980 to 2030: changes in spring and autumn, at midnight, at 1, 2 and 3 o'clock, by half an hour, at
    // the end of a Ramadan, over the date line, and those that countries gave up.
    let zones: [(&str, i32, i32); 16] = [
        ("Europe/Berlin", 1980, 2030),
        ("America/New_York", 1980, 2030),
        ("Australia/Lord_Howe", 1986, 2030),
        ("America/Sao_Paulo", 1986, 2019),
        ("Asia/Tehran", 1992, 2022),
        ("Asia/Beirut", 1994, 2030),
        ("Africa/Casablanca", 2012, 2025),
        ("Europe/London", 1980, 2030),
        ("America/Havana", 2000, 2025),
        ("Pacific/Apia", 2010, 2021),
        ("America/St_Johns", 2012, 2030),
        ("Asia/Gaza", 2012, 2030),
        ("America/Santiago", 2000, 2024),
        ("Pacific/Auckland", 1990, 2030),
        ("Europe/Moscow", 1985, 2014),
        ("Antarctica/Troll", 2006, 2030),
    ];
    let seed = std::env::var("CRON_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(11);
    let most = std::env::var("CRON_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(3_000);
    let mut random = fastrand::Rng::with_seed(seed);
    let changes = zones.map(|(zone, from, to)| (zone, changes_of_clock(zone, from, to)));
    let cases: Vec<Case> = (0..most)
        .map(|_| {
            let (zone, changes) = &changes[random.usize(..changes.len())];
            let change = changes[random.usize(..changes.len())];
            let from = change + 2 * HOUR - random.u64(..30 * HOUR);
            // A run that has passed is sought from its exact second.
            let from = if random.bool() { from } else { from - from % (HOUR / 2) };
            (random_pattern(&mut random, fields, 60), *zone, from)
        })
        .collect();
    let (agree, given_up) = compare(&cases).await;
    report(&format!(
        "cron-parser 5.10.3: {agree} patterns agree where the clock is moved; in {given_up} it gives up and oxmq goes on"
    ));
    assert!(agree > cases.len() * 9 / 10, "{agree}");
}

/// Returns when the clock of a zone changes, in ms.
fn changes_of_clock(zone: &str, from: i32, to: i32) -> Vec<u64> {
    let zone: Tz = zone.parse().unwrap();
    let offset =
        |seconds| zone.offset_from_utc_datetime(&DateTime::from_timestamp(seconds, 0).unwrap().naive_utc()).fix();
    let year = |year| chrono::Utc.with_ymd_and_hms(year, 1, 1, 0, 0, 0).unwrap().timestamp();
    let quarters: Vec<i64> = (year(from)..year(to)).step_by(900).collect();
    let moved = quarters.windows(2).filter(|two| offset(two[0]) != offset(two[1]));
    moved.map(|two| u64::try_from(two[1] * 1_000).unwrap()).collect()
}

/// A pattern about noon that is due when the clock is moved and around.
const WITHOUT_ZONE: &str = "30 1,2,12 * * *";

/// Shortly before the clock changes in New York.
const BEFORE_CHANGE: u64 = 1_772_928_000_000;

#[test]
#[ignore = "not a test: the process in another zone that `a_pattern_without_a_zone_is_about_that_of_the_process` starts"]
fn the_process_in_another_zone() {
    let runs = Repeat::cron(WITHOUT_ZONE).next_runs(5, UNIX_EPOCH + Duration::from_millis(BEFORE_CHANGE)).unwrap();
    let runs = runs.iter().map(|at| at.duration_since(UNIX_EPOCH).unwrap().as_millis().to_string());
    println!("runs={}", runs.collect::<Vec<_>>().join(","));
}

/// What the parser of BullMQ says in a process of that zone.
const THEIRS: &str = "
const path = require.resolve('cron-parser', { paths: [require.resolve('bullmq6')] });
const { CronExpressionParser } = require(path);
const runs = [];
for (let at = Number(process.argv[2]); runs.length < 5; runs.push(at)) {
  at = CronExpressionParser.parse(process.argv[1], { currentDate: at }).next().getTime();
}
console.log('runs=' + runs.join(','));";

#[test]
fn a_pattern_without_a_zone_is_about_that_of_the_process() {
    let here = std::env::current_exe().unwrap();
    let runs = |command: &mut Command, zone: &str| {
        let output = command.env("TZ", zone).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().find_map(|line| Some(line.split_once("runs=")?.1.to_owned()));
        line.unwrap_or_else(|| panic!("{text}\n{}", String::from_utf8_lossy(&output.stderr)))
    };
    let mut seen = Vec::new();
    for zone in ["America/New_York", "Asia/Kolkata", "UTC"] {
        let process = ["--exact", "interop::cron::the_process_in_another_zone", "--ignored", "--nocapture"];
        let ours = runs(Command::new(&here).args(process), zone);
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/node");
        let mut node = Command::new("node");
        node.current_dir(directory).args(["-e", THEIRS, WITHOUT_ZONE, &BEFORE_CHANGE.to_string()]);
        assert_eq!(ours, runs(&mut node, zone), "{zone}");
        seen.push(ours);
    }
    seen.dedup();
    assert_eq!(seen.len(), 3, "each zone has its own times");
}
