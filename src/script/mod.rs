//! The calls to Redis: a file for each operation, with its arguments and its reply; and the way to run a Lua script,
//! whose text is joined from shared pieces at compile time.

use std::sync::OnceLock;

use redis::{Cmd, ErrorKind, ServerErrorKind, Value};

use crate::clock::MOST_MS;
use crate::connection::{CallFailure, Link};
use crate::keys::QueueKeys;

pub(crate) mod add_flow;
pub(crate) mod add_jobs;
mod add_log;
mod adopt_jobs;
pub(crate) mod advance_scheduler;
mod call;
pub(crate) mod cancel_job;
mod change_delay;
mod change_priority;
pub(crate) mod clean;
mod clear_logs;
pub(crate) mod count_children;
mod count_jobs;
mod count_priorities;
mod count_schedulers;
pub(crate) mod drain;
pub(crate) mod event_stream;
#[cfg(any(feature = "doctor", test))]
#[cfg_attr(not(feature = "doctor"), expect(dead_code, reason = "the tests walk its scripts"))]
pub(crate) mod examine_jobs;
mod extend_locks;
pub(crate) mod find_finish;
mod find_ready;
mod find_stopped_schedulers;
mod free_deduplication;
pub(crate) mod get_children;
mod get_deduplication_job_id;
mod get_delayed_count;
mod get_due;
mod get_job;
mod get_job_logs;
pub(crate) mod get_meta;
pub(crate) mod get_metrics;
mod get_rate_limit_ttl;
mod get_state;
mod get_status;
mod grow_partitions;
mod is_maxed;
mod list_clients;
pub(crate) mod list_jobs;
pub(crate) mod list_schedulers;
pub(crate) mod marker;
#[cfg(any(feature = "doctor", test))]
#[cfg_attr(not(feature = "doctor"), expect(dead_code, reason = "the tests walk its scripts"))]
pub(crate) mod mend_job;
pub(crate) mod obliterate;
mod open_queue;
mod pause;
#[cfg(any(feature = "doctor", test))]
#[cfg_attr(not(feature = "doctor"), expect(dead_code, reason = "the tests walk its scripts"))]
pub(crate) mod probe_jobs;
mod promote_job;
pub(crate) mod publish_event;
mod rate_limit;
pub(crate) mod read_finished;
pub(crate) mod read_origin;
pub(crate) mod recover_stalled;
mod remove_child;
pub(crate) mod remove_job;
pub(crate) mod remove_jobs;
mod remove_orphans;
mod remove_rate_limit_key;
mod remove_scheduler;
pub(crate) mod reply;
mod requeue_jobs;
mod resume;
mod retry_job;
mod save_cursor;
mod save_progress;
pub(crate) mod scan_jobs;
mod scan_keys;
pub(crate) mod settle;
mod spare;
pub(crate) mod summarize_queue;
pub(crate) mod trace_flow;
pub(crate) mod trace_outcomes;
mod trim_events;
mod tune_queue;
mod update_data;
pub(crate) mod upsert_scheduler;
pub(crate) mod waits_for;
mod wake_workers;

pub(crate) use add_log::add_log;
pub(crate) use adopt_jobs::{adopt_jobs, find_adoptable};
pub(crate) use call::{Call, RawReply, Request, Resend};
pub(crate) use change_delay::change_delay;
pub(crate) use change_priority::change_priority;
pub(crate) use clean::clean;
pub(crate) use clear_logs::clear_logs;
pub(crate) use count_children::count_children;
pub(crate) use count_jobs::count_jobs;
pub(crate) use count_priorities::count_priorities;
pub(crate) use count_schedulers::count_schedulers;
pub(crate) use drain::drain;
pub(crate) use extend_locks::extend_locks;
pub(crate) use find_ready::find_ready;
pub(crate) use find_stopped_schedulers::find_stopped_schedulers;
pub(crate) use free_deduplication::{free_deduplication, remove_deduplication_key};
pub(crate) use get_children::{
    get_children_values, get_failed_children, get_ignored_children_failures, get_unprocessed_children, scan_ignored,
    scan_processed, scan_unprocessed,
};
pub(crate) use get_deduplication_job_id::get_deduplication_job_id;
pub(crate) use get_delayed_count::get_delayed_count;
pub(crate) use get_due::get_due;
pub(crate) use get_job::get_job;
#[cfg(feature = "dashboard")]
pub(crate) use get_job::has_job;
pub(crate) use get_job_logs::get_job_logs;
pub(crate) use get_meta::{get_global_concurrency, get_global_rate_limit, get_meta, get_version, is_paused};
pub(crate) use get_metrics::get_metrics;
pub(crate) use get_rate_limit_ttl::get_rate_limit_ttl;
pub(crate) use get_state::get_state;
pub(crate) use get_status::get_status;
pub(crate) use grow_partitions::{
    GlobalConcurrency, PartitionSetting, PartitionSettings, forget_partitions, found_partitions, grow_partitions,
    load_partitions, save_partition_setting,
};
pub(crate) use is_maxed::is_maxed;
pub(crate) use list_clients::{list_clients, run_id, server_info};
pub(crate) use list_jobs::{list_ids, list_jobs};
pub(crate) use obliterate::obliterate;
pub(crate) use open_queue::open_queue;
pub(crate) use pause::pause;
pub(crate) use promote_job::promote_job;
pub(crate) use rate_limit::rate_limit;
pub(crate) use remove_child::remove_child;
pub(crate) use remove_job::remove_job;
pub(crate) use remove_jobs::{move_jobs, remove_jobs};
pub(crate) use remove_orphans::remove_orphans;
pub(crate) use remove_rate_limit_key::remove_rate_limit_key;
pub(crate) use remove_scheduler::remove_scheduler;
pub(crate) use requeue_jobs::requeue_jobs;
pub(crate) use resume::resume;
pub(crate) use retry_job::retry_job;
pub(crate) use save_cursor::{load_cursor, remove_cursor, save_cursor};
pub(crate) use save_progress::save_progress;
pub(crate) use scan_jobs::{count_matches, find_ids, find_jobs};
#[cfg(any(test, feature = "doctor", feature = "testing"))]
pub(crate) use scan_keys::scan_prefix;
#[cfg(any(test, feature = "testing"))]
pub(crate) use scan_keys::unlink;
pub(crate) use scan_keys::{scan_keys, scan_metas};
pub(crate) use summarize_queue::summarize_queue;
pub(crate) use trim_events::trim_events;
pub(crate) use tune_queue::{set_concurrency, set_rate_limit};
pub(crate) use update_data::update_data;
pub(crate) use wake_workers::wake_workers;

/// The commands by which scripts write.
pub(crate) const WRITES: [&str; 29] = [
    "DECR",
    "DEL",
    "HDEL",
    "HINCRBY",
    "HSET",
    "HSETNX",
    "INCR",
    "INCRBY",
    "LMOVE",
    "LPUSH",
    "LREM",
    "LSET",
    "LTRIM",
    "PERSIST",
    "PEXPIRE",
    "RENAME",
    "RPOP",
    "RPOPLPUSH",
    "RPUSH",
    "SADD",
    "SET",
    "SPOP",
    "SREM",
    "XADD",
    "XDEL",
    "XTRIM",
    "ZADD",
    "ZPOPMIN",
    "ZREM",
];

/// A Lua script: its text as joined by [`script!`], and its digest.
pub(crate) struct Script {
    /// The operation's name, the same for the Lua file, the Rust file, errors and spans.
    pub(crate) name: &'static str,
    /// The pieces joined in front of the script, in order; those from its own folder as `<script>/<piece>`.
    #[cfg_attr(not(test), expect(dead_code, reason = "read by the tests that walk all scripts"))]
    pub(crate) uses: &'static [&'static str],
    /// The joined text, without the first line, which depends on the server's version.
    pub(crate) text: &'static str,
    /// Whether the script takes work off the queue, and so must run while Redis has no memory left.
    pub(crate) consumes: bool,
    plain: OnceLock<Loaded>,
    flagged: OnceLock<Loaded>,
}

struct Loaded {
    text: String,
    sha: String,
}

/// Joins the script `lua/<name>.lua` with the pieces that it uses, in order, in front of it: shared pieces from
/// `lua/shared/`, and those marked `own` from the script's folder.
///
/// Pieces listed as `on_demand` are needed by few calls. They are joined inside a function, which defines them when it
/// is first called and returns the functions listed as `giving`: defining a Lua function costs as much as half a read.
/// Of those, the pieces listed as `rarely` are defined by a function within it, which returns the functions listed as
/// `lending` to the pieces listed as `besides`.
macro_rules! script {
    (
        $name:literal, $effect:ident, uses: [$($($own:ident)? $piece:literal),* $(,)?]
        $(
            , on_demand: [$($($rare_own:ident)? $rare:literal),* $(,)?]
            $(
                , rarely: [$($($rarest_own:ident)? $rarest:literal),* $(,)?], lending: [$($lent:ident),* $(,)?]
                , besides: [$($($beside_own:ident)? $beside:literal),* $(,)?]
            )?
            , giving: [$($given:ident),* $(,)?]
        )?
        $(, then: [$($($last_own:ident)? $last:literal),* $(,)?])? $(,)?
    ) => {
        $crate::script::Script::new(
            $name,
            &[
                $($crate::script::piece_name!($name, $($own)? $piece),)*
                $(
                    $($crate::script::piece_name!($name, $($rare_own)? $rare),)*
                    $(
                        $($crate::script::piece_name!($name, $($rarest_own)? $rarest),)*
                        $($crate::script::piece_name!($name, $($beside_own)? $beside),)*
                    )?
                )?
                $($($crate::script::piece_name!($name, $($last_own)? $last),)*)?
            ],
            concat!(
                $($crate::script::piece_text!($name, $($own)? $piece), "\n",)*
                $(
                    "local pieces_made\nlocal function on_demand()\nif pieces_made then return pieces_made end\n",
                    $($crate::script::piece_text!($name, $($rare_own)? $rare), "\n",)*
                    $(
                        "local rare_made\nlocal function rarely()\nif rare_made then return rare_made end\n",
                        $($crate::script::piece_text!($name, $($rarest_own)? $rarest), "\n",)*
                        "rare_made = {", $(stringify!($lent), "=", stringify!($lent), ",",)* "}\nreturn rare_made\nend\n",
                        $($crate::script::piece_text!($name, $($beside_own)? $beside), "\n",)*
                    )?
                    "pieces_made = {", $(stringify!($given), "=", stringify!($given), ",",)* "}\nreturn pieces_made\nend\n",
                )?
                $($($crate::script::piece_text!($name, $($last_own)? $last), "\n",)*)?
                include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/", $name, ".lua")),
            ),
            $crate::script::Effect::$effect,
        )
    };
}

/// Names a piece by its path below `lua/`; `shared/` is left out.
macro_rules! piece_name {
    ($script:literal, own $piece:literal) => {
        concat!($script, "/", $piece)
    };
    ($script:literal, $piece:literal) => {
        $piece
    };
}

macro_rules! piece_text {
    ($script:literal, own $piece:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/", $script, "/", $piece, ".lua"))
    };
    ($script:literal, $piece:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/lua/shared/", $piece, ".lua"))
    };
}
pub(crate) use script;
pub(crate) use {piece_name, piece_text};

/// What a script does to the amount of data in Redis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It adds data or only reads; refused while Redis has no memory left.
    Produces,
    /// It takes work off the queue; runs even while Redis has no memory left, if the server is version 7 or later.
    Consumes,
}

impl Script {
    pub(crate) const fn new(
        name: &'static str,
        uses: &'static [&'static str],
        text: &'static str,
        effect: Effect,
    ) -> Self {
        let consumes = matches!(effect, Effect::Consumes);
        Self { name, uses, text, consumes, plain: OnceLock::new(), flagged: OnceLock::new() }
    }

    /// Returns the text for a server, with the flags that it understands, and its digest.
    fn loaded(&self, allow_oom: bool) -> &Loaded {
        let (slot, first_line) = if allow_oom { (&self.flagged, "#!lua flags=allow-oom\n") } else { (&self.plain, "") };
        slot.get_or_init(|| {
            let text = format!("{first_line}{}", self.text);
            let sha = sha1_smol::Sha1::from(&text).hexdigest();
            Loaded { text, sha }
        })
    }

    /// Sends the script once by its digest, and with its text if the server does not know the digest.
    pub(crate) async fn run(&self, link: &Link, keys: &QueueKeys, args: &Args) -> Result<Value, CallFailure> {
        let loaded = self.loaded(self.consumes && link.allows_oom());
        let long_way = link.takes_long_way();
        let bytes = args.bytes.len();
        let cmd = command("EVALSHA", &loaded.sha, keys, args, long_way);
        let reply = link.send_large(&cmd, bytes).await;
        spare::keep_command(cmd, bytes);
        match reply {
            Err(CallFailure::Server(error)) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                // Another server may have answered than the one that was known before, and an older one reads no flags.
                let loaded = self.loaded(self.consumes && link.allows_oom());
                link.send_large(&command("EVAL", &loaded.text, keys, args, long_way), bytes).await
            }
            other => other,
        }
    }
}

/// Builds the command. `long_way` passes the key twice, which makes a script skip its short way for a single job.
fn command(verb: &str, script: &str, keys: &QueueKeys, args: &Args, long_way: bool) -> Cmd {
    let size = script.len() + keys.base().len() + args.bytes.len() + 64;
    let mut cmd = spare::command().unwrap_or_else(|| Cmd::with_capacity(args.ends.len() + 4, size));
    cmd.arg(verb).arg(script);
    if long_way {
        cmd.arg(2).arg(keys.base()).arg(keys.base());
    } else {
        cmd.arg(1).arg(keys.base());
    }
    let mut from = 0;
    for &to in &args.ends {
        cmd.arg(&args.bytes[from..to]);
        from = to;
    }
    cmd
}

/// The arguments of a script, written one after the other into one buffer.
#[derive(Default)]
pub(crate) struct Args {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Args {
    pub(crate) fn with_capacity(count: usize, bytes: usize) -> Self {
        let (mut written, mut ends) = spare::args().unwrap_or_default();
        written.reserve(bytes);
        ends.reserve(count);
        Self { bytes: written, ends }
    }

    pub(crate) fn text(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.bytes.extend_from_slice(text.as_ref());
        self.end()
    }

    pub(crate) fn number(&mut self, number: impl itoa::Integer) -> &mut Self {
        self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        self.end()
    }

    /// Writes a duration or a moment in ms. Larger numbers become the largest that every command and every BullMQ
    /// client accepts, so that a script cannot fail over one after its first write.
    pub(crate) fn millis(&mut self, ms: u64) -> &mut Self {
        self.number(ms.min(MOST_MS))
    }

    /// Writes a number, or an empty argument for `None`.
    pub(crate) fn maybe(&mut self, number: Option<impl itoa::Integer>) -> &mut Self {
        match number {
            Some(number) => self.number(number),
            None => self.end(),
        }
    }

    pub(crate) fn flag(&mut self, on: bool) -> &mut Self {
        self.text(if on { "1" } else { "0" })
    }

    fn end(&mut self) -> &mut Self {
        self.ends.push(self.bytes.len());
        self
    }

    /// Returns how many bytes have been written so far.
    #[cfg(feature = "bench")]
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

impl Drop for Args {
    fn drop(&mut self) {
        spare::keep_args((std::mem::take(&mut self.bytes), std::mem::take(&mut self.ends)));
    }
}

/// Every script, for the tests that walk them all.
#[cfg(any(test, feature = "bench"))]
pub(crate) static ALL: &[&Script] = &[
    &add_flow::SCRIPT,
    &trace_flow::SCRIPT,
    &add_jobs::SCRIPT,
    &settle::SCRIPT,
    &adopt_jobs::SCRIPT,
    &trace_outcomes::SCRIPT,
    &extend_locks::SCRIPT,
    &recover_stalled::SCRIPT,
    &wake_workers::SCRIPT,
    &save_progress::SCRIPT,
    &update_data::SCRIPT,
    &add_log::SCRIPT,
    &list_jobs::SCRIPT,
    &scan_jobs::SCRIPT,
    &summarize_queue::SCRIPT,
    &count_jobs::SCRIPT,
    &count_priorities::SCRIPT,
    &get_state::SCRIPT,
    &get_status::SCRIPT,
    &is_maxed::SCRIPT,
    &get_rate_limit_ttl::SCRIPT,
    &get_metrics::SCRIPT,
    &get_job_logs::SCRIPT,
    &count_children::SCRIPT,
    &open_queue::SCRIPT,
    &pause::SCRIPT,
    &resume::SCRIPT,
    &tune_queue::SCRIPT,
    &remove_rate_limit_key::SCRIPT,
    &cancel_job::SCRIPT,
    &promote_job::SCRIPT,
    &change_delay::SCRIPT,
    &change_priority::SCRIPT,
    &retry_job::SCRIPT,
    &requeue_jobs::SCRIPT,
    &remove_job::SCRIPT,
    &remove_jobs::SCRIPT,
    &remove_child::SCRIPT,
    &drain::SCRIPT,
    &clean::SCRIPT,
    &obliterate::SCRIPT,
    &free_deduplication::SCRIPT,
    &remove_orphans::SCRIPT,
    &save_cursor::SCRIPT,
    &grow_partitions::SCRIPT,
    &read_finished::SCRIPT,
    &find_finish::SCRIPT,
    &find_ready::SCRIPT,
    #[cfg(any(feature = "doctor", test))]
    &examine_jobs::SCRIPT,
    #[cfg(any(feature = "doctor", test))]
    &mend_job::SCRIPT,
    #[cfg(any(feature = "doctor", test))]
    &probe_jobs::SCRIPT,
    &publish_event::SCRIPT,
    &advance_scheduler::SCRIPT,
    &waits_for::SCRIPT,
    &remove_scheduler::SCRIPT,
    &list_schedulers::SCRIPT,
    &find_stopped_schedulers::SCRIPT,
    &upsert_scheduler::SCRIPT,
];

#[cfg(test)]
mod tests;
