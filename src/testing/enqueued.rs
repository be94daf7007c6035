//! Asserts what the code under test has added.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use super::TestQueue;
use super::difference::differences;
use crate::job::Job;
use crate::kind::JobKind;
use crate::state::{JobState, Order};
use crate::wire::JsonText;

/// A job that is expected in a [`TestQueue`]. Only what is set is compared.
///
/// ```no_run
/// use std::time::Duration;
/// use oxmq::testing::{Expected, TestQueue};
///
/// # async fn test() {
/// let queue = TestQueue::new("mails").await;
/// queue.add("welcome", "ada@example.org".into()).delay(Duration::from_secs(60)).await.unwrap();
/// queue.add("digest", "all".into()).priority(3).await.unwrap();
/// let welcome = Expected::job("welcome", "ada@example.org").delay(Duration::from_secs(60));
/// queue.assert_enqueued([welcome, Expected::any("digest").priority(3)]).await;
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use]
pub struct Expected {
    name: String,
    data: Option<Value>,
    delay: Option<Duration>,
    priority: Option<u32>,
    id: Option<String>,
}

impl Expected {
    /// Expects a job of this name with this data.
    pub fn job(name: impl Into<String>, data: impl Serialize) -> Self {
        let data = JsonText::of(&data).and_then(|json| json.parse()).expect("data that can be written as JSON");
        Self { data: Some(data), ..Self::any(name) }
    }

    /// Expects a job of this name with any data.
    pub fn any(name: impl Into<String>) -> Self {
        Self { name: name.into(), data: None, delay: None, priority: None, id: None }
    }

    /// Expects a job of a kind, with this data.
    pub fn of<K: JobKind>(job: K) -> Self {
        Self::job(K::NAME, job)
    }

    /// Expects it to be delayed by this time.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// Expects it to have this priority.
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = Some(priority);
        self
    }

    /// Expects it to have this id.
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Returns how a job differs; nothing if it is as expected.
    fn differences(&self, job: &Job) -> Vec<String> {
        let mut found = Vec::new();
        if let Some(data) = &self.data {
            found.extend(differences(data, job.data()));
        }
        let mut compare = |what: &str, expected: Option<String>, actual: String| {
            if let Some(expected) = expected.filter(|expected| *expected != actual) {
                found.push(format!("{what}: {expected} expected, {actual} found"));
            }
        };
        compare("delay", self.delay.map(|delay| format!("{delay:?}")), format!("{:?}", job.delay()));
        compare("priority", self.priority.map(|priority| priority.to_string()), job.priority().to_string());
        compare("id", self.id.clone(), job.id().to_owned());
        found
    }

    fn is(&self, job: &Job) -> bool {
        self.name == job.name() && self.differences(job).is_empty()
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        if let Some(data) = &self.data {
            write!(f, " {data}")?;
        }
        if let Some(delay) = self.delay {
            write!(f, " delay {delay:?}")?;
        }
        if let Some(priority) = self.priority {
            write!(f, " priority {priority}")?;
        }
        self.id.as_ref().map_or(Ok(()), |id| write!(f, " id {id}"))
    }
}

impl TestQueue {
    /// Returns the jobs that have not run: ready, delayed or waiting for children. Ids that the queue numbered are in
    /// order.
    pub async fn enqueued(&self) -> Vec<Job> {
        use JobState::{Delayed, Paused, Prioritized, Waiting, WaitingChildren};
        let states = [Waiting, Paused, Prioritized, Delayed, WaitingChildren];
        let found = self.get_jobs(&states, 0, -1, Order::Ascending).await.expect("the tests' server");
        let mut jobs: Vec<Job> = found.into_iter().map(|job| job.expect("a job that can be read")).collect();
        jobs.sort_by_key(|job| (job.id().parse::<u64>().unwrap_or(u64::MAX), job.timestamp()));
        jobs
    }

    /// Fails the test unless exactly these jobs are there, in any order. The message shows which are missing, which are
    /// too many, and where the data differs.
    pub async fn assert_enqueued(&self, expected: impl IntoIterator<Item = Expected>) {
        let jobs = self.enqueued().await;
        if let Some(message) = mismatch(self.name(), expected.into_iter().collect(), jobs, true) {
            panic!("{message}");
        }
    }

    /// Fails the test unless these jobs are there; others may be too.
    pub async fn assert_includes(&self, expected: impl IntoIterator<Item = Expected>) {
        let jobs = self.enqueued().await;
        if let Some(message) = mismatch(self.name(), expected.into_iter().collect(), jobs, false) {
            panic!("{message}");
        }
    }
}

/// Matches jobs with expected ones: the index of an expected one for each job, so that as many as possible are matched.
fn matched(expected: &[Expected], jobs: &[Job]) -> Vec<Option<usize>> {
    let mut taken = vec![None; jobs.len()];
    for place in 0..expected.len() {
        find(place, expected, jobs, &mut taken, &mut vec![false; jobs.len()]);
    }
    taken
}

/// Finds a job for an expected one; another expected one gives up its job if there is a second one for it.
fn find(place: usize, expected: &[Expected], jobs: &[Job], taken: &mut [Option<usize>], tried: &mut [bool]) -> bool {
    for at in 0..jobs.len() {
        if tried[at] || !expected[place].is(&jobs[at]) {
            continue;
        }
        tried[at] = true;
        if taken[at].is_none_or(|other| find(other, expected, jobs, taken, tried)) {
            taken[at] = Some(place);
            return true;
        }
    }
    false
}

/// Returns the message if the jobs are not as expected.
fn mismatch(queue: &str, expected: Vec<Expected>, jobs: Vec<Job>, is_exact: bool) -> Option<String> {
    let taken = matched(&expected, &jobs);
    let missing: Vec<Expected> = expected
        .into_iter()
        .enumerate()
        .filter_map(|(place, expected)| (!taken.contains(&Some(place))).then_some(expected))
        .collect();
    let jobs: Vec<Job> = jobs.into_iter().zip(taken).filter_map(|(job, by)| by.is_none().then_some(job)).collect();
    if missing.is_empty() && (jobs.is_empty() || !is_exact) {
        return None;
    }
    let mut text = format!("the queue '{queue}' does not hold what is expected");
    for expected in &missing {
        text.push_str(&format!("\n  missing: {expected}"));
        // The most similar job of that name is most likely the intended one.
        let same_name = jobs.iter().filter(|job| job.name() == expected.name);
        if let Some(differences) =
            same_name.map(|job| (job, expected.differences(job))).min_by_key(|(_, all)| all.len())
        {
            let (job, differences) = differences;
            text.push_str(&format!("\n    job {} differs:", job.id()));
            for difference in differences {
                text.push_str(&format!("\n      {difference}"));
            }
        }
    }
    let others = if is_exact { "not expected" } else { "there is" };
    for job in &jobs {
        text.push_str(&format!("\n  {others}: job {}: {} {}", job.id(), job.name(), job.data_json()));
    }
    Some(text)
}
