//! Fisher-Yates over Philox words.

use crate::random::philox::{Philox, wide_product};

/// Steps that one word serves. Each uses up at most 10 of its 64 bits, so 34 are left for the last one.
const STEPS: usize = 4;

/// Shuffles at most 1,024 items. In each step, every choice has the same probability to within 2^-24. The first word of
/// the counter counts up from 0, and the others say what is shuffled.
pub fn shuffle<T>(items: &mut [T], philox: Philox, counter: [u64; 3]) {
    let [x, y, z] = counter;
    let mut last = items.len();
    for block in 0.. {
        for mut word in philox.words([block, x, y, z]) {
            for _ in 0..STEPS {
                if last < 2 {
                    return;
                }
                let (high, low) = wide_product(word, last as u64);
                last -= 1;
                items.swap(last, high as usize);
                word = low;
            }
        }
    }
}
