//! Reads the clients in the reply of `CLIENT LIST`, and the workers that have no connection of their own.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// One client of the server, as `CLIENT LIST` describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// All fields, in the server's order. `name` is the name of the queue, `rawname` that of the client.
    pub fields: Vec<(String, String)>,
}

impl serde::Serialize for ClientInfo {
    /// Writes the fields by their names, as BullMQ's `getWorkers` returns them.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        crate::wire::json::as_map(&self.fields, serializer)
    }
}

impl ClientInfo {
    /// Returns the value of one field.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        self.fields.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str())
    }

    /// Returns whether the client has chosen this database, as far as the server tells.
    pub(crate) fn is_in(&self, db: i64) -> bool {
        self.get("db").is_none_or(|chosen| chosen.parse() == Ok(db))
    }
}

/// Reads one line of `CLIENT LIST`; `None` if its name is not one of ours.
pub(super) fn read(line: &str, queue: &str, is_ours: impl Fn(&str) -> bool) -> Option<ClientInfo> {
    let mut fields: Vec<(String, String)> = Vec::new();
    let mut raw = None;
    for field in line.split_ascii_whitespace() {
        let (name, value) = field.split_once('=').unwrap_or((field, ""));
        if name == "name" {
            raw = Some(value.to_owned()).filter(|value| is_ours(value));
            fields.push((name.to_owned(), queue.to_owned()));
        } else {
            fields.push((name.to_owned(), value.to_owned()));
        }
    }
    fields.push(("rawname".to_owned(), raw?));
    Some(ClientInfo { fields })
}

/// The start of the name of a connection that lists workers without one. After it come the names that their own
/// connections would have, separated by commas, each with `*` and a number if several workers have it.
const MANY: &str = "oxmq-workers:";

/// Returns the name of a connection that lists workers with these names.
pub(crate) fn name_of_many(workers: &BTreeMap<String, usize>) -> String {
    let quoted = |name: &str| name.replace('%', "%25").replace(',', "%2C").replace('*', "%2A");
    let each = workers.iter().map(|(name, number)| match number {
        1 => quoted(name),
        number => format!("{}*{number}", quoted(name)),
    });
    MANY.to_owned() + &each.collect::<Vec<_>>().join(",")
}

/// Splits a line of `CLIENT LIST`: a connection that lists several workers becomes a line for each.
pub(super) fn each_worker(line: &str) -> Vec<Cow<'_, str>> {
    let Some(from) = line.find(&format!(" name={MANY}")) else { return vec![Cow::Borrowed(line)] };
    let (before, rest) = line.split_at(from);
    let named = &rest[" name=".len() + MANY.len()..];
    let (names, after) = named.split_once(' ').unwrap_or((named, ""));
    let mut lines = Vec::new();
    for name in names.split(',').filter(|name| !name.is_empty()) {
        let (name, number) = name.split_once('*').unwrap_or((name, "1"));
        let name = name.replace("%2A", "*").replace("%2C", ",").replace("%25", "%");
        let shown = format!("{before} name={name} {after}");
        let number = number.parse::<usize>().map_or(0, |number| number.min(MOST));
        lines.extend(std::iter::repeat_n(Cow::Owned(shown), number));
    }
    lines
}

/// The most workers of one name that are believed.
const MOST: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_without_a_connection_are_read_from_the_name_of_another() {
        let (plain, odd) = ("bull:cQ==:w:host:7", "a,b*%2C:cQ==:w:%20x");
        let name = name_of_many(&[(plain.to_owned(), 3), (odd.to_owned(), 1)].into());
        let line = format!("id=5 addr=127.0.0.1:9 name={name} age=1 cmd=client|setname");
        let lines = each_worker(&line);
        let found =
            |wanted: &str| lines.iter().filter_map(|line| read(line, "q", |name| name == wanted)).collect::<Vec<_>>();
        assert_eq!((lines.len(), found(plain).len(), found(odd).len()), (4, 3, 1));
        let one = &found(odd)[0];
        assert_eq!((one.get("name"), one.get("rawname"), one.get("age")), (Some("q"), Some(odd), Some("1")));
        let in_db = |db: &str| read(&format!("id=5 name={plain}{db}"), "q", |_| true).unwrap().is_in(3);
        assert_eq!(["", " db=3", " db=0", " db=33"].map(in_db), [true, true, false, false]);
        for other in ["id=5 name=bull:cQ==:w:x age=1", "id=5 name= age=1", ""] {
            assert_eq!(each_worker(other), [other]);
        }
        assert_eq!(each_worker("id=5 name=oxmq-workers: age=1").len(), 0);
        assert_eq!(each_worker("id=5 name=oxmq-workers:a*99999999999999999999999,b*-1 age=1").len(), 0);
    }
}
