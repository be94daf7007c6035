//! The filter of the jobs of a state, as the address of the page has it.

use std::borrow::Cow;
use std::time::Duration;

use super::links::query;
use super::visit::{Params, Visit, given};
use crate::dashboard::app::{AnyJob, AnyQueue};
use crate::dashboard::format::moment;
use crate::dashboard::redaction::Field;
use crate::error::Result;
use crate::options::{JobFilter, MAX_SAFE};
use crate::state::{JobState, Order};

/// A state, and conditions on its jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dashboard) struct Filter {
    pub(in crate::dashboard) state: JobState,
    /// The job's name; `*` stands for any text.
    pub(in crate::dashboard) name: Option<String>,
    /// A text in the data, as its JSON is stored.
    pub(in crate::dashboard) data: Option<String>,
    /// A text in the reason of the last failure.
    pub(in crate::dashboard) reason: Option<String>,
    /// The job's id; `*` stands for any text.
    pub(in crate::dashboard) id: Option<String>,
    /// Added, or finished, longer ago than this.
    pub(in crate::dashboard) older: Option<Duration>,
    /// Added, or finished, at most this long ago.
    pub(in crate::dashboard) newer: Option<Duration>,
    /// How far back the pictures on the page go. No condition: it only stays chosen from page to page.
    pub(in crate::dashboard) history: Option<String>,
}

impl Filter {
    pub(in crate::dashboard) fn of(params: &Params, state: JobState) -> Self {
        let owned = |name| given(params, name).map(str::to_owned);
        let age = |name| given(params, name).and_then(span);
        Self {
            state,
            name: owned("name"),
            data: owned("data"),
            reason: owned("reason"),
            // The boxes of chosen jobs are called `id` too.
            id: owned("ids"),
            older: age("older"),
            newer: age("newer"),
            history: owned("history"),
        }
    }

    /// Returns the filter that all jobs of a state match, with the pictures as they are.
    pub(in crate::dashboard) fn all_of(&self, state: JobState) -> Self {
        Self { history: self.history.clone(), ..Self::of(&Params::new(), state) }
    }

    pub(in crate::dashboard) fn is_plain(&self) -> bool {
        let Self { state: _, history: _, name, data, reason, id, older, newer } = self;
        [name, data, reason, id].iter().all(|text| text.is_none()) && older.is_none() && newer.is_none()
    }

    /// Returns whether it searches in what may be redacted.
    pub(in crate::dashboard) fn has_text(&self) -> bool {
        self.data.is_some() || self.reason.is_some()
    }

    /// Returns the filter for the queue.
    pub(in crate::dashboard) fn search(&self) -> JobFilter {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let search = JobFilter::new([self.state]).name(text(&self.name));
        let mut search = search.data_contains(text(&self.data)).reason_contains(text(&self.reason)).id(text(&self.id));
        if let Some(older) = self.older {
            search = search.older_than(older);
        }
        if let Some(newer) = self.newer {
            search = search.newer_than(newer);
        }
        search
    }

    /// Returns the query of a page with this filter.
    pub(in crate::dashboard) fn query(&self) -> String {
        let mut text = format!("state={}", self.state);
        for (name, value) in self.fields() {
            text += &format!("&{name}={}", query(&value));
        }
        text
    }

    /// Returns the fields of a form with this filter, without the state.
    pub(in crate::dashboard) fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let age = |age: Option<Duration>| age.map(short);
        let (name, data, reason, id) = (self.name.clone(), self.data.clone(), self.reason.clone(), self.id.clone());
        let fields = [
            ("name", name),
            ("data", data),
            ("reason", reason),
            ("ids", id),
            ("older", age(self.older)),
            ("newer", age(self.newer)),
            ("history", self.history.clone()),
        ];
        fields.into_iter().filter_map(|(name, value)| value.map(|value| (name, value)))
    }

    /// Describes the filter in words.
    pub(in crate::dashboard) fn words(&self) -> String {
        let mut words = format!("{} jobs", self.state);
        if let Some(name) = &self.name {
            words += &format!(" named “{name}”");
        }
        if let Some(data) = &self.data {
            words += &format!(" with “{data}” in their data");
        }
        if let Some(reason) = &self.reason {
            words += &format!(" that failed for “{reason}”");
        }
        if let Some(id) = &self.id {
            words += &format!(" with the id “{id}”");
        }
        if let Some(older) = self.older {
            words += &format!(" older than {}", moment::span(older));
        }
        if let Some(newer) = self.newer {
            words += &format!(" at most {} old", moment::span(newer));
        }
        words
    }

    /// Returns the order that people expect: what runs next first, or what has just happened.
    pub(in crate::dashboard) fn order(&self) -> Order {
        if self.state.is_finished() { Order::Descending } else { Order::Ascending }
    }

    /// Returns whether a job may be found: what is redacted cannot be searched for.
    pub(in crate::dashboard) fn shows(&self, visit: &Visit, job: &AnyJob) -> bool {
        let (queue, name) = (job.queue_name(), job.name());
        let has = |wanted: &Option<String>, field, text: &str| {
            wanted.as_ref().is_none_or(|wanted| {
                let shown = match field {
                    Field::Data => visit.json(queue, name, field, text),
                    _ => visit.text(queue, name, field, text),
                };
                shown.contains(wanted.as_str())
            })
        };
        has(&self.data, Field::Data, job.data_json())
            && has(&self.reason, Field::FailedReason, job.failed_reason().unwrap_or_default())
    }
}

/// Reads a duration from a form: `90s`, `15 min`, `2h`, `3d`; a bare number counts minutes.
pub(in crate::dashboard) fn span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..at].parse().ok()?;
    let unit = match text[at..].trim() {
        "ms" => return Some(Duration::from_millis(number)),
        "s" | "sec" => 1,
        "" | "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.checked_mul(unit).map(Duration::from_secs)
}

fn short(span: Duration) -> String {
    if span.subsec_millis() > 0 { format!("{}ms", span.as_millis()) } else { format!("{}s", span.as_secs()) }
}

/// One page of the matching jobs.
pub(in crate::dashboard) struct Found {
    /// The jobs, or why one cannot be read.
    pub(in crate::dashboard) jobs: Vec<Result<AnyJob>>,
    /// How many come before them, if all jobs match.
    pub(in crate::dashboard) first: u64,
    /// How many were looked at for this page and those before it.
    pub(in crate::dashboard) looked_at: u64,
    /// Where the previous page begins; empty if that is not known.
    pub(in crate::dashboard) previous: Option<String>,
    /// Where the next page begins, if there is one.
    pub(in crate::dashboard) next: Option<String>,
}

/// Reads one page of the matching jobs.
pub(in crate::dashboard) async fn look(
    visit: &Visit,
    queue: &AnyQueue,
    filter: &Filter,
    from: Option<&str>,
    want: u32,
) -> Result<Found> {
    if filter.is_plain() {
        let first = from.and_then(|from| from.parse().ok()).unwrap_or(0_u64).min(MAX_SAFE);
        return by_place(queue, filter, first, u64::from(want)).await;
    }
    let mut search = queue.jobs(filter.search()).order(filter.order());
    if let Some(cursor) = from.and_then(|from| from.parse().ok()) {
        search = search.resume(cursor);
    }
    let page = search.page(want).await?;
    let mut jobs = page.jobs;
    jobs.retain(|job| job.as_ref().is_ok_and(|job| filter.shows(visit, job)));
    let next = page.next.map(|cursor| cursor.to_string());
    Ok(Found { jobs, first: 0, looked_at: page.looked_at, previous: from.map(|_| String::new()), next })
}

/// Reads a page by position, for filters that all jobs match: then pages can be counted and jumped to.
async fn by_place(queue: &AnyQueue, filter: &Filter, first: u64, want: u64) -> Result<Found> {
    let bound = |place: u64| i64::try_from(place).unwrap_or(i64::MAX);
    let jobs = queue.get_jobs(&[filter.state], bound(first), bound(first + want), filter.order()).await?;
    let has_more = jobs.len() as u64 > want;
    let jobs: Vec<_> = jobs.into_iter().take(usize::try_from(want).unwrap_or(usize::MAX)).collect();
    Ok(Found {
        first,
        looked_at: first + jobs.len() as u64,
        jobs,
        previous: (first > 0).then(|| first.saturating_sub(want).to_string()),
        next: has_more.then(|| (first + want).to_string()),
    })
}

/// Returns where a page begins: where the address says or, if there are fewer jobs by now, where the last page does.
pub(in crate::dashboard) fn begin<'a>(
    filter: &Filter,
    from: Option<&'a str>,
    total: u64,
    want: u64,
) -> Option<Cow<'a, str>> {
    let place = from.filter(|_| filter.is_plain()).and_then(|from| from.parse::<u64>().ok());
    match place {
        Some(place) if place >= total => Some((total.saturating_sub(1) / want * want).to_string().into()),
        _ => from.map(Cow::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_as_people_write_them() {
        let seconds = |text| span(text).map(|span| span.as_secs());
        assert_eq!(
            [seconds("90s"), seconds("15 min"), seconds("2h"), seconds("3d"), seconds("2")].map(Option::unwrap),
            [90, 900, 7_200, 259_200, 120]
        );
        assert_eq!([seconds(""), seconds("x"), seconds("1y"), seconds("99999999999999999999s")], [None; 4]);
    }

    #[test]
    fn a_filter_survives_its_address() {
        let filter = Filter {
            state: JobState::Failed,
            name: Some("a&b*".into()),
            data: Some("é <x>".into()),
            reason: Some("no \"".into()),
            id: Some("repeat:x:*".into()),
            older: Some(Duration::from_millis(1_500)),
            newer: Some(Duration::from_secs(7_200)),
            history: Some("1w".into()),
        };
        let params: Params = filter
            .query()
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| {
                (name.to_owned(), percent_encoding::percent_decode_str(value).decode_utf8().unwrap().into_owned())
            })
            .collect();
        assert_eq!(Filter::of(&params, JobState::Failed), filter);
    }
}
