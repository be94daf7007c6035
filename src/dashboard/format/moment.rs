//! Moments and durations for people.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, NaiveDate, NaiveDateTime, SecondsFormat, Utc};
use maud::{Markup, html};

/// Shows a moment relative to now; its title has the full time. A script makes that local, and keeps the text up to
/// date.
pub(in crate::dashboard) fn when(at: Option<SystemTime>, now: SystemTime) -> Markup {
    let Some(at) = at else { return html! { span.none { "–" } } };
    let (machine, person) = (iso(at), utc(at));
    html! { time datetime=(machine) title=(person) { (relative(at, now)) } }
}

/// Shows a moment in full, and relative to now.
pub(in crate::dashboard) fn exactly(at: Option<SystemTime>, now: SystemTime) -> Markup {
    let Some(at) = at else { return html! { span.none { "–" } } };
    html! {
        time data-exact datetime=(iso(at)) { (utc(at)) }
        " "
        span.faint { "(" (when(Some(at), now)) ")" }
    }
}

pub(in crate::dashboard) fn iso(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn utc(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
}

/// Reads a moment as people write it: in full with its zone (`2030-12-31T18:00:00+01:00`), or in UTC without
/// (`2030-12-31 18:00`, `2030-12-31`).
pub(in crate::dashboard) fn read(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let text = text.strip_suffix("UTC").map_or(text, str::trim_end);
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        return Some(moment.into());
    }
    let spelled = text.replacen('T', " ", 1);
    let moment = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M"]
        .into_iter()
        .find_map(|form| NaiveDateTime::parse_from_str(&spelled, form).ok())
        .or_else(|| NaiveDate::parse_from_str(&spelled, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))?;
    Some(moment.and_utc().into())
}

/// Writes how far a moment is from now.
pub(in crate::dashboard) fn relative(at: SystemTime, now: SystemTime) -> String {
    match now.duration_since(at) {
        Ok(past) if past < Duration::from_secs(1) => "now".to_owned(),
        Ok(past) => format!("{} ago", rough(past)),
        Err(future) => format!("in {}", rough(future.duration())),
    }
}

/// Writes a duration in its largest unit.
pub(in crate::dashboard) fn rough(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min", seconds / 60),
        3_600..86_400 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Writes a duration as precisely as it matters.
pub(in crate::dashboard) fn span(span: Duration) -> String {
    let ms = span.as_millis();
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..60_000 => {
            let text = format!("{}.{:03}", ms / 1_000, ms % 1_000);
            let text = text.trim_end_matches('0').trim_end_matches('.');
            format!("{text} s")
        }
        60_000..3_600_000 => pair(ms / 60_000, "min", ms / 1_000 % 60, "s"),
        3_600_000..86_400_000 => pair(ms / 3_600_000, "h", ms / 60_000 % 60, "min"),
        _ => pair(ms / 86_400_000, "d", ms / 3_600_000 % 24, "h"),
    }
}

fn pair(large: u128, large_unit: &str, small: u128, small_unit: &str) -> String {
    if small == 0 { format!("{large} {large_unit}") } else { format!("{large} {large_unit} {small} {small_unit}") }
}

/// Writes a number with separated thousands.
pub(in crate::dashboard) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a count with what it counts, in the plural if needed.
pub(in crate::dashboard) fn many(number: u64, thing: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {thing}{s}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_in_words() {
        let texts =
            [0, 999, 1_000, 1_250, 59_999, 60_000, 61_000, 3_600_000, 90_000_000].map(Duration::from_millis).map(span);
        assert_eq!(texts, ["0 ms", "999 ms", "1 s", "1.25 s", "59.999 s", "1 min", "1 min 1 s", "1 h", "1 d 1 h"]);
        assert_eq!([0, 7, 1_000, 12_345_678].map(count), ["0", "7", "1,000", "12,345,678"]);
        assert_eq!([many(1, "job"), many(2_000, "job")], ["1 job", "2,000 jobs"]);
    }

    #[test]
    fn moments_by_their_distance() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let past = |seconds| relative(now - Duration::from_secs(seconds), now);
        assert_eq!([past(0), past(59), past(3_599), past(200_000)], ["now", "59 s ago", "59 min ago", "2 d ago"]);
        assert_eq!(relative(now + Duration::from_secs(7_200), now), "in 2 h");
    }
}
