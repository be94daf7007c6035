//! Keeps the buffers of finished calls for the next calls of the same thread. Requests tend to have the same size again
//! and again, so after the first few calls no request allocates.

use std::cell::RefCell;

use redis::Cmd;

/// How many buffers of each kind are kept. Few threads have more calls under way.
const MOST: usize = 4;

/// The buffers of larger requests are freed: such requests are rare.
const LARGEST: usize = 64 * 1024;

/// A buffer of arguments: their bytes, and where each of them ends.
type Written = (Vec<u8>, Vec<usize>);

#[derive(Default)]
struct Spare {
    args: Vec<Written>,
    commands: Vec<Cmd>,
}

thread_local! {
    static SPARE: RefCell<Spare> = RefCell::default();
}

/// Runs `run` with the buffers of this thread; does nothing while the thread ends.
fn with<T>(run: impl FnOnce(&mut Spare) -> T) -> Option<T> {
    SPARE.try_with(|spare| spare.try_borrow_mut().ok().map(|mut spare| run(&mut spare))).ok().flatten()
}

fn keep<T>(kept: &mut Vec<T>, one: T) {
    if kept.len() < MOST {
        kept.push(one);
    }
}

/// Takes a buffer for arguments, if one is kept.
pub(super) fn args() -> Option<Written> {
    with(|spare| spare.args.pop()).flatten()
}

/// Keeps a buffer of arguments.
pub(super) fn keep_args((mut bytes, mut ends): Written) {
    if (1..=LARGEST).contains(&bytes.len()) {
        bytes.clear();
        ends.clear();
        with(|spare| keep(&mut spare.args, (bytes, ends)));
    }
}

/// Takes an empty command, if one is kept.
pub(super) fn command() -> Option<Cmd> {
    with(|spare| spare.commands.pop()).flatten()
}

/// Keeps a command whose arguments had this many bytes.
pub(super) fn keep_command(mut cmd: Cmd, bytes: usize) {
    if bytes <= LARGEST {
        cmd.clear();
        with(|spare| keep(&mut spare.commands, cmd));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_empty_and_bounded() {
        with(|spare| *spare = Spare::default());
        keep_args((vec![0; LARGEST + 1], Vec::new()));
        keep_args(Written::default());
        keep_command(Cmd::new(), LARGEST + 1);
        assert!(args().is_none() && command().is_none(), "neither large nor empty ones are kept");
        for _ in 0..2 * MOST {
            keep_args((vec![0; 10], vec![10]));
            keep_command(redis::cmd("PING"), 0);
        }
        let kept: Vec<Written> = std::iter::from_fn(args).collect();
        assert!(kept.len() == MOST && kept.iter().all(|(bytes, ends)| bytes.is_empty() && ends.is_empty()));
        assert!(kept.iter().all(|(bytes, _)| bytes.capacity() >= 10));
        let kept: Vec<Cmd> = std::iter::from_fn(command).collect();
        assert!(kept.len() == MOST && kept.iter().all(|cmd| cmd.args_iter().len() == 0));
    }
}
