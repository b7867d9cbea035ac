//! The cost of drawing: by number of cells, by size of a fill, and after many changes of weights.
#![allow(missing_docs, reason = "criterion's macros write functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hbo_sampler_rs::stream::Stream;

const ROWS: u64 = 10_000_000;
const BATCH: usize = 256;
/// Draws between two changes of all weights.
const PERIOD: u64 = 1024;

/// Uneven weights that differ from turn to turn.
fn weights(cells: u64, turn: u64) -> Vec<f64> {
    (0..cells)
        .map(|cell| 1.0 + (cell * 37 + turn * 101) as f64 % 64.0)
        .collect()
}

fn stream(cells: u64, replacement: bool) -> Stream {
    let sizes = vec![ROWS / cells; cells as usize];
    Stream::new(&sizes, weights(cells, 0), 7, replacement).expect("a mixture")
}

fn name(replacement: bool) -> &'static str {
    if replacement { "with" } else { "without" }
}

/// Batches of 256 rows, by number of cells. All weights change every 1024 draws.
fn cells(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("cells");
    for replacement in [false, true] {
        for cells in [1, 8, 32, 256, 4096] {
            let turns: Vec<Vec<f64>> = (0..64).map(|turn| weights(cells, turn)).collect();
            let mut stream = stream(cells, replacement);
            let mut rows = [0; BATCH];
            let mut position = 0;
            group.throughput(Throughput::Elements(PERIOD));
            group.bench_function(BenchmarkId::new(name(replacement), cells), |bencher| {
                bencher.iter(|| {
                    let turn = (position / PERIOD % 64) as usize;
                    stream.reweight(position, turns[turn].clone()).expect("weights");
                    for _ in 0..PERIOD / BATCH as u64 {
                        stream.fill(position, black_box(&mut rows)).expect("rows");
                        position += BATCH as u64;
                    }
                });
            });
        }
    }
    group.finish();
}

/// Batches of several sizes from 32 cells, with constant weights.
fn fill(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fill");
    for replacement in [false, true] {
        for count in [1, 16, 256, 4096, 65_536] {
            let mut stream = stream(32, replacement);
            let mut rows = vec![0; count];
            let mut position = 0;
            group.throughput(Throughput::Elements(count as u64));
            group.bench_function(BenchmarkId::new(name(replacement), count), |bencher| {
                bencher.iter(|| {
                    stream.fill(position, black_box(&mut rows)).expect("rows");
                    position += count as u64;
                });
            });
        }
    }
    group.finish();
}

/// A batch from anywhere in a long stream, after 10,000 changes of weights.
fn seek(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("seek");
    for replacement in [false, true] {
        let mut stream = stream(32, replacement);
        for turn in 1..=10_000 {
            stream.reweight(turn * 100_000, weights(32, turn)).expect("weights");
        }
        let mut rows = [0; BATCH];
        let mut position = 0;
        group.bench_function(name(replacement), |bencher| {
            bencher.iter(|| {
                position = (position + 618_033_989) % 1_000_000_000;
                stream.fill(position, black_box(&mut rows)).expect("rows");
            });
        });
    }
    group.finish();
}

criterion_group!(benches, cells, fill, seek);
criterion_main!(benches);
