//! Which requests a rule applies to.

/// A predicate over a request.
type Wanted = dyn Fn(&[Vec<u8>]) -> bool + Send + Sync;

/// Selects the requests that a rule applies to.
pub struct Matcher {
    wanted: Box<Wanted>,
    skip: u64,
    times: u64,
}

impl Matcher {
    /// Matches the first request for whose command and arguments `wanted` is true.
    pub fn new(wanted: impl Fn(&[Vec<u8>]) -> bool + Send + Sync + 'static) -> Self {
        Self { wanted: Box::new(wanted), skip: 0, times: 1 }
    }

    /// Matches the first request of this command, e.g. `EVALSHA`.
    pub fn command(name: &'static str) -> Self {
        Self::new(move |args| args.first().is_some_and(|a| a.eq_ignore_ascii_case(name.as_bytes())))
    }

    /// Matches the first request in which one of the arguments contains `part`.
    pub fn mentions(part: impl Into<Vec<u8>>) -> Self {
        let part = part.into();
        Self::new(move |args| args.iter().any(|a| a.windows(part.len().max(1)).any(|w| w == part)))
    }

    /// Matches the first `n` instead of the first one.
    #[must_use]
    pub fn times(mut self, n: u64) -> Self {
        self.times = n;
        self
    }

    /// Lets the first `n` requests pass.
    #[must_use]
    pub fn skip(mut self, n: u64) -> Self {
        self.skip = n;
        self
    }

    pub(super) fn takes(&mut self, args: &[Vec<u8>]) -> bool {
        if self.times == 0 || !(self.wanted)(args) {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times -= 1;
        true
    }
}
