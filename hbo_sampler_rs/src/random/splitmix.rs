//! `SplitMix64`, which makes many words from one (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number
//! generators"). Where words are needed one by one, it takes a fifth of the time of Philox.

const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The word at an index of the sequence that begins at a start.
#[inline]
pub fn word(start: u64, index: u64) -> u64 {
    let state = start.wrapping_add((index + 1).wrapping_mul(GAMMA));
    let word = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the authors' generator (`java.util.SplittableRandom`) gives for the seed 1234567.
    #[test]
    fn known_answers() {
        let words: Vec<_> = (0..5).map(|index| word(1_234_567, index)).collect();
        assert_eq!(
            words,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }
}
