//! Catches panics of processors, and records where they happened.
//!
//! `catch_unwind` returns the text of a panic, but not its place; only a panic hook sees that. So one hook for the
//! process is set in front of the hook that was there when the first worker started, which it always calls. It records
//! a place only on a thread that is polling an attempt; all other panics pass through. If a program sets another hook
//! later that does not call ours, only the places are lost.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Once;
use std::task::Poll;

/// A panic that was caught.
#[derive(Debug)]
pub(crate) struct Panic {
    pub(crate) text: String,
    /// `file:line:column`, if the hook has seen it.
    pub(crate) place: Option<String>,
}

thread_local! {
    /// How many attempts this thread polls; more than one if a processor runs a future of its own to the end.
    static POLLING: Cell<u32> = const { Cell::new(0) };
    /// Where the last panic during such a poll happened. Written by the hook, cleared before each poll and by whoever
    /// catches the panic.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Sets our hook in front of the present one, once per process.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    // A panicking thread must not change the hook; a later worker sets it.
    if std::thread::panicking() {
        return;
    }
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // While a thread ends, its thread-locals may be gone, and a hook must not panic.
            if POLLING.try_with(Cell::get).unwrap_or(0) > 0
                && let Some(location) = info.location()
            {
                let place = location.to_string();
                let _ = PLACE.try_with(|last| last.try_borrow_mut().map(|mut last| *last = Some(place)));
            }
            before(info);
        }));
    });
}

/// Marks this thread as polling an attempt, for as long as it lives.
struct Polling;

impl Polling {
    fn begin() -> Self {
        POLLING.with(|polling| polling.set(polling.get() + 1));
        PLACE.with_borrow_mut(|last| *last = None);
        Self
    }
}

impl Drop for Polling {
    fn drop(&mut self) {
        POLLING.with(|polling| polling.set(polling.get() - 1));
    }
}

/// Runs a future to its end or to its panic.
pub(crate) async fn catch<T>(future: impl Future<Output = T>) -> Result<T, Panic> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| {
        let polling = Polling::begin();
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        drop(polling);
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(payload) => Poll::Ready(Err(Panic::of(payload))),
        }
    })
    .await
}

impl Panic {
    fn of(payload: Box<dyn Any + Send>) -> Self {
        let place = PLACE.take();
        let text =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("a payload that is no text").to_owned();
        drop_guarded(payload);
        Self { text, place }
    }
}

/// Drops a value of the user, whose `Drop` may panic.
pub(crate) fn drop_guarded<T>(value: T) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(value))) {
        std::mem::forget(again);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn caught(f: impl FnOnce()) -> Panic {
        catch(async { f() }).now_or_never().unwrap().unwrap_err()
    }

    #[test]
    fn a_panic_is_caught_with_its_text_and_place() {
        watch();
        watch();
        let panic = caught(|| panic!("a width of {}", 0));
        let line = line!() - 1;
        assert_eq!(panic.text, "a width of 0");
        assert!(panic.place.as_ref().is_some_and(|place| place.contains(&format!("panics.rs:{line}:"))), "{panic:?}");
    }

    #[test]
    fn a_place_is_never_that_of_another_panic() {
        watch();
        // Outside of any poll, and of a future that its own code has caught.
        drop(catch_unwind(|| panic!("elsewhere")));
        let passed_on = caught(|| std::panic::resume_unwind(Box::new("passed on")));
        assert_eq!((passed_on.text.as_str(), passed_on.place), ("passed on", None));
        let outer = caught(|| {
            drop(caught(|| panic!("inner")));
            panic!("outer")
        });
        assert_eq!(outer.text, "outer");
        assert!(outer.place.is_some());
        assert_eq!(POLLING.get(), 0);
    }

    #[test]
    fn a_payload_that_panics_as_it_is_dropped_does_no_harm() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("a second time");
            }
        }
        assert_eq!(caught(|| std::panic::panic_any(Bomb)).text, "a payload that is no text");
    }
}
