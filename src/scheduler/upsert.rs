//! Builds the definition of a scheduler, and its first run. Without I/O.

use super::next::{Members, SKIP, members, object, quoted};
use super::repeat::{Overlap, Repeat, When};
use crate::clock::{epoch_ms, millis};
use crate::error::{Error, Result};
use crate::keys;
use crate::options::JobOptions;
use crate::script::upsert_scheduler::Upsert;
#[cfg(feature = "dashboard")]
use crate::wire::options::StoredOptions;
use crate::wire::options::to_json;

/// The name, data and options of the runs.
pub(crate) struct Template {
    pub(crate) name: Option<String>,
    /// JSON.
    pub(crate) data: Option<String>,
    /// With the queue's defaults.
    pub(crate) options: JobOptions,
}

/// Returns what to store so that `scheduler` repeats like this from `now` on, in ms.
///
/// # Errors
///
/// [`Error::InvalidOption`] if a rule is broken, or if there would be no run at all.
pub(crate) fn plan(scheduler: &str, repeat: &Repeat, template: Template, now: u64) -> Result<Upsert> {
    check_template(&template.options)?;
    // Options that the caller did not set are left out, as in Node.
    let text = to_json(&template.options);
    let mut options = members(&text).map_err(|problem| Error::invalid("options", problem))?;
    if template.options.attempts.is_none() {
        options.remove("attempts");
    }
    let made_of = MadeOf {
        name: template.name.unwrap_or_else(|| scheduler.to_owned()),
        data: template.data.filter(|data| data != "null").unwrap_or_else(|| "{}".to_owned()),
        options,
        priority: template.options.priority.unwrap_or(0),
        lifo: template.options.lifo.unwrap_or(false),
        deduplication_id: template.options.deduplication.map(|deduplication| deduplication.id),
        repeat: Members::new(),
    };
    made(scheduler, repeat, made_of, now)
}

/// Returns what to store to change only the repetition of a stored scheduler: `name`, `data` and `options` are those of
/// its hash, and `run` are the options of its next run, in which others may have stored more about its repetition.
///
/// # Errors
///
/// As with [`plan`]; and if the options cannot be read.
#[cfg(feature = "dashboard")]
pub(crate) fn replan(
    scheduler: &str,
    repeat: &Repeat,
    name: &str,
    data: Option<&str>,
    options: Option<&str>,
    run: Option<&str>,
    now: u64,
) -> Result<Upsert> {
    let text = options.unwrap_or("{}");
    let unreadable = |problem| Error::invalid("options", problem);
    let known = StoredOptions::parse(text).map_err(unreadable)?;
    let priority = known.priority.unwrap_or(0.0).clamp(0.0, f64::from(u32::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies within the range")]
    let priority = priority as u32;
    let made_of = MadeOf {
        name: name.to_owned(),
        data: data.unwrap_or("{}").to_owned(),
        options: members(text).map_err(unreadable)?,
        priority,
        lifo: known.lifo,
        deduplication_id: known.deduplication_id.clone(),
        repeat: run.map(further).unwrap_or_default(),
    };
    made(scheduler, repeat, made_of, now)
}

/// Returns what a run says about its repetition, apart from what our schedule replaces.
#[cfg(feature = "dashboard")]
fn further(run: &str) -> Members<'_> {
    const OURS: [&str; 14] = [
        "every",
        "pattern",
        "cron",
        "tz",
        "limit",
        "startDate",
        "endDate",
        "hashSeed",
        "overlap",
        "catchUp",
        "count",
        "offset",
        "immediately",
        "prevMillis",
    ];
    let repeat = members(run).ok().and_then(|mut run| run.remove("repeat"));
    let mut repeat = repeat.and_then(|repeat| members(repeat.get()).ok()).unwrap_or_default();
    repeat.retain(|name, _| !OURS.contains(&name.as_str()));
    repeat
}

/// Returns the seed of a pattern that is stored in a run: Node passes it on from run to run, and stores it nowhere
/// else.
#[cfg(feature = "dashboard")]
pub(crate) fn seed_of(run: &str) -> Option<String> {
    let repeat = members(run).ok()?.remove("repeat")?;
    crate::wire::json::string(members(repeat.get()).ok()?.remove("hashSeed")?).map(std::borrow::Cow::into_owned)
}

/// The name, data and options of the runs, as they are stored.
struct MadeOf<'a> {
    name: String,
    /// JSON.
    data: String,
    options: Members<'a>,
    priority: u32,
    lifo: bool,
    deduplication_id: Option<String>,
    /// What its runs say about their repetition, apart from what is known here.
    repeat: Members<'a>,
}

fn made(scheduler: &str, repeat: &Repeat, made_of: MadeOf<'_>, now: u64) -> Result<Upsert> {
    keys::check_scheduler_id(scheduler)?;
    repeat.check()?;
    if repeat.end.is_some_and(|end| epoch_ms(end) <= now) {
        return Err(Error::invalid("end_date", "it must lie in the future"));
    }
    let seed = seed(scheduler, repeat)?;
    let (every, slot) = match &repeat.when {
        When::Every(span) => (Some(millis(*span)), None),
        When::Pattern(_) => (None, Some(first_slot(repeat, seed.as_deref(), now)?)),
    };
    let offset = repeat.offset.map(millis).filter(|offset| *offset != 0);
    let told = Told::of(repeat, seed.as_deref(), offset, &made_of);
    let set = [
        ("repeat", object(&made_of.repeat, &told.said)),
        ("repeatJobKey", quoted(scheduler)),
        ("timestamp", now.to_string()),
    ];
    Ok(Upsert {
        scheduler: scheduler.to_owned(),
        now,
        slot,
        every,
        start: repeat.start.map(epoch_ms).filter(|_| every.is_some()),
        offset,
        opts: object(&made_of.options, &set),
        name: made_of.name,
        data: made_of.data,
        priority: made_of.priority,
        lifo: made_of.lifo,
        deduplication_id: made_of.deduplication_id,
        catch_up: repeat.catch_up,
        fields: told.fields,
    })
}

/// Returns the seed of a pattern with an `H`. If each process drew its own numbers, nobody could predict the runs.
fn seed(scheduler: &str, repeat: &Repeat) -> Result<Option<String>> {
    let is_open = repeat.hash_seed.is_none() && matches!(repeat.when, When::Pattern(_));
    if is_open && repeat.pattern(Some(""))?.is_hashed() {
        return Ok(Some(scheduler.to_owned()));
    }
    Ok(repeat.hash_seed.clone())
}

/// Returns when the first run by a pattern is due, in ms.
fn first_slot(repeat: &Repeat, seed: Option<&str>, now: u64) -> Result<u64> {
    let pattern = repeat.pattern(seed)?;
    let slot = if repeat.immediately {
        Some(now)
    } else {
        pattern.next_after(repeat.start.map_or(now, |start| epoch_ms(start).max(now)))
    };
    let slot = slot.filter(|slot| repeat.end.is_none_or(|end| *slot <= epoch_ms(end)));
    slot.ok_or_else(|| Error::invalid("pattern", "its limits leave no run"))
}

/// What is told about a scheduler, in two places.
struct Told {
    /// The fields of its hash.
    fields: Vec<(&'static str, String)>,
    /// What its runs say of their repetition, as JSON.
    said: Vec<(&'static str, String)>,
}

impl Told {
    fn of(repeat: &Repeat, seed: Option<&str>, offset: Option<u64>, made_of: &MadeOf<'_>) -> Self {
        let mut told = Self { fields: vec![("name", made_of.name.clone())], said: Vec::new() };
        match &repeat.when {
            When::Every(span) => told.number("every", Some(millis(*span))),
            When::Pattern(pattern) => told.text("pattern", Some(pattern)),
        }
        told.text("tz", repeat.tz.as_deref());
        told.number("limit", repeat.limit);
        told.number("startDate", repeat.start.map(epoch_ms));
        told.number("endDate", repeat.end.map(epoch_ms));
        // Node passes it on from run to run; with the field our workers can create a run without the one before it.
        told.text("hashSeed", seed);
        // These are options of oxmq: Node passes them on too, and ignores them.
        told.text("overlap", (repeat.overlap == Overlap::Skip).then_some(SKIP));
        told.number("catchUp", Some(u64::from(repeat.catch_up)).filter(|slots| *slots != 0));
        told.said.push(("count", "1".to_owned()));
        told.said.extend(offset.map(|offset| ("offset", offset.to_string())));
        let template = object(&made_of.options, &[]);
        let template = [("data", made_of.data.clone()), ("opts", template)];
        told.fields.extend(template.into_iter().filter(|(_, json)| json != "{}"));
        told
    }

    fn number(&mut self, name: &'static str, number: Option<u64>) {
        let Some(number) = number else { return };
        self.fields.push((name, number.to_string()));
        self.said.push((name, number.to_string()));
    }

    fn text(&mut self, name: &'static str, text: Option<&str>) {
        let Some(text) = text else { return };
        self.fields.push((name, text.to_owned()));
        self.said.push((name, quoted(text)));
    }
}

/// Refuses options that the scheduler sets itself, or that belong to a single job.
fn check_template(options: &JobOptions) -> Result<()> {
    for (option, is_given) in [
        ("run_at", options.run_at.is_some()),
        ("delay", options.delay.is_some_and(|delay| !delay.is_zero())),
        ("job_id", options.job_id.is_some()),
        ("timestamp", options.timestamp.is_some()),
        ("parent", options.parent.is_some()),
    ] {
        if is_given {
            return Err(Error::invalid(option, "a job scheduler sets it for each of its runs"));
        }
    }
    options.check()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn planned(repeat: &Repeat, options: JobOptions) -> Result<Upsert> {
        plan("s", repeat, Template { name: None, data: None, options }, NOW)
    }

    #[test]
    fn only_what_was_said_is_stored() {
        let upsert = planned(&Repeat::every(Duration::from_secs(5)), JobOptions::default()).unwrap();
        assert_eq!(upsert.fields, [("name", "s".to_owned()), ("every", "5000".to_owned())]);
        let opts: Value = serde_json::from_str(&upsert.opts).unwrap();
        assert_eq!(opts, json!({ "repeat": { "every": 5000, "count": 1 }, "repeatJobKey": "s", "timestamp": NOW }));
    }

    #[cfg(feature = "cron")]
    #[test]
    fn hashed_patterns_have_a_seed_that_all_know() {
        let upsert = planned(&Repeat::cron("H H * * *").tz("UTC"), JobOptions::default()).unwrap();
        let opts: Value = serde_json::from_str(&upsert.opts).unwrap();
        assert_eq!(opts["repeat"]["hashSeed"], "s");
        // The script adds it, since it may keep the time of a waiting run.
        assert!(upsert.slot.is_some() && opts.get("prevMillis").is_none());
    }

    #[test]
    fn what_node_does_not_know_stands_beside_its_own() {
        let every = || Repeat::every(Duration::from_secs(5));
        for (repeat, name, text, json) in [
            (every().overlap(Overlap::Skip), "overlap", "skip", json!("skip")),
            (every().catch_up(3), "catchUp", "3", json!(3)),
        ] {
            let upsert = planned(&repeat, JobOptions::default()).unwrap();
            assert!(upsert.fields.contains(&(name, text.to_owned())), "{:?}", upsert.fields);
            let opts: Value = serde_json::from_str(&upsert.opts).unwrap();
            assert_eq!(opts["repeat"][name], json);
        }
    }

    #[test]
    fn what_a_scheduler_sets_itself_is_refused() {
        let every = Repeat::every(Duration::from_secs(5));
        for (option, options) in [
            ("delay", JobOptions::default().delay(Duration::from_secs(1))),
            ("job_id", JobOptions::default().job_id("x")),
            ("priority", JobOptions::default().priority(u32::MAX)),
        ] {
            match planned(&every, options) {
                Err(Error::InvalidOption { option: named, .. }) => assert_eq!(named, option),
                other => panic!("{other:?}"),
            }
        }
    }
}
