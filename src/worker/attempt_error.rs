//! The error of a failed attempt, as listeners receive it.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use super::panics::drop_guarded;
use crate::error::BoxError;

/// The error of a failed attempt, shared by all listeners.
///
/// It derefs to the error itself, so `error.downcast_ref::<MyError>()` and `error.source()` work. `Debug` shows only
/// the text, since the error's fields may hold the job's data.
#[derive(Clone)]
pub struct AttemptError(Arc<Guarded>);

struct Guarded(Option<BoxError>);

impl Drop for Guarded {
    fn drop(&mut self) {
        // The last holder may be the worker's loop, which must not be ended by a panic in the user's `Drop`.
        drop_guarded(self.0.take());
    }
}

impl From<BoxError> for AttemptError {
    fn from(error: BoxError) -> Self {
        Self(Arc::new(Guarded(Some(error))))
    }
}

impl std::ops::Deref for AttemptError {
    type Target = dyn StdError + Send + Sync + 'static;

    fn deref(&self) -> &Self::Target {
        self.0.0.as_deref().expect("taken out in `drop` only")
    }
}

impl serde::Serialize for AttemptError {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&**self, f)
    }
}

impl fmt::Debug for AttemptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttemptError({:?})", self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("sending: {0}")]
    struct Sending(#[source] std::io::Error);

    #[test]
    fn an_error_can_be_asked_what_it_is_and_shows_its_text_only() {
        let error = AttemptError::from(BoxError::from(Sending(std::io::Error::other("no"))));
        assert!(error.clone().downcast_ref::<Sending>().is_some() && error.source().is_some());
        assert_eq!(format!("{error:?} {error}"), r#"AttemptError("sending: no") sending: no"#);
    }
}
