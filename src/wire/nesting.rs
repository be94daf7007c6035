//! Writes JSON that is nested no deeper than it can be read again.
//!
//! A value is written recursively, on the stack, and a stack that overflows ends the process with all of its jobs. So
//! what has more levels is refused. Text that is JSON already, a `RawValue`, is written as it is, however deep: it is
//! copied, and can be read again as text.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

use crate::error::MOST_LEVELS;

/// The bytes for which a text has room before it grows.
const ROOM: usize = 128;

/// Writes without spaces, and counts the levels.
#[derive(Default)]
struct Levels(usize);

impl Levels {
    fn enter<W: ?Sized + Write>(&mut self, writer: &mut W, begin: &[u8]) -> io::Result<()> {
        if self.0 == MOST_LEVELS {
            return Err(too_deep());
        }
        self.0 += 1;
        writer.write_all(begin)
    }

    fn leave<W: ?Sized + Write>(&mut self, writer: &mut W, end: &[u8]) -> io::Result<()> {
        self.0 -= 1;
        writer.write_all(end)
    }
}

#[cold]
fn too_deep() -> io::Error {
    io::Error::other(format!("it is nested more than {MOST_LEVELS} levels deep"))
}

impl Formatter for Levels {
    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter(writer, b"[")
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.leave(writer, b"]")
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.enter(writer, b"{")
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.leave(writer, b"}")
    }
}

/// Appends a value as JSON.
pub(crate) fn write<T: Serialize + ?Sized>(to: &mut Vec<u8>, value: &T) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(to, Levels::default()))
}

/// Returns a value as JSON.
pub(crate) fn text<T: Serialize + ?Sized>(value: &T) -> serde_json::Result<String> {
    let mut json = Vec::with_capacity(ROOM);
    write(&mut json, value)?;
    String::from_utf8(json).map_err(serde::ser::Error::custom)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::Value;
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Debug, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Tree {
        Leaf,
        Node(Box<Tree>),
        Pair(Box<Tree>, ()),
        Branch { of: Box<Tree> },
    }

    /// Returns a tree of as many levels of JSON, a level more if there is none of so many.
    fn tree(levels: usize) -> Tree {
        let (mut tree, mut depth) = (Tree::Leaf, 0);
        while depth < levels {
            (tree, depth) = match depth % 5 {
                0 => (Tree::Node(tree.into()), depth + 1),
                1 | 2 => (Tree::Branch { of: tree.into() }, depth + 2),
                _ => (Tree::Pair(tree.into(), ()), depth + 2),
            };
        }
        tree
    }

    fn nested(levels: usize) -> Value {
        (0..levels).fold(Value::Null, |inner, level| match level % 2 {
            0 => Value::Array(vec![inner]),
            _ => Value::Object([("a".to_owned(), inner)].into_iter().collect()),
        })
    }

    #[test]
    fn what_is_written_can_be_read_and_what_cannot_be_read_is_not_written() {
        for levels in 0..MOST_LEVELS + 8 {
            let value = nested(levels);
            assert_eq!(text(&value).is_ok(), levels <= MOST_LEVELS, "{levels}");
            let plain = serde_json::to_string(&value).unwrap();
            assert_eq!(text(&value).ok(), serde_json::from_str::<Value>(&plain).ok().map(|_| plain), "{levels}");
            let tree = tree(levels);
            let plain = serde_json::to_string(&tree).unwrap();
            assert_eq!(text(&tree).ok(), serde_json::from_str::<Tree>(&plain).ok().map(|_| plain), "{levels}");
        }
        // Levels beside each other are not above each other.
        let wide = vec![nested(MOST_LEVELS - 1); 3];
        assert_eq!(text(&wide).unwrap(), serde_json::to_string(&wide).unwrap());
    }

    #[test]
    fn what_no_stack_could_hold_is_refused() {
        let value = std::mem::ManuallyDrop::new(nested(1_000_000));
        let error = text(&*value).unwrap_err();
        assert_eq!(error.to_string(), "it is nested more than 127 levels deep");
    }

    #[test]
    fn json_that_is_text_may_be_as_deep_as_it_likes() {
        let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
        let raw: Box<RawValue> = serde_json::from_str(&deep).unwrap();
        assert_eq!(text(&raw).unwrap(), deep);
    }
}
