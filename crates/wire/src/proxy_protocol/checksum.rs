//! CRC32C (RFC 9260 appendix A), a byte at a time: headers are short and few.

/// The polynomial of Castagnoli, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// What each byte does to the sum.
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut sum = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 == 1 { (sum >> 1) ^ POLYNOMIAL } else { sum >> 1 };
            bit += 1;
        }
        table[byte] = sum;
        byte += 1;
    }
    table
};

/// The sum over `parts`, one behind the other.
pub(super) fn crc32c<const COUNT: usize>(parts: [&[u8]; COUNT]) -> u32 {
    let mut sum = u32::MAX;
    for byte in parts.into_iter().flatten() {
        let index = (sum ^ u32::from(*byte)) & 0xff;
        sum = (sum >> 8) ^ TABLE[index as usize];
    }
    !sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_are_those_of_the_published_examples() {
        assert_eq!(crc32c([b"123456789"]), 0xe306_9283);
        assert_eq!(crc32c([b"1234", b"", b"56789"]), 0xe306_9283);
        assert_eq!(crc32c([&[0; 32]]), 0x8a91_36aa);
        assert_eq!(crc32c([&[0xff; 32]]), 0x62a8_ab43);
        assert_eq!(crc32c([]), 0);
    }
}
