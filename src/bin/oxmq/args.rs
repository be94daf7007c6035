//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};

use crate::pick::{Pick, span};

const ABOUT: &str = "Looks at queues of BullMQ and oxmq on Redis, and acts on their jobs";

const EXAMPLES: &str = "\
Examples:
  oxmq queues                                    which queue is late
  oxmq jobs mails -s failed --newer 1h           what failed in the last hour
  oxmq show mails 4711                           one job with all that is known of it
  oxmq retry mails -n welcome --dry-run          how many would run again
  oxmq remove mails -s failed --reason ENOTFOUND
  oxmq flow reports monthly-11                   why a parent waits

Where the server is: --url, else OXMQ_URL, else REDIS_URL, else `url` in ~/.config/oxmq/config.toml,
else redis://127.0.0.1:6379.

Exit codes: 0 done, 1 an error, 2 a command line that is not understood, 3 no such queue or job,
4 nobody said yes, 5 done to some of the jobs only, 6 the doctor has found something, 130 stopped.";

#[derive(Debug, Parser)]
#[command(name = "oxmq", version, about = ABOUT, after_help = EXAMPLES, infer_subcommands = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Clone, Default, ClapArgs)]
#[command(next_help_heading = "Everywhere")]
pub(crate) struct Global {
    /// The server: redis://[user:password@]host[:port][/db], rediss:// for TLS, redis+sentinel://, redis+unix://
    #[arg(long, global = true, value_name = "URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// The prefix of the queues' keys [default: bull]
    #[arg(long, global = true, value_name = "TEXT", env = "OXMQ_PREFIX")]
    pub(crate) prefix: Option<String>,
    /// A file with `url`, `prefix` and tables `[profiles.NAME]` [default: ~/.config/oxmq/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "OXMQ_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// A profile of that file
    #[arg(long, global = true, value_name = "NAME", env = "OXMQ_PROFILE")]
    pub(crate) profile: Option<String>,
    /// Writes JSON: one value, or one per line for several
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Lists all queues: counts, rates, and the job that has waited longest
    Queues(Queues),
    /// Lists the jobs of a queue that match a filter
    Jobs(Jobs),
    /// Shows one job with everything known about it
    #[command(after_help = "Example:\n  oxmq show mails 4711")]
    Show(Job),
    /// Adds a job
    Add(Add),
    /// Makes failed or completed jobs run again
    Retry(Retry),
    /// Makes delayed jobs run now
    #[command(after_help = "Without an id or a filter, say --all.
Examples:
  oxmq promote mails 4711
  oxmq promote mails -n welcome --dry-run")]
    Promote(Bulk),
    /// Removes jobs
    #[command(after_help = "Without an id or a filter, say --all.
Examples:
  oxmq remove mails 4711 4712
  oxmq remove mails -s failed --older 7d --reason ENOTFOUND")]
    Remove(Bulk),
    /// Cancels jobs: one that runs is asked to stop, another fails without a run
    Cancel(Cancel),
    /// Removes old finished jobs
    Clean(Clean),
    /// Moves jobs to another queue
    Move(Move),
    /// Changes the priority of jobs
    Priority(Priority),
    /// Changes when delayed jobs are due
    Delay(Delay),
    /// Pauses a queue: workers take no more of its jobs
    #[command(after_help = "Example:\n  oxmq pause mails")]
    Pause(Steer),
    /// Resumes a queue
    #[command(after_help = "Example:\n  oxmq resume mails")]
    Resume(Steer),
    /// Removes all waiting jobs of a queue
    Drain(Drain),
    /// Deletes a queue and everything in it
    Obliterate(Obliterate),
    /// Lists the job schedulers of all queues and their next runs, or removes one
    Schedulers(Schedulers),
    /// Shows a flow as a tree, and why its parent waits
    Flow(Flow),
    /// Lists the connected workers
    Workers(Workers),
    /// Prints the events of a queue as they happen
    Tail(Tail),
    /// Prints the log of a job
    Logs(Logs),
    /// Writes jobs as JSON lines, with their options
    Export(Export),
    /// Adds jobs from JSON lines, as `export` writes them
    Import(Import),
    /// Writes the types of data and results, as stored jobs show them
    Types(Types),
    /// Serves the dashboard for a browser
    #[command(after_help = "Example:\n  oxmq serve --listen 127.0.0.1:8377 --act")]
    Serve(Serve),
    /// Finds what is wrong with queues, and mends it on request
    Doctor(Doctor),
    /// Shows all queues on the full screen, live
    Top(Top),
    /// Writes completions for a shell
    #[command(after_help = "Example:\n  oxmq completions bash > ~/.local/share/bash-completion/completions/oxmq")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Writes the manual page, or one per command into a directory
    #[command(after_help = "Example:\n  oxmq man ~/.local/share/man/man1")]
    Man {
        /// The directory for the pages
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  oxmq queues --sort oldest
  oxmq queues mails reports --json")]
pub(crate) struct Queues {
    /// Only these queues, without a search for others
    pub(crate) names: Vec<String>,
    /// The order of the queues
    #[arg(long, value_enum, default_value = "name")]
    pub(crate) sort: Sort,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Sort {
    Name,
    /// The most waiting jobs first
    Waiting,
    /// The most failed jobs first
    Failed,
    /// The job that has waited longest first
    Oldest,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  oxmq jobs mails                             what waits, runs, and has failed
  oxmq jobs mails -s failed -n 'welcome*'
  oxmq jobs mails -s all --data '\"user\":17' --json | jq .id
  oxmq jobs mails -s completed --count")]
pub(crate) struct Jobs {
    /// The queue
    pub(crate) queue: String,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// How many jobs to show
    #[arg(short, long, default_value_t = 20, value_name = "N", value_parser = at_least_one(), allow_negative_numbers = true)]
    pub(crate) limit: u64,
    /// Prints only how many jobs there are
    #[arg(long)]
    pub(crate) count: bool,
    /// Reverses the order: finished first, or next to run, comes first
    #[arg(long)]
    pub(crate) asc: bool,
    /// Continues where an earlier call ended
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Job {
    /// The queue
    pub(crate) queue: String,
    /// The job
    pub(crate) id: String,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  oxmq add mails welcome '{\"to\":\"ada@example.org\"}' --attempts 5
  oxmq add mails welcome --data-file job.json --delay 10m
  oxmq add mails welcome --opts '{\"backoff\":{\"type\":\"exponential\",\"delay\":1000}}'")]
pub(crate) struct Add {
    /// The queue; it is created if it does not exist
    pub(crate) queue: String,
    /// The name of the job
    pub(crate) name: String,
    /// Its data, as JSON
    #[arg(default_value = "{}")]
    pub(crate) data: String,
    /// Reads the data from a file, or from the standard input with `-`
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(crate) data_file: Option<PathBuf>,
    /// The job's id
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// How long the job waits before it runs
    #[arg(long, value_parser = span, value_name = "TIME")]
    pub(crate) delay: Option<Duration>,
    /// The job's priority; 1 is the most urgent
    #[arg(long)]
    pub(crate) priority: Option<u32>,
    /// How many attempts the job has
    #[arg(long)]
    pub(crate) attempts: Option<u32>,
    /// Further options as JSON, with the names of Node's interface
    #[arg(long, value_name = "JSON")]
    pub(crate) opts: Option<String>,
    /// Prints what would be added, and adds nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Options of commands that ask before they change anything.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Consent {
    /// Does not ask for confirmation
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Prints what would be done, and does nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Bulk {
    /// The queue
    pub(crate) queue: String,
    /// The ids of jobs; or use a filter
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// All jobs of the states
    #[arg(long)]
    pub(crate) all: bool,
    /// At most this many jobs
    #[arg(short, long, value_name = "N", value_parser = at_least_one(), allow_negative_numbers = true)]
    pub(crate) limit: Option<u64>,
    /// Continues where an earlier call was stopped
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  oxmq retry mails 4711 4712
  oxmq retry mails -n welcome --reason ECONNRESET
  oxmq retry mails --all --yes")]
pub(crate) struct Retry {
    #[command(flatten)]
    pub(crate) bulk: Bulk,
    /// Counts their attempts from 0 again
    #[arg(long)]
    pub(crate) reset: bool,
}

#[derive(Debug, ClapArgs)]
#[command(
    mut_arg("reason", |reason| reason.help("Why, for the job and its log").default_value("cancelled by hand")),
    after_help = "There is no further attempt: `retry` starts a cancelled job anew. `jobs -s active` lists what runs.
A filter finds what runs and what waits; `-s active` leaves alone what waits.
Examples:
  oxmq cancel photos 4711 --reason 'not at night'
  oxmq cancel photos -n encode --data customer-7 --dry-run"
)]
pub(crate) struct Cancel {
    #[command(flatten)]
    pub(crate) bulk: Bulk,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  oxmq clean mails -s completed,failed --older 7d")]
pub(crate) struct Clean {
    /// The queue
    pub(crate) queue: String,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// At most this many jobs
    #[arg(short, long, value_name = "N", value_parser = at_least_one(), allow_negative_numbers = true)]
    pub(crate) limit: Option<u64>,
    /// Continues where an earlier call was stopped
    #[arg(long, value_name = "CURSOR")]
    pub(crate) after: Option<String>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  oxmq move mails -n newsletter --to mails-slow")]
pub(crate) struct Move {
    #[command(flatten)]
    pub(crate) bulk: Bulk,
    /// The queue to move the jobs to
    #[arg(long, value_name = "QUEUE")]
    pub(crate) to: String,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  oxmq priority mails -n invoice --to 1")]
pub(crate) struct Priority {
    #[command(flatten)]
    pub(crate) bulk: Bulk,
    /// The new priority: 0 is none, 1 the most urgent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=2_097_151), allow_negative_numbers = true)]
    pub(crate) to: u32,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  oxmq delay mails -n newsletter --to 2h")]
pub(crate) struct Delay {
    #[command(flatten)]
    pub(crate) bulk: Bulk,
    /// How long from now
    #[arg(long, value_parser = span, value_name = "TIME", allow_hyphen_values = true)]
    pub(crate) to: Duration,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Steer {
    /// The queue
    pub(crate) queue: String,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  oxmq drain mails --delayed --dry-run")]
pub(crate) struct Drain {
    /// The queue
    pub(crate) queue: String,
    /// The delayed jobs too
    #[arg(long)]
    pub(crate) delayed: bool,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  oxmq obliterate mails-test --dry-run")]
pub(crate) struct Obliterate {
    /// The queue
    pub(crate) queue: String,
    /// Even while jobs are active: their workers lose them
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  oxmq schedulers
  oxmq schedulers reports --remove nightly")]
pub(crate) struct Schedulers {
    /// Only schedulers of this queue
    pub(crate) queue: Option<String>,
    /// Removes this scheduler of the queue
    #[arg(long, value_name = "ID", requires = "queue")]
    pub(crate) remove: Option<String>,
    /// How many schedulers to show
    #[arg(short, long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), allow_negative_numbers = true)]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  oxmq flow reports monthly-11 --depth 3")]
pub(crate) struct Flow {
    /// The queue of the job
    pub(crate) queue: String,
    /// The job; the flow is shown from this job on
    pub(crate) id: String,
    /// How many levels to show
    #[arg(long, default_value_t = 10)]
    pub(crate) depth: usize,
    /// About how many children of each kind to show per job
    #[arg(long, default_value_t = 20)]
    pub(crate) children: u32,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  oxmq workers mails")]
pub(crate) struct Workers {
    /// Only workers of this queue
    pub(crate) queue: Option<String>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  oxmq tail mails -e failed,stalled
  oxmq tail mails --from 0 --no-follow --json > history.jsonl")]
pub(crate) struct Tail {
    /// The queue
    pub(crate) queue: String,
    /// Only these events: completed, failed, stalled, progress, …
    #[arg(short, long, value_delimiter = ',', value_name = "EVENT")]
    pub(crate) event: Vec<String>,
    /// Only events about this job
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Begins with the oldest event that is kept (0), or after this event
    #[arg(long, value_name = "EVENT-ID")]
    pub(crate) from: Option<String>,
    /// Ends after this many events
    #[arg(short, long, value_name = "N", value_parser = at_least_one(), allow_negative_numbers = true)]
    pub(crate) limit: Option<u64>,
    /// Ends when nothing has happened for a second
    #[arg(long)]
    pub(crate) no_follow: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  oxmq logs mails 4711 -n 20")]
pub(crate) struct Logs {
    /// The queue
    pub(crate) queue: String,
    /// The job
    pub(crate) id: String,
    /// Only this many of the last lines
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) lines: Option<u32>,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Example:\n  oxmq export mails -s failed > failed.jsonl && oxmq import mails-test < failed.jsonl --yes"
)]
pub(crate) struct Export {
    /// The queue
    pub(crate) queue: String,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// At most this many jobs
    #[arg(short, long, value_name = "N", value_parser = at_least_one(), allow_negative_numbers = true)]
    pub(crate) limit: Option<u64>,
    /// The file to write [default: the standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  oxmq import mails < failed.jsonl --dry-run")]
pub(crate) struct Import {
    /// The queue; it is created if it does not exist
    pub(crate) queue: String,
    /// The file to read [default: the standard input]
    pub(crate) input: Option<PathBuf>,
    /// Gives each job a new id, including jobs that were given one
    #[arg(long)]
    pub(crate) new_ids: bool,
    /// Begins with this line, as a stopped import says
    #[arg(long, value_name = "LINE", default_value_t = 1)]
    pub(crate) from_line: u64,
    /// Also adds finished jobs, and parents that wait for children, so that they run
    #[arg(long)]
    pub(crate) rerun: bool,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "They are observed and not declared: what a Rust program declares is written by the feature `schema` of
the library. No value of any job is shown, only names and types.
Examples:
  oxmq types mails > mails.observed.ts
  oxmq types mails --schema --sample 10000"
)]
pub(crate) struct Types {
    /// The queue
    pub(crate) queue: String,
    /// Writes JSON Schema instead of TypeScript
    #[arg(long)]
    pub(crate) schema: bool,
    /// How many jobs of each state to look at, half of them from each end
    #[arg(long, default_value_t = 1_000, value_name = "N")]
    pub(crate) sample: u64,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "It changes nothing unless --fix is said, and asks first then.
Examples:
  oxmq doctor
  oxmq doctor mails --memory
  oxmq doctor mails --fix --yes")]
pub(crate) struct Doctor {
    /// Only these queues
    pub(crate) queues: Vec<String>,
    /// Mends what can be mended
    #[arg(long)]
    pub(crate) fix: bool,
    /// Shows how much memory jobs take, by queue and state, from a sample
    #[arg(long)]
    pub(crate) memory: bool,
    /// How many jobs of each state to look at
    #[arg(long, default_value_t = 50_000, value_name = "N")]
    pub(crate) places: u64,
    /// How many keys of the server to look at; 0 for none
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub(crate) keys: u64,
    /// How long to wait before looking again at what seems wrong
    #[arg(long, default_value = "2s", value_parser = span, value_name = "TIME")]
    pub(crate) pause: Duration,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Keys: up and down choose, Enter goes in, Esc goes back, / finds a queue, s sorts otherwise, 1 to 7 choose a state,
? explains keys and columns, q ends.
Example:
  oxmq top mails reports --every 5s"
)]
pub(crate) struct Top {
    /// Only these queues
    pub(crate) queues: Vec<String>,
    /// How often to refresh
    #[arg(long, default_value = "2s", value_parser = span, value_name = "TIME")]
    pub(crate) every: Duration,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Serve {
    /// The address to listen on. Whoever can reach it sees all queues: use any address other than this machine's own
    /// only behind a proxy that authenticates
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8377")]
    pub(crate) listen: std::net::SocketAddr,
    /// Allows everyone who can reach it to change jobs and queues, not only to look
    #[arg(long)]
    pub(crate) act: bool,
    /// Only these queues, without a search for others
    #[arg(value_name = "QUEUE")]
    pub(crate) queues: Vec<String>,
}

/// Reads a number of things to show or to act on: none at all is a mistake.
fn at_least_one() -> clap::builder::RangedU64ValueParser {
    clap::builder::RangedU64ValueParser::new().range(1..)
}

#[cfg(test)]
mod tests;
