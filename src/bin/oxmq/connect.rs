//! Finds the server: from the command line, the environment, or a file.

use std::path::PathBuf;

use oxmq::{Client, ConnectOptions, Job, Queue};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::args::Global;
use crate::failure::{Failure, IN_PART, Outcome};

/// A queue whose jobs keep their JSON as it is stored: parsing could change it, for example a long number.
pub(crate) type AnyQueue = Queue<IgnoredAny, Box<RawValue>>;
pub(crate) type AnyJob = Job<IgnoredAny, Box<RawValue>>;
pub(crate) type AnyJobs = oxmq::queue::Jobs<IgnoredAny, Box<RawValue>>;

/// The contents of the file; also of each table in `profiles`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    url: Option<String>,
    prefix: Option<String>,
    #[serde(default)]
    profiles: std::collections::BTreeMap<String, Profile>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profile {
    url: Option<String>,
    prefix: Option<String>,
}

fn path_of_file(global: &Global) -> Option<(PathBuf, bool)> {
    if let Some(path) = &global.config {
        return Some((path.clone(), true));
    }
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).or_else(home)?;
    Some((base.join("oxmq").join("config.toml"), false))
}

/// Returns the requested profile, or the settings of the file.
fn read_file(global: &Global) -> Outcome<Profile> {
    let Some((path, must_exist)) = path_of_file(global) else { return Ok(Profile::default()) };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => String::new(),
        Err(error) => return Err(Failure::about(path.display(), error)),
    };
    let file: File = toml::from_str(&text).map_err(|error| Failure::about(path.display(), in_line(&error, &text)))?;
    let base = Profile { url: file.url, prefix: file.prefix };
    let Some(name) = &global.profile else { return Ok(base) };
    let profile = file.profiles.get(name).cloned().ok_or_else(|| Failure::no_such("profile", name))?;
    Ok(Profile { url: profile.url.or(base.url), prefix: profile.prefix.or(base.prefix) })
}

/// Says in which line an error is. The error's own text would repeat the line, which may hold a password.
fn in_line(error: &toml::de::Error, text: &str) -> String {
    let before = error.span().and_then(|span| text.get(..span.start));
    before.map_or_else(String::new, |before| format!("line {}: ", before.matches('\n').count() + 1)) + error.message()
}

const DEFAULT_PREFIX: &str = "bull";

/// Returns the prefix of the queues that are looked at.
pub(crate) fn prefix(global: &Global) -> String {
    let of_file = || read_file(global).ok().and_then(|file| file.prefix);
    global.prefix.clone().or_else(of_file).unwrap_or_else(|| DEFAULT_PREFIX.to_owned())
}

/// Connects, with the URL and prefix from the command line, the environment or the file.
pub(crate) async fn client(global: &Global) -> Outcome<Client> {
    let file = read_file(global)?;
    // As elsewhere, an empty variable counts as none.
    let variable = |name| std::env::var(name).ok().filter(|url| !url.is_empty());
    let from_environment = || ["OXMQ_URL", "REDIS_URL"].into_iter().find_map(variable);
    // A requested profile takes precedence over the environment.
    let asked = global.profile.as_ref().and(file.url.clone());
    let url = global.url.clone().or(asked).or_else(from_environment).or(file.url);
    let is_default = url.is_none();
    let url = url.unwrap_or_else(|| "redis://127.0.0.1:6379".to_owned());
    let prefix = global.prefix.clone().or(file.prefix).unwrap_or_else(|| DEFAULT_PREFIX.to_owned());
    let options = ConnectOptions::from_url(&url)?;
    let mut connected = Client::builder(options).prefix(prefix).connect().await.map_err(Failure::from);
    if let (true, Err(failure)) = (is_default, &mut connected) {
        failure.text.push_str(" (this is the default: name another server by --url or in OXMQ_URL)");
    }
    connected
}

/// Connects, and opens a queue. A queue that was never opened is a typing error.
pub(crate) async fn queue(global: &Global, name: &str) -> Outcome<(Client, AnyQueue)> {
    let client = client(global).await?;
    let queue: AnyQueue = client.queue(name).open()?;
    if queue.get_version().await?.is_none() && queue.get_job_counts(&oxmq::JobState::ALL).await?.total() == 0 {
        return Err(Failure::no_such("queue", name));
    }
    Ok((client, queue))
}

/// Knows which server answered when long work began.
pub(crate) struct SameServer {
    client: Client,
    /// `None` if the server does not tell.
    began_on: Option<Vec<String>>,
}

impl SameServer {
    pub(crate) async fn now(client: &Client) -> Self {
        Self { client: client.clone(), began_on: client.get_run_ids().await.ok() }
    }

    /// Fails if the server was restarted since then, or another one has taken over: it may have lost what it had, and calls
    /// go on as if nothing had happened. `so` says what that means for the work.
    pub(crate) async fn still(&self, so: &str) -> Outcome {
        let Some(before) = &self.began_on else { return Ok(()) };
        match self.client.get_run_ids().await {
            Ok(now) if now != *before => {
                let text = format!("the server was restarted meanwhile, or another one took over: {so}");
                Err(Failure::new(IN_PART, text))
            }
            _ => Ok(()),
        }
    }
}
