//! What a job writes that has no server, for tests of processors.

use std::sync::MutexGuard;

use serde_json::Value;

use crate::sync::Lock;

/// What a job that has no server writes.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    written: Lock<Written>,
}

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

    /// Takes what was written so far.
    pub(crate) fn take(&self) -> Written {
        std::mem::take(&mut *self.written())
    }

    pub(crate) fn progress(&self, json: &str) {
        self.written().progress.push(serde_json::from_str(json).unwrap_or_default());
    }

    pub(crate) fn data(&self, json: &str) {
        self.written().data = serde_json::from_str(json).ok();
    }

    /// Returns how many lines there are.
    pub(crate) fn log(&self, lines: &[&str]) -> u64 {
        let mut written = self.written();
        written.logs.extend(lines.iter().map(|&line| line.to_owned()));
        written.logs.len() as u64
    }
}
