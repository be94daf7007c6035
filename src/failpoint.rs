//! Places where unit tests let a task or thread of ours panic. Elsewhere this does nothing.

use crate::keys::QueueKeys;

#[cfg(not(test))]
#[inline]
pub(crate) fn hit(_place: &'static str, _keys: &QueueKeys) {}

#[cfg(test)]
pub(crate) use armed::{arm, hit, is_armed};

#[cfg(test)]
mod armed {
    use crate::sync::Lock;

    use super::QueueKeys;

    /// Places that panic once, each for one queue.
    static ARMED: Lock<Vec<(&str, String)>> = Lock::new(Vec::new());

    pub(crate) fn arm(place: &'static str, keys: &QueueKeys) {
        ARMED.lock().push((place, keys.base().to_owned()));
    }

    pub(crate) fn is_armed(place: &'static str, keys: &QueueKeys) -> bool {
        let armed = ARMED.lock();
        armed.iter().any(|(at, base)| *at == place && base == keys.base())
    }

    pub(crate) fn hit(place: &'static str, keys: &QueueKeys) {
        let mut armed = ARMED.lock();
        if let Some(found) = armed.iter().position(|(at, base)| *at == place && base == keys.base()) {
            armed.swap_remove(found);
            drop(armed);
            panic!("failpoint {place}");
        }
    }
}
