//! Gives libFuzzer's inputs to `tests/uses`, to find panics, hangs and memory beyond what was given.
#![no_main]

use arbitrary::Arbitrary;
use hbo_sampler_rs::stream::State;
use libfuzzer_sys::fuzz_target;

#[path = "../tests/uses/mod.rs"]
mod uses;

#[derive(Arbitrary, Debug)]
enum Input {
    Mixture(Vec<u64>, Vec<f64>, u64, bool, Vec<uses::Use>),
    State(Vec<u64>, Vec<(u64, Vec<f64>)>, Vec<u64>, Vec<i64>, bool, u64, Vec<f64>),
    Packer(Vec<i32>, u64, u64, u64, u64, Vec<i64>),
}

fuzz_target!(|input: Input| match input {
    Input::Mixture(sizes, weights, seed, replacement, uses) => {
        uses::mixture(&sizes, weights, seed, replacement, &uses);
    }
    Input::State(cell_sizes, updates, drawn, owed, replacement, position, weights) => {
        let state = State {
            seed: 1,
            replacement,
            cell_sizes,
            updates,
            drawn,
            owed,
        };
        uses::state(state, position, &weights);
    }
    Input::Packer(lengths, capacity, bins, window, head, waiting) => {
        uses::packer(&lengths, capacity, bins, window, head, &waiting);
    }
});
