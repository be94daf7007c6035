//! Collects what a job without a server would write, for tests of processors.

use std::sync::MutexGuard;

use serde_json::Value;

use crate::sync::Lock;

/// What a job without a server would have written.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    written: Lock<Written>,
}

/// What the calls of a job have written, each kind in order; of the data the last value.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) progress: Vec<Value>,
    pub(crate) logs: Vec<String>,
    pub(crate) data: Option<Value>,
}

impl Notes {
    fn written(&self) -> MutexGuard<'_, Written> {
        self.written.lock()
    }

    /// Returns what was collected so far, and empties it.
    pub(crate) fn take(&self) -> Written {
        std::mem::take(&mut *self.written())
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
