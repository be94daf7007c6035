//! The command line as a whole.

use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_contradicts_itself_nowhere() {
    Args::command().debug_assert();
}

#[test]
fn every_command_shows_an_example_that_is_understood() {
    let program = Args::command();
    for command in program.get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let start = format!("oxmq {} ", command.get_name());
        let mut examples = help.lines().map(str::trim).filter(|line| line.starts_with("oxmq ")).peekable();
        assert!(examples.peek().is_some(), "{}: {help}", command.get_name());
        for example in examples {
            assert!(format!("{example} ").starts_with(&start), "{example}");
        }
    }
}
