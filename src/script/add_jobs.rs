//! Adding jobs: the arguments and the reply of `lua/add_jobs.lua`.

use std::borrow::Cow;

use redis::Value;

use super::{Args, Call, Resend, Script, reply, script};
use crate::clock::MOST_MS;
use crate::error::Reason;

pub(crate) static SCRIPT: Script = script!(
    "add_jobs", Produces,
    uses: ["codes", "outcomes", "queue", own "one", "settings", "wake"],
    on_demand: [
        "number", "is_job", "is_taken", "past_taken", "announce", "delay", "prioritize", "ready", "homes", "job_key", "release", "delete", "attach",
        "dedup", "read_linked", "store", own "linked",
    ],
    giving: [add_linked, is_taken, past_taken, priority_score, delayed_score, due_time],
    then: ["placing"],
);

/// Where a new job is placed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Destination {
    Wait,
    WaitFirst,
    Prioritized,
    Delayed,
    /// For a job that is added together with children.
    WaitingChildren,
}

/// One job in the form that the script takes.
#[derive(Debug, Clone)]
pub(crate) struct Addition {
    pub(crate) place: Destination,
    /// The id; empty for the next number of the queue's counter.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
    pub(crate) opts: Cow<'static, str>,
    pub(crate) timestamp: u64,
    pub(crate) delay: u64,
    pub(crate) priority: u32,
    /// Boxed, like `dedup`: few jobs have one, and each job is moved in memory several times.
    pub(crate) parent: Option<Box<ParentLink>>,
    /// Whether the job is certain to be stored with its flow: nothing can refuse it, and no other job can take its
    /// place.
    pub(crate) is_sure: bool,
    pub(crate) deduplication: Option<Box<Dedup>>,
}

/// The link to a parent: its job key, and the `parent` field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParentLink {
    pub(crate) key: String,
    pub(crate) json: String,
}

/// Deduplication in the form that the script takes.
#[derive(Debug, Clone)]
pub(crate) struct Dedup {
    pub(crate) id: String,
    pub(crate) ttl: Option<u64>,
    pub(crate) extend: bool,
    pub(crate) replace: bool,
    pub(crate) keep_last_if_active: bool,
    pub(crate) reschedule: bool,
}

/// The outcome of one add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Placed {
    Created { id: String },
    Existing { id: String },
    Deduplicated { owner: String },
    SetAside { owner: String, id: String },
    Replaced { id: String, old: String },
}

impl Addition {
    /// Returns how many bytes this job adds to a call.
    pub(crate) fn size(&self) -> usize {
        self.name.len() + self.data.len() + self.opts.len() + self.id.len() + 64
    }

    /// Returns whether sending the same add again cannot create a second job.
    pub(crate) fn is_repeatable(&self) -> bool {
        !self.id.is_empty()
    }

    fn write(&self, args: &mut Args) {
        let is_plain = self.parent.is_none() && self.deduplication.is_none();
        match self.place {
            // Those have neither a delay nor a priority.
            Destination::Wait if is_plain => self.write_start(b"w", args),
            Destination::WaitFirst if is_plain => self.write_start(b"l", args),
            _ => self.write_below(self.parent.as_deref(), args),
        }
    }

    fn write_start(&self, traits: &[u8], args: &mut Args) {
        args.text(traits)
            .text(&self.id)
            .text(&self.name)
            .text(&self.data)
            .text(self.opts.as_ref())
            .millis(self.timestamp);
    }

    /// Writes the job with the link to this parent, or without one: the jobs of a flow have their link written once for
    /// all children.
    pub(super) fn write_below(&self, parent: Option<&ParentLink>, args: &mut Args) {
        let mut traits = [0_u8; 3];
        let mut n = 0;
        let mut letter = |letter| {
            traits[n] = letter;
            n += 1;
        };
        letter(match self.place {
            Destination::Wait => b'w',
            Destination::WaitFirst => b'l',
            Destination::Prioritized => b'p',
            Destination::Delayed => b'd',
            Destination::WaitingChildren => b'c',
        });
        if parent.is_some() {
            letter(b'P');
        }
        if self.deduplication.is_some() {
            letter(b'D');
        }
        self.write_start(&traits[..n], args);
        args.millis(self.delay).number(self.priority);
        if let Some(parent) = parent {
            args.text(&parent.key).text(&parent.json);
        }
        if let Some(dedup) = &self.deduplication {
            let how: String =
                [(dedup.extend, 'e'), (dedup.replace, 'r'), (dedup.keep_last_if_active, 'k'), (dedup.reschedule, 's')]
                    .iter()
                    .filter_map(|(on, letter)| on.then_some(*letter))
                    .collect();
            args.text(&dedup.id).maybe(dedup.ttl.map(|ttl| ttl.min(MOST_MS))).text(how);
        }
    }
}

/// Adds these jobs; the reply has one outcome for each, in order. [`Addition::is_repeatable`] tells which of them may
/// be sent again.
pub(crate) fn add_jobs<'a>(jobs: impl ExactSizeIterator<Item = &'a Addition>, bytes: usize) -> Call<Placements> {
    let count = jobs.len();
    let mut args = Args::with_capacity(count * 8, bytes);
    for job in jobs {
        job.write(&mut args);
    }
    Call::with(&SCRIPT, args).resend(Resend::Never).read_each(count, placed)
}

/// What became of the jobs of a call.
pub(crate) struct Placements {
    /// One answer per job, in order.
    pub(crate) each: Vec<Result<Placed, Reason>>,
    /// Whether the queue had no version or no cap of the event stream, as after a loss of all data.
    pub(crate) lacked_settings: bool,
}

/// Adds one job, as [`add_jobs`] does; returns its answer, and whether the queue's settings were not complete.
pub(crate) fn add_job(job: &Addition) -> Call<(Result<Placed, Reason>, bool)> {
    let mut args = Args::with_capacity(8, job.size());
    job.write(&mut args);
    Call::with(&SCRIPT, args).resend(Resend::Never).read(placed_one)
}

/// Reads the outcome of the only job of a call.
fn placed_one(value: Value) -> Option<(Result<Placed, Reason>, bool)> {
    let mut items = match value {
        // The short way of the script.
        id @ Value::BulkString(_) => return Some((Ok(Placed::Created { id: reply::text(id)? }), false)),
        items => reply::array(items)?.into_iter(),
    };
    let placed = next_placed(&mut items)?;
    let lacked_settings = items.next().is_some();
    items.next().is_none().then_some((placed, lacked_settings))
}

fn next_placed(items: &mut impl Iterator<Item = Value>) -> Option<Result<Placed, Reason>> {
    match items.next()? {
        code @ Value::Int(_) => answer(code, items),
        id => Some(Ok(Placed::Created { id: reply::text(id)? })),
    }
}

/// Reads the outcomes of `count` jobs, in order.
pub(super) fn placed(value: Value, count: usize) -> Option<Placements> {
    if count == 1 {
        return placed_one(value).map(|(placed, lacked_settings)| Placements { each: vec![placed], lacked_settings });
    }
    let mut items = reply::array(value)?.into_iter();
    let mut each = Vec::with_capacity(count);
    while each.len() < count {
        each.push(next_placed(&mut items)?);
    }
    let lacked_settings = items.next().is_some();
    items.next().is_none().then_some(Placements { each, lacked_settings })
}

/// Reads the outcome that begins with this code.
pub(super) fn answer(code: Value, items: &mut impl Iterator<Item = Value>) -> Option<Result<Placed, Reason>> {
    let code = reply::int(code)?;
    let (id, other) = (reply::text(items.next()?)?, reply::text(items.next()?)?);
    Some(match code {
        0 => Ok(Placed::Created { id }),
        1 => Ok(Placed::Existing { id }),
        2 => Ok(Placed::Deduplicated { owner: id }),
        3 => Ok(Placed::SetAside { owner: id, id: other }),
        4 => Ok(Placed::Replaced { id, old: other }),
        code => Err(Reason::from_code(code).err()?),
    })
}
