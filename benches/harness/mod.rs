//! The orchestrator: a private server, the peers in turn, checks, medians, a table and a JSON file.

mod check;
mod far;
mod options;
mod peer;
mod recording;
mod report;
mod resp;
mod run;
mod server;
mod tls;
mod work;

use anyhow::{Result, ensure};

/// Runs what the command line asks for.
pub(crate) fn main(words: impl Iterator<Item = String>) -> Result<()> {
    let Some(options) = options::Options::parse(words)? else {
        print!("{}", options::USAGE);
        return Ok(());
    };
    let works = work::selected(&options)?;
    let server = server::Server::start(&options, works.iter().any(|work| work.way == work::Way::Tls))?;
    let mut results = Vec::new();
    for work in &works {
        let result = run::measure(&options, &server, work);
        if options.growth {
            report::print_growth(&results, &result);
        } else {
            report::print(&options, &result);
        }
        results.push(result);
    }
    report::write(&options, &server, &results)?;
    let failures: Vec<_> = results.iter().flat_map(run::Outcome::failures).collect();
    ensure!(failures.is_empty(), "{} of the measurements failed", failures.len());
    Ok(())
}
