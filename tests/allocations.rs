//! How often a job allocates, held to a bound. A binary of its own: the counter sees whatever else the process does.

#[path = "../benches/allocated.rs"]
mod allocated;

use std::collections::BTreeMap;

use allocated::{Allocated, measure};
use oxmq::Client;
use oxmq::testing::RedisServer;

/// How often, and how many bytes, one job of each kind may allocate: about an eighth more than it does in a
/// debug build, whose calls have fewer jobs than those of a release build.
const BOUNDS: [(&str, f64, f64); 6] = [
    ("add, one by one", 12.4, 5_020.0),
    ("add, 100 at once", 10.4, 2_560.0),
    ("add_bulk", 6.9, 2_040.0),
    ("process@1", 18.2, 6_900.0),
    ("process@10", 9.8, 3_700.0),
    ("process@100", 8.1, 3_350.0),
];

/// How many jobs share a call depends on the load of the machine. So the best round counts; usually the first is good
/// enough.
const ROUNDS: usize = 20;

#[tokio::test]
async fn a_job_allocates_no_more_often_than_it_did() {
    let server = RedisServer::start();
    let client = Client::connect(&server.url()).await.unwrap();
    // The connection and the first call of each script allocate once. Do that before counting.
    measure(&client, "warm", 50).await.unwrap();
    let mut best: BTreeMap<&str, Allocated> = BTreeMap::new();
    for round in 0..ROUNDS {
        for one in measure(&client, &format!("round {round}"), 300).await.unwrap() {
            let best = best.entry(one.work).or_insert(one);
            best.made = best.made.min(one.made);
            best.bytes = best.bytes.min(one.bytes);
        }
        if above(&best).is_empty() {
            return;
        }
    }
    panic!("allocations of a job:\n{}", above(&best).join("\n"));
}

/// Returns the kinds of work that exceed their bounds.
fn above(best: &BTreeMap<&str, Allocated>) -> Vec<String> {
    let bounds = BOUNDS.iter().map(|(work, most, most_bytes)| (&best[work], most, most_bytes));
    let above = bounds.filter(|(one, most, most_bytes)| one.made > **most || one.bytes > **most_bytes);
    above
        .map(|(one, most, most_bytes)| {
            let Allocated { work, made, grown, bytes } = one;
            format!("{work}: {made:.1}, {most} at most; {grown:.1} grew; {bytes:.0} bytes, {most_bytes} at most")
        })
        .collect()
}
