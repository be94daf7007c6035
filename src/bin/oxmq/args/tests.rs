//! The command line as a whole.

use clap::CommandFactory;

use super::*;

#[test]
fn the_command_line_contradicts_itself_nowhere() {
    Args::command().debug_assert();
}

/// Returns the words of an example as a shell would pass them, up to a pipe, a redirection or an explanation.
fn words(example: &str) -> Vec<String> {
    let example = example.split("  ").next().unwrap_or_default();
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for character in example.chars() {
        match character {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            _ => words.last_mut().unwrap().push(character),
        }
    }
    let end = words.iter().position(|word| matches!(word.as_str(), "|" | ">" | "<" | "&&")).unwrap_or(words.len());
    words.truncate(end);
    words
}

#[test]
fn every_command_shows_an_example_that_is_understood() {
    for command in Args::command().get_subcommands() {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<_> =
            help.lines().map(str::trim).filter(|line| line.starts_with("oxmq ")).map(words).collect();
        assert!(!examples.is_empty(), "{}: {help}", command.get_name());
        for example in examples {
            assert_eq!(example[1], command.get_name());
            Args::try_parse_from(&example).unwrap_or_else(|error| panic!("{example:?}: {error}"));
        }
    }
}
