//! How far an examination is.

use std::fmt;
use std::sync::Arc;

/// How far an examination is. Its text tells it in words.
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
    /// It begins to look at a queue.
    Queue {
        /// The queue's name.
        name: String,
        /// Which of them it is, counted from 1.
        number: u64,
        /// How many there are.
        of: u64,
    },
    /// It looks at the keys of the server.
    Keys {
        /// How many it has looked at.
        looked_at: u64,
        /// At how many it looks at most.
        of: u64,
    },
    /// It has waited, and looks a second time at what seemed wrong.
    SecondLook {
        /// How many places seemed wrong.
        suspects: u64,
    },
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Queue { name, number, of } => write!(f, "queue {number} of {of}: {name}"),
            Self::Keys { looked_at, of } => write!(f, "keys of the server: {looked_at} of {of} at most"),
            Self::SecondLook { suspects } => write!(f, "a second look at {suspects} places"),
        }
    }
}

type Hear = dyn Fn(&Stage) + Send + Sync;

/// Who hears how far it is.
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
