//! Slots of a cluster: which keys belong together. Without I/O.

/// How many slots a cluster has.
pub(super) const SLOTS: u16 = 16_384;

/// Returns the part of a key between its first `{` and the next `}`, which alone decides where the key is stored.
/// `None` if there is no such part or it is empty: then the whole key decides.
pub(super) fn hash_tag(key: &str) -> Option<&str> {
    let (_, rest) = key.split_once('{')?;
    let (tag, _) = rest.split_once('}')?;
    (!tag.is_empty()).then_some(tag)
}

/// Returns the slot of keys with this hash tag.
pub(super) fn slot_of(tag: &str) -> u16 {
    tag.bytes().fold(0, crc16) % SLOTS
}

/// Computes CRC-16 with the polynomial 0x1021, from 0, as clusters do.
fn crc16(crc: u16, byte: u8) -> u16 {
    (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_server() {
        // As `CLUSTER KEYSLOT` answers.
        for (tag, slot) in [("bull", 9263), ("q", 11958), ("123456789", 12739), ("é", 10180)] {
            assert_eq!(slot_of(tag), slot, "{tag}");
        }
    }

    #[test]
    fn a_hash_tag_stands_between_the_first_braces() {
        for (key, tag) in [
            ("{bull}:q:", Some("bull")),
            ("bull:{q}:", Some("q")),
            ("a{b}c{d}", Some("b")),
            ("a{{b}c", Some("{b")),
            ("bull:q:", None),
            ("{}{b}:q:", None),
            ("bull:{q:", None),
            ("}{", None),
        ] {
            assert_eq!(hash_tag(key), tag, "{key}");
        }
    }
}
