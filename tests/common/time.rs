//! The time as jobs hold it: milliseconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oxmq::client::Clock;

/// What time it is by the clock that stamps jobs.
pub fn now_ms() -> u64 {
    let now = Clock::system().now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the end of all time")
}

/// The moment so many milliseconds after 1970 began.
pub fn moment(ms: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(ms).expect("after 1970"))
}
