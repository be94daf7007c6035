//! Decides which partition a key belongs to. Without I/O.

use sha1_smol::Sha1;

/// Returns the partition of a key, among this many.
///
/// The first eight bytes of the key's SHA-1 are a number, from which jump consistent hashing (Lamping and Veach, 2014)
/// computes the partition. With a higher number of partitions only the keys that the new partitions get are moved, and
/// none of them to an old one. Both are easily written in any language; the guide has them in JavaScript.
pub(super) fn place_of(key: &[u8], partitions: usize) -> usize {
    let digest = Sha1::from(key).digest().bytes();
    let mut state = digest[..8].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let partitions = partitions as u64;
    let (mut place, mut next) = (0, 0);
    while next < partitions {
        place = next;
        state = state.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        next = jump(place, state >> 33);
    }
    usize::try_from(place).unwrap_or_default()
}

/// Returns the partition to which a key jumps next; `random` has 31 bits. Uses integers only, so that every language
/// gets the same result.
fn jump(place: u64, random: u64) -> u64 {
    (place + 1) * (1 << 31) / (random + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> impl Iterator<Item = String> {
        (0..20_000).map(|n| format!("customer-{n}"))
    }

    #[test]
    fn keys_are_spread_evenly() {
        let mut counts = [0_i64; 16];
        for key in keys() {
            counts[place_of(key.as_bytes(), 16)] += 1;
        }
        assert!(counts.iter().all(|count| (count - 1_250).abs() < 200), "{counts:?}");
    }

    #[test]
    fn growing_moves_only_what_the_new_partitions_get() {
        for (old, new) in [(1, 2), (4, 5), (16, 24), (100, 1_024)] {
            let moved: Vec<usize> = keys()
                .map(|key| (place_of(key.as_bytes(), old), place_of(key.as_bytes(), new)))
                .filter(|(before, after)| before != after)
                .map(|(_, after)| after)
                .collect();
            assert!(moved.iter().all(|after| (old..new).contains(after)), "{old} to {new}");
            let share = 20_000 * (new - old) / new;
            assert!(moved.len().abs_diff(share) < 600, "{old} to {new}: {} in place of {share}", moved.len());
        }
    }

    #[test]
    fn places_never_change() {
        // Fixed results: if a new version differed, the jobs of a key would be in two partitions.
        let places = ["", "a", "customer-7", "ключ"].map(|key| [1, 2, 16, 1_024].map(|n| place_of(key.as_bytes(), n)));
        assert_eq!(places, PLACES);
    }

    const PLACES: [[usize; 4]; 4] = [[0, 1, 1, 176], [0, 0, 13, 179], [0, 0, 13, 516], [0, 1, 1, 995]];
}
