//! What sounds like a secret, and how it is covered.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// What stands in place of a value that is covered.
pub(in crate::dashboard) const COVER: &str = "●●●●●●";

/// Parts of names, in lower case and without separators, whose values are secrets.
const PARTS: [&str; 17] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "apikey",
    "accesskey",
    "privatekey",
    "credential",
    "cookie",
    "creditcard",
    "cardnumber",
    "sessionid",
    "jwt",
    "signature",
    "connectionstring",
];

/// Words of names whose values are secrets: as parts they stand in many others.
const WORDS: [&str; 5] = ["pass", "pwd", "cvv", "cvc", "ssn"];

/// Whole names whose values are secrets.
const NAMES: [&str; 3] = ["auth", "pin", "otp"];

/// Words that end as `dbpass` does, and are no secrets.
const NO_PASSWORDS: [&str; 6] = ["compass", "encompass", "bypass", "surpass", "overpass", "underpass"];

fn has_secret_part(name: &str) -> bool {
    let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    PARTS.iter().any(|part| plain.contains(part))
}

/// Returns whether the value of this name is a secret.
pub(in crate::dashboard) fn is_secret(name: &str) -> bool {
    NAMES.iter().any(|secret| name.eq_ignore_ascii_case(secret)) || has_secret_part(name) || has_secret_word(name)
}

/// Looks at each word of a name, as in `smtpPass`, `smtp_pass` and `smtp-pass`.
fn has_secret_word(name: &str) -> bool {
    let (mut word, mut was_lower) = (String::new(), false);
    // The end of the name ends its last word.
    for letter in name.chars().chain([' ']) {
        if !letter.is_ascii_alphabetic() || (was_lower && letter.is_ascii_uppercase()) {
            let is_password = word.ends_with("pass") && !NO_PASSWORDS.contains(&&*word);
            if is_password || WORDS.contains(&&*word) {
                return true;
            }
            word.clear();
        }
        if letter.is_ascii_alphabetic() {
            word.push(letter.to_ascii_lowercase());
        }
        was_lower = letter.is_ascii_lowercase();
    }
    false
}

/// Returns whether a name that sounds like a secret stands anywhere in a text.
pub(in crate::dashboard) fn sounds_secret(text: &str) -> bool {
    let text = &*unescaped(text);
    has_secret_part(text) || text.split(|letter| !is_of_a_name(letter)).any(is_secret)
}

/// Replaces letters that are written as escapes of JSON, such as `\u0061`, by themselves.
fn unescaped(text: &str) -> Cow<'_, str> {
    let mut parts = text.split("\\u00");
    let mut plain = Cow::Borrowed(parts.next().unwrap_or_default());
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(letter) => {
                plain.to_mut().push(char::from(letter));
                plain.to_mut().push_str(&part[2..]);
            }
            None => plain.to_mut().push_str(part),
        }
    }
    plain
}

fn is_of_a_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-')
}

/// Covers the values of names that sound like secrets, at any depth, and what texts tell of such.
pub(in crate::dashboard) fn cover(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                if is_secret(name) && !matches!(value, Value::Null | Value::Bool(_)) {
                    *value = Value::String(COVER.to_owned());
                } else {
                    cover(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(cover),
        Value::String(text) => {
            for without in [without_passwords, without_assigned] {
                if let Some(covered) = without(text) {
                    *text = covered;
                }
            }
        }
        _ => {}
    }
}

/// Returns the text with the passwords of its addresses covered, such as `redis://user:password@host`; none if it has
/// no such.
fn without_passwords(text: &str) -> Option<String> {
    let (mut covered, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        covered.push_str(before);
        let ends =
            |letter: char| letter.is_whitespace() || matches!(letter, '/' | '?' | '#' | '"' | '\'' | '<' | '>' | '\\');
        let authority = &after[..after.find(ends).unwrap_or(after.len())];
        let password = authority.rfind('@').and_then(|end| Some((authority[..end].find(':')? + 1, end)));
        match password {
            Some((start, end)) if start < end => {
                covered.push_str(&authority[..start]);
                covered.push_str(COVER);
                rest = &after[end..];
            }
            _ => rest = after,
        }
    }
    covered.push_str(rest);
    (covered != text).then_some(covered)
}

/// Returns the text with what stands behind names that sound like secrets covered, as in `?token=abc` and
/// `Authorization: Bearer abc`; none if it has no such.
fn without_assigned(text: &str) -> Option<String> {
    let (mut covered, mut rest) = (String::new(), text);
    while let Some(start) = rest.find(is_of_a_name) {
        let end = start + rest[start..].find(|letter| !is_of_a_name(letter)).unwrap_or(rest.len() - start);
        let (name, after) = (&rest[start..end], &rest[end..]);
        let value = value_of(name, after).filter(|(from, to)| from < to && &after[*from..*to] != COVER);
        let (from, to) = value.unwrap_or((0, 0));
        covered.push_str(&rest[..end + from]);
        if from < to {
            covered.push_str(COVER);
        }
        rest = &after[to..];
    }
    covered.push_str(rest);
    (covered != text).then_some(covered)
}

/// Returns from where to where the value behind a name stands, if it is a secret.
fn value_of(name: &str, after: &str) -> Option<(usize, usize)> {
    let is_quote = |letter: char| matches!(letter, '"' | '\'');
    let sign = after.trim_start_matches(is_quote).trim_start_matches(' ');
    // `pass: 3` counts tests in many a log, and `pass=3` hardly does.
    let is_told = if sign.starts_with('=') { is_secret(name) } else { sign.starts_with(':') && has_secret_part(name) };
    if !is_told || sign.starts_with("://") || sign.starts_with("==") {
        return None;
    }
    let mut value = sign[1..].trim_start_matches([' ', '>']).trim_start_matches(is_quote);
    let word = |text: &str| {
        text.find(|c: char| c.is_whitespace() || matches!(c, '&' | ',' | ';' | '"' | '\'' | ')' | ']' | '}' | '<'))
    };
    let from = after.len() - value.len();
    let mut to = from + word(value).unwrap_or(value.len());
    // What comes before the secret in a header says how it is meant.
    if ["bearer", "basic", "digest", "token"].iter().any(|scheme| after[from..to].eq_ignore_ascii_case(scheme)) {
        value = after[to..].trim_start_matches(' ');
        let next = after.len() - value.len();
        to = next + word(value).unwrap_or(value.len());
    }
    Some((from, to))
}

/// Returns all that a text of JSON says; `None` if it cannot be read, or if a part of it would be left out.
pub(in crate::dashboard) fn read(text: &str) -> Option<Value> {
    serde_json::from_str::<Whole>(text).ok().map(|whole| whole.0)
}

/// A value that has each member once: of two with one name the first would not be looked at, and yet be shown.
struct Whole(Value);

impl<'de> Deserialize<'de> for Whole {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Once).map(Whole)
    }
}

struct Once;

impl<'de> Visitor<'de> for Once {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut all = Vec::new();
        while let Some(Whole(item)) = items.next_element()? {
            all.push(item);
        }
        Ok(Value::Array(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let (mut all, mut names) = (Map::new(), HashSet::new());
        while let Some((name, Whole(value))) = members.next_entry::<String, _>()? {
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a name that stands twice"));
            }
            all.insert(name, value);
        }
        Ok(Value::Object(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_sound_like_secrets() {
        for name in [
            "pass",
            "smtpPass",
            "SMTP_PASS",
            "dbpass",
            "user-pwd",
            "jwt",
            "JWT",
            "cvv",
            "card_cvc",
            "ssn2",
            "userSSN",
            "auth",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["passenger", "passed", "kpi", "lesson", "classname", "compass", "author", "pinned", ""] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn passwords_of_addresses_are_covered() {
        let covered = |text: &str| without_passwords(text).unwrap_or_else(|| "–".to_owned());
        assert_eq!(covered("redis://me:hunter2@host:6379/0"), format!("redis://me:{COVER}@host:6379/0"));
        assert_eq!(covered("a amqp://:p@ss@h b https://x:y@z"), format!("a amqp://:{COVER}@h b https://x:{COVER}@z"));
        for plain in ["https://host:8080/@scope/a:b", "https://me@host", "a://b", "://", "no", "x://:@h"] {
            assert_eq!(covered(plain), "–", "{plain}");
        }
    }

    #[test]
    fn what_is_assigned_to_a_secret_name_is_covered() {
        let covered = |text: &str| without_assigned(text).unwrap_or_else(|| "–".to_owned()).replace(COVER, "*");
        assert_eq!(covered("GET /a?token=abc&b=1"), "GET /a?token=*&b=1");
        assert_eq!(covered("Authorization: Bearer abc.def, x"), "Authorization: *, x");
        assert_eq!(covered(r#"{"password": "abc", "a": 1}"#), r#"{"password": "*", "a": 1}"#);
        assert_eq!(covered("smtpPass='abc' pwd=x"), "smtpPass='*' pwd=*");
        for plain in ["Unexpected token < in JSON", "pass: 3 fail: 4", "token", "token=", "a=b", "", "é", "secret://x"]
        {
            assert_eq!(covered(plain), "–", "{plain}");
        }
    }

    #[test]
    fn what_is_read_is_read_whole() {
        assert_eq!(read(r#"{"a":[1,-1,1.5,null,true,"x\\ud83d"]}"#).unwrap()["a"][5], "x\\ud83d");
        let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
        for unreadable in [r#"{"a":1,"a":2}"#, "{", "", r#""\ud8"#, r#""\"#, r#""x\ud83d""#, &deep] {
            assert_eq!(read(unreadable), None, "{unreadable}");
        }
    }
}
