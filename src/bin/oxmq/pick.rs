//! The options that select jobs.

use std::time::Duration;

use clap::Args;
use oxmq::JobState;
use oxmq::options::JobFilter;

use crate::failure::{Failure, Outcome};

/// Selects jobs.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Pick {
    /// Jobs in this state: waiting, prioritized, active, delayed, completed, failed, waiting-children, or all; a command takes only
    /// those that it is for [default: those; for `jobs` what waits, runs and has failed]
    #[arg(short, long, value_name = "STATE", value_delimiter = ',')]
    pub(crate) state: Vec<String>,
    /// Jobs with this name; `*` stands for any text
    #[arg(short, long, value_name = "PATTERN")]
    pub(crate) name: Option<String>,
    /// Jobs with this id; `*` stands for any text
    #[arg(long, value_name = "PATTERN")]
    pub(crate) id: Option<String>,
    /// Jobs with this text in their data
    #[arg(long, value_name = "TEXT")]
    pub(crate) data: Option<String>,
    /// Jobs with this text in the reason of their failure
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    /// Jobs older than this: 90s, 15m, 2h, 7d; counted from the job's end, else from its start, else from its add
    #[arg(long, value_name = "AGE", value_parser = span, allow_hyphen_values = true)]
    pub(crate) older: Option<Duration>,
    /// Jobs that are at most this old
    #[arg(long, value_name = "AGE", value_parser = span, allow_hyphen_values = true)]
    pub(crate) newer: Option<Duration>,
}

impl Pick {
    /// Returns whether anything but a state was given.
    pub(crate) fn is_narrow(&self) -> bool {
        self.name.is_some()
            || self.id.is_some()
            || self.data.is_some()
            || self.reason.is_some()
            || self.older.is_some()
            || self.newer.is_some()
    }

    /// Returns the filter; with `default` as its states if none were given.
    pub(crate) fn filter(&self, default: &[JobState]) -> Outcome<JobFilter> {
        let mut states = Vec::new();
        for name in &self.state {
            match name.as_str() {
                "all" => states.extend(JobState::ALL),
                "waiting" | "wait" => states.extend([JobState::Waiting, JobState::Paused]),
                name => {
                    let state: JobState = name.parse().map_err(|error| {
                        let problem = format!("{error}; one of waiting, prioritized, active, delayed, completed, failed, waiting-children, all");
                        Failure::argument("--state", problem)
                    })?;
                    states.push(state);
                }
            }
        }
        if states.is_empty() {
            states.extend(default);
        }
        let mut filter = JobFilter::new(states);
        if let Some(name) = &self.name {
            filter = filter.name(name);
        }
        if let Some(id) = &self.id {
            filter = filter.id(id);
        }
        if let Some(data) = &self.data {
            filter = filter.data_contains(data);
        }
        if let Some(reason) = &self.reason {
            filter = filter.reason_contains(reason);
        }
        if let Some(age) = self.older {
            filter = filter.older_than(age);
        }
        if let Some(age) = self.newer {
            filter = filter.newer_than(age);
        }
        Ok(filter)
    }

    /// Describes the filter: `failed jobs with the name 'mail', older than 2h`.
    pub(crate) fn words(&self, filter: &JobFilter) -> String {
        let mut states: Vec<&str> = filter.states().iter().map(|state| state.as_str()).collect();
        if states.contains(&"waiting") {
            states.retain(|state| *state != "paused");
        }
        let all = states.len() + 1 == JobState::ALL.len();
        let mut words = match states.as_slice() {
            _ if all => "jobs".to_owned(),
            [others @ .., last] if !others.is_empty() => format!("{} and {last} jobs", others.join(", ")),
            states => format!("{} jobs", states.join("")),
        };
        let mut add = |what: &str, text: &Option<String>| {
            if let Some(text) = text {
                words.push_str(&format!("{what} '{text}'"));
            }
        };
        add(" with the name", &self.name);
        add(" with the id", &self.id);
        add(" with data that holds", &self.data);
        add(" that failed for", &self.reason);
        if let Some(age) = self.older {
            words.push_str(&format!(" older than {}", crate::say::span(age)));
        }
        if let Some(age) = self.newer {
            words.push_str(&format!(" at most {} old", crate::say::span(age)));
        }
        words
    }
}

/// Reads a duration: a number and a unit, `500ms`, `90s`, `15m`, `2h`, `7d`, `2w`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 =
        number.parse().map_err(|_| "a number and a unit are needed, such as 90s, 15m, 2h or 7d".to_owned())?;
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "d" => 86_400.0,
        "w" => 604_800.0,
        _ => return Err("the unit is one of ms, s, m, h, d and w".to_owned()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_need_a_unit() {
        let ms = |text: &str| span(text).map(|span| span.as_millis());
        assert_eq!(
            (ms("90s"), ms("1.5h"), ms("250ms"), ms("2w")),
            (Ok(90_000), Ok(5_400_000), Ok(250), Ok(1_209_600_000))
        );
        for bad in ["", "5", "h", "5y", "-5s", "1e9d", "99999999999999999999d"] {
            assert!(span(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_filter_is_said_in_words() {
        let pick = Pick { name: Some("mail".into()), older: Some(Duration::from_secs(7_200)), ..Pick::default() };
        let filter = pick.filter(&[JobState::Failed]).unwrap();
        assert_eq!(pick.words(&filter), "failed jobs with the name 'mail' older than 2h");
        let all = Pick { state: vec!["all".into()], ..Pick::default() };
        assert_eq!(all.words(&all.filter(&[]).unwrap()), "jobs");
        assert!(Pick { state: vec!["odd".into()], ..Pick::default() }.filter(&[]).is_err());
    }
}
