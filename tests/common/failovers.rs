//! What many failovers have cost, as rows of a table.

use std::collections::HashSet;
use std::time::Duration;

/// The events of one kind.
#[derive(Default)]
pub struct Row {
    pub what: String,
    /// From the fault until another server serves; empty where nobody takes over.
    pub elected: Vec<Duration>,
    /// From there to the first job that is completed.
    pub resumed: Vec<Duration>,
    pub acknowledged: usize,
    pub lost: usize,
    /// Ids that the server chose, given and acknowledged once more.
    pub ids_twice: usize,
    /// Jobs that were run more than once.
    pub ran_twice: usize,
    pub failed_adds: usize,
}

pub const HEAD: &str = "| what | times | another serves after, p50 | work resumes after, p50 | p99 | longest | acknowledged | lost | ids given twice | ran twice | failed adds |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |";

impl Row {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), ..Self::default() }
    }

    pub fn print(mut self) {
        self.elected.sort_unstable();
        self.resumed.sort_unstable();
        let at = |times: &[Duration], part: usize| match times.len() {
            0 => "–".to_owned(),
            n => format!("{} ms", times[(n * part / 100).min(n - 1)].as_millis()),
        };
        println!(
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            self.what,
            self.resumed.len(),
            at(&self.elected, 50),
            at(&self.resumed, 50),
            at(&self.resumed, 99),
            at(&self.resumed, 100),
            self.acknowledged,
            self.lost,
            self.ids_twice,
            self.ran_twice,
            self.failed_adds,
        );
    }
}

/// Returns how many of these acknowledged ids had been acknowledged for another job before.
pub fn given_twice<'a>(acked: impl IntoIterator<Item = &'a str>) -> usize {
    let mut seen = HashSet::new();
    acked.into_iter().filter(|id| !seen.insert(*id)).count()
}

/// How many events of each kind there are to be: `OXMQ_FAILOVERS`, or 17, which are 51 of three kinds.
pub fn failovers() -> usize {
    std::env::var("OXMQ_FAILOVERS").map_or(17, |number| number.parse().expect("OXMQ_FAILOVERS is a number"))
}

/// Whether events of this kind are asked for: `OXMQ_FAILOVERS_OF` is a part of its name; without it, all are.
pub fn is_wanted(kind: &str) -> bool {
    std::env::var("OXMQ_FAILOVERS_OF").map_or(true, |part| kind.contains(&part))
}
