//! What the compiler says where the `.await` behind an add was forgotten.

use std::future::Ready;
use std::time::Duration;

use super::Add;
use crate::error::Result;

/// No type is this: a method that asks for it cannot be called, and the compiler says why.
#[diagnostic::on_unimplemented(
    message = "this add has not been sent yet: there is no job before it is awaited",
    label = "write `.await?` before this",
    note = "`queue.add(..)` is a builder, `queue.add(..).await?` is the job"
)]
pub trait Sent {}

/// Methods of the job for which an add is most often taken.
#[doc(hidden)]
impl<D, R> Add<D, R> {
    pub fn id(&self) -> &str
    where
        Self: Sent,
    {
        ""
    }

    pub fn data(&self) -> Option<&D>
    where
        Self: Sent,
    {
        None
    }

    pub fn wait_until_finished(&self, _: Duration) -> Ready<Result<R>>
    where
        Self: Sent,
    {
        std::future::ready(Err(crate::Error::Closed))
    }
}
