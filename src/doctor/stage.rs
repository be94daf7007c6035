//! The progress of an examination.

use std::fmt;
use std::sync::Arc;

/// The progress of an examination. `Display` tells it in words.
///
/// ```no_run
/// # fn demo(client: oxmq::Client) {
/// use oxmq::doctor::Stage;
///
/// let doctor = client.doctor().on_stage(|stage| match stage {
///     Stage::Queue { number, of, .. } => println!("{number}/{of}"),
///     other => println!("{other}"),
/// });
/// # drop(doctor); }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// It is about to examine a queue.
    Queue {
        /// The queue's name.
        name: String,
        /// The number of the queue, from 1.
        number: u64,
        /// How many there are.
        of: u64,
    },
    /// It is scanning the keys of the server.
    Keys {
        /// How many it has looked at.
        looked_at: u64,
        /// How many it looks at, at most.
        of: u64,
    },
    /// It has waited, and looks a second time at what seemed wrong.
    SecondLook {
        /// How many things seemed wrong.
        suspects: u64,
    },
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue { name, number, of } => write!(f, "queue {number} of {of}: {name}"),
            Self::Keys { looked_at, of } => write!(f, "keys of the server: {looked_at} of {of} at most"),
            Self::SecondLook { suspects: 1 } => f.write_str("a second look at 1 place"),
            Self::SecondLook { suspects } => write!(f, "a second look at {suspects} places"),
        }
    }
}

type Hear = dyn Fn(&Stage) + Send + Sync;

/// The function that is told of the progress.
#[derive(Clone, Default)]
pub(super) struct Listener(Option<Arc<Hear>>);

impl Listener {
    pub(super) fn new(hear: impl Fn(&Stage) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    pub(super) fn hear(&self, stage: &Stage) {
        if let Some(hear) = &self.0 {
            hear(stage);
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.0.is_some()).finish()
    }
}
