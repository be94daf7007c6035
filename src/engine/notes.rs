//! Collects what a job without a server would write, for tests of processors.

use std::sync::MutexGuard;

use serde_json::Value;

use crate::sync::Lock;

/// A child that a processor has added to its job, in a test without a server.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct AddedChild {
    /// The queue that it would be in.
    pub queue: String,
    /// Its name.
    pub name: String,
    /// Its data.
    pub data: Value,
    /// Its id, random if none was given.
    pub id: String,
    /// Its own children.
    pub children: Vec<AddedChild>,
}

/// What a job without a server would have written, and what it is given to read.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    written: Lock<Written>,
    /// The results of its children: their keys and JSON.
    pub(crate) values: Vec<(String, String)>,
}

/// What the calls of a job have written, each kind in order; of the data the last value.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) progress: Vec<Value>,
    pub(crate) logs: Vec<String>,
    pub(crate) data: Option<Value>,
    pub(crate) children: Vec<AddedChild>,
}

impl Notes {
    /// Creates notes of a job whose children have these results, by key.
    pub(crate) fn of(values: Vec<(String, String)>) -> Self {
        Self { values, ..Self::default() }
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock()
    }

    /// Returns what was collected so far, and empties it.
    pub(crate) fn take(&self) -> Written {
        std::mem::take(&mut *self.written())
    }

    pub(crate) fn added(&self, children: impl IntoIterator<Item = AddedChild>) {
        self.written().children.extend(children);
    }

    /// Returns how many children have completed, which are those whose results are given, and how many have not.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.values.len() as u64, self.written().children.len() as u64)
    }

    pub(crate) fn progress(&self, json: &str) {
        self.written().progress.push(serde_json::from_str(json).unwrap_or_default());
    }

    pub(crate) fn data(&self, json: &str) {
        self.written().data = serde_json::from_str(json).ok();
    }

    /// Adds lines, and returns how many there are.
    pub(crate) fn log(&self, lines: &[&str]) -> u64 {
        let mut written = self.written();
        written.logs.extend(lines.iter().map(|&line| line.to_owned()));
        written.logs.len() as u64
    }
}
