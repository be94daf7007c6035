//! Finds the jobs of a fetch whose reply was lost: `lua/adopt_jobs.lua`.

use super::settle::{Handed, handed};
use super::{Args, Call, Resend, Script, reply, script};

pub(crate) static SCRIPT: Script = script!("adopt_jobs", Consumes, uses: ["codes", "queue"]);

/// Takes over the jobs locked with a token, at most `most`, without those that the caller has.
pub(crate) fn adopt_jobs(
    token: &str,
    lock_ms: u64,
    most: usize,
    known: impl Iterator<Item = impl AsRef<[u8]>>,
) -> Call<Vec<Handed>> {
    adopt(token, lock_ms, most, known).read(handed)
}

/// Returns the ids of the jobs locked with a token, without those that the caller has.
pub(crate) fn find_adoptable(
    token: &str,
    lock_ms: u64,
    known: impl Iterator<Item = impl AsRef<[u8]>>,
) -> Call<Vec<Vec<u8>>> {
    adopt(token, lock_ms, 0, known).read(reply::ids)
}

fn adopt(token: &str, lock_ms: u64, most: usize, known: impl Iterator<Item = impl AsRef<[u8]>>) -> Call<()> {
    let mut args = Args::default();
    args.text(token).millis(lock_ms).number(most);
    for id in known {
        args.text(id);
    }
    Call::with(&SCRIPT, args).resend(Resend::Safe)
}
