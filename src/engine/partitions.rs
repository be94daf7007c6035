//! Reads and sets how many partitions a queue has. The first partition stores it.

use super::Engine;
use crate::error::{Error, Result};
use crate::script;
pub(crate) use crate::script::{GlobalConcurrency, PartitionSetting, PartitionSettings};

impl Engine {
    /// Sets how many partitions there are, unless a number is set; returns the number that is set now. One round trip.
    pub(crate) async fn found_partitions(&self, count: usize) -> Result<usize> {
        number("found_partitions", self.call(script::found_partitions(count)).await?)
    }

    /// Raises the number of partitions to at least `count`; returns the number that is set now. One round trip.
    pub(crate) async fn grow_partitions(&self, count: usize) -> Result<usize> {
        number("grow_partitions", self.call(script::grow_partitions(count)).await?)
    }

    /// Returns the settings of all partitions. One round trip.
    pub(crate) async fn load_partitions(&self) -> Result<PartitionSettings> {
        self.call(script::load_partitions(&self.keys)).await
    }

    /// Stores a setting for partitions that are added later. One round trip.
    pub(crate) async fn save_partition_setting(&self, setting: PartitionSetting) -> Result<()> {
        self.call(script::save_partition_setting(&self.keys, setting)).await
    }

    /// Deletes the number of partitions and their settings. One round trip.
    pub(crate) async fn forget_partitions(&self) -> Result<()> {
        self.call(script::forget_partitions(&self.keys)).await
    }
}

fn number(op: &'static str, count: u64) -> Result<usize> {
    usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Error::Reply { op })
}
