//! What a worker gives to the jobs that it fetches.

use tokio_util::sync::CancellationToken;

use crate::options::WorkerOptions;

/// The worker that a job was fetched by, as far as the job has to know it.
#[derive(Default)]
pub(crate) struct Host {
    pub(crate) options: WorkerOptions,
    /// Cancelled when the worker begins to close; never, if jobs are fetched by hand.
    pub(crate) closing: CancellationToken,
}

impl Host {
    pub(crate) fn new(options: WorkerOptions) -> Self {
        Self { options, closing: CancellationToken::new() }
    }
}
