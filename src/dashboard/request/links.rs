//! The paths of the pages, which can hold any name and id, below wherever the dashboard is mounted.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::state::JobState;

/// The characters that are not escaped in a segment of a path, or in a query.
const PLAIN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Builds the paths of all pages; holds the base, which comes first.
#[derive(Debug, Clone)]
pub(in crate::dashboard) struct Links(pub(in crate::dashboard) String);

impl Links {
    /// Returns the list of queues. A nested axum router at `/queues` does not answer at `/queues/`.
    pub(in crate::dashboard) fn home(&self) -> String {
        if self.0.is_empty() { "/".to_owned() } else { self.0.clone() }
    }

    pub(in crate::dashboard) fn to(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    pub(in crate::dashboard) fn queue(&self, queue: &str) -> String {
        format!("{}/queue/{}", self.0, segment(queue))
    }

    pub(in crate::dashboard) fn part(&self, queue: &str, part: &str) -> String {
        format!("{}/{part}", self.queue(queue))
    }

    pub(in crate::dashboard) fn state(&self, queue: &str, state: JobState) -> String {
        format!("{}?state={state}", self.queue(queue))
    }

    pub(in crate::dashboard) fn job(&self, queue: &str, id: &str) -> String {
        format!("{}/job/{}", self.queue(queue), segment(id))
    }
}

/// Writes a name as a segment of a path. Browsers resolve `.` and `..`, even if escaped, so these get a mark, and so
/// does a name that begins with the mark.
pub(in crate::dashboard) fn segment(name: &str) -> String {
    let mark = if matches!(name, "." | "..") || name.starts_with('=') { "=" } else { "" };
    format!("{mark}{}", query(name))
}

/// Returns the name of a segment, whose percent signs are decoded already.
pub(in crate::dashboard) fn unsegment(segment: &str) -> &str {
    segment.strip_prefix('=').unwrap_or(segment)
}

/// Writes a text as a value in a query.
pub(in crate::dashboard) fn query(text: &str) -> String {
    utf8_percent_encode(text, PLAIN).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_comes_back() {
        for name in [".", "..", "=", "==", "=..", "a/b", "a?b#c", "é ü", "%2e", "<script>", "\"'&", "a+b", "..."] {
            let path = segment(name);
            assert!(path != "." && path != ".." && !path.contains(['/', '?', '#', '<', '"', ' ']), "{path}");
            let decoded = percent_encoding::percent_decode_str(&path).decode_utf8().unwrap();
            assert_eq!(unsegment(&decoded), name);
        }
    }
}
