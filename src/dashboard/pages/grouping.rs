//! Groups queues by the part of their names before a delimiter.

/// What stands between the name of a group and the rest of a queue's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delimiter {
    pub(super) text: &'static str,
}

pub(super) const DELIMITERS: [Delimiter; 4] =
    [Delimiter { text: "." }, Delimiter { text: "-" }, Delimiter { text: "_" }, Delimiter { text: "/" }];

/// Some queues whose names begin alike.
pub(super) struct Group<'a, T> {
    /// How their names begin, with the delimiter.
    pub(super) name: &'a str,
    pub(super) members: &'a [T],
}

/// Returns the delimiter that the address names.
pub(super) fn delimiter(text: Option<&str>) -> Option<Delimiter> {
    DELIMITERS.into_iter().find(|delimiter| Some(delimiter.text) == text)
}

/// Returns the group of a name, with the delimiter; names without one stand alone.
fn group_of(name: &str, by: Delimiter) -> Option<&str> {
    name.find(by.text).map(|at| &name[..at + by.text.len()])
}

/// Brings the queues of each group together, in the order in which the first of each stands, and otherwise as they are.
pub(super) fn gather<T>(rows: &mut [T], by: Option<Delimiter>, name: impl Fn(&T) -> &String) {
    let Some(by) = by else { return };
    let key = |row: &T| group_of(name(row), by).unwrap_or(name(row)).to_owned();
    let mut first = std::collections::HashMap::new();
    for (at, row) in rows.iter().enumerate() {
        first.entry(key(row)).or_insert(at);
    }
    rows.sort_by_key(|row| first[&key(row)]);
}

/// Returns the group that begins at this place, or that goes on there at the head of a page, if it has several queues.
pub(super) fn begins<'a, T>(
    rows: &'a [T],
    at: usize,
    is_head: bool,
    by: Option<Delimiter>,
    name: impl Fn(&'a T) -> &'a String,
) -> Option<Group<'a, T>> {
    let by = by?;
    let of = |at: usize| rows.get(at).and_then(|row| group_of(name(row), by));
    let group = of(at)?;
    let begin = (0..=at).rev().take_while(|at| of(*at) == Some(group)).last()?;
    let end = (at..rows.len()).take_while(|at| of(*at) == Some(group)).last()? + 1;
    ((begin == at || is_head) && end - begin > 1).then(|| Group { name: group, members: &rows[begin..end] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_of_a_group_stand_together() {
        let dot = delimiter(Some("."));
        let mut rows = ["b.2", "x", "a.1", "b.1", "a.2", "c.1"].map(str::to_owned);
        gather(&mut rows, dot, |row| row);
        assert_eq!(rows, ["b.2", "b.1", "x", "a.1", "a.2", "c.1"]);
        let begin =
            |at, is_head| begins(&rows, at, is_head, dot, |row| row).map(|group| (group.name, group.members.len()));
        assert_eq!(
            (0..6).map(|at| begin(at, false)).collect::<Vec<_>>(),
            [Some(("b.", 2)), None, None, Some(("a.", 2)), None, None]
        );
        // A page that begins within a group names it again; one queue alone is no group.
        assert_eq!([begin(1, true), begin(2, true), begin(5, true)], [Some(("b.", 2)), None, None]);
        assert!(delimiter(Some(":")).is_none() && begins(&rows, 0, true, None, |row| row).is_none());
    }
}
