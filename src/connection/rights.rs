//! Records which commands a server does not know, or does not permit this user. The client then does without them, and
//! logs each once.

use std::collections::HashMap;

use super::servers::{Address, Servers};

use crate::sync::Lock;

/// The commands that a client does without.
#[derive(Default)]
pub(crate) struct Rights {
    state: Lock<State>,
}

#[derive(Default)]
struct State {
    missing: Vec<&'static str>,
    /// The servers that the client has connected to, with the version that each told.
    met: HashMap<Address, Version>,
}

/// Major, minor and patch version of a server that tells.
type Version = Option<(u32, u32, u32)>;

impl Rights {
    /// Records that `command` was refused, and logs what is done `without` it; returns true the first time.
    pub(crate) fn refused(&self, server: &Servers, command: &'static str, without: &str) -> bool {
        let mut state = self.state.lock();
        if state.missing.contains(&command) {
            return false;
        }
        state.missing.push(command);
        drop(state);
        tracing::info!(target: "oxmq::connection", ?server, command, "the server does not permit this command: {without}");
        true
    }

    /// Returns whether `command` was refused.
    pub(crate) fn lacks(&self, command: &'static str) -> bool {
        self.state.lock().missing.contains(&command)
    }

    /// Records that a connection leads to the server at `address`, which tells this version. What another server has
    /// refused is forgotten: after a failover or an upgrade commands are tried again. If `is_only` is true, this server
    /// has taken the place of all others; otherwise they are nodes of one cluster.
    pub(super) fn met(&self, address: &Address, version: Version, is_only: bool) {
        let mut state = self.state.lock();
        let before = state.met.get(address).copied();
        if before == Some(version) {
            return;
        }
        let has_met_others = !state.met.is_empty();
        if is_only {
            state.met.clear();
        }
        state.met.insert(address.clone(), version);
        if has_met_others {
            state.missing.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection::Address;

    #[test]
    fn each_command_is_told_of_once() {
        let (rights, server) = (Rights::default(), Servers::One(Address::Tcp("host".into(), 1)));
        assert!(rights.refused(&server, "INFO", "nothing is known") && rights.refused(&server, "HELLO", ""));
        assert!(!rights.refused(&server, "INFO", "nothing is known"));
        assert!(rights.lacks("HELLO") && !rights.lacks("CONFIG"));
    }

    #[test]
    fn another_server_is_asked_again() {
        let server = |port| Address::Tcp("host".into(), port);
        let (old, new) = (Some((6, 2, 14)), Some((7, 0, 15)));
        for is_only in [true, false] {
            let rights = Rights::default();
            let refuse = || rights.refused(&Servers::One(server(1)), "INFO", "");
            assert!(refuse());
            rights.met(&server(1), old, is_only);
            rights.met(&server(1), old, is_only);
            assert!(rights.lacks("INFO"), "the same server, on other connections");
            rights.met(&server(1), new, is_only);
            assert!(!rights.lacks("INFO") && refuse(), "upgraded in place");
            rights.met(&server(2), old, is_only);
            assert!(!rights.lacks("INFO") && refuse(), "replaced");
            rights.met(&server(1), new, is_only);
            // The first node of a cluster is known; a master that is back may permit what the one in between did not.
            assert_eq!(rights.lacks("INFO"), !is_only);
        }
    }
}
