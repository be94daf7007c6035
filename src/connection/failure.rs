//! What a failed call may have done on the server.

use std::borrow::Cow;
use std::fmt;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::attempt::reason;
use super::distrust::advised;
use crate::error::{BoxError, Error, KnownCause, KnownKind};

/// Why a call failed, sorted by what it may have changed: nothing, everything, or unknown.
#[derive(Debug)]
pub(crate) enum CallFailure {
    /// Not applied, and the same call may succeed later: there was no connection, or the server is not ready.
    NotApplied(RedisError),
    /// Not applied: the server has no memory left.
    OutOfMemory,
    /// Sent, but no reply came: applied or not.
    Unknown(RedisError),
    /// Applied, but the reply has an unexpected shape.
    Unreadable,
    /// The server refused the command or script for good.
    Server(RedisError),
}

impl CallFailure {
    /// Sorts the error of a command that was sent.
    pub(crate) fn of(error: RedisError) -> Self {
        let known = |code: Option<&str>| match code? {
            "OOM" => Some(Self::OutOfMemory),
            "LOADING" | "TRYAGAIN" | "CLUSTERDOWN" | "MASTERDOWN" | "READONLY" | "BUSY" | "MISCONF" | "NOREPLICAS"
            | "UNBLOCKED" => Some(Self::NotApplied(error.clone())),
            _ => None,
        };
        // Before version 7, the error that stops a script at its first write is inside the error's text.
        if let Some(failure) = known(error.code()).or_else(|| known(inner_code(&error))) {
            return failure;
        }
        match error.kind() {
            ErrorKind::Server(_) | ErrorKind::Extension | ErrorKind::InvalidClientConfig => Self::Server(error),
            _ => Self::Unknown(error),
        }
    }

    /// Returns whether the connection has to be replaced, since its address may lead to another server now.
    pub(crate) fn spoils_connection(&self) -> bool {
        match self {
            Self::Unknown(_) => true,
            Self::NotApplied(error) => {
                [error.code(), inner_code(error)].iter().any(|code| matches!(code, Some("READONLY" | "UNBLOCKED")))
            }
            Self::OutOfMemory | Self::Unreadable | Self::Server(_) => false,
        }
    }

    /// Returns the error of the driver or the server.
    pub(crate) fn cause(&self) -> Option<&RedisError> {
        match self {
            Self::NotApplied(error) | Self::Unknown(error) | Self::Server(error) => Some(error),
            Self::OutOfMemory | Self::Unreadable => None,
        }
    }

    /// Returns whether a key had the wrong type.
    pub(crate) fn is_wrong_type(&self) -> bool {
        matches!(self, Self::Server(error) if known_kind(error) == Some(KnownKind::WrongType))
    }

    /// Returns whether the server does not have the command, or the user may not call it.
    pub(crate) fn is_not_permitted(&self) -> bool {
        matches!(self, Self::Server(error) if known_kind(error) == Some(KnownKind::NotPermitted))
    }

    /// Returns whether the argument was larger than the server accepts; it has closed the connection.
    pub(crate) fn is_too_large(&self) -> bool {
        matches!(self, Self::Server(error) if error.detail().is_some_and(|text| text.contains("invalid bulk length")))
    }

    /// Returns the public error for operation `op`.
    pub(crate) fn to_error(&self, op: &'static str) -> Error {
        match self {
            Self::OutOfMemory => Error::OutOfMemory { op },
            Self::Unknown(_) | Self::Unreadable => Error::OutcomeUnknown { op },
            Self::Server(error) => Error::Redis { op, cause: known(error).unwrap_or_else(|| without_secrets(error)) },
            Self::NotApplied(error) => Error::Redis { op, cause: without_secrets(error) },
        }
    }

    /// Returns the public error for an operation that only reads, whose outcome is never unknown.
    pub(crate) fn to_read_error(&self, op: &'static str) -> Error {
        match self {
            Self::Unknown(error) => Error::Redis { op, cause: without_secrets(error) },
            Self::Unreadable => Error::Reply { op },
            other => other.to_error(op),
        }
    }
}

/// How servers say within a script, where their errors have no code of their own, what they do not permit: until Redis
/// 7.0, and since then.
const NOT_PERMITTED: [&str; 3] = ["The user executing the script can't", "ACL failure in script", "NOPERM "];

/// What servers say within a script of a key of another type; before version 7 without a code.
const WRONG_TYPE: &str = "WRONGTYPE ";

/// Returns what an error means, if its kind tells what to do.
fn known_kind(error: &RedisError) -> Option<KnownKind> {
    let text = error.detail().unwrap_or_default();
    let is_not_permitted = error.code() == Some("NOPERM") || NOT_PERMITTED.iter().any(|words| text.contains(words));
    if is_not_permitted || error.to_string().to_lowercase().contains("unknown command") {
        return Some(KnownKind::NotPermitted);
    }
    (error.code() == Some("WRONGTYPE") || text.contains(WRONG_TYPE)).then_some(KnownKind::WrongType)
}

/// Returns the cause by which the error can be told from others; its text leaves out in which script it happened.
fn known(error: &RedisError) -> Option<BoxError> {
    let kind = known_kind(error)?;
    let Some(text) = error.detail().filter(|text| !text.contains("args beginning with")) else {
        return Some(KnownCause { kind, text: without_secrets(error).to_string() }.into());
    };
    let code = match kind {
        KnownKind::NotPermitted => "NOPERM",
        KnownKind::WrongType => "WRONGTYPE",
    };
    let starts = NOT_PERMITTED.iter().chain([&WRONG_TYPE]).filter_map(|words| text.find(words));
    let text = &text[starts.min().unwrap_or(0)..];
    // Where in a script it was: `… script: 1690, on @user_script:70.`, in Valkey 9 without the number.
    let text =
        text.rsplit_once(" on @").and_then(|(text, _)| text.rsplit_once(" script:")).map_or(text, |(text, _)| text);
    let text = unnamed(text.trim_start_matches(code).trim().trim_end_matches('.'));
    Some(KnownCause { kind, text: format!("{code}: {text}") }.into())
}

/// Leaves out the name of the user, which servers tell since Redis 7.2.
fn unnamed(text: &str) -> Cow<'_, str> {
    let named =
        text.split_once("User ").and_then(|(before, rest)| Some((before, rest.split_once(" has no permissions")?)));
    match named {
        Some((before, (name, rest))) if !name.contains(' ') => {
            format!("{before}this user has no permissions{rest}").into()
        }
        _ => text.into(),
    }
}

/// How an error of connecting begins; the address and the reason follow.
pub(super) const NO_CONNECTION: &str = "no connection to";

/// Returns the code of the command that failed within a script: `… @user_script: 12: -OOM command not allowed …`.
fn inner_code(error: &RedisError) -> Option<&str> {
    let text = error.detail()?;
    let (code, _) = text.split_once(": -").map_or(text, |(_, inner)| inner).split_once(' ')?;
    Some(code)
}

/// Adds to an error of connecting which server or servers could not be reached, and after the reason a `hint`. It stays
/// as [permanent](super::attempt::is_permanent) as it was, and keeps the code by which others tell it.
pub(super) fn no_connection_to(place: &impl fmt::Debug, error: &RedisError, hint: &str) -> RedisError {
    let kind = match (error.kind(), error.code()) {
        // The driver keeps these codes only in errors of its own.
        (_, Some("NOAUTH" | "WRONGPASS")) => ErrorKind::AuthenticationFailed,
        // No further attempt finds a database more.
        (ErrorKind::Server(_), _) if error.to_string().contains(NO_DATABASE) => ErrorKind::InvalidClientConfig,
        (kind, _) => kind,
    };
    RedisError::from((kind, NO_CONNECTION, format!("{place:?}: {}{hint}", in_words(error))))
}

/// What a server says of a database that it does not have.
const NO_DATABASE: &str = "DB index is out of range";

/// Returns why connecting failed, and what to do about it; without the number that the operating system has for it.
fn in_words(error: &RedisError) -> String {
    advised(&reason(&without_secrets(error).to_string()))
}

/// Returns the text of a driver's error. Its own types are not exposed, since its next major version is not ours.
///
/// A server that does not know a command repeats the command's arguments, which may be a job's data; they are left out.
pub(crate) fn without_secrets(error: &RedisError) -> BoxError {
    let mut text = error.to_string();
    let is_told = text.starts_with(NO_CONNECTION);
    if error.code() == Some("NOAUTH") {
        return "the server wants a password (NOAUTH): redis://:password@host, or redis://user:password@host; for sentinels \
                there is `sentinel_password`"
            .into();
    }
    // The driver leaves out what the server says, in some cases only because it has no password.
    if error.kind() == ErrorKind::AuthenticationFailed && !is_told {
        return "authentication failed (WRONGPASS): the server knows no such user or another password, or it has none"
            .into();
    }
    // The driver writes `what - Io: details`, and the code of the server's own errors in quotation marks.
    let kind = format!(" - {:?}", error.kind());
    text = text.replacen(&format!("{kind}: "), if is_told { " " } else { ": " }, 1);
    text.truncate(text.strip_suffix(&kind).unwrap_or(&text).len());
    if let Some(code) = error.code() {
        text = text.replacen(&format!("{code:?}"), code, 1);
    }
    if let (ErrorKind::Server(kind), Some(code)) = (error.kind(), error.code()) {
        // The driver has names of its own for the codes of servers.
        text = text.replacen(&format!("{kind:?}: "), &format!("{code}: "), 1);
    }
    if matches!(error.kind(), ErrorKind::Server(ServerErrorKind::Moved | ServerErrorKind::Ask)) {
        text.push_str(" (the server is a node of a cluster: connect to redis+cluster://)");
    }
    if let Some(at) = text.find("args beginning with") {
        text.truncate(at);
        text.push('…');
    }
    text.into()
}

#[cfg(test)]
mod tests {
    use redis::ServerErrorKind;

    use super::*;

    fn sorted(kind: ServerErrorKind, detail: &str) -> CallFailure {
        CallFailure::of(RedisError::from((ErrorKind::Server(kind), "An error was signalled", detail.to_owned())))
    }

    #[test]
    fn what_stops_a_script_at_its_first_write_was_not_applied() {
        let err = ServerErrorKind::ResponseError;
        let old = "Error running script (call to f_12): @user_script:9: @user_script: 9: -OOM command not allowed when";
        assert!(matches!(sorted(err, old), CallFailure::OutOfMemory));
        let old = "Error running script (call to f_12): @user_script:9: @user_script: 9: -READONLY You can't write";
        let failure = sorted(err, old);
        assert!(matches!(failure, CallFailure::NotApplied(_)) && failure.spoils_connection());
        assert!(matches!(sorted(ServerErrorKind::ReadOnly, "You can't"), CallFailure::NotApplied(_)));
        assert!(matches!(sorted(err, "user_script:9: attempt to index a nil value"), CallFailure::Server(_)));
        assert!(matches!(CallFailure::of(RedisError::from((ErrorKind::Io, "x"))), CallFailure::Unknown(_)));
    }

    /// Returns the failure that a server's line of error stands for, as the driver reads it.
    fn answered(line: &str) -> CallFailure {
        let reply = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
        CallFailure::of(reply.extract_error().unwrap_err())
    }

    #[test]
    fn each_answer_of_a_server_is_applied_or_not() {
        for (line, spoils_connection) in [
            ("TRYAGAIN Multiple keys request during rehashing of slot", false),
            ("CLUSTERDOWN Hash slot not served", false),
            ("CLUSTERDOWN The cluster is down", false),
            ("LOADING Redis is loading the dataset in memory", false),
            ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", false),
            ("READONLY You can't write against a read only replica.", true),
            ("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.", false),
            ("MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.", false),
            ("NOREPLICAS Not enough good replicas to write.", false),
            ("UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)", true),
        ] {
            let failure = answered(line);
            assert!(matches!(failure, CallFailure::NotApplied(_)), "{line}: {failure:?}");
            assert_eq!(failure.spoils_connection(), spoils_connection, "{line}");
        }
        for line in [
            "MOVED 866 127.0.0.1:7001",
            "ASK 866 127.0.0.1:7001",
            "CROSSSLOT Keys in request don't hash to the same slot",
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "NOPERM this user has no permissions to run the 'evalsha' command",
            "NOSCRIPT No matching script. Please use EVAL.",
            "ERR unknown command 'EVALSHA'",
        ] {
            let failure = answered(line);
            assert!(matches!(failure, CallFailure::Server(_)), "{line}: {failure:?}");
            assert!(!failure.spoils_connection(), "{line}");
        }
        let full = answered("OOM command not allowed when used memory > 'maxmemory'.");
        assert!(matches!(full, CallFailure::OutOfMemory), "{full:?}");
    }

    #[test]
    fn errors_of_servers_are_told_by_their_own_codes() {
        for line in [
            "CLUSTERDOWN The cluster is down",
            "TRYAGAIN Multiple keys request during rehashing of slot",
            "LOADING Redis is loading the dataset in memory",
            "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            "READONLY You can't write against a read only replica.",
            "BUSY Redis is busy running a script.",
            "MISCONF Redis is configured to save RDB snapshots",
            "CROSSSLOT Keys in request don't hash to the same slot",
            "ERR value is not an integer or out of range",
        ] {
            let (code, text) = line.split_once(' ').unwrap();
            assert_eq!(answered(line).to_error("add").to_string(), format!("add: {code}: {text}"));
        }
    }

    #[test]
    fn what_is_not_permitted_is_known_in_the_words_of_every_server() {
        let err = ServerErrorKind::ResponseError;
        let said = |kind, detail: &str| {
            let error = sorted(kind, detail).to_error("add");
            (error.is_not_permitted(), error.is_wrong_type(), error.to_string())
        };
        let no = "The user executing the script can't run this command or subcommand";
        let old = format!("Error running script (call to f_1): @user_script:1: @user_script: 1: {no}");
        let middle = format!("{no} script: 1690, on @user_script:70.");
        let valkey = format!("{no} script: on @user_script:70.");
        for detail in [&old, &middle, &valkey] {
            assert_eq!(said(err, detail), (true, false, format!("add: NOPERM: {no}")), "{detail}");
        }
        let new = "ACL failure in script: User ro has no permissions to run the 'lpush' command script: 16, on @user_script:70.";
        let text = "add: NOPERM: ACL failure in script: this user has no permissions to run the 'lpush' command";
        assert_eq!(said(err, new), (true, false, text.to_owned()));
        let direct = "this user has no permissions to run the 'info' command";
        assert_eq!(said(ServerErrorKind::NoPerm, direct), (true, false, format!("add: NOPERM: {direct}")));
        let named = "User ro has no permissions to run the 'config|get' command";
        let text = "add: NOPERM: this user has no permissions to run the 'config|get' command";
        assert_eq!(said(ServerErrorKind::NoPerm, named), (true, false, text.to_owned()));
        let wrong = "Operation against a key holding the wrong kind of value";
        let text = (false, true, format!("add: WRONGTYPE: {wrong}"));
        assert_eq!(said(err, &format!("@user_script:9: WRONGTYPE {wrong}")), text);
        assert!(!said(err, "user_script:9: attempt to index a nil value").0);
    }

    #[test]
    fn what_a_server_repeats_of_a_command_is_left_out() {
        let text = "unknown command 'EVALSHA', with args beginning with: '5f' '1' 'bull:q:' 'secret' ";
        let error = sorted(ServerErrorKind::ResponseError, text).to_error("add");
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("unknown command") && !shown.contains("secret"), "{shown}");
        let too_large = sorted(ServerErrorKind::ResponseError, "Protocol error: invalid bulk length");
        assert!(too_large.is_too_large() && !sorted(ServerErrorKind::ResponseError, "no").is_too_large());
    }
}
