//! Output: tables, JSON, ages, and questions.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use serde::Serialize;
use tokio::sync::watch;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::failure::{Failure, NOT_CONFIRMED, Outcome, STOPPED};

/// Makes characters visible that could move the cursor or change colours: names and reasons come from anywhere.
pub(crate) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() => _ = write!(out, "\\x{:02x}", u32::from(letter)),
            letter if misleads(letter) => _ = write!(out, "\\u{{{:x}}}", u32::from(letter)),
            letter => out.push(letter),
        }
    }
    out
}

/// Returns whether a character is invisible and makes two different texts look alike, or turns the direction of what
/// follows it. Those that join emoji, and those that letters of some languages need, are not among them.
fn misleads(letter: char) -> bool {
    matches!(letter, '\u{200b}' | '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}')
}

/// Puts a text on one line.
pub(crate) fn one_line(text: &str) -> String {
    clean(text).replace(['\n', '\t'], " ")
}

/// Puts a text on one line, cut so that it takes at most `most` columns of a terminal: wide characters take two.
pub(crate) fn short(text: &str, most: usize) -> String {
    let line = one_line(text);
    if line.width() <= most {
        return line;
    }
    let (mut out, mut left) = (String::new(), most.saturating_sub(1));
    for letter in line.chars() {
        let width = letter.width().unwrap_or(0);
        if width > left {
            break;
        }
        left -= width;
        out.push(letter);
    }
    out.push('…');
    out
}

/// Prints a line, without anything that a terminal obeys, whoever has written it. If nobody reads any more, as with `head`,
/// the process ends normally; if it cannot be written, as on a full disk, it ends with an error.
pub(crate) fn line(text: impl AsRef<str>) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = writeln!(out, "{}", clean(text.as_ref())) {
        let failure = Failure::from(error);
        if failure.code != 0 {
            eprintln!("oxmq: {}", failure.text);
        }
        std::process::exit(failure.code.into());
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

/// Prints a table with its head. On a terminal that is too narrow, texts in it are cut.
pub(crate) fn table(head: &[(&str, Column)], rows: &[Vec<String>]) {
    table_without(head, rows, &[]);
}

/// Prints a table; on a terminal that is too narrow it cuts texts, and leaves out the columns that are `least` needed, the
/// first of them first.
pub(crate) fn table_without(head: &[(&str, Column)], rows: &[Vec<String>], least: &[&str]) {
    for text in lines_of(head, rows, least, terminal_width()) {
        line(text);
    }
}

/// Returns how many columns the terminal has; `None` if the output goes elsewhere.
fn terminal_width() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    ratatui::crossterm::terminal::size().ok().map(|(width, _)| usize::from(width)).filter(|width| *width > 0)
}

/// The least that a column is cut to.
const NARROWEST: usize = 10;

/// Returns the shown columns with their widths. Where there is too little room, texts are cut: the last column first, and
/// the first one last, since who reads a name or an id wants to use it. If that is not enough, columns are left out.
fn fitted(head: &[(&str, Column)], widths: &[usize], least: &[&str], most: usize) -> Vec<(usize, usize)> {
    let whole =
        |columns: &[(usize, usize)]| columns.iter().map(|(_, width)| width + 2).sum::<usize>().saturating_sub(2);
    let narrow = |(i, width): (usize, usize)| match head[i].1 {
        Column::Left if i > 0 => (i, width.min(NARROWEST)),
        _ => (i, width),
    };
    let mut columns: Vec<(usize, usize)> = widths.iter().copied().enumerate().collect();
    for name in least {
        if whole(&columns.iter().copied().map(narrow).collect::<Vec<_>>()) > most {
            columns.retain(|(i, _)| head[*i].0 != *name);
        }
    }
    let mut over = whole(&columns).saturating_sub(most);
    for (_, width) in columns.iter_mut().rev().filter(|(i, _)| head[*i].1 == Column::Left) {
        let cut = over.min(width.saturating_sub(NARROWEST));
        *width -= cut;
        over -= cut;
    }
    columns
}

fn lines_of(head: &[(&str, Column)], rows: &[Vec<String>], least: &[&str], most: Option<usize>) -> Vec<String> {
    let width_of = |i: usize| rows.iter().map(|row| row[i].width()).chain([head[i].0.width()]).max().unwrap_or(0);
    let widths: Vec<usize> = (0..head.len()).map(width_of).collect();
    let columns = fitted(head, &widths, least, most.unwrap_or(usize::MAX));
    let shown = |cell: &dyn Fn(usize) -> String| {
        let mut text = String::new();
        for (place, (i, width)) in columns.iter().enumerate() {
            let cell = short(&cell(*i), *width);
            let fill = " ".repeat(width.saturating_sub(cell.width()));
            text += if place == 0 { "" } else { "  " };
            match head[*i].1 {
                Column::Right => text.extend([fill, cell]),
                Column::Left => text.extend([cell, fill]),
            }
        }
        text.trim_end().to_owned()
    };
    let first = shown(&|i| head[i].0.to_owned());
    std::iter::once(first).chain(rows.iter().map(|row| shown(&|i| row[i].clone()))).collect()
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
    many(n, "job")
}

/// Writes a number and what it counts, with an `s` for several.
pub(crate) fn many(n: u64, thing: &str) -> String {
    format!("{} {thing}{}", number(n), if n == 1 { "" } else { "s" })
}

/// Writes a duration in its two largest units, without one that is zero: `3d 4h`, `2h`, `12s`, `40ms`.
pub(crate) fn span(span: Duration) -> String {
    let ms = span.as_millis();
    if ms < 1_000 {
        return format!("{ms}ms");
    }
    let s = span.as_secs();
    if s < 60 {
        let is_short = s < 10 && span.subsec_millis() >= 50;
        return if is_short { format!("{:.1}s", span.as_secs_f64()) } else { format!("{s}s") };
    }
    let (large, large_unit, small, small_unit) = match s {
        ..3_600 => (s / 60, "m", s % 60, "s"),
        3_600..86_400 => (s / 3_600, "h", s % 3_600 / 60, "m"),
        _ => (s / 86_400, "d", s % 86_400 / 3_600, "h"),
    };
    if small == 0 { format!("{large}{large_unit}") } else { format!("{large}{large_unit} {small}{small_unit}") }
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

/// Hears Ctrl-C. The first one asks to stop after the present step, so that what was done can be told; the second ends the
/// process at once, since that step may take long if the server does not answer.
#[derive(Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Begins to listen, if nothing has yet.
    pub(crate) fn listen() -> Self {
        static HEARD: OnceLock<Stop> = OnceLock::new();
        let listen = || {
            let (told, heard) = watch::channel(false);
            let mut first = Box::pin(tokio::signal::ctrl_c());
            // Polled once, it hears from now on. It ends at once only where there are no signals.
            let is_deaf = first.as_mut().now_or_never().is_some();
            tokio::spawn(async move {
                if !is_deaf && first.await.is_ok() {
                    told.send_replace(true);
                    if tokio::signal::ctrl_c().await.is_ok() {
                        eprintln!("oxmq: stopped at once; what the last step has done is not known");
                        std::process::exit(STOPPED.into());
                    }
                }
                // Those who wait go on waiting.
                told.closed().await;
            });
            Self(heard)
        };
        HEARD.get_or_init(listen).clone()
    }

    pub(crate) fn is_asked(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is asked to stop.
    pub(crate) async fn asked(&mut self) {
        if self.0.wait_for(|is_asked| *is_asked).await.is_err() {
            std::future::pending().await
        }
    }
}

/// Does work until Ctrl-C comes; `None` if it came before the work was done.
pub(crate) async fn unless_stopped<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut stop = Stop::listen();
    tokio::select! {
        done = work => Some(done),
        () = stop.asked() => None,
    }
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
    let mut stop = Stop::listen();
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
        () = stop.asked() => {
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
        assert_eq!(clean("a\u{202e}b\u{200b}"), "a\\u{202e}b\\u{200b}");
    }

    #[test]
    fn wide_characters_take_two_columns_of_a_table() {
        assert_eq!((short("漢字漢字", 8), short("漢字漢字", 6)), ("漢字漢字".into(), "漢字…".into()));
        let head = [("ID", Column::Left), ("N", Column::Right), ("TEXT", Column::Left)];
        let rows =
            [["漢字", "1", "x"], ["abcde", "20", "a longer text than fits"]].map(|row| row.map(str::to_owned).to_vec());
        let lines = lines_of(&head, &rows, &["N"], None);
        assert_eq!(lines, ["ID      N  TEXT", "漢字    1  x", "abcde  20  a longer text than fits"]);
        let lines = lines_of(&head, &rows, &["N"], Some(20));
        assert_eq!(lines, ["ID     TEXT", "漢字   x", "abcde  a longer tex…"]);
        assert!(lines.iter().all(|line| line.width() <= 20));
        // With more room a column stays, and with less the first is cut too.
        assert_eq!(lines_of(&head, &rows, &["N"], Some(21))[2], "abcde  20  a longer …");
        let rows = [["a name that is long", "1", "a longer text than fits"].map(str::to_owned).to_vec()];
        assert_eq!(lines_of(&head, &rows, &["N"], Some(24))[1], "a name that…  a longer …");
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
        assert_eq!((seconds(1), seconds(60), seconds(7_200)), ("1s".into(), "1m".into(), "2h".into()));
        assert_eq!(span(Duration::from_millis(40)), "40ms");
    }
}
