//! The id of an entry in an event stream.

use std::fmt;
use std::str::FromStr;

/// The place of an event in its queue's stream: `<milliseconds>-<number>`, in the server's time.
///
/// Ids are ordered as the events happened. Store the last one seen to continue from there after a restart.
///
/// ```
/// use oxmq::events::EventId;
///
/// let id: EventId = "1700000000000-3".parse()?;
/// assert!(id < EventId::new(1_700_000_000_001, 0));
/// assert_eq!(id.to_string(), "1700000000000-3");
/// # Ok::<_, oxmq::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId {
    ms: u64,
    number: u64,
}

impl serde::Serialize for EventId {
    /// Writes `<ms>-<number>`, as Redis does.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl EventId {
    /// `0-0`, which comes before every event.
    pub const ZERO: Self = Self::new(0, 0);

    /// Creates the id with this time, in milliseconds since the Unix epoch, and this number within the millisecond.
    #[must_use]
    pub const fn new(ms: u64, number: u64) -> Self {
        Self { ms, number }
    }

    /// Returns when the server wrote the event, in milliseconds since the Unix epoch.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.ms
    }

    /// Returns which of the events of its millisecond it is, from 0.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.number
    }

    /// Reads an id as Redis sends it.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let (ms, number) = text.split_once('-').unwrap_or((text, "0"));
        Some(Self { ms: digits(ms)?, number: digits(number)? })
    }
}

/// Reads digits only; `parse` alone would accept a plus sign.
fn digits(text: &str) -> Option<u64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

impl FromStr for EventId {
    type Err = crate::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::decode(text.as_bytes()).ok_or_else(|| crate::Error::invalid("event_id", "it must be <ms>-<number>"))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_and_ordered_as_redis_does() {
        let id = |text: &str| text.parse::<EventId>().unwrap();
        assert_eq!(id("5"), EventId::new(5, 0));
        assert!(id("9-11") < id("10-2") && id("10-2") < id("10-11"));
        assert_eq!(id("18446744073709551615-18446744073709551615").to_string().len(), 41);
        for bad in ["", "-", "5-", "-5", "$", "+", "+5-1", "5-1-1", "18446744073709551616-0"] {
            assert!(bad.parse::<EventId>().is_err(), "{bad}");
        }
    }
}
