//! Philox4x64-10, the counter-based generator behind every random word (Salmon et al. 2011, "Parallel random numbers:
//! as easy as 1, 2, 3").

const MULTIPLIERS: [u64; 2] = [0xD2E7_470E_E14C_6C93, 0xCA5A_8263_9512_1157];
const WEYL: [u64; 2] = [0x9E37_79B9_7F4A_7C15, 0xBB67_AE85_84CA_A73B];
const ROUNDS: usize = 10;

/// What words are for, the second half of the key. 2 is left to the probes of the Python side.
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
    #[inline(always)]
    pub fn words(self, counter: [u64; 4]) -> [u64; 4] {
        let [mut a, mut b, mut c, mut d] = counter;
        let [mut k, mut l] = self.key;
        for _ in 0..ROUNDS {
            let (high_a, low_a) = wide_product(a, MULTIPLIERS[0]);
            let (high_c, low_c) = wide_product(c, MULTIPLIERS[1]);
            (a, b, c, d) = (high_c ^ b ^ k, low_c, high_a ^ d ^ l, low_a);
            k = k.wrapping_add(WEYL[0]);
            l = l.wrapping_add(WEYL[1]);
        }
        [a, b, c, d]
    }
}

/// The high and the low word of a product.
#[inline]
pub fn wide_product(x: u64, y: u64) -> (u64, u64) {
    let product = u128::from(x) * u128::from(y);
    ((product >> 64) as u64, product as u64)
}
