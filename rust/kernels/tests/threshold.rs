//! Threshold search against brute force and against direct sums.

use proptest::prelude::*;
use xslim_kernels::sketch::{Bin, Sketch};
use xslim_kernels::threshold::{Levels, METHODS, Method, Params, kl, mse, search};
use xslim_kernels::values::Values;

fn sketch(values: &[f32]) -> Sketch {
    let mut sketch = Sketch::new();
    sketch.observe(Values::F32(values));
    sketch
}

fn levels(bits: u32, symmetric: bool) -> Levels {
    Levels::new(bits, symmetric).unwrap()
}

fn round_trip(value: f64, params: Params, levels: Levels) -> f64 {
    let scale = f64::from(params.scale);
    let q = (value / scale).round() + f64::from(params.zero_point);
    (q.clamp(f64::from(levels.qmin), f64::from(levels.qmax)) - f64::from(params.zero_point)) * scale
}

/// Squared error if the values of every bin are spread evenly over the bin.
fn naive_squared_error(bins: &[Bin], params: Params, levels: Levels) -> f64 {
    const POINTS: usize = 64;
    let error = |bin: &Bin| {
        let point = |i: usize| bin.lo + (bin.hi - bin.lo) * (i as f64 + 0.5) / POINTS as f64;
        let square = |x: f64| (x - round_trip(x, params, levels)).powi(2);
        bin.count as f64 * (0..POINTS).map(|i| square(point(i))).sum::<f64>() / POINTS as f64
    };
    bins.iter().map(error).sum()
}

/// Deterministic bell-shaped values, the sum of four uniform ones.
fn bell(count: u32) -> Vec<f32> {
    let uniform = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 24) as f32 - 0.5;
    (0..count).map(|i| (0..4).map(|k| uniform(4 * i + k + 1)).sum()).collect()
}

fn tensors() -> Vec<(&'static str, Vec<f32>)> {
    let bell = bell(4000);
    vec![
        ("bell", bell.clone()),
        ("relu", bell.iter().map(|v| v.max(0.0)).collect()),
        ("negative", bell.iter().map(|v| -v.abs() - 0.01).collect()),
        ("heavy", bell.iter().map(|v| v.powi(5) * 30.0).collect()),
        ("skewed", bell.iter().map(|v| if *v < 0.0 { v * 0.1 } else { *v }).collect()),
        ("outlier", [&bell[..], &[30.0]].concat()),
    ]
}

#[test]
fn mse_error_equals_the_direct_sum() {
    for (name, values) in tensors() {
        let sketch = sketch(&values);
        for symmetric in [false, true] {
            for bits in [3, 8] {
                let levels = levels(bits, symmetric);
                for shrink in [1.0, 0.6] {
                    let (min, max) = sketch.range().unwrap();
                    let params = Params::of_range(f64::from(min) * shrink, f64::from(max) * shrink, levels);
                    let fast = mse::squared_error(&sketch, params, levels);
                    let slow = naive_squared_error(&sketch.bins(), params, levels);
                    assert!((fast - slow).abs() < 0.02 * slow, "{name} {bits} {symmetric}: {fast} {slow}");
                }
            }
        }
    }
}

#[test]
fn mse_search_is_as_good_as_brute_force() {
    for (name, values) in tensors() {
        let sketch = sketch(&values);
        let (min, max) = sketch.range().unwrap();
        for symmetric in [false, true] {
            let levels = levels(3, symmetric);
            let widest = 2.0 * f64::from(max.max(-min)) / f64::from(levels.qmax);
            let found = search(&sketch, Method::Mse, levels).unwrap();
            let error = mse::squared_error(&sketch, found, levels);
            for step in 1..=150 {
                let scale = (widest * f64::from(step) / 150.0) as f32;
                let zeros = if symmetric { 0..=0 } else { levels.qmin..=levels.qmax };
                for zero_point in zeros {
                    let other = mse::squared_error(&sketch, Params { scale, zero_point }, levels);
                    assert!(
                        error <= other * (1.0 + 1e-6),
                        "{name}: {found:?} {error}, {scale} {zero_point} {other}"
                    );
                }
            }
        }
    }
}

/// The divergence of the module's formula, bin by bin, for a one- or two-sided sketch with linear bins only.
fn naive_divergence(bins: &[Bin], params: Params, levels: Levels) -> f64 {
    let scale = f64::from(params.scale);
    let (below, above) = (params.zero_point - levels.qmin, levels.qmax - params.zero_point);
    let level = |bin: &Bin| ((bin.lo + bin.hi) / 2.0 / scale).round() as i32;
    let inside: Vec<&Bin> =
        bins.iter().filter(|b| b.hi > b.lo && (-below..=above).contains(&level(b))).collect();
    let outside: Vec<&Bin> =
        bins.iter().filter(|b| b.hi > b.lo && !(-below..=above).contains(&level(b))).collect();
    let count = |bins: &[&Bin]| bins.iter().map(|b| b.count as f64).sum::<f64>();
    let (m, n) = (count(&inside), count(&inside) + count(&outside));
    let (high, low): (Vec<&Bin>, Vec<&Bin>) = outside.iter().partition(|b| b.lo > 0.0);
    let mut sum = 0.0;
    for (index, bin) in inside.iter().enumerate() {
        let own: Vec<&Bin> = inside.iter().copied().filter(|b| level(b) == level(bin)).collect();
        let support: f64 = own.iter().map(|b| b.hi - b.lo).sum();
        let q = count(&own) / m * (bin.hi - bin.lo) / support;
        let mut p = bin.count as f64;
        p += if index + 1 == inside.len() { count(&high) } else { 0.0 };
        p += if index == 0 { count(&low) } else { 0.0 };
        sum += p / n * (p / n / q).ln();
    }
    sum
}

#[test]
fn kl_divergence_equals_the_direct_sum() {
    // Sixteenths from 512 up: one octave, bins of width 1, each of them filled so that edges need no smoothing.
    let mut values: Vec<f32> =
        (512..1024).flat_map(|v| vec![v as f32; 1 + (v * 7919 % 23) as usize]).collect();
    values.extend((512..1000).flat_map(|v| vec![-(v as f32); 1 + (v * 104_729 % 11) as usize]));
    let sketch = sketch(&values);
    let levels = levels(5, false);
    for (scale, zero_point) in [(67.3, 0), (66.1, -1), (64.2, -1), (67.1, 1), (65.4, 0), (70.3, 1)] {
        let params = Params { scale, zero_point };
        let fast = kl::divergence(&sketch, params, levels);
        let slow = naive_divergence(&sketch.bins(), params, levels);
        assert!((fast - slow).abs() < 1e-9 * (1.0 + slow.abs()), "{params:?}: {fast} {slow}");
        assert!(fast > 0.0);
    }
}

#[test]
fn kl_search_is_as_good_as_brute_force() {
    for (name, values) in tensors() {
        let sketch = sketch(&values);
        let levels = levels(3, false);
        let (min, max) = sketch.range().unwrap();
        let widest = (f64::from(max.max(0.0)) - f64::from(min.min(0.0))) / levels.steps() as f64;
        let found = search(&sketch, Method::Kl, levels).unwrap();
        let divergence = kl::divergence(&sketch, found, levels);
        let mut least = f64::INFINITY;
        for step in 1..=60 {
            let scale = (widest * f64::from(step) / 60.0) as f32;
            for zero_point in levels.qmin..=levels.qmax {
                least = least.min(kl::divergence(&sketch, Params { scale, zero_point }, levels));
            }
        }
        // Neighbouring scales move bins from level to level, so the divergence is rugged.
        assert!(divergence <= least * 1.1 + 1e-6, "{name}: {found:?} {divergence} {least}");
    }
}

#[test]
fn kl_prefers_the_body_to_an_outlier() {
    let values = [bell(4000), vec![1000.0]].concat();
    let params = search(&sketch(&values), Method::Kl, levels(8, false)).unwrap();
    assert!(params.scale < 0.05, "{params:?}");
}

#[test]
fn percentile_cuts_half_of_the_rest_on_either_side() {
    let values: Vec<f32> = (0..10_000).map(|i| i as f32 / 5000.0 - 1.0).collect();
    let params = search(&sketch(&values), Method::Percentile { fraction: 0.9 }, levels(8, false)).unwrap();
    assert!((f64::from(params.scale) * 255.0 - 1.8).abs() < 0.01, "{params:?}");
    let all = search(&sketch(&values), Method::Percentile { fraction: 1.0 }, levels(8, false)).unwrap();
    assert_eq!(all, search(&sketch(&values), Method::MinMax, levels(8, false)).unwrap());
    for fraction in [0.0, -1.0, 1.1, f64::NAN] {
        assert!(search(&sketch(&values), Method::Percentile { fraction }, levels(8, false)).is_err());
    }
}

fn any_values() -> impl Strategy<Value = Vec<f32>> {
    let float = prop_oneof![
        3 => any::<u32>().prop_map(f32::from_bits),
        3 => -10f32..10.0,
        2 => prop::sample::select(vec![0.0, -0.0, 1.0, -3.0, 1e-42, f32::MAX, f32::MIN, f32::NAN, f32::INFINITY]),
    ];
    prop::collection::vec(float, 0..20)
}

proptest! {
    #[test]
    fn whatever_the_data_the_quantiser_is_valid(values in any_values(), bits in 2u32..=8, symmetric in any::<bool>()) {
        let sketch = sketch(&values);
        let levels = levels(bits, symmetric);
        for name in METHODS {
            let params = search(&sketch, name.parse().unwrap(), levels).unwrap();
            prop_assert!(params.scale.is_normal() && params.scale > 0.0, "{name} {params:?}");
            prop_assert!((levels.qmin..=levels.qmax).contains(&params.zero_point), "{name} {params:?}");
            prop_assert!(!symmetric || params.zero_point == 0);
        }
    }

    #[test]
    fn minmax_represents_the_extremes(values in prop::collection::vec(-50f32..50.0, 1..50), symmetric in any::<bool>()) {
        let levels = levels(8, symmetric);
        let params = search(&sketch(&values), Method::MinMax, levels).unwrap();
        for value in values {
            let error = (f64::from(value) - round_trip(f64::from(value), params, levels)).abs();
            prop_assert!(error <= f64::from(params.scale) * 1.001, "{value} {params:?}");
        }
    }

    #[test]
    fn mse_never_loses_to_minmax_on_the_sketch(values in prop::collection::vec(-50f32..50.0, 2..200)) {
        let levels = levels(8, false);
        let sketch = sketch(&values);
        let minmax = search(&sketch, Method::MinMax, levels).unwrap();
        let mse = search(&sketch, Method::Mse, levels).unwrap();
        let error = |params| mse::squared_error(&sketch, params, levels);
        prop_assert!(error(mse) <= error(minmax) * 1.0001 + 1e-12, "{} {}", error(mse), error(minmax));
    }
}

#[test]
fn degenerate_tensors() {
    let unit = Params { scale: 1.0, zero_point: 0 };
    let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
    for name in METHODS {
        let method: Method = name.parse().unwrap();
        for values in [&[][..], &[0.0, -0.0], &special] {
            assert_eq!(search(&sketch(values), method, levels(8, false)).unwrap(), unit);
        }
        for constant in [3.0f32, -0.7, 1e-30, 1e38] {
            let params = search(&sketch(&[constant; 5]), method, levels(8, false)).unwrap();
            let value = f64::from(constant);
            let error = (round_trip(value, params, levels(8, false)) - value).abs();
            assert!(error <= value.abs() * 1e-6, "{name} {constant} {params:?}");
        }
        let infinite = search(&sketch(&[0.5, -1.0, f32::INFINITY]), method, levels(8, false)).unwrap();
        let finite = search(&sketch(&[0.5, -1.0]), method, levels(8, false)).unwrap();
        assert_eq!(infinite, finite);
        let one_sided: Vec<f32> = bell(500).iter().map(|v| v.abs()).collect();
        assert_eq!(search(&sketch(&one_sided), method, levels(8, false)).unwrap().zero_point, -128, "{name}");
    }
}

#[test]
fn bits_out_of_range_are_refused() {
    assert!(Levels::new(1, false).is_err() && Levels::new(9, true).is_err());
    assert!("entropy".parse::<Method>().is_err());
}
