//! The pattern of a scheduler and its zone: by `cron.rs` where the feature is there, refused where it is not.

/// A parsed pattern with its time zone.
#[derive(Debug, Clone)]
pub(super) struct Pattern {
    #[cfg(feature = "cron")]
    cron: super::cron::Cron,
    #[cfg(feature = "cron")]
    zone: super::cron::Zone,
}

#[cfg(feature = "cron")]
pub(super) fn check_zone(zone: Option<&str>) -> Result<(), String> {
    super::cron::Zone::parse(zone).map(drop)
}

#[cfg(feature = "cron")]
impl Pattern {
    pub(super) fn parse(pattern: &str, zone: Option<&str>, seed: Option<&str>) -> Result<Self, String> {
        if pattern.is_empty() {
            return Err("the pattern is empty".to_owned());
        }
        let zone = super::cron::Zone::parse(zone)?;
        Ok(Self { cron: super::cron::Cron::parse(pattern, seed)?, zone })
    }

    /// Returns the first time after a moment, both in ms.
    pub(super) fn next_after(&self, ms: u64) -> Option<u64> {
        self.cron.next_after(ms, &self.zone)
    }

    /// Returns whether it contains an `H`.
    pub(super) fn is_hashed(&self) -> bool {
        self.cron.is_hashed()
    }
}

#[cfg(not(feature = "cron"))]
pub(super) fn check_zone(_: Option<&str>) -> Result<(), String> {
    Ok(())
}

#[cfg(not(feature = "cron"))]
impl Pattern {
    pub(super) fn parse(pattern: &str, _: Option<&str>, _: Option<&str>) -> Result<Self, String> {
        Err(format!("the pattern '{pattern}' needs the feature `cron` of this crate"))
    }

    pub(super) fn next_after(&self, _: u64) -> Option<u64> {
        None
    }

    pub(super) fn is_hashed(&self) -> bool {
        false
    }
}

impl Pattern {
    /// Returns the first of the last `most` times after `from` that have passed at `now`; `None` if none has.
    pub(super) fn missed(&self, from: u64, now: u64, most: u64) -> Option<u64> {
        let first = self.next_after(from).filter(|first| *first <= now)?;
        // Whether more than `most` times are after a moment and not after now.
        let is_more = |after: u64| {
            let mut at = after;
            for _ in 0..=most {
                match self.next_after(at) {
                    Some(next) if next <= now => at = next,
                    _ => return false,
                }
            }
            true
        };
        if !is_more(from) {
            return Some(first);
        }
        // Times are whole seconds: this finds the earliest second after which there are at most `most`.
        let (mut low, mut high) = (from / 1000, now / 1000 + 1);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if is_more(middle * 1000) {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.next_after(high * 1000)
    }
}
