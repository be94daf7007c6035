//! One call to Redis as a value: what is sent, whether it may be sent again, and how its reply is read.

use std::time::Duration;

use redis::{Cmd, ToRedisArgs, Value};

use super::{Args, Script};
use crate::connection::{BlockingLink, CallFailure, Link, Waited, Watch};
use crate::keys::QueueKeys;

/// Whether a call whose reply was lost may be sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resend {
    /// The call changes nothing, so its outcome is never unknown.
    Reads,
    /// Sending the call twice does the same as sending it once.
    Safe,
    /// Sending the call twice could do harm, so after a lost reply the caller is told that the outcome is unknown.
    Never,
}

/// A call whose reply is a `T`.
pub(crate) struct Call<T> {
    /// The name of the operation, as it appears in errors.
    pub(crate) op: &'static str,
    pub(crate) resend: Resend,
    pub(crate) request: Request,
    read: Read<T>,
}

/// What is sent, whatever the reply is read as.
pub(crate) enum Request {
    Script(&'static Script, Args),
    Command(Cmd),
}

/// A reply that is not read yet.
pub(crate) struct RawReply(Value);

/// How a reply is read; the function returns `None` for a reply of an unexpected shape.
enum Read<T> {
    Whole(fn(Value) -> Option<T>),
    /// The reply has an answer for each of this many items.
    Each(usize, fn(Value, usize) -> Option<T>),
}

/// Returns what the API calls the operation of a script. Where the API has no such call, as for what workers do by
/// themselves, the script's name says what it does.
fn api_name(script: &'static str) -> &'static str {
    match script {
        "add_jobs" => "add",
        "cancel_job" => "cancel",
        "count_jobs" => "get_job_counts",
        "count_priorities" => "get_counts_per_priority",
        "get_status" => "get_job_status",
        "list_jobs" => "get_jobs",
        "list_schedulers" => "get_job_schedulers",
        "promote_job" => "promote",
        "read_finished" => "wait_until_finished",
        "remove_child" => "remove_child_dependency",
        "remove_job" => "remove",
        "remove_scheduler" => "remove_job_scheduler",
        "retry_job" => "retry",
        "save_cursor" => "ack",
        "save_progress" => "update_progress",
        "scan_jobs" => "jobs",
        "settle" => "fetch_and_finish",
        "upsert_scheduler" => "upsert_job_scheduler",
        other => other,
    }
}

impl Call<()> {
    /// Starts a call of a script, whose reply is not read.
    pub(crate) fn to(script: &'static Script) -> Self {
        Self::with(script, Args::default())
    }

    /// Starts a call of a script with these arguments.
    pub(crate) fn with(script: &'static Script, args: Args) -> Self {
        Self::new(api_name(script.name), Request::Script(script, args))
    }

    /// Starts a plain command.
    pub(crate) fn command(op: &'static str, verb: &str) -> Self {
        let mut cmd = Cmd::new();
        cmd.arg(verb);
        Self::new(op, Request::Command(cmd))
    }

    fn new(op: &'static str, request: Request) -> Self {
        Self { op, resend: Resend::Never, request, read: Read::Whole(|_| Some(())) }
    }

    /// Adds an argument.
    pub(crate) fn text(mut self, text: impl AsRef<[u8]>) -> Self {
        match &mut self.request {
            Request::Script(_, args) => _ = args.text(text),
            Request::Command(cmd) => _ = cmd.arg(text.as_ref()),
        }
        self
    }

    /// Adds an argument for each of these.
    pub(crate) fn texts(self, texts: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        texts.into_iter().fold(self, Self::text)
    }

    pub(crate) fn number(mut self, number: impl itoa::Integer + ToRedisArgs) -> Self {
        match &mut self.request {
            Request::Script(_, args) => _ = args.number(number),
            Request::Command(cmd) => _ = cmd.arg(number),
        }
        self
    }

    /// Adds a number, or an empty argument for `None`.
    pub(crate) fn maybe(self, number: Option<impl itoa::Integer + ToRedisArgs>) -> Self {
        match number {
            Some(number) => self.number(number),
            None => self.text(""),
        }
    }

    pub(crate) fn flag(self, on: bool) -> Self {
        self.text(if on { "1" } else { "0" })
    }

    /// Sets how the reply is read.
    pub(crate) fn read<T>(self, read: fn(Value) -> Option<T>) -> Call<T> {
        self.reading(Read::Whole(read))
    }

    /// Sets how a reply is read that has an answer for each of `count` items.
    pub(crate) fn read_each<T>(self, count: usize, read: fn(Value, usize) -> Option<T>) -> Call<T> {
        self.reading(Read::Each(count, read))
    }

    fn reading<T>(self, read: Read<T>) -> Call<T> {
        Call { op: self.op, resend: self.resend, request: self.request, read }
    }
}

impl Request {
    /// Sends the request once.
    pub(crate) async fn send(&self, link: &Link, keys: &QueueKeys) -> Result<RawReply, CallFailure> {
        let reply = match self {
            Self::Script(script, args) => script.run(link, keys, args).await,
            Self::Command(cmd) => link.send(cmd).await,
        };
        reply.map(RawReply)
    }
}

impl<T> Call<T> {
    /// Sets whether the call may be sent again when its reply is lost.
    pub(crate) fn resend(self, resend: Resend) -> Self {
        Self { resend, ..self }
    }

    /// Sends the call once.
    pub(crate) async fn send(&self, link: &Link, keys: &QueueKeys) -> Result<T, CallFailure> {
        let reply = self.request.send(link, keys).await?;
        self.decode(reply)
    }

    /// Sends a blocking command, which the server answers within `block`, on a connection of its own.
    pub(crate) async fn block(&self, link: &mut BlockingLink, block: Duration) -> Result<T, CallFailure> {
        let Request::Command(cmd) = &self.request else { return Err(CallFailure::Unreadable) };
        match link.send(cmd, block).await {
            Waited::Reply(reply) => self.decode(RawReply(reply)),
            Waited::Broken(error) => Err(CallFailure::of(error)),
        }
    }

    /// Sends this command and `then` together; the server runs `then` right after it.
    pub(crate) async fn block_with<U>(
        &self,
        then: &Call<U>,
        link: &mut BlockingLink,
        block: Duration,
    ) -> Result<(T, U), CallFailure> {
        let (Request::Command(first), Request::Command(second)) = (&self.request, &then.request) else {
            return Err(CallFailure::Unreadable);
        };
        match link.send_both(first, second, block).await {
            Waited::Reply(reply) => {
                let [first, second] = super::reply::tuple(reply).ok_or(CallFailure::Unreadable)?;
                Ok((self.decode(RawReply(first))?, then.decode(RawReply(second))?))
            }
            Waited::Broken(error) => Err(CallFailure::of(error)),
        }
    }

    /// Sends this command, which reads these keys, and has the server tell when one of them changes. `None` where that is
    /// not possible, or not now.
    pub(crate) async fn watching(&self, link: &Link, keys: Vec<String>) -> Option<(T, Watch)> {
        let Request::Command(cmd) = &self.request else { return None };
        let (reply, watch) = link.watch(cmd, keys).await?;
        Some((self.decode(RawReply(reply)).ok()?, watch))
    }

    /// Reads a reply.
    pub(crate) fn decode(&self, RawReply(reply): RawReply) -> Result<T, CallFailure> {
        let read = match self.read {
            Read::Whole(read) => read(reply),
            Read::Each(count, read) => read(reply, count),
        };
        read.ok_or(CallFailure::Unreadable)
    }
}
