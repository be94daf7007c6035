//! Checks a whole run: what was added, what the event stream says, and what Redis holds in the end.
//!
//! Every change of a job's state writes one event in the same atomic step, so the stream shows the run as it really
//! was. A state machine walks each job through it and knows which step may follow which.

use std::collections::{BTreeMap, BTreeSet};

use redis::aio::MultiplexedConnection;

use super::fixture::Fixture;

/// What the rules need to know of a run.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// Ids whose add was answered with success.
    pub added: Vec<String>,
    /// Event and job id, in the order of the stream.
    pub events: Vec<(String, String)>,
    /// The ids in each collection at the end.
    pub resident: BTreeMap<String, Vec<String>>,
    /// Ids that have a lock at the end.
    pub locked: Vec<String>,
}

/// The figures of a run that broke no rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    pub added: usize,
    pub completed: usize,
    pub failed: usize,
    /// Starts beyond the first of each job.
    pub restarts: usize,
    pub stalled: usize,
    /// Jobs whose add was not answered with success, and that exist nevertheless.
    pub unexpected: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Nowhere,
    Added,
    Queued,
    Active,
    Completed,
    Failed,
}

impl History {
    /// Reads a queue whose event stream was never trimmed.
    pub async fn of(fixture: &Fixture, added: &[String]) -> Self {
        let mut redis = fixture.redis.clone();
        let mut history = Self { added: added.to_vec(), ..Self::default() };
        history.read_events(&mut redis, &fixture.key("events")).await;
        for (name, command) in [
            ("wait", "LRANGE"),
            ("paused", "LRANGE"),
            ("active", "LRANGE"),
            ("prioritized", "ZRANGE"),
            ("delayed", "ZRANGE"),
            ("waiting-children", "ZRANGE"),
            ("completed", "ZRANGE"),
            ("failed", "ZRANGE"),
        ] {
            let cmd = redis::cmd(command).arg(fixture.key(name)).arg(0).arg(-1).to_owned();
            history.resident.insert(name.to_owned(), cmd.query_async(&mut redis).await.unwrap());
        }
        for id in history.ids() {
            let lock = fixture.key(&format!("{id}:lock"));
            if redis::cmd("EXISTS").arg(lock).query_async(&mut redis).await.unwrap() {
                history.locked.push(id);
            }
        }
        history
    }

    async fn read_events(&mut self, redis: &mut MultiplexedConnection, stream: &str) {
        let mut from = "-".to_owned();
        loop {
            let page: Vec<(String, BTreeMap<String, String>)> = redis::cmd("XRANGE")
                .arg(stream)
                .arg(&from)
                .arg("+")
                .arg("COUNT")
                .arg(5000)
                .query_async(redis)
                .await
                .unwrap();
            let Some((last, _)) = page.last() else { return };
            from = format!("({last}");
            for (_, mut fields) in page {
                if let (Some(event), Some(id)) = (fields.remove("event"), fields.remove("jobId")) {
                    self.events.push((event, id));
                }
            }
        }
    }

    fn ids(&self) -> BTreeSet<String> {
        let seen = self.events.iter().map(|(_, id)| id).chain(self.resident.values().flatten());
        seen.chain(&self.added).cloned().collect()
    }

    /// Walks every job through its events.
    ///
    /// # Errors
    ///
    /// One line per broken rule.
    pub fn check(&self) -> Result<Figures, Vec<String>> {
        let mut figures = Figures { added: self.added.len(), ..Figures::default() };
        let mut broken = Vec::new();
        let mut at: BTreeMap<&str, (At, usize)> = BTreeMap::new();
        for (event, id) in &self.events {
            let (state, starts) = at.entry(id).or_insert((At::Nowhere, 0));
            let next = match (event.as_str(), *state) {
                ("added", At::Nowhere) => At::Added,
                ("waiting" | "delayed" | "prioritized" | "waiting-children", At::Added | At::Queued | At::Active) => {
                    At::Queued
                }
                ("active", At::Queued) => {
                    *starts += 1;
                    At::Active
                }
                ("stalled", At::Queued) => {
                    figures.stalled += 1;
                    At::Queued
                }
                ("completed", At::Active) => At::Completed,
                ("failed", At::Active) => At::Failed,
                ("progress" | "retries-exhausted" | "duplicated" | "drained", unchanged) => unchanged,
                (event, from) => {
                    broken.push(format!("job {id}: {event} while {from:?}"));
                    from
                }
            };
            *state = next;
        }
        let added: BTreeSet<&str> = self.added.iter().map(String::as_str).collect();
        if added.len() != self.added.len() {
            broken.push("two adds were answered with the same id".to_owned());
        }
        let mut homes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (home, ids) in &self.resident {
            ids.iter().for_each(|id| homes.entry(id).or_default().push(home));
        }
        for id in &added {
            if !at.contains_key(id) {
                broken.push(format!("job {id}: its add was answered, but it never was"));
            }
        }
        for (id, (state, starts)) in &at {
            let home = homes.get(id).map_or(&[][..], Vec::as_slice);
            let fits = match (state, home) {
                (At::Completed, []) => true,
                (At::Completed, ["completed"]) | (At::Failed, ["failed"]) => true,
                (At::Queued, [one]) => !matches!(*one, "active" | "completed" | "failed"),
                _ => false,
            };
            if !fits {
                broken.push(format!("job {id}: {state:?} in the end, and found in {home:?}"));
            }
            figures.completed += usize::from(*state == At::Completed);
            figures.failed += usize::from(*state == At::Failed);
            figures.restarts += starts.saturating_sub(1);
            figures.unexpected += usize::from(!added.contains(id));
        }
        for id in homes.keys().filter(|id| !at.contains_key(*id)) {
            broken.push(format!("job {id}: found in {:?}, but no event tells of it", homes[id]));
        }
        broken.extend(self.locked.iter().map(|id| format!("job {id}: a lock is left")));
        if broken.is_empty() { Ok(figures) } else { Err(broken) }
    }
}

/// Reads and checks a run.
///
/// # Panics
///
/// If a rule is broken.
pub async fn check(fixture: &Fixture, added: &[String]) -> Figures {
    match History::of(fixture, added).await.check() {
        Ok(figures) => figures,
        Err(broken) => {
            panic!("{} rules broken, the first:\n{}", broken.len(), broken[..broken.len().min(12)].join("\n"))
        }
    }
}

/// One job that completed.
fn sound() -> History {
    let events = ["added", "waiting", "active", "completed"].map(|event| (event.to_owned(), "1".to_owned()));
    History {
        added: vec!["1".into()],
        events: events.into(),
        resident: BTreeMap::from([("completed".into(), vec!["1".into()])]),
        locked: Vec::new(),
    }
}

fn event(name: &str) -> (String, String) {
    (name.to_owned(), "1".to_owned())
}

#[test]
fn a_sound_history_passes() {
    let figures = sound().check().unwrap();
    assert_eq!(figures, Figures { added: 1, completed: 1, ..Figures::default() });
    let mut again = sound();
    again.events.splice(3..3, [event("waiting"), event("stalled"), event("active")]);
    assert_eq!(
        again.check().unwrap(),
        Figures { added: 1, completed: 1, restarts: 1, stalled: 1, ..Figures::default() }
    );
    let mut removed = sound();
    removed.resident.clear();
    assert!(removed.check().is_ok());
    let mut unanswered = sound();
    unanswered.added.clear();
    assert_eq!(unanswered.check().unwrap().unexpected, 1);
}

#[test]
fn broken_histories_are_found() {
    type Spoil = fn(&mut History);
    let cases: [(&str, Spoil); 14] = [
        ("completed twice", |h| h.events.push(event("completed"))),
        ("completed and failed", |h| h.events.push(event("failed"))),
        ("failed after it completed elsewhere", |h| h.events[3] = event("failed")),
        ("started again when done", |h| h.events.push(event("active"))),
        ("queued again when done", |h| h.events.push(event("waiting"))),
        ("started twice", |h| h.events.insert(3, event("active"))),
        ("completed without a start", |h| drop(h.events.remove(2))),
        ("added twice", |h| h.events.insert(1, event("added"))),
        ("started before it was added", |h| h.events.swap(0, 2)),
        ("left active", |h| drop(h.events.pop())),
        ("in two places", |h| drop(h.resident.insert("wait".into(), vec!["1".into()]))),
        ("a lock is left", |h| h.locked.push("1".into())),
        ("lost", |h| h.added.push("2".into())),
        ("two adds, one id", |h| h.added.push("1".into())),
    ];
    for (what, spoil) in cases {
        let mut history = sound();
        spoil(&mut history);
        assert!(history.check().is_err(), "{what}");
    }
    let mut vanished = sound();
    vanished.events.truncate(2);
    vanished.resident.clear();
    assert!(vanished.check().is_err(), "waiting, but nowhere");
    let mut unheard = sound();
    unheard.resident.insert("wait".into(), vec!["9".into()]);
    assert!(unheard.check().is_err(), "no event tells of it");
}
