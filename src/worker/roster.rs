//! Who is there without a connection of its own: workers that share one for the time being are named by one more, which all
//! of a client have in common, so that whoever lists workers sees them too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Handle, Id};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::panics::{Panic, catch};
use crate::connection::BlockingLink;
use crate::engine::Engine;
use crate::engine::client_info::name_of_many;
use crate::failpoint;
use crate::sync::Lock;

/// How often it is looked whether the connection is still open. Nothing is sent for that.
const LOOK: Duration = Duration::from_secs(2);

/// Changes within this time are told at once; of many workers, within a millisecond for each.
const GATHER: Duration = Duration::from_millis(20);
const GATHER_MOST: Duration = Duration::from_secs(1);

/// The rosters of a client: one for each runtime, since the task that tells ends with its runtime.
#[derive(Default)]
pub(super) struct Rosters(Lock<Vec<(Id, Arc<Roster>)>>);

#[derive(Default)]
struct Roster {
    people: Lock<People>,
    /// Somebody came or went.
    changed: Notify,
}

#[derive(Default)]
struct People {
    /// How many workers have this name for the connection that they do not have.
    names: BTreeMap<String, usize>,
    /// Whether a task tells. It leaves under this lock, when nobody is there.
    is_told: bool,
}

/// A place in a roster, given up by dropping it.
pub(super) struct Entry {
    roster: Arc<Roster>,
    name: String,
}

impl Rosters {
    /// Has a worker be seen under this name.
    pub(super) fn enter(&self, engine: &Engine, name: &str) -> Entry {
        let runtime = Handle::current().id();
        let mut rosters = self.0.lock();
        rosters.retain(|(at, roster)| *at == runtime || roster.people.lock().is_told);
        let known = rosters.iter().find(|(at, _)| *at == runtime).map(|(_, roster)| Arc::clone(roster));
        let roster = known.unwrap_or_else(|| {
            let roster = Arc::new(Roster::default());
            rosters.push((runtime, Arc::clone(&roster)));
            roster
        });
        let mut people = roster.people.lock();
        *people.names.entry(name.to_owned()).or_default() += 1;
        if !std::mem::replace(&mut people.is_told, true) {
            let telling = tell(Arc::clone(&roster), engine.clone());
            tokio::spawn(async move {
                if let Err(Panic { text, place }) = catch(telling).await {
                    tracing::error!(text, place, "what tells of the workers without a connection panicked");
                }
            });
        }
        drop(people);
        roster.changed.notify_one();
        Entry { roster, name: name.to_owned() }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut people = self.roster.people.lock();
        if let Some(number) = people.names.get_mut(&self.name) {
            *number -= 1;
            if *number == 0 {
                people.names.remove(&self.name);
            }
        }
        self.roster.changed.notify_one();
    }
}

/// However the task ends, the next one who comes has another one begin.
struct Leaves(Option<Arc<Roster>>);

impl Drop for Leaves {
    fn drop(&mut self) {
        if let Some(roster) = &self.0 {
            roster.people.lock().is_told = false;
        }
    }
}

impl Roster {
    /// The name of the connection, and of how many workers it tells; nothing, and the task has left, if there is nobody.
    fn name(&self) -> Option<(String, usize)> {
        let mut people = self.people.lock();
        people.is_told = !people.names.is_empty();
        let number = people.names.values().sum();
        people.is_told.then(|| (name_of_many(&people.names), number))
    }
}

/// Keeps a connection under the name that says who is there, until nobody is.
async fn tell(roster: Arc<Roster>, engine: Engine) {
    let mut leaves = Leaves(Some(Arc::clone(&roster)));
    let mut link = BlockingLink::new(engine.link.dialer(), None);
    loop {
        let Some((name, number)) = roster.name() else {
            // Whoever comes from now on begins another task.
            leaves.0 = None;
            break;
        };
        failpoint::hit("roster", &engine.keys);
        link.rename(name).await;
        let told = Instant::now();
        let change = async {
            let _ = link.ready().await;
            tokio::time::sleep(LOOK).await;
        };
        tokio::select! {
            () = roster.changed.notified() => {
                let gather = GATHER.max(Duration::from_millis(number as u64)).min(GATHER_MOST);
                tokio::time::sleep_until(told + gather).await;
            }
            () = change => {}
        }
    }
    link.close().await;
}
