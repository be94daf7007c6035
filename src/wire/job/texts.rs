//! The texts that every job has: its id, its name, its data and its options.

use std::borrow::Cow;
use std::ops::Range;

use super::{Pair, number};

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
    /// The id, the name, the moment with the priority, the options, and the data unless they are in `data`.
    text: String,
    name: u16,
    moment: u16,
    opts: u16,
    rest: u32,
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
            Self::Joined(joined) => &joined.text[joined.rest as usize..],
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

/// A job that was never started and has only the fields of a plain new one, as a fetch returns it.
#[derive(Debug)]
pub(crate) struct Fresh {
    pub(super) texts: Joined,
    pub(super) timestamp: Option<i64>,
    pub(super) priority: i64,
}

/// A job of which a text is not UTF-8, field by field.
#[derive(Debug)]
pub(crate) struct Garbled {
    pub(crate) id: Vec<u8>,
    pub(crate) fields: Vec<Pair>,
}

impl Fresh {
    /// Takes over the texts of a job, without copying them: one after the other the id, the name, the moment at which the
    /// job was added (with a space and the priority behind it if it has one), the options, and the data unless they come
    /// apart. `lengths` has the lengths of the first four as digits to the base of 256; the last may be larger.
    ///
    /// Returns `None` if the lengths do not fit the text.
    pub(crate) fn read(text: Vec<u8>, lengths: u64, data: Option<Vec<u8>>) -> Option<Result<Self, Garbled>> {
        let digit = |place: u32| u16::from((lengths >> (8 * place)).to_le_bytes()[0]);
        let (name, moment) = (digit(0), digit(0) + digit(1));
        let opts = moment + digit(2);
        let rest = u32::from(opts) + u32::try_from(lengths >> 24).ok()?;
        let end = usize::try_from(rest).ok().filter(|end| *end <= text.len())?;
        let mut ranked = text[usize::from(moment)..usize::from(opts)].splitn(2, |byte| *byte == b' ');
        let timestamp = number(ranked.next().unwrap_or_default());
        let priority = number(ranked.next().unwrap_or_default()).unwrap_or(0);
        let garbled = |text: &[u8], data: Option<Vec<u8>>| {
            let part = |range: Range<u16>| text[usize::from(range.start)..usize::from(range.end)].to_vec();
            let ranked = part(moment..opts);
            let (timestamp, priority) =
                ranked.split_at(ranked.iter().position(|byte| *byte == b' ').unwrap_or(ranked.len()));
            let fields: [(&str, Vec<u8>); 5] = [
                ("name", part(name..moment)),
                ("opts", text[usize::from(opts)..end].to_vec()),
                ("data", data.unwrap_or_else(|| text[end..].to_vec())),
                ("timestamp", timestamp.to_vec()),
                ("priority", priority.to_vec()),
            ];
            Garbled { id: part(0..name), fields: fields.map(|(field, value)| (field.into(), value)).into() }
        };
        let text = match String::from_utf8(text) {
            Ok(text) => text,
            Err(error) => return Some(Err(garbled(error.as_bytes(), data))),
        };
        let starts = [usize::from(name), usize::from(moment), usize::from(opts), end];
        if !starts.iter().all(|start| text.is_char_boundary(*start)) {
            return Some(Err(garbled(text.as_bytes(), data)));
        }
        let data = match data.map(String::from_utf8).transpose() {
            Ok(data) => data,
            Err(error) => return Some(Err(garbled(text.as_bytes(), Some(error.into_bytes())))),
        };
        Some(Ok(Self { texts: Joined { text, name, moment, opts, rest, data }, timestamp, priority }))
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
        Fresh::read(text, lengths, data).unwrap()
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
        assert!(Fresh::read(b"7".to_vec(), 2, None).is_none());
        assert!(Fresh::read(b"7".to_vec(), u64::MAX, None).is_none());
        assert!(Fresh::read(Vec::new(), 0, None).is_some());
    }
}
