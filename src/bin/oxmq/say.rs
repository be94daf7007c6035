//! Output: tables, JSON, ages, and questions.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::failure::{Failure, NOT_CONFIRMED, Outcome, STOPPED};

/// Makes characters visible that could move the cursor or change colours: names and reasons come from anywhere.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() => _ = write!(out, "\\x{:02x}", u32::from(letter)),
            letter => out.push(letter),
        }
    }
    out
}

/// Puts a text on one line.
pub(crate) fn one_line(text: &str) -> String {
    clean(text).replace(['\n', '\t'], " ")
}

/// Puts a text on one line, cut after `most` characters.
pub(crate) fn short(text: &str, most: usize) -> String {
    let line = one_line(text);
    if line.chars().count() <= most {
        return line;
    }
    line.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Prints a line, without anything that a terminal obeys, whoever has written it. If nobody reads any more, as with `head`, the process ends normally.
pub(crate) fn line(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{}", clean(text.as_ref())).is_err() {
        std::process::exit(0);
    }
}

pub(crate) fn json(value: &impl Serialize) {
    line(escaped(&serde_json::to_string(value).unwrap_or_default()));
}

/// Writes as escapes what JSON may contain as it is, and a terminal obeys: `DEL` and the control characters behind it.
pub(crate) fn escaped(json: &str) -> Cow<'_, str> {
    if !json.contains(char::is_control) {
        return json.into();
    }
    let mut out = String::with_capacity(json.len() + 16);
    for letter in json.chars() {
        match letter {
            letter if letter.is_control() && letter != '\n' => _ = write!(out, "\\u{:04x}", u32::from(letter)),
            letter => out.push(letter),
        }
    }
    out.into()
}

/// Formats JSON with one member per line; each value is written unchanged, to the last digit.
pub(crate) fn pretty(json: &str) -> String {
    /// Deeper levels are not indented further.
    const DEEPEST: usize = 40;
    fn new_line(out: &mut String, depth: usize) {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth.min(DEEPEST)));
    }
    let (mut out, mut depth, mut in_text) = (String::with_capacity(json.len() * 2), 0_usize, false);
    let mut letters = json.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => in_text = !in_text,
            '\\' if in_text => {
                out.push(letter);
                out.extend(letters.next());
                continue;
            }
            letter if in_text => {
                out.push(letter);
                continue;
            }
            letter if letter.is_ascii_whitespace() => continue,
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if !out.ends_with(['{', '[']) {
                    new_line(&mut out, depth);
                }
            }
            _ => {}
        }
        out.push(letter);
        match letter {
            _ if in_text => {}
            ':' => out.push(' '),
            ',' => new_line(&mut out, depth),
            '{' | '[' => {
                depth += 1;
                while letters.next_if(char::is_ascii_whitespace).is_some() {}
                if !matches!(letters.peek(), Some('}' | ']')) {
                    new_line(&mut out, depth);
                }
            }
            _ => {}
        }
    }
    out
}

/// The alignment of a column.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Left,
    Right,
}

/// Prints a table with its head; the last column has any width.
pub(crate) fn table(head: &[(&str, Column)], rows: &[Vec<String>]) {
    let widths: Vec<usize> = head
        .iter()
        .enumerate()
        .map(|(i, (name, _))| rows.iter().map(|row| row[i].chars().count()).chain([name.len()]).max().unwrap_or(0))
        .collect();
    let shown = |cells: Vec<&str>| {
        let mut text = String::new();
        for (i, cell) in cells.iter().enumerate() {
            let width = widths[i];
            let last = i + 1 == cells.len();
            match head[i].1 {
                Column::Right => _ = write!(text, "{cell:>width$}"),
                Column::Left if last => text.push_str(cell),
                Column::Left => _ = write!(text, "{cell:<width$}"),
            }
            if !last {
                text.push_str("  ");
            }
        }
        text.trim_end().to_owned()
    };
    line(shown(head.iter().map(|(name, _)| *name).collect()));
    for row in rows {
        line(shown(row.iter().map(String::as_str).collect()));
    }
}

/// Writes a number with a comma at each thousand.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Writes `1 job`, `2 jobs`.
pub(crate) fn jobs(n: u64) -> String {
    format!("{} {}", number(n), if n == 1 { "job" } else { "jobs" })
}

/// Writes a duration in its two largest units: `3d 4h`, `12s`, `40ms`.
pub(crate) fn span(span: Duration) -> String {
    let ms = span.as_millis();
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let s = span.as_secs();
    if s < 60 {
        return if s < 10 { format!("{:.1}s", span.as_secs_f64()) } else { format!("{s}s") };
    }
    match s {
        ..3_600 => format!("{}m {}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h {}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d {}h", s / 86_400, s % 86_400 / 3_600),
    }
}

pub(crate) fn now() -> SystemTime {
    oxmq::client::Clock::system().now()
}

/// Writes how long ago it was, or how long until then.
pub(crate) fn ago(moment: SystemTime) -> String {
    match now().duration_since(moment) {
        Ok(past) => format!("{} ago", span(past)),
        Err(ahead) => format!("in {}", span(ahead.duration())),
    }
}

/// Writes how long it has been; empty if that is not known.
pub(crate) fn age(moment: Option<SystemTime>) -> String {
    moment.map_or_else(|| "-".to_owned(), |moment| span(now().duration_since(moment).unwrap_or_default()))
}

/// Returns milliseconds since 1970, as BullMQ's JSON writes a moment.
pub(crate) fn millis(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// Asks for confirmation; without a terminal the answer is no.
pub(crate) async fn confirm(what: &str, has_said_yes: bool) -> Outcome {
    if has_said_yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::new(
            NOT_CONFIRMED,
            format!("{what}: say --yes to do it, or --dry-run to see what would be done"),
        ));
    }
    eprint!("{what}. Go on? [y/N] ");
    std::io::stderr().flush()?;
    let (said, answer) = tokio::sync::oneshot::channel();
    // Nobody waits for this thread: after Ctrl-C the user will not finish the line.
    std::thread::spawn(move || {
        let mut line = String::new();
        _ = said.send(std::io::stdin().read_line(&mut line).map(|_| line));
    });
    let nothing = "nothing was changed";
    tokio::select! {
        answer = answer => match answer.unwrap_or_else(|_| Ok(String::new()))?.trim() {
            "y" | "Y" | "yes" => Ok(()),
            _ => Err(Failure::new(NOT_CONFIRMED, nothing)),
        },
        Ok(()) = tokio::signal::ctrl_c() => {
            eprintln!();
            Err(Failure::new(STOPPED, nothing))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_foreign_cannot_steer_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\u{7}"), "a\\x1b[31mb\\x07");
        assert_eq!(short("one\ntwo three", 8), "one two…");
    }

    #[test]
    fn json_is_spread_over_lines_and_stays_as_it_is() {
        let spread = pretty(r#"{"b": 12345678901234567890123, "a":[1.10,{ },[ ],"x\"{,:"],"":null}"#);
        let lines = [
            "{",
            r#"  "b": 12345678901234567890123,"#,
            r#"  "a": ["#,
            "    1.10,",
            "    {},",
            "    [],",
            r#"    "x\"{,:""#,
        ];
        assert_eq!(spread.lines().collect::<Vec<_>>()[..7], lines);
        assert_eq!((pretty("5"), pretty("\"a b\""), pretty("[]")), ("5".into(), "\"a b\"".into(), "[]".into()));
    }

    #[test]
    fn numbers_and_spans_are_for_people() {
        assert_eq!((number(0), number(999), number(1_234_567)), ("0".into(), "999".into(), "1,234,567".into()));
        let seconds = |s| span(Duration::from_secs(s));
        assert_eq!((seconds(59), seconds(61), seconds(3_700), seconds(90_000)).0, "59s");
        assert_eq!((seconds(61), seconds(3_700), seconds(90_000)), ("1m 1s".into(), "1h 1m".into(), "1d 1h".into()));
        assert_eq!(span(Duration::from_millis(40)), "40ms");
    }
}
