//! Access to internals for the benchmarks in `benches/`. Not for other use: it changes without notice.

use std::sync::Arc;

use crate::connection::{ConnectOptions, Link};
use crate::error::{Error, Result};
use crate::keys::QueueKeys;
use crate::options::JobOptions;
use crate::script::{ALL, Args, Script};
use crate::wire::job::RawJob;
use crate::wire::options::{StoredOptions, to_json};

/// Writes options as an added job stores them.
#[must_use]
pub fn encode_options(options: &JobOptions) -> String {
    to_json(options).into_owned()
}

/// Reads stored options; returns whether they can be read.
#[must_use]
pub fn decode_options(json: &str) -> bool {
    StoredOptions::parse(json).is_ok()
}

/// Reads a whole job hash; returns the length of its data.
#[must_use]
pub fn decode_job(id: &[u8], fields: Vec<(Vec<u8>, Vec<u8>)>) -> Option<usize> {
    RawJob::from_pairs(id.to_vec(), fields).ok().map(|job| job.data().len())
}

/// Writes texts as the arguments of a script; returns how many bytes they take.
#[must_use]
pub fn encode_args(texts: &[&str]) -> usize {
    arguments(texts).size()
}

fn arguments<T: AsRef<[u8]>>(texts: &[T]) -> Args {
    let mut args = Args::with_capacity(texts.len(), texts.iter().map(|text| text.as_ref().len()).sum());
    for text in texts {
        args.text(text);
    }
    args
}

/// One queue, on which scripts are run by their names.
pub struct Scripts {
    link: Link,
    keys: QueueKeys,
}

impl Scripts {
    /// Connects to the server at a URL.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`](crate::Client::connect).
    pub async fn connect(url: &str, queue: &str) -> Result<Self> {
        let link = Link::connect(Arc::new(ConnectOptions::from_url(url)?)).await?;
        Ok(Self { link, keys: QueueKeys::new("bench", queue)? })
    }

    /// Runs the script of this name with these arguments.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidOption`] if there is no such script, else the error of the server.
    pub async fn run<T: AsRef<[u8]>>(&self, name: &'static str, args: &[T]) -> Result<redis::Value> {
        let script: Option<&&Script> = ALL.iter().find(|script| script.name == name);
        let script = script.ok_or_else(|| Error::invalid("script", format!("there is no {name}")))?;
        script.run(&self.link, &self.keys, &arguments(args)).await.map_err(|failure| failure.to_error(name))
    }
}
