//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

pub(super) const USAGE: &str = "\
cargo bench --bench throughput -- [options]

  --rounds N       runs of each peer per work; default 5
  --peers A,B      of oxmq, floor, node, official; ratios are those of the first to the others;
                   default all. The floor is what oxmq's own commands cost without Lua
  --only W,W       of the works printed as labels, with or without the concurrency: process, process@10
  --jobs N         jobs per run, in place of each work's own number
  --quick          two rounds of a tenth of the jobs: does it work?
  --long           only the memory runs, one million jobs each, one round unless --rounds says more
  --growth         other works: the same with more and more jobs around; three rounds of oxmq
                   alone, or beside official with --peers
  --no-pin         leave the choice of cores to the kernel
  --timeout S      seconds after which a run counts as stuck; default 300
  --out FILE       where the JSON goes; default <target>/bench/throughput.json,
                   memory.json or growth.json
";

/// A library under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PeerName {
    Oxmq,
    /// The commands of oxmq, pipelined without Lua.
    Floor,
    Node,
    Official,
}

impl PeerName {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Oxmq => "oxmq",
            Self::Floor => "floor",
            Self::Node => "node",
            Self::Official => "official",
        }
    }

    fn parse(word: &str) -> Result<Self> {
        Ok(match word {
            "oxmq" => Self::Oxmq,
            "floor" => Self::Floor,
            "node" => Self::Node,
            "official" => Self::Official,
            _ => bail!("unknown peer {word}"),
        })
    }
}

#[derive(Debug)]
pub(super) struct Options {
    pub(super) rounds: usize,
    /// Never empty; the first is the one the others are compared with.
    pub(super) peers: Vec<PeerName>,
    pub(super) only: Vec<String>,
    pub(super) jobs: Option<usize>,
    pub(super) quick: bool,
    pub(super) long: bool,
    pub(super) growth: bool,
    pub(super) pin: bool,
    pub(super) timeout: Duration,
    pub(super) target: PathBuf,
    pub(super) out: PathBuf,
}

impl Options {
    /// Returns `None` if the usage should be printed.
    pub(super) fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Self>> {
        // target/release/deps/throughput-1234
        let target = std::env::current_exe()?
            .ancestors()
            .nth(3)
            .context("the executable is not in a target directory")?
            .to_owned();
        let (mut rounds, mut peers, mut out) = (None, None, None);
        let mut options = Self {
            rounds: 0,
            peers: Vec::new(),
            only: Vec::new(),
            jobs: None,
            quick: false,
            long: false,
            growth: false,
            pin: true,
            timeout: Duration::from_secs(300),
            out: PathBuf::new(),
            target,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().with_context(|| format!("{word} needs a value"));
            match word.as_str() {
                "--rounds" => rounds = Some(value()?.parse()?),
                "--peers" => {
                    peers = Some(value()?.split(',').map(PeerName::parse).collect::<Result<_>>()?);
                }
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--jobs" => options.jobs = Some(value()?.parse()?),
                "--quick" => options.quick = true,
                "--long" => options.long = true,
                "--growth" => options.growth = true,
                "--no-pin" => options.pin = false,
                "--timeout" => options.timeout = Duration::from_secs(value()?.parse()?),
                "--out" => out = Some(value()?.into()),
                // What `cargo bench` adds by itself.
                "--bench" => {}
                "--help" => return Ok(None),
                _ => bail!("unknown option {word}\n\n{USAGE}"),
            }
        }
        options.rounds = rounds.unwrap_or(match (options.quick, options.long, options.growth) {
            (true, _, _) => 2,
            (_, true, _) => 1,
            (_, _, true) => 3,
            _ => 5,
        });
        options.peers = peers.unwrap_or(if options.growth {
            vec![PeerName::Oxmq]
        } else {
            vec![PeerName::Oxmq, PeerName::Floor, PeerName::Node, PeerName::Official]
        });
        let file = match (options.growth, options.long) {
            (true, _) => "growth",
            (_, true) => "memory",
            _ => "throughput",
        };
        options.out = out.unwrap_or_else(|| options.target.join(format!("bench/{file}.json")));
        ensure!(!(options.growth && options.long), "--growth and --long are two runs");
        let others = [PeerName::Node, PeerName::Floor];
        let suits = !options.peers.iter().any(|peer| others.contains(peer));
        ensure!(suits || !options.growth, "--growth is not made for node or the floor");
        ensure!(options.rounds > 0, "--rounds must be at least 1");
        ensure!(options.jobs != Some(0), "--jobs must be at least 1");
        Ok(Some(options))
    }

    /// Returns whether the figures come from too few or too short runs to be published.
    pub(super) fn is_trial(&self) -> bool {
        let least = if self.growth { 3 } else { 5 };
        self.quick || !self.pin || self.jobs.is_some() || (self.rounds < least && !self.long)
    }
}
