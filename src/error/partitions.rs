//! The errors of a call for many queues.

use std::fmt;

use super::{Error, WithCauses};

/// The partitions for which a call failed, each with its error; at least one.
#[derive(Debug)]
pub struct PartitionErrors(Vec<(usize, Error)>);

impl PartitionErrors {
    pub(crate) fn new(failed: Vec<(usize, Error)>) -> Self {
        Self(failed)
    }

    /// Iterates over the partitions and their errors, by number.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Error)> {
        self.0.iter().map(|(partition, error)| (*partition, error))
    }
}

impl fmt::Display for PartitionErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (partition, error)) in self.iter().enumerate() {
            let between = if place > 0 { "; " } else { "" };
            write!(f, "{between}partition {partition}: {}", WithCauses(error))?;
        }
        Ok(())
    }
}

impl std::error::Error for PartitionErrors {}
