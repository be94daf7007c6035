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
    /// What the keys of the queues begin with [default: bull]
    #[arg(long, global = true, value_name = "TEXT", env = "OXMQ_PREFIX")]
    pub(crate) prefix: Option<String>,
    /// A file with `url`, `prefix` and tables `[profiles.NAME]` [default: ~/.config/oxmq/config.toml]
    #[arg(long, global = true, value_name = "FILE", env = "OXMQ_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// One of the profiles of that file
    #[arg(long, global = true, value_name = "NAME", env = "OXMQ_PROFILE")]
    pub(crate) profile: Option<String>,
    /// Writes JSON: one value, or one in each line where there are many
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// All queues: counts, rates, the job that has waited longest
    Queues(Queues),
    /// The jobs of a queue that a filter names
    Jobs(Jobs),
    /// One job with all that is known of it
    Show(Job),
    /// Adds a job
    Add(Add),
    /// Lets failed or completed jobs run again
    Retry(Retry),
    /// Lets delayed jobs run now
    Promote(Bulk),
    /// Removes jobs
    Remove(Bulk),
    /// Removes finished jobs that are old
    Clean(Clean),
    /// Moves jobs to another queue
    Move(Move),
    /// Gives jobs another priority
    Priority(Priority),
    /// Lets delayed jobs become due at another time
    Delay(Delay),
    /// Lets no worker take jobs of a queue
    Pause(Steer),
    /// Lets workers take jobs again
    Resume(Steer),
    /// Removes all jobs that wait
    Drain(Drain),
    /// Deletes a queue with everything in it
    Obliterate(Obliterate),
    /// Job schedulers, their next runs, and how to end one
    Schedulers(Schedulers),
    /// A flow as a tree, and why its parent waits
    Flow(Flow),
    /// The workers that are connected
    Workers(Workers),
    /// What happens in a queue, as it happens
    Tail(Tail),
    /// The log of a job
    Logs(Logs),
    /// Writes jobs as JSON lines, with their options
    Export(Export),
    /// Adds jobs from JSON lines, as `export` writes them
    Import(Import),
    /// The types of data and results, as stored jobs show them
    Types(Types),
    /// Serves the dashboard for a browser
    #[command(after_help = "Example:\n  oxmq serve --listen 127.0.0.1:8377 --act")]
    Serve(Serve),
    /// What is wrong with queues, and how it is mended
    Doctor(Doctor),
    /// All queues on the whole screen, as they go
    Top(Top),
    /// Completions for a shell
    #[command(after_help = "Example:\n  oxmq completions bash > ~/.local/share/bash-completion/completions/oxmq")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The manual page, or one for each command into a directory
    Man {
        /// Where the pages go
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Queues {
    /// Only these queues; nothing is searched for then
    pub(crate) names: Vec<String>,
    /// By what they are sorted
    #[arg(long, value_enum, default_value = "name")]
    pub(crate) sort: Sort,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Sort {
    Name,
    /// The longest queue first
    Waiting,
    /// The most failed jobs first
    Failed,
    /// The queue whose job has waited longest first
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
    /// How many to show
    #[arg(short, long, default_value_t = 20, value_name = "N")]
    pub(crate) limit: u64,
    /// Only how many there are
    #[arg(long)]
    pub(crate) count: bool,
    /// The other end first: what has finished first, what comes next
    #[arg(long)]
    pub(crate) asc: bool,
    /// Goes on where an earlier call ended
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
    /// The queue; it is made where there is none
    pub(crate) queue: String,
    /// The name of the job
    pub(crate) name: String,
    /// Its data, as JSON
    #[arg(default_value = "{}")]
    pub(crate) data: String,
    /// Reads the data from a file, or with `-` from the standard input
    #[arg(long, value_name = "FILE", conflicts_with = "data")]
    pub(crate) data_file: Option<PathBuf>,
    /// Its id
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// How long it waits before it runs
    #[arg(long, value_parser = span, value_name = "TIME")]
    pub(crate) delay: Option<Duration>,
    /// Its priority; 1 is the most urgent
    #[arg(long)]
    pub(crate) priority: Option<u32>,
    /// How many attempts it may take
    #[arg(long)]
    pub(crate) attempts: Option<u32>,
    /// Further options as JSON, as Node's interface names them
    #[arg(long, value_name = "JSON")]
    pub(crate) opts: Option<String>,
    /// Says what would be added, and adds nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What is asked for before anything is changed.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Consent {
    /// Does not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Says what would be done, and does nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Without an id or a filter, say --all.")]
pub(crate) struct Bulk {
    /// The queue
    pub(crate) queue: String,
    /// These jobs; or a filter
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// All jobs of the states
    #[arg(long)]
    pub(crate) all: bool,
    /// At most so many
    #[arg(short, long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Goes on where an earlier call was stopped
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
#[command(after_help = "Example:\n  oxmq clean mails -s completed,failed --older 7d")]
pub(crate) struct Clean {
    /// The queue
    pub(crate) queue: String,
    #[command(flatten)]
    pub(crate) pick: Pick,
    /// At most so many
    #[arg(short, long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, ClapArgs)]
#[command(after_help = "Example:\n  oxmq move mails -n newsletter --to mails-slow")]
pub(crate) struct Move {
    #[command(flatten)]
    pub(crate) bulk: Bulk,
    /// The queue that they go to
    #[arg(long, value_name = "QUEUE")]
    pub(crate) to: String,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Priority {
    #[command(flatten)]
    pub(crate) bulk: Bulk,
    /// The priority: 0 is none, 1 the most urgent
    #[arg(long, value_name = "N")]
    pub(crate) to: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Delay {
    #[command(flatten)]
    pub(crate) bulk: Bulk,
    /// How long from now
    #[arg(long, value_parser = span, value_name = "TIME")]
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
pub(crate) struct Obliterate {
    /// The queue
    pub(crate) queue: String,
    /// Also while jobs are active: their workers lose them
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Schedulers {
    /// The queue
    pub(crate) queue: String,
    /// Ends this one
    #[arg(long, value_name = "ID")]
    pub(crate) remove: Option<String>,
    /// How many to show
    #[arg(short, long, default_value_t = 50, value_name = "N")]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Flow {
    /// The queue of the job
    pub(crate) queue: String,
    /// The job; a flow is shown from it on
    pub(crate) id: String,
    /// How many levels
    #[arg(long, default_value_t = 10)]
    pub(crate) depth: usize,
    /// About how many children of each kind of a job
    #[arg(long, default_value_t = 20)]
    pub(crate) children: u32,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Workers {
    /// Only of this queue
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
    /// Only what is about this job
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// Begins with the oldest event that is kept (0), or after this one
    #[arg(long, value_name = "EVENT-ID")]
    pub(crate) from: Option<String>,
    /// Ends after so many
    #[arg(short, long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Ends when nothing has happened for a second
    #[arg(long)]
    pub(crate) no_follow: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Logs {
    /// The queue
    pub(crate) queue: String,
    /// The job
    pub(crate) id: String,
    /// Only the last lines
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
    /// At most so many
    #[arg(short, long, value_name = "N")]
    pub(crate) limit: Option<u64>,
    /// Where they go [default: the standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Import {
    /// The queue; it is made where there is none
    pub(crate) queue: String,
    /// Where they come from [default: the standard input]
    pub(crate) input: Option<PathBuf>,
    /// Gives each a new id, also those that were given one
    #[arg(long)]
    pub(crate) new_ids: bool,
    /// Adds those too that have finished, and parents that wait for children, so that they run
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
    /// How many jobs of each state are looked at, half of them from each end
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
    /// How many jobs of each state are looked at
    #[arg(long, default_value_t = 50_000, value_name = "N")]
    pub(crate) places: u64,
    /// How many keys of the server are looked at; 0 for none
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    pub(crate) keys: u64,
    /// How long it waits before it looks again at what seems wrong
    #[arg(long, default_value = "2s", value_parser = span, value_name = "TIME")]
    pub(crate) pause: Duration,
    #[command(flatten)]
    pub(crate) consent: Consent,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Keys: up and down choose, Enter goes in, Esc goes back, / finds a queue, s sorts otherwise, 1 to 7 choose a state,
? explains keys and columns, q ends."
)]
pub(crate) struct Top {
    /// Only these queues
    pub(crate) queues: Vec<String>,
    /// How often it looks
    #[arg(long, default_value = "2s", value_parser = span, value_name = "TIME")]
    pub(crate) every: Duration,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Args::command().debug_assert();
    }
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Serve {
    /// Where to listen. Whoever reaches it sees all queues: other addresses than this machine's own belong behind a proxy
    /// that asks who comes
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8377")]
    pub(crate) listen: std::net::SocketAddr,
    /// Lets whoever reaches it act on jobs and queues, and not only look
    #[arg(long)]
    pub(crate) act: bool,
    /// Only these queues; nothing is searched for then
    #[arg(value_name = "QUEUE")]
    pub(crate) queues: Vec<String>,
}
