//! Throughput of the kernels on tensors in cache, and time per threshold search.
//!
//! `cargo bench -p xslim-kernels`; one thread unless the name says otherwise.

use std::hint::black_box;
use std::sync::Mutex;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use half::f16;
use xslim_kernels::fake_quant::{Grid, fake_quantize};
use xslim_kernels::metrics::error_sums;
use xslim_kernels::sketch::{Sketch, observe_many};
use xslim_kernels::threads::set_threads;
use xslim_kernels::threshold::{Levels, METHODS, Method, search};
use xslim_kernels::values::Values;
use xslim_kernels::weights::{Layout, Rule, channel_scales};

/// Elements of the tensors: 1 MB of float32.
const SIZE: usize = 1 << 18;

/// Bell-shaped values without a random generator: sums of scrambled counters.
fn bell() -> Vec<f32> {
    let uniform = |i: usize| ((i as u32).wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5;
    (0..SIZE).map(|i| (0..8).map(|k| uniform(8 * i + k)).sum()).collect()
}

fn relu(values: &[f32]) -> Vec<f32> {
    values.iter().map(|v| v.max(0.0)).collect()
}

fn sketching(criterion: &mut Criterion) {
    let bell = bell();
    let relu = relu(&bell);
    let halves: Vec<f16> = bell.iter().map(|v| f16::from_f32(*v)).collect();
    let tensors = [
        ("float32", Values::F32(&bell), 4),
        ("float32 after relu", Values::F32(&relu), 4),
        ("float16", Values::F16(&halves), 2),
    ];
    let mut group = criterion.benchmark_group("sketch");
    for (name, values, bytes) in tensors {
        group.throughput(Throughput::Bytes((values.len() * bytes) as u64));
        let mut sketch = Sketch::new();
        group.bench_function(name, |bencher| bencher.iter(|| sketch.observe(black_box(values))));
    }
    set_threads(2).expect("two is positive");
    let sketches: Vec<_> = (0..8).map(|_| Mutex::new(Sketch::new())).collect();
    let pairs: Vec<_> = sketches.iter().map(|sketch| (sketch, Values::F32(&bell))).collect();
    group.throughput(Throughput::Bytes((8 * SIZE * 4) as u64));
    group.bench_function("8 tensors of float32, 2 threads", |bencher| {
        bencher.iter(|| observe_many(black_box(&pairs), true));
    });
    group.finish();
    set_threads(1).expect("one is positive");
}

fn searching(criterion: &mut Criterion) {
    let bell = bell();
    let heavy: Vec<f32> = bell.iter().map(|v| v.powi(5)).collect();
    let mut group = criterion.benchmark_group("search");
    for (shape, values) in [("bell", &bell), ("relu", &relu(&bell)), ("heavy tails", &heavy)] {
        let mut sketch = Sketch::new();
        sketch.observe(Values::F32(values));
        for name in METHODS {
            let method = match name.parse() {
                Ok(Method::Percentile { .. }) => Method::Percentile { fraction: 0.9999 },
                Ok(method) => method,
                Err(error) => panic!("{error}"),
            };
            let levels = Levels::new(8, false).expect("8 bits are allowed");
            group.bench_function(format!("{name}, {shape}"), |bencher| {
                bencher.iter(|| search(black_box(&sketch), method, levels));
            });
        }
    }
    group.finish();
}

fn arithmetic(criterion: &mut Criterion) {
    let bell = bell();
    let mut output = vec![0.0; SIZE];
    let mut group = criterion.benchmark_group("arithmetic");
    group.throughput(Throughput::Bytes((SIZE * 4) as u64));
    let grid = Grid { scales: &[0.02], zero_points: &[3], inner: 1, qmin: -128, qmax: 127 };
    group.bench_function("fake quantisation", |bencher| {
        bencher.iter(|| fake_quantize(black_box(&bell), &mut output, grid));
    });
    group.bench_function("error sums", |bencher| {
        bencher.iter(|| error_sums(Values::F32(black_box(&bell)), Values::F32(&output)));
    });
    let layout = Layout { outer: 1, channels: 256, inner: SIZE / 256 };
    for (name, rule) in [("weight scales, minmax", Rule::MinMax), ("weight scales, mse", Rule::Mse)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| channel_scales(black_box(&bell), layout, 8, rule));
        });
    }
    let columns = Layout { outer: SIZE / 256, channels: 256, inner: 1 };
    group.bench_function("weight scales of columns, minmax", |bencher| {
        bencher.iter(|| channel_scales(black_box(&bell), columns, 8, Rule::MinMax));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(1))
        .warm_up_time(std::time::Duration::from_millis(300));
    targets = sketching, searching, arithmetic
}
criterion_main!(benches);
