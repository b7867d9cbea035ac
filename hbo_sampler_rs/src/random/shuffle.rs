//! Fisher-Yates over Philox words.

use crate::random::philox::{Philox, wide_product};

/// Steps that one word serves: each takes at most 10 bits of it, so that 24 are left to keep the last one even.
const STEPS: usize = 4;

/// Shuffles at most 1024 items: every order has the same probability to within 2^-24 a step. The counter's first word is
/// counted up from 0; the others say what is shuffled.
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
