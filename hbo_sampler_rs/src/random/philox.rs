//! Philox4x64-10, the counter-based generator behind every random word (Salmon et al. 2011, "Parallel random numbers:
//! as easy as 1, 2, 3").

const MULTIPLIERS: [u64; 2] = [0xD2E7_470E_E14C_6C93, 0xCA5A_8263_9512_1157];
const WEYL: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xBB67_AE85_84CA_A73B];
const ROUNDS: usize = 10;

/// What words are for: the second half of the key. The Python side uses 2 for its probes.
#[derive(Clone, Copy)]
pub enum Domain {
    /// Points of positions, shifts of segments, shuffles of blocks.
    Points = 0,
    /// Lap orders of cells.
    Orders = 1,
}

/// A generator: a function from counters to words.
#[derive(Clone, Copy)]
pub struct Philox {
    key: [u64; 2],
}

impl Philox {
    pub fn new(seed: u64, domain: Domain) -> Self {
        Self {
            key: [seed, domain as u64],
        }
    }

    /// The four words at a counter.
    pub fn words(self, counter: [u64; 4]) -> [u64; 4] {
        let (mut words, mut key) = (counter, self.key);
        for _ in 0..ROUNDS {
            let (high_0, low_0) = wide_product(words[0], MULTIPLIERS[0]);
            let (high_2, low_2) = wide_product(words[2], MULTIPLIERS[1]);
            words = [high_2 ^ words[1] ^ key[0], low_2, high_0 ^ words[3] ^ key[1], low_0];
            key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
        }
        words
    }
}

/// The high and the low word of a product.
#[inline]
pub fn wide_product(x: u64, y: u64) -> (u64, u64) {
    let product = u128::from(x) * u128::from(y);
    ((product >> 64) as u64, product as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with Random123 (`kat_vectors`, philox4x64 10).
    #[test]
    fn known_answers() {
        let zeros = Philox { key: [0; 2] }.words([0; 4]);
        assert_eq!(
            zeros,
            [
                0x1655_4D9E_CA36_314C,
                0xDB20_FE9D_672D_0FDC,
                0xD7E7_72CE_E186_176B,
                0x7E68_B68A_EC7B_A23B
            ]
        );
        let ones = Philox { key: [u64::MAX; 2] }.words([u64::MAX; 4]);
        assert_eq!(
            ones,
            [
                0x87B0_92C3_013F_E90B,
                0x438C_3C67_BE8D_0224,
                0x9CC7_D7C6_9CD7_77B6,
                0xA09C_AEBF_594F_0BA0
            ]
        );
        let pi = Philox {
            key: [0x4528_21E6_38D0_1377, 0xBE54_66CF_34E9_0C6C],
        }
        .words([
            0x243F_6A88_85A3_08D3,
            0x1319_8A2E_0370_7344,
            0xA409_3822_299F_31D0,
            0x082E_FA98_EC4E_6C89,
        ]);
        assert_eq!(
            pi,
            [
                0xA528_F454_03E6_1D95,
                0x38C7_2DBD_566E_9788,
                0xA5A1_610E_72FD_18B5,
                0x57BD_43B5_E52B_7FE6
            ]
        );
    }
}
