//! The handshake: what a new connection asks its server, and what that tells of itself.

use redis::aio::MultiplexedConnection;
use redis::{Cmd, ErrorKind, RedisError, Value};

/// What a server tells about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Server {
    /// Major, minor and patch version; `None` if the server does not tell.
    pub(crate) version: Option<(u32, u32, u32)>,
    /// Whether it is Redis itself; others count their versions differently.
    pub(crate) is_redis: bool,
    /// Whether it is a replica, if it tells.
    pub(crate) is_replica: Option<bool>,
    pub(crate) is_sentinel: bool,
    /// Whether it is a node of a cluster, if it tells.
    pub(crate) is_clustered: Option<bool>,
    /// The id of this connection, by which another one can end its wait.
    pub(crate) id: Option<i64>,
}

impl Server {
    /// A server that tells nothing about itself.
    const UNKNOWN: Self =
        Self { version: None, is_redis: false, is_replica: None, is_sentinel: false, is_clustered: None, id: None };

    /// The oldest Redis that has all commands of the scripts.
    const OLDEST: (u32, u32, u32) = (6, 2, 0);

    /// Returns whether scripts may carry flags: in Redis 7, and in its later forks.
    pub(crate) fn knows_script_flags(self) -> bool {
        self.version.is_some_and(|version| version >= (7, 0, 0))
    }

    /// Returns whether a blocking command may wait for a single millisecond.
    pub(crate) fn blocks_for_1_ms(self) -> bool {
        !self.is_redis || self.version.is_none_or(|version| version >= (7, 0, 8))
    }

    pub(super) fn is_too_old(self) -> bool {
        self.is_redis && self.version.is_some_and(|version| version < Self::OLDEST)
    }
}

/// Asks the server for itself by `HELLO`, which even restricted users are usually allowed to send; `None` if this one is
/// not.
pub(super) async fn hello(connection: &mut MultiplexedConnection) -> std::result::Result<Option<Server>, RedisError> {
    let reply = match connection.send_packed_command(Cmd::new().arg("HELLO")).await {
        Ok(Value::ServerError(error)) => Err(RedisError::from(error)),
        other => other,
    };
    match reply {
        Ok(reply) => match describe(&reply) {
            Some(server) => Ok(Some(server)),
            None => Err(RedisError::from((ErrorKind::Parse, "this is no Redis server"))),
        },
        Err(error) if matches!(error.code(), Some("NOPERM" | "ERR")) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Asks for the server's role where `HELLO` is forbidden; if the user may not ask that either, it is not known.
pub(super) async fn says_replica(connection: &mut MultiplexedConnection) -> std::result::Result<bool, RedisError> {
    match connection.send_packed_command(Cmd::new().arg("ROLE")).await {
        Ok(Value::Array(role)) => Ok(matches!(role.first(), Some(Value::BulkString(role)) if role == b"slave")),
        Ok(_) => Ok(false),
        Err(error) if error.code().is_some() => Ok(false),
        Err(error) => Err(error),
    }
}

/// Finds out by trying whether scripts may carry flags; without them a full server cannot be drained.
pub(super) async fn try_flags(connection: &mut MultiplexedConnection) -> std::result::Result<Server, RedisError> {
    let trial = Cmd::new().arg("EVAL").arg("#!lua flags=allow-oom\nreturn 1").arg(0).to_owned();
    match connection.send_packed_command(&trial).await {
        Ok(Value::Int(1)) => Ok(Server { version: Some((7, 0, 0)), is_redis: true, ..Server::UNKNOWN }),
        Ok(_) => Ok(Server::UNKNOWN),
        Err(error) if error.code().is_some() => Ok(Server::UNKNOWN),
        Err(error) => Err(error),
    }
}

/// Reads a reply to `HELLO`.
fn describe(reply: &Value) -> Option<Server> {
    let text = |value: &Value| match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    };
    let pairs: Vec<(String, Option<String>)> = match reply {
        Value::Array(items) => {
            items.chunks_exact(2).filter_map(|pair| Some((text(&pair[0])?, text(&pair[1])))).collect()
        }
        Value::Map(items) => items.iter().filter_map(|(name, value)| Some((text(name)?, text(value)))).collect(),
        _ => return None,
    };
    let id = match reply {
        Value::Array(items) => items.chunks_exact(2).find_map(|pair| id_in(&pair[0], &pair[1])),
        Value::Map(items) => items.iter().find_map(|(name, value)| id_in(name, value)),
        _ => None,
    };
    if pairs.iter().all(|(name, _)| name != "version") {
        return None;
    }
    let of = |name: &str| pairs.iter().find(|(found, _)| found == name).and_then(|(_, value)| value.clone());
    let mut parts = of("version").unwrap_or_default().split('.').map(str::parse).collect::<Vec<_>>().into_iter();
    let mut next = || parts.next().and_then(std::result::Result::ok);
    let version = next().map(|major| (major, next().unwrap_or(0), next().unwrap_or(0)));
    let is = |name: &str, value: &str| of(name).as_deref() == Some(value);
    Some(Server {
        version,
        is_redis: is("server", "redis"),
        is_replica: of("role").map(|role| role == "replica"),
        is_sentinel: is("mode", "sentinel"),
        is_clustered: of("mode").map(|mode| mode == "cluster"),
        id,
    })
}

/// Returns the id of the connection, if this is its field.
fn id_in(name: &Value, value: &Value) -> Option<i64> {
    match (name, value) {
        (Value::BulkString(name), Value::Int(id)) if name == b"id" => Some(*id),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(server: &str, version: &str) -> Value {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        Value::Array(vec![bulk("server"), bulk(server), bulk("version"), bulk(version), bulk("proto"), Value::Int(2)])
    }

    #[test]
    fn versions_decide_what_a_server_can_do() {
        let seen = |server, version| describe(&hello(server, version)).unwrap();
        assert!(seen("redis", "7.0.15").knows_script_flags() && seen("redis", "7.0.15").blocks_for_1_ms());
        assert!(!seen("redis", "6.2.14").knows_script_flags() && !seen("redis", "7.0.5").blocks_for_1_ms());
        assert!(seen("redis", "6.0.20").is_too_old() && !seen("redis", "6.2.0").is_too_old());
        assert!(!seen("valkey", "1.0").is_too_old() && seen("valkey", "8.0.1").knows_script_flags());
        assert_eq!(describe(&Value::Nil), None);
    }
}
