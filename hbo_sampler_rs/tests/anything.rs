//! Whatever a caller gives, the answer is an error or a stream that works: no panic, no memory beyond what was given.

use hbo_sampler_rs::stream::State;
use proptest::prelude::*;

mod uses;

const END: u64 = 1 << 53;

/// Every kind of float.
fn weights() -> impl Strategy<Value = Vec<f64>> {
    let weight = prop_oneof![
        4 => 0.0..10.0,
        1 => any::<f64>(),
        1 => prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::MAX, 1e308, f64::MIN_POSITIVE, 5e-324, -1.0]),
    ];
    prop::collection::vec(weight, 0..6)
}

/// Numbers of any size, often at the edges of what is allowed.
fn numbers() -> impl Strategy<Value = u64> {
    let edge = prop::sample::select(vec![
        0,
        1,
        63,
        64,
        1024,
        1025,
        1 << 31,
        (1 << 31) + 1,
        END - 1,
        END,
        END + 1,
        u64::MAX,
    ]);
    prop_oneof![4 => 0..5000_u64, 1 => any::<u64>(), 2 => edge]
}

/// Cells and weights, mostly as many of one as of the other.
fn cells() -> impl Strategy<Value = (Vec<u64>, Vec<f64>)> {
    weights().prop_flat_map(|weights| {
        let size = prop_oneof![4 => 1..3000_u64, 1 => numbers()];
        let cells = weights.len();
        (
            prop::collection::vec(size, cells.saturating_sub(usize::from(cells == 5))..=cells),
            Just(weights),
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn a_mixture((sizes, weights) in cells(), seed in any::<u64>(), replacement in any::<bool>(), uses in prop::collection::vec((numbers(), numbers(), self::weights()), 1..6)) {
        uses::mixture(&sizes, weights, seed, replacement, &uses);
    }

    #[test]
    fn a_state(
        (cell_sizes, weights) in cells(),
        replacement in any::<bool>(),
        later in prop::collection::vec((numbers(), self::weights()), 0..3),
        shares in prop::collection::vec(numbers(), 0..6),
        debts in prop::collection::vec(any::<i64>(), 0..6),
        honest in prop::bool::weighted(0.8),
        position in numbers(),
    ) {
        // By chance, draws would rarely sum to the first position.
        let (mut drawn, mut owed) = if replacement { (Vec::new(), Vec::new()) } else { (shares, debts) };
        if honest {
            drawn.resize(if replacement { 0 } else { cell_sizes.len() }, 3);
            owed.resize(drawn.len(), i64::MIN);
        }
        let first = if honest { drawn.iter().fold(0_u64, |sum, &count| sum.saturating_add(count)) } else { position };
        let updates = std::iter::once((first, weights.clone())).chain(later).collect();
        let state = State { seed: 1, replacement, cell_sizes, updates, drawn, owed };
        uses::state(state, position, &weights);
    }

    #[test]
    fn a_packer(
        lengths in prop::collection::vec(prop_oneof![9 => 1..200_i32, 1 => any::<i32>()], 1..50),
        capacity in prop_oneof![4 => 1..500_u64, 1 => numbers()],
        bins in prop_oneof![4 => 1..5_u64, 1 => Just(0), 1 => (1_u64 << 16) + 1..],
        window in prop_oneof![4 => 1..80_u64, 1 => numbers()],
        head in numbers(),
        waiting in prop::collection::vec(prop_oneof![4 => 0..50_i64, 1 => any::<i64>()], 0..90),
    ) {
        uses::packer(&lengths, capacity, bins, window, head, &waiting);
    }
}
