//! Completions and manual pages, generated from the definition of the command line.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::args::Args;
use crate::failure::{Failure, Outcome};

pub(crate) fn completions(shell: Shell) -> Outcome {
    // The generator panics if it cannot write, so it writes to memory.
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "oxmq", &mut text);
    Ok(std::io::stdout().write_all(&text)?)
}

pub(crate) fn man(directory: Option<&Path>) -> Outcome {
    match directory {
        Some(directory) => {
            std::fs::create_dir_all(directory).map_err(|error| Failure::about(directory.display(), error))?;
            Ok(clap_mangen::generate_to(Args::command(), directory)?)
        }
        None => Ok(clap_mangen::Man::new(Args::command()).render(&mut std::io::stdout())?),
    }
}
