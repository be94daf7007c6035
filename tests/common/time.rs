//! The time as jobs store it: milliseconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oxmq::client::Clock;

/// Returns the time of the clock that stamps jobs.
pub fn now_ms() -> u64 {
    let now = Clock::system().now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the end of all time")
}

/// Returns the time that many milliseconds after the start of 1970.
pub fn moment(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).expect("after 1970"))
}
