//! How many partitions a queue has: operations on the first of them, where it is stored.

use super::Engine;
use crate::error::{Error, Result};
use crate::script;
pub(crate) use crate::script::{GlobalConcurrency, PartitionSetting, PartitionSettings};

impl Engine {
    /// Says how many partitions there are, unless that is known; returns how many there are. One round trip.
    pub(crate) async fn found_partitions(&self, count: usize) -> Result<usize> {
        number("found_partitions", self.call(script::found_partitions(count)).await?)
    }

    /// Says that there are at least so many partitions; returns how many there are. One round trip.
    pub(crate) async fn grow_partitions(&self, count: usize) -> Result<usize> {
        number("grow_partitions", self.call(script::grow_partitions(count)).await?)
    }

    /// What is set for all partitions. One round trip.
    pub(crate) async fn load_partitions(&self) -> Result<PartitionSettings> {
        self.call(script::load_partitions(&self.keys)).await
    }

    /// Keeps a setting for partitions to come. One round trip.
    pub(crate) async fn save_partition_setting(&self, setting: PartitionSetting) -> Result<()> {
        self.call(script::save_partition_setting(&self.keys, setting)).await
    }

    /// Forgets how many partitions there were. One round trip.
    pub(crate) async fn forget_partitions(&self) -> Result<()> {
        self.call(script::forget_partitions(&self.keys)).await
    }
}

fn number(op: &'static str, count: u64) -> Result<usize> {
    usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Error::Reply { op })
}
