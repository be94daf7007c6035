//! The texts that every job has: its id, its name, its data and its options.

use std::borrow::Cow;
use std::ops::Range;

use super::{Pair, counter, number};

/// The texts of a job, wherever they came from.
#[derive(Debug, Clone)]
pub(super) enum Texts {
    /// As programs give them, and as a whole hash has them.
    Apart { id: String, name: String, data: String, opts: Cow<'static, str> },
    /// As a fetch returns them: one after the other in a single text, so that a job takes one allocation and not four.
    Joined(Joined),
}

#[derive(Debug, Clone)]
pub(super) struct Joined {
    /// The id, the name, the moment with the numbers behind it, the options, what [`Earlier`] has, and the data unless they
    /// are in `data`.
    text: String,
    name: u16,
    moment: u16,
    opts: u16,
    /// Where the options end.
    rest: u32,
    /// Where the data begin.
    tail: u32,
    /// The data, if they are too large to be copied into one text with the others.
    data: Option<String>,
}

impl Default for Texts {
    fn default() -> Self {
        Self::Apart { id: String::new(), name: String::new(), data: String::new(), opts: Cow::default() }
    }
}

impl PartialEq for Texts {
    fn eq(&self, other: &Self) -> bool {
        (self.id(), self.name(), self.data(), self.opts()) == (other.id(), other.name(), other.data(), other.opts())
    }
}

impl Texts {
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Apart { id, .. } => id,
            Self::Joined(joined) => joined.id(),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Apart { name, .. } => name,
            Self::Joined(joined) => &joined.text[usize::from(joined.name)..usize::from(joined.moment)],
        }
    }

    pub(super) fn data(&self) -> &str {
        let data = match self {
            Self::Apart { data, .. } => data,
            Self::Joined(Joined { data: Some(data), .. }) => data,
            Self::Joined(joined) => &joined.text[joined.tail as usize..],
        };
        if data.is_empty() { "{}" } else { data }
    }

    pub(super) fn opts(&self) -> &str {
        match self {
            Self::Apart { opts, .. } => opts,
            Self::Joined(joined) => &joined.text[usize::from(joined.opts)..joined.rest as usize],
        }
    }
}

impl Joined {
    fn id(&self) -> &str {
        &self.text[..usize::from(self.name)]
    }
}

/// A job with only the fields of a plain new one, or of such a one after attempts that failed, as a fetch returns it.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(super) texts: Joined,
    pub(super) timestamp: Option<i64>,
    pub(super) priority: i64,
    pub(super) earlier: Option<Box<Earlier>>,
}

/// What earlier attempts have left in a job.
#[derive(Debug)]
pub(super) struct Earlier {
    pub(super) delay: i64,
    pub(super) attempts_made: u32,
    pub(super) attempts_started: u32,
    pub(super) failed_reason: String,
    pub(super) stacktrace: String,
    pub(super) processed_by: Option<String>,
}

/// A job of which a text is not UTF-8, field by field.
#[derive(Debug)]
pub(crate) struct Garbled {
    pub(crate) id: Vec<u8>,
    pub(crate) fields: Vec<Pair>,
}

/// Where the parts of a joined text begin, but for the first; the parts are the id, the name, the moment, the options, why
/// the last attempt failed, its stack traces, who ran it, and the data.
struct Parts {
    starts: [usize; 7],
    /// The numbers after the moment, as texts: the priority, and after attempts that failed the delay, how many were made
    /// and how many started.
    numbers: [Option<Range<usize>>; 4],
    has_run: bool,
    is_by_name: bool,
}

impl Parts {
    /// Returns `None` if the lengths do not fit the text.
    fn read(text: &[u8], lengths: u64, further: Option<u64>) -> Option<Self> {
        let digit = |place: u32| usize::from((lengths >> (8 * place)).to_le_bytes()[0]);
        let (name, moment) = (digit(0), digit(0) + digit(1));
        let opts = moment + digit(2);
        let rest = opts + digit(3) + 256 * digit(4);
        if lengths >> 40 != u64::from(further.is_some()) || rest > text.len() {
            return None;
        }
        let mut numbers = [const { None }; 4];
        let mut from = moment;
        let most = if further.is_some() { 5 } else { 2 };
        for (index, part) in text[moment..opts].splitn(most, |byte| *byte == b' ').enumerate() {
            let range = from..from + part.len();
            from = range.end + 1;
            if index > 0 {
                numbers[index - 1] = Some(range);
            }
        }
        let [first, second, third, fourth, by, ..] = further.unwrap_or(0).to_le_bytes().map(usize::from);
        let traced = rest + first + 256 * second;
        let named = traced + third + 256 * fourth;
        let data = named + by.saturating_sub(1);
        let starts = [name, moment, opts, rest, traced, named, data];
        (data <= text.len()).then_some(Self { starts, numbers, has_run: further.is_some(), is_by_name: by > 0 })
    }

    fn part<'a>(&self, text: &'a [u8], index: usize) -> &'a [u8] {
        let from = if index == 0 { 0 } else { self.starts[index - 1] };
        &text[from..self.starts.get(index).copied().unwrap_or(text.len())]
    }

    fn timestamp<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        self.part(text, 2).split(|byte| *byte == b' ').next().unwrap_or_default()
    }

    fn number<'a>(&self, text: &'a [u8], index: usize) -> &'a [u8] {
        self.numbers[index].clone().map_or(b"", |range| &text[range])
    }

    fn garbled(&self, text: &[u8], data: Option<Vec<u8>>) -> Garbled {
        let mut fields: Vec<(&str, Vec<u8>)> = vec![
            ("name", self.part(text, 1).into()),
            ("opts", self.part(text, 3).into()),
            ("data", data.unwrap_or_else(|| self.part(text, 7).into())),
            ("timestamp", self.timestamp(text).into()),
            ("priority", self.number(text, 0).into()),
        ];
        if self.has_run {
            fields.push(("delay", self.number(text, 1).into()));
            fields.push(("atm", self.number(text, 2).into()));
            fields.push(("ats", self.number(text, 3).into()));
            fields.push(("failedReason", self.part(text, 4).into()));
            fields.push(("stacktrace", self.part(text, 5).into()));
        }
        if self.is_by_name {
            fields.push(("pb", self.part(text, 6).into()));
        }
        let fields = fields.into_iter().map(|(field, value)| (field.into(), value)).collect();
        Garbled { id: self.part(text, 0).into(), fields }
    }

    fn earlier(&self, text: &str) -> Option<Box<Earlier>> {
        let bytes = text.as_bytes();
        let [.., opts_end, traces, by, data] = self.starts;
        self.has_run.then(|| {
            Box::new(Earlier {
                delay: number(self.number(bytes, 1)).unwrap_or(0),
                attempts_made: counter(self.number(bytes, 2)),
                attempts_started: counter(self.number(bytes, 3)),
                failed_reason: text[opts_end..traces].to_owned(),
                stacktrace: text[traces..by].to_owned(),
                processed_by: self.is_by_name.then(|| text[by..data].to_owned()),
            })
        })
    }
}

impl Fresh {
    /// Takes over the texts of a job, without copying them: one after the other the id, the name, the moment at which the
    /// job was added, the options, and the data unless they come apart. `lengths` and, of a job that has failed before,
    /// `further` are as `lua/settle/take.lua` describes them, as are the numbers behind the moment.
    ///
    /// Returns `None` if the lengths do not fit the text.
    pub(crate) fn read(
        text: Vec<u8>,
        lengths: u64,
        further: Option<u64>,
        data: Option<Vec<u8>>,
    ) -> Option<Result<Self, Garbled>> {
        let parts = Parts::read(&text, lengths, further)?;
        let timestamp = number(parts.timestamp(&text));
        let priority = number(parts.number(&text, 0)).unwrap_or(0);
        let text = match String::from_utf8(text) {
            Ok(text) => text,
            Err(error) => return Some(Err(parts.garbled(error.as_bytes(), data))),
        };
        if !parts.starts.iter().all(|start| text.is_char_boundary(*start)) {
            return Some(Err(parts.garbled(text.as_bytes(), data)));
        }
        let data = match data.map(String::from_utf8).transpose() {
            Ok(data) => data,
            Err(error) => return Some(Err(parts.garbled(text.as_bytes(), Some(error.into_bytes())))),
        };
        let earlier = parts.earlier(&text);
        let [name, moment, opts, rest, .., tail] = parts.starts;
        let (short, long) = (|start| u16::try_from(start).ok(), |start| u32::try_from(start).ok());
        let (name, moment, opts) = (short(name)?, short(moment)?, short(opts)?);
        let texts = Joined { text, name, moment, opts, rest: long(rest)?, tail: long(tail)?, data };
        Some(Ok(Self { texts, timestamp, priority, earlier }))
    }

    pub(crate) fn id(&self) -> &str {
        self.texts.id()
    }
}

#[cfg(test)]
mod tests {
    use super::super::RawJob;
    use super::*;

    /// Joins the texts of a job as the script does.
    fn join(parts: [&[u8]; 4], data: &[u8], is_apart: bool) -> (Vec<u8>, u64, Option<Vec<u8>>) {
        let lengths = parts.iter().rev().fold(0, |lengths, part| lengths * 256 + part.len() as u64);
        let mut text = parts.concat();
        let data = if is_apart {
            Some(data.to_vec())
        } else {
            text.extend_from_slice(data);
            None
        };
        (text, lengths, data)
    }

    fn read(parts: [&[u8]; 4], data: &[u8], is_apart: bool) -> Result<Fresh, Garbled> {
        let (text, lengths, data) = join(parts, data, is_apart);
        Fresh::read(text, lengths, None, data).unwrap()
    }

    #[test]
    fn joined_texts_are_found_again() {
        let opts = format!(r#"{{"long":"{}"}}"#, "x".repeat(60_000));
        let longest = "é".repeat(127);
        for (id, name, moment, opts) in
            [("7", "mail", "1700 5", "{}"), ("", "", "", ""), (&longest, &longest, "1700 5", &opts)]
        {
            for is_apart in [false, true] {
                let fresh = read([id, name, moment, opts].map(str::as_bytes), b"[1]", is_apart).unwrap();
                assert_eq!(fresh.id(), id);
                let expected = if moment.is_empty() { (None, 0) } else { (Some(1700), 5) };
                assert_eq!((fresh.timestamp, fresh.priority), expected);
                let texts = Texts::Joined(fresh.texts);
                assert_eq!((texts.id(), texts.name(), texts.data(), texts.opts()), (id, name, "[1]", opts));
            }
        }
        assert_eq!(RawJob::fresh(read([b"7", b"n", b"1", b"{}"], b"", true).unwrap()).unwrap().data(), "{}");
    }

    #[test]
    fn what_earlier_attempts_have_left_is_found_again() {
        for name in [None, Some(""), Some("w1")] {
            let read = |reason: &[u8]| {
                let (mut text, lengths, _) = join([b"7", b"n", b"1700 5 1000 2 3", b"{}"], b"", false);
                text.extend([reason, br#"["a b"]"#, name.unwrap_or_default().as_bytes(), b"[1]"].concat());
                let by = name.map_or(0, |name| 1 + name.len() as u64);
                let further = reason.len() as u64 + (7 << 16) + (by << 32);
                Fresh::read(text, lengths + (1 << 40), Some(further), None).unwrap()
            };
            let job = RawJob::fresh(read("nö!".as_bytes()).unwrap()).unwrap();
            assert_eq!((job.id(), job.name(), job.data(), job.opts_text()), ("7", "n", "[1]", "{}"));
            assert_eq!((job.timestamp, job.priority, job.delay), (Some(1700), 5, 1000));
            assert_eq!((job.attempts_made, job.attempts_started), (2, 3));
            assert_eq!((job.failed_reason(), job.stacktrace_text()), (Some("nö!"), Some(r#"["a b"]"#)));
            assert_eq!(job.processed_by(), name);
            // A reason that is not UTF-8 is for people, and no reason to refuse the job.
            let Err(Garbled { id, fields }) = read(b"no\xff!") else { panic!("{name:?}") };
            let lossy = RawJob::from_pairs(id, fields).unwrap();
            assert_eq!(lossy.failed_reason(), Some("no\u{fffd}!"));
            let seen = |job: &RawJob| (job.data().to_owned(), job.delay, job.attempts_made, job.attempts_started);
            assert_eq!((seen(&lossy), lossy.processed_by()), (seen(&job), name));
        }
    }

    #[test]
    fn texts_that_are_not_utf8_are_told_apart() {
        // Half a letter at the end of one text, the other half at the beginning of the next.
        let (first, second) = "é".as_bytes().split_at(1);
        for (id, name, data, field) in
            [(&b"7"[..], first, second, "name"), (b"7", b"n", b"\xff", "data"), (b"\xff", b"n", b"{}", "id")]
        {
            for is_apart in [false, true] {
                let Err(Garbled { id: id_bytes, fields }) = read([id, name, b"1700 5", b"{}"], data, is_apart) else {
                    panic!("{field}")
                };
                assert_eq!(id_bytes, id);
                let unread = RawJob::from_pairs(id_bytes, fields).unwrap_err();
                assert_eq!((unread.field, unread.partial.timestamp, unread.partial.priority), (field, Some(1700), 5));
            }
        }
        let (name, opts) =
            (read([b"7", first, second, b"{}"], b"{}", false), read([b"7", b"n", b"1", first], second, false));
        assert!(name.is_err() && opts.is_err(), "neither is read across the border");
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        let fits = |text: &[u8], lengths, further| Fresh::read(text.to_vec(), lengths, further, None).is_some();
        assert!(fits(b"", 0, None) && fits(b"1 2 3 4", 7 << 16, None));
        assert!(!fits(b"7", 2, None) && !fits(b"7", u64::MAX, None));
        let run = 1 << 40;
        assert!(fits(b"1 0 0 0 0abc", (9 << 16) + run, Some(1 + (1 << 16) + (2 << 32))));
        assert!(!fits(b"1 0 0 0 0abc", (9 << 16) + run, Some(4)) && !fits(b"", run, Some(u64::MAX)));
        assert!(!fits(b"", run, None) && !fits(b"", 0, Some(0)) && !fits(b"", 2 * run, Some(0)));
    }
}
