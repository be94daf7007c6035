//! Lists the workers that have no connection of their own at the moment: one connection per client and runtime has
//! their names in its own name, so that `get_workers` finds them, too.

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
use crate::sync::{Lock, spawn};

/// How often the task checks whether the connection is still open. That sends nothing.
const LOOK: Duration = Duration::from_secs(2);

/// How long changes are collected before the connection is renamed; with many workers a millisecond for each, up to the
/// maximum.
const GATHER: Duration = Duration::from_millis(20);
const GATHER_MOST: Duration = Duration::from_secs(1);

/// The rosters of a client: one for each runtime, since the task of a roster ends with its runtime.
#[derive(Default)]
pub(super) struct Rosters(Lock<Vec<(Id, Arc<Roster>)>>);

#[derive(Default)]
struct Roster {
    listed: Lock<Listed>,
    /// A worker was added or removed.
    changed: Notify,
}

#[derive(Default)]
struct Listed {
    /// How many workers have this name, which their own connection would have.
    names: BTreeMap<String, usize>,
    /// Whether a task keeps the connection. The task leaves under this lock, when there are no workers.
    has_task: bool,
}

/// A worker in a roster; dropping it removes the worker.
pub(super) struct Membership {
    roster: Arc<Roster>,
    name: String,
}

impl Rosters {
    /// Lists a worker under this name.
    pub(super) fn enter(&self, engine: &Engine, name: &str) -> Membership {
        let runtime = Handle::current().id();
        let mut rosters = self.0.lock();
        rosters.retain(|(at, roster)| *at == runtime || roster.listed.lock().has_task);
        let known = rosters.iter().find(|(at, _)| *at == runtime).map(|(_, roster)| Arc::clone(roster));
        let roster = known.unwrap_or_else(|| {
            let roster = Arc::new(Roster::default());
            rosters.push((runtime, Arc::clone(&roster)));
            roster
        });
        let mut listed = roster.listed.lock();
        *listed.names.entry(name.to_owned()).or_default() += 1;
        let has_task = std::mem::replace(&mut listed.has_task, true);
        drop(listed);
        if !has_task {
            // Created here, so that it also counts where the runtime ends before it polls the task.
            let leaves = Leaves(Some(Arc::clone(&roster)));
            let listing = keep_listed(Arc::clone(&roster), leaves, engine.clone());
            spawn(async move {
                if let Err(Panic { text, place }) = catch(listing).await {
                    tracing::error!(text, place, "the task that lists workers without a connection panicked");
                }
            });
        }
        roster.changed.notify_one();
        Membership { roster, name: name.to_owned() }
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        let mut listed = self.roster.listed.lock();
        if let Some(number) = listed.names.get_mut(&self.name) {
            *number -= 1;
            if *number == 0 {
                listed.names.remove(&self.name);
            }
        }
        self.roster.changed.notify_one();
    }
}

/// Marks the task as ended, however it ends, so that the next worker starts another one.
struct Leaves(Option<Arc<Roster>>);

impl Drop for Leaves {
    fn drop(&mut self) {
        if let Some(roster) = &self.0 {
            roster.listed.lock().has_task = false;
        }
    }
}

impl Roster {
    /// Returns the name for the connection, and the number of workers in it. `None` if there are none; then the task
    /// has left.
    fn name(&self) -> Option<(String, usize)> {
        let mut listed = self.listed.lock();
        listed.has_task = !listed.names.is_empty();
        let number = listed.names.values().sum();
        listed.has_task.then(|| (name_of_many(&listed.names), number))
    }
}

/// Keeps a connection with the names of the workers, until there are none.
async fn keep_listed(roster: Arc<Roster>, mut leaves: Leaves, engine: Engine) {
    let mut link = BlockingLink::new(engine.link.dialer(), None);
    loop {
        let Some((name, number)) = roster.name() else {
            // The next worker starts another task.
            leaves.0 = None;
            break;
        };
        failpoint::hit("roster", &engine.keys);
        link.rename(name).await;
        let renamed = Instant::now();
        let change = async {
            let _ = link.ready().await;
            tokio::time::sleep(LOOK).await;
        };
        tokio::select! {
            () = roster.changed.notified() => {
                let gather = GATHER.max(Duration::from_millis(number as u64)).min(GATHER_MOST);
                tokio::time::sleep_until(renamed + gather).await;
            }
            () = change => {}
        }
    }
    link.close().await;
}
