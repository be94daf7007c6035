//! Shows JSON as a tree that can be folded, unchanged: numbers keep their digits, members their order.

use std::fmt;

use maud::{Markup, html};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How many values are shown; for the rest there is the raw text.
const MOST: usize = 2_000;

/// Values below this depth are folded at first.
const OPEN: usize = 3;

/// How many characters of one string are shown.
const LONGEST: usize = 10_000;

/// Shows a text as a tree of JSON; a text that is not JSON is shown as it is.
pub(in crate::dashboard) fn tree(text: &str) -> Markup {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(value) => {
            let mut left = MOST;
            html! { div.json { (node(None, value.get(), 0, &mut left)) } }
        }
        Err(_) => html! { pre.raw { (clip(text)) } },
    }
}

/// Members in their order, including those with the same name.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

fn node(name: Option<&str>, text: &str, depth: usize, left: &mut usize) -> Markup {
    *left = left.saturating_sub(1);
    let label = html! { @if let Some(name) = name { span.key { (clip(name)) } ": " } };
    match text.as_bytes().first() {
        Some(b'{') => {
            let members = serde_json::from_str::<Members<'_>>(text).map(|members| members.0).unwrap_or_default();
            let children = members.iter().map(|(name, value)| (Some(name.as_str()), value.get()));
            branch(&label, "{", "}", members.len(), children, depth, left)
        }
        Some(b'[') => {
            let items = serde_json::from_str::<Vec<&RawValue>>(text).unwrap_or_default();
            branch(&label, "[", "]", items.len(), items.iter().map(|item| (None, item.get())), depth, left)
        }
        _ => html! { div.leaf { (label) (leaf(text)) } },
    }
}

fn branch<'a>(
    label: &Markup,
    open: &str,
    close: &str,
    length: usize,
    children: impl Iterator<Item = (Option<&'a str>, &'a str)>,
    depth: usize,
    left: &mut usize,
) -> Markup {
    if length == 0 {
        return html! { div.leaf { (label) (open) (close) } };
    }
    let mut shown = Vec::new();
    // The writer chooses the depth, and each level is a recursive call.
    let mut children = children.take(if depth < 64 { usize::MAX } else { 0 });
    while *left > 0
        && let Some((name, text)) = children.next()
    {
        shown.push(node(name, text, depth + 1, left));
    }
    html! {
        details open[depth < OPEN] {
            summary { (label) (open) span.size { (length) } span.closed { " … " (close) } }
            div.members {
                @for child in &shown { (child) }
                @if shown.len() < length { div.leaf.faint { "… " (length - shown.len()) " more: see the raw text" } }
            }
            (close)
        }
    }
}

fn leaf(text: &str) -> Markup {
    let kind = match text.as_bytes().first() {
        Some(b'"') => "str",
        Some(b't' | b'f') => "bool",
        Some(b'n') => "null",
        _ => "num",
    };
    html! { span class=(kind) { (clip(text)) } }
}

/// Returns the beginning of a text that is too long.
pub(in crate::dashboard) fn clip(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(LONGEST) {
        None => text.into(),
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_they_were_written() {
        let page = tree(r#"{"z":12345678901234567890.10,"a":["<script>",{}],"z":null}"#).into_string();
        assert!(page.contains("12345678901234567890.10"), "{page}");
        assert!(page.contains("&lt;script&gt;") && !page.contains("<script>"), "{page}");
        assert!(page.find("12345678901234567890").unwrap() < page.find(">a<").unwrap());
        assert!(page.contains("null"));
    }

    #[test]
    fn what_is_no_json_is_shown_and_what_is_endless_is_cut() {
        assert!(tree("{oh <b>").into_string().contains("{oh &lt;b&gt;"));
        let long = tree(&format!("[{}1]", "1,".repeat(100_000))).into_string();
        assert!(long.len() < 200_000 && long.contains("more: see the raw text"));
        let deep = tree(&format!("{}1{}", "[".repeat(100), "]".repeat(100))).into_string();
        assert!(deep.contains("1 more: see the raw text"));
        assert!(tree(&format!("\"{}\"", "é".repeat(50_000))).into_string().contains("(100002 bytes)"));
    }
}
