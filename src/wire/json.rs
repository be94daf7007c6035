//! JSON as text, and single values as JavaScript, Lua and ports in other languages write them.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::Serialize;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::nesting;
use crate::error::Error;

/// A JSON value as the text in which it is stored.
///
/// It is parsed only on demand, so that nothing is lost: no digit of a long number, no half of a surrogate pair. A text
/// written by another program may not be JSON at all; then [`parse`](Self::parse) fails.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JsonText(Cow<'static, str>);

thread_local! {
    /// Where values are written before it is known how long they are.
    static WRITTEN: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// The most bytes for which that buffer is kept.
const LARGEST: usize = 64 * 1024;

/// Writes fields by name, in their order.
pub(crate) fn as_map<T: Serialize, S: serde::Serializer>(
    fields: &[(String, T)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(fields.iter().map(|(name, value)| (name, value)))
}

/// Writes stored JSON as the value that it holds; a text that is not JSON is written as a string.
pub(crate) struct Raw<'a>(pub(crate) &'a str);

impl Serialize for Raw<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_str::<&RawValue>(self.0) {
            Ok(value) => value.serialize(serializer),
            Err(_) => serializer.serialize_str(self.0),
        }
    }
}

impl Serialize for JsonText {
    /// Writes the value that the text holds; a text that is not JSON is written as a string.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Raw(&self.0).serialize(serializer)
    }
}

impl JsonText {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(Cow::Owned(text.into()))
    }

    /// Writes a value as JSON.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if it cannot be written as JSON, or is nested more than 127 levels deep: nobody could read it
    /// again.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Self, Error> {
        Self::written("value", value)
    }

    /// Writes a value as JSON; an error names what the value is. The text has no room to grow, and `null` takes none.
    pub(crate) fn written<T: Serialize + ?Sized>(what: &'static str, value: &T) -> Result<Self, Error> {
        // Taken and put back, since a value that is written may write others.
        let mut buffer = WRITTEN.try_with(Cell::take).unwrap_or_default();
        buffer.clear();
        nesting::write(&mut buffer, value).map_err(Error::json(what))?;
        let read = |bytes| String::from_utf8(bytes).map_err(serde::ser::Error::custom).map_err(Error::json(what));
        if buffer.len() > LARGEST {
            return read(buffer).map(|text| Self(text.into()));
        }
        let text = if buffer == b"null" { Ok("null".into()) } else { read(buffer.as_slice().into()).map(Cow::Owned) };
        let _ = WRITTEN.try_with(|kept| kept.set(buffer));
        text.map(Self)
    }

    /// Returns the text as it is stored.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Reads the value.
    ///
    /// # Errors
    ///
    /// [`Error::Json`] if the text is not JSON, or JSON of another shape.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Error> {
        read("stored value", &self.0)
    }
}

impl fmt::Display for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a value; if it does not fit its type, the error names the field.
///
/// BullMQ stores `{}` for a job without data, so that is also read as `()` and as a unit struct. Half of a surrogate pair
/// is read as `�`.
pub(crate) fn read<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, Error> {
    serde_json::from_str(text).or_else(|cause| {
        if let Some(whole) = without_halves(text) {
            return read(what, &whole);
        }
        match serde_json::from_str("null") {
            Ok(nothing) if size_of::<T>() == 0 && text == "{}" => Ok(nothing),
            _ => Err(Error::Json { what, job: None, path: path_of_fault::<T>(text), cause }),
        }
    })
}

/// Returns JSON with `�` in place of each half of a surrogate pair; `None` if there is none.
///
/// JavaScript writes a half where a text was cut in the middle of an emoji, and reads it back. A `String` cannot hold it.
fn without_halves(json: &str) -> Option<String> {
    let bytes = json.as_bytes();
    let mut whole = String::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += found;
        at += match (escaped(bytes, at), escaped(bytes, at + 6)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                whole.push_str(&json[copied..at]);
                whole.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            _ => 2,
        };
    }
    (copied > 0).then(|| whole + &json[copied..])
}

/// Returns the number of an escape `\uXXXX` that begins here.
fn escaped(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Of a path with more steps only the first and the last of them are told, half of these each.
const MOST_STEPS: usize = 12;

/// Returns the path at which the text does not fit the type. The text is parsed a second time for this, since tracking
/// the path would slow down every good value.
fn path_of_fault<T: DeserializeOwned>(text: &str) -> Option<String> {
    use serde_path_to_error::Segment;
    let mut reader = serde_json::Deserializer::from_str(text);
    let error = serde_path_to_error::deserialize::<_, T>(&mut reader).err()?;
    let mut path = String::new();
    let middle = MOST_STEPS / 2..error.path().iter().len().saturating_sub(MOST_STEPS / 2);
    for (step, segment) in error.path().iter().enumerate() {
        match segment {
            _ if step == middle.start && !middle.is_empty() => path.push('…'),
            _ if middle.contains(&step) => {}
            Segment::Seq { index } => path.push_str(&format!("[{index}]")),
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                let is_name = name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-$".contains(c));
                path.push_str(if path.is_empty() { "" } else { "." });
                path.push_str(if is_name { name } else { "…" });
            }
            Segment::Unknown => path.push_str(".?"),
        }
    }
    Some(path).filter(|path| !path.is_empty())
}

/// A JSON string. Half of a surrogate pair, which JavaScript allows and UTF-8 does not, becomes `�`.
pub(crate) struct Text<'a>(pub(crate) Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;

        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Text(String::from_utf8_lossy(bytes)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(String::from_utf8_lossy(bytes).into_owned())))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        // As bytes, since only then serde_json accepts half of a surrogate pair.
        deserializer.deserialize_bytes(TextVisitor)
    }
}

/// Calls `each` with every name and value of a JSON object, in order, without parsing the values.
///
/// The outer error is about the JSON, the inner one is that of `each`.
pub(crate) fn object<'a>(
    json: &'a str,
    each: impl FnMut(&str, &'a RawValue) -> Result<(), String>,
) -> Result<(), String> {
    struct Entries<F>(F);

    impl<'de, F: FnMut(&str, &'de RawValue) -> Result<(), String>> Visitor<'de> for Entries<F> {
        type Value = Result<(), String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut outcome = Ok(());
            // Continues to the end after a problem, so that broken JSON is told apart from a bad value.
            while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                if outcome.is_ok() {
                    outcome = (self.0)(&name, value);
                }
            }
            Ok(outcome)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(json);
    let outcome = (&mut deserializer).deserialize_map(Entries(each)).map_err(|error| error.to_string())?;
    deserializer.end().map_err(|error| error.to_string())?;
    outcome
}

/// Returns the text of a JSON string; `None` for any other value.
pub(crate) fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(value.get()).ok().map(|text| text.0)
}

/// Returns the text of a JSON string or number, as JavaScript would put it into a key.
pub(crate) fn id(value: &RawValue) -> Option<String> {
    match value.get().as_bytes().first() {
        Some(b'"') => string(value).map(Cow::into_owned),
        Some(b'-' | b'0'..=b'9') => Some(match number(value) {
            Some(number) if number.fract() == 0.0 && number.abs() < 1e21 => format!("{number:.0}"),
            _ => value.get().to_owned(),
        }),
        _ => None,
    }
}

/// Reads a number, a string that holds one, or a boolean as JavaScript counts it. Never NaN.
pub(crate) fn number(value: &RawValue) -> Option<f64> {
    let json = value.get();
    match json.as_bytes().first() {
        Some(b'-' | b'0'..=b'9') => json.parse().ok(),
        Some(b't') => Some(1.0),
        Some(b'f') => Some(0.0),
        Some(b'"') => string(value)?.trim().parse().ok().filter(|number: &f64| !number.is_nan()),
        _ => None,
    }
}

/// Returns whether the value is true in JavaScript.
pub(crate) fn truthy(value: &RawValue) -> bool {
    match value.get().as_bytes().first() {
        Some(b'n' | b'f') => false,
        Some(b'"') => value.get() != "\"\"",
        Some(b'-' | b'0'..=b'9') => number(value).is_some_and(|number| number != 0.0),
        _ => true,
    }
}

/// Returns whether the value is an empty object or array; Lua does not distinguish them.
pub(crate) fn empty(value: &RawValue) -> bool {
    let json = value.get();
    matches!(json.as_bytes().first(), Some(b'{' | b'[')) && json[1..json.len() - 1].trim_ascii().is_empty()
}

/// Rounds towards zero to an integer, saturating; 0 for NaN.
#[expect(clippy::cast_possible_truncation, reason = "a float saturates, which is what is wanted")]
pub(crate) fn integer(number: f64) -> i64 {
    number as i64
}

/// Returns the count that a number stands for: 0 if it is negative or NaN, the largest if it is too large.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float saturates, which is what is wanted"
)]
pub(crate) fn count(number: f64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_without_data_is_read_as_nothing() {
        #[derive(Debug, PartialEq, serde::Deserialize)]
        struct Nightly;

        assert_eq!(read::<()>("data", "{}").unwrap(), ());
        assert_eq!(read::<Nightly>("data", "{}").unwrap(), Nightly);
        assert_eq!(read::<Nightly>("data", "null").unwrap(), Nightly);
        assert!(read::<()>("data", r#"{"a":1}"#).is_err());
        // Where there may be data, none is not made of something else.
        assert!(read::<Option<u32>>("data", "{}").is_err());
    }

    fn raw(json: &str) -> &RawValue {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn numbers_in_every_disguise() {
        for (json, meant) in [
            ("3", Some(3.0)),
            ("-2.5", Some(-2.5)),
            ("1.7976931348623e+308", Some(1.7976931348623e308)),
            ("1e999", Some(f64::INFINITY)),
            ("123456789012345678901234567890", Some(1.2345678901234568e29)),
            ("\"7\"", Some(7.0)),
            ("\" 7 \"", Some(7.0)),
            ("\"\\u0037\"", Some(7.0)),
            ("true", Some(1.0)),
            ("false", Some(0.0)),
            ("null", None),
            ("\"\"", None),
            ("\"NaN\"", None),
            ("\"7 apples\"", None),
            ("[7]", None),
            ("{}", None),
        ] {
            assert_eq!(number(raw(json)), meant, "{json}");
        }
    }

    #[test]
    fn truth_is_javascripts() {
        for yes in ["true", "1", "-1", "0.1", "\"false\"", "[]", "{}"] {
            assert!(truthy(raw(yes)), "{yes}");
        }
        for no in ["false", "null", "0", "-0", "0.0", "\"\""] {
            assert!(!truthy(raw(no)), "{no}");
        }
    }

    #[test]
    fn ids_may_be_numbers() {
        for (json, meant) in
            [("42", Some("42")), ("1e3", Some("1000")), ("1.5", Some("1.5")), ("\"a\\n\"", Some("a\n"))]
        {
            assert_eq!(id(raw(json)).as_deref(), meant);
        }
        assert_eq!(id(raw("true")), None);
    }

    #[test]
    fn half_a_surrogate_is_no_reason_to_stop() {
        let mut seen = Vec::new();
        object(r#"{"\ud83d":"\udc00 x","y":"\ud83d\ude00"}"#, |name, value| {
            seen.push((name.to_owned(), string(value).unwrap().into_owned()));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen[0].1.chars().last(), Some('x'));
        assert_eq!(seen[1], ("y".to_owned(), "😀".to_owned()));
    }

    #[test]
    fn halves_of_surrogates_are_read_as_replacements() {
        for (json, text) in [
            (r#""cut \ud83d""#, "cut �"),
            (r#""\uDE00\uD83D\uD83D\uDE00\ud83d\n""#, "��😀�\n"),
            (r#""\\ud83d \ud83d\"é""#, "\\ud83d �\"é"),
            (r#""\ud83d\u0041\ud83d\ud83d""#, "�A��"),
        ] {
            assert_eq!(read::<String>("data", json).unwrap(), text, "{json}");
            let inside: serde_json::Value = read("data", &format!("{{{json}:[{json}]}}")).unwrap();
            assert_eq!(inside[text][0], text);
        }
        // What is broken otherwise stays so, and is no reason to panic.
        for broken in [r#""\ud83d"#, r#""\ud83d \"#, r#""\ud83d \é""#, r#""\u+d83""#, r#""\ud8é""#, r#"[1,"\ud83d"]"#]
        {
            assert!(read::<String>("data", broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn of_a_long_path_the_ends_are_told() {
        #[derive(serde::Deserialize)]
        struct Arrays(#[expect(dead_code, reason = "only its type counts")] Vec<Self>);

        let path = |levels: usize| {
            let text = format!(r#"{{"a":{}true{}}}"#, "[".repeat(levels), "]".repeat(levels));
            path_of_fault::<std::collections::HashMap<String, Arrays>>(&text).unwrap()
        };
        assert_eq!(path(11), format!("a{}", "[0]".repeat(11)));
        assert_eq!(path(12), format!("a{}…{}", "[0]".repeat(5), "[0]".repeat(6)));
        assert_eq!(path(100), path(12));
        assert_eq!(path(1_000), path(12));
    }

    #[test]
    fn broken_json_wins_over_a_bad_value() {
        let bad = |_: &str, _: &RawValue| Err("bad".to_owned());
        assert_eq!(object("{\"a\":1}", bad), Err("bad".to_owned()));
        assert_ne!(object("{\"a\":1", bad), Err("bad".to_owned()));
        assert_ne!(object("{\"a\":1}}", bad), Err("bad".to_owned()));
    }
}
