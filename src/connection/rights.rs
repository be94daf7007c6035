//! Records which commands a server does not know, or does not permit this user. The client then does without them, and
//! logs each once.

use super::servers::Servers;

use crate::sync::Lock;

/// The commands that a client does without.
#[derive(Default)]
pub(crate) struct Rights {
    missing: Lock<Vec<&'static str>>,
}

impl Rights {
    /// Records that `command` was refused, and logs what is done `without` it; returns true the first time.
    pub(crate) fn refused(&self, server: &Servers, command: &'static str, without: &str) -> bool {
        let mut missing = self.missing.lock();
        if missing.contains(&command) {
            return false;
        }
        missing.push(command);
        drop(missing);
        tracing::info!(target: "oxmq::connection", ?server, command, "the server does not permit this command: {without}");
        true
    }

    /// Whether `command` was refused.
    pub(crate) fn lacks(&self, command: &'static str) -> bool {
        self.missing.lock().contains(&command)
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
}
