//! Reads and sets how many partitions a queue has, and the settings that apply to all of them:
//! `lua/grow_partitions.lua`.
//!
//! All this is in one hash beside the first partition, `<prefix>:<queue>-{0}:oxmq:partitions`. BullMQ does not know it.

use redis::Value;

use super::{Call, Resend, Script, reply, script};
use crate::keys::QueueKeys;

pub(crate) static SCRIPT: Script = script!("grow_partitions", Produces, uses: ["queue"]);

/// The settings that apply to all partitions together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PartitionSettings {
    /// How many partitions there are; `None` if that was never set.
    pub(crate) count: Option<usize>,
    /// Whether partitions that are added later begin as paused.
    pub(crate) is_paused: bool,
    pub(crate) concurrency: Option<GlobalConcurrency>,
    /// How many jobs may be fetched from all partitions together, and in how many ms.
    pub(crate) rate_limit: Option<(u64, u64)>,
    /// The new number of partitions, while a change of it has begun and has not been completed.
    pub(crate) growing: Option<usize>,
}

/// How many jobs may be active at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum GlobalConcurrency {
    /// Over all partitions together.
    Total(u32),
    /// In each partition.
    Each(u32),
}

/// The new value of one setting; `None` removes it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PartitionSetting {
    Paused(bool),
    Concurrency(Option<GlobalConcurrency>),
    RateLimit(Option<(u64, u64)>),
    Growing(Option<usize>),
}

impl PartitionSetting {
    fn write(self) -> (&'static str, Option<String>) {
        match self {
            Self::Paused(is_paused) => ("paused", is_paused.then(|| "1".to_owned())),
            Self::Concurrency(limit) => {
                let text = limit.map(|limit| match limit {
                    GlobalConcurrency::Total(jobs) => format!("total {jobs}"),
                    GlobalConcurrency::Each(jobs) => format!("each {jobs}"),
                });
                ("concurrency", text)
            }
            Self::Growing(count) => ("growing", count.map(|count| count.to_string())),
            Self::RateLimit(limit) => ("limit", limit.map(|(max, window)| format!("{max} {window}"))),
        }
    }
}

/// Sets how many partitions there are, unless a number is set; returns the number that is set now.
pub(crate) fn found_partitions(count: usize) -> Call<u64> {
    Call::to(&SCRIPT).number(count).flag(true).resend(Resend::Safe).read(reply::count)
}

/// Raises the number of partitions to at least this; returns the number that is set now.
pub(crate) fn grow_partitions(count: usize) -> Call<u64> {
    Call::to(&SCRIPT).number(count).flag(false).resend(Resend::Safe).read(reply::count)
}

pub(crate) fn load_partitions(keys: &QueueKeys) -> Call<PartitionSettings> {
    Call::command("load_partitions", "HGETALL").text(key(keys)).resend(Resend::Reads).read(settings)
}

pub(crate) fn save_partition_setting(keys: &QueueKeys, setting: PartitionSetting) -> Call<()> {
    let (field, text) = setting.write();
    let call = match text {
        Some(text) => Call::command("save_partition_setting", "HSET").text(key(keys)).text(field).text(text),
        None => Call::command("save_partition_setting", "HDEL").text(key(keys)).text(field),
    };
    call.resend(Resend::Safe)
}

/// Deletes the number of partitions and all their settings.
pub(crate) fn forget_partitions(keys: &QueueKeys) -> Call<()> {
    Call::command("forget_partitions", "DEL").text(key(keys)).resend(Resend::Safe)
}

fn key(keys: &QueueKeys) -> String {
    keys.key("oxmq:partitions")
}

fn settings(value: Value) -> Option<PartitionSettings> {
    let mut settings = PartitionSettings::default();
    for (field, text) in reply::text_pairs(value)? {
        let words = text.split_once(' ');
        match field.as_str() {
            "count" => settings.count = text.parse().ok(),
            "growing" => settings.growing = text.parse().ok(),
            "paused" => settings.is_paused = text == "1",
            "concurrency" => {
                settings.concurrency = words.and_then(|(kind, jobs)| {
                    let jobs = jobs.parse().ok()?;
                    match kind {
                        "total" => Some(GlobalConcurrency::Total(jobs)),
                        "each" => Some(GlobalConcurrency::Each(jobs)),
                        _ => None,
                    }
                });
            }
            "limit" => {
                settings.rate_limit = words.and_then(|(max, window)| Some((max.parse().ok()?, window.parse().ok()?)));
            }
            _ => {}
        }
    }
    Some(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_they_are_written() {
        let all = [
            PartitionSetting::Paused(true),
            PartitionSetting::Concurrency(Some(GlobalConcurrency::Each(3))),
            PartitionSetting::RateLimit(Some((100, 1_000))),
            PartitionSetting::Growing(Some(32)),
        ];
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let fields = all.iter().flat_map(|setting| {
            let (field, written) = setting.write();
            [text(field), text(&written.unwrap())]
        });
        let fields = fields.chain(["count", "16", "of others", "kept"].map(text)).collect();
        let expected = PartitionSettings {
            count: Some(16),
            is_paused: true,
            concurrency: Some(GlobalConcurrency::Each(3)),
            rate_limit: Some((100, 1_000)),
            growing: Some(32),
        };
        assert_eq!(settings(Value::Array(fields)), Some(expected));
        let spoilt = ["concurrency", "all 3", "limit", "5", "count", "many"].map(text).to_vec();
        assert_eq!(settings(Value::Array(spoilt)), Some(PartitionSettings::default()));
    }
}
