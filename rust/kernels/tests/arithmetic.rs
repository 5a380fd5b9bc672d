//! Fake quantisation, weights and error sums against scalar float64 references.

use proptest::prelude::*;
use xslim_kernels::KernelError;
use xslim_kernels::fake_quant::{Grid, fake_quantize, quantize};
use xslim_kernels::metrics::{ErrorSums, error_sums};
use xslim_kernels::threads::set_threads;
use xslim_kernels::values::Values;
use xslim_kernels::weights::{Layout, Rule, channel_scales};

fn naive_integer(value: f32, scale: f32, zero: i32, qmin: i32, qmax: i32) -> i32 {
    if value.is_nan() {
        return qmin;
    }
    let steps = f64::from(value / scale).clamp(-1e6, 1e6).round_ties_even() as i32;
    (steps + zero).clamp(qmin, qmax)
}

proptest! {
    #[test]
    fn quantises_like_the_scalar_reference(
        values in prop::collection::vec(prop_oneof![any::<f32>(), -20f32..20.0, (-40i8..40).prop_map(|v| f32::from(v) / 4.0)], 1..200),
        scale in prop_oneof![0.001f32..10.0, Just(0.5)],
        zero in -128i32..=127,
    ) {
        let grid = Grid { scales: &[scale], zero_points: &[zero], inner: 1, qmin: -128, qmax: 127 };
        let mut integers = vec![0; values.len()];
        let mut floats = vec![0.0; values.len()];
        quantize(&values, &mut integers, grid).unwrap();
        fake_quantize(&values, &mut floats, grid).unwrap();
        for ((value, q), float) in values.iter().zip(&integers).zip(&floats) {
            let expected = naive_integer(*value, scale, zero, -128, 127);
            prop_assert_eq!(i32::from(*q), expected);
            prop_assert_eq!(*float, (expected - zero) as f32 * scale);
        }
    }

    #[test]
    fn channels_are_those_of_the_axis(outer in 1usize..4, channels in 1usize..5, inner in 1usize..6) {
        let values: Vec<f32> = (0..outer * channels * inner).map(|i| i as f32 - 7.5).collect();
        let scales: Vec<f32> = (0..channels).map(|c| 0.25 * (c + 1) as f32).collect();
        let zeros: Vec<i32> = (0..channels as i32).collect();
        let grid = Grid { scales: &scales, zero_points: &zeros, inner, qmin: -8, qmax: 7 };
        let mut integers = vec![0; values.len()];
        quantize(&values, &mut integers, grid).unwrap();
        for (index, (value, q)) in values.iter().zip(&integers).enumerate() {
            let channel = index / inner % channels;
            prop_assert_eq!(i32::from(*q), naive_integer(*value, scales[channel], zeros[channel], -8, 7));
        }
    }

    #[test]
    fn clipped_weights_are_never_worse(weights in prop::collection::vec(-3f32..3.0, 1..300), bits in 2u32..=8) {
        let layout = Layout { outer: 1, channels: 1, inner: weights.len() };
        let error = |rule| {
            let scale = channel_scales(&weights, layout, bits, rule).unwrap()[0];
            squared_error(&weights, scale, bits)
        };
        prop_assert!(error(Rule::Mse) <= error(Rule::MinMax) * (1.0 + 1e-5));
    }

    #[test]
    fn sums_equal_the_direct_ones(pairs in prop::collection::vec((-9f32..9.0, -9f32..9.0), 0..200)) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.iter().copied().unzip();
        let sums = error_sums(Values::F32(&a), Values::F32(&b)).unwrap();
        let direct = |term: fn(f64, f64) -> f64| pairs.iter().map(|(a, b)| term(f64::from(*a), f64::from(*b))).sum::<f64>();
        let close = |x: f64, y: f64| (x - y).abs() <= 1e-9 * (1.0 + y.abs());
        prop_assert_eq!(sums.count, pairs.len() as u64);
        prop_assert!(close(sums.reference_energy, direct(|a, _| a * a)));
        prop_assert!(close(sums.test_energy, direct(|_, b| b * b)));
        prop_assert!(close(sums.product, direct(|a, b| a * b)));
        prop_assert!(close(sums.noise_energy, direct(|a, b| (a - b).powi(2))));
        let largest = pairs.iter().map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs()).fold(0.0, f64::max);
        prop_assert_eq!(sums.max_abs_error, largest);
    }
}

fn squared_error(weights: &[f32], scale: f32, bits: u32) -> f64 {
    let largest = f64::from((1 << (bits - 1)) - 1);
    let error = |weight: f32| {
        let steps = f64::from(weight / scale).round_ties_even().clamp(-largest, largest);
        (f64::from(weight) - steps * f64::from(scale)).powi(2)
    };
    weights.iter().map(|weight| error(*weight)).sum()
}

#[test]
fn weight_search_is_as_good_as_brute_force() {
    let weights: Vec<f32> = (1..600).map(|i| ((i * 7919 % 601) as f32 / 300.0 - 1.0).powi(3)).collect();
    let layout = Layout { outer: 1, channels: 1, inner: weights.len() };
    for bits in [3, 4, 8] {
        let scale = channel_scales(&weights, layout, bits, Rule::Mse).unwrap()[0];
        let found = squared_error(&weights, scale, bits);
        let widest = 1.0 / f64::from((1 << (bits - 1)) - 1);
        for step in 1..=2000 {
            let other = squared_error(&weights, (widest * f64::from(step) / 1800.0) as f32, bits);
            assert!(found <= other * 1.005, "{bits} bits: {scale} {found}, {other}");
        }
    }
}

#[test]
fn weights_of_any_axis() {
    let weights: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let scales = |outer, channels, inner| {
        channel_scales(&weights, Layout { outer, channels, inner }, 8, Rule::MinMax).unwrap()
    };
    assert_eq!(scales(1, 2, 12), [11.0 / 127.0, 23.0 / 127.0]);
    assert_eq!(scales(2, 3, 4), [15.0 / 127.0, 19.0 / 127.0, 23.0 / 127.0]);
    assert_eq!(scales(12, 2, 1), [22.0 / 127.0, 23.0 / 127.0]);
}

#[test]
fn odd_weights() {
    let layout = Layout { outer: 1, channels: 3, inner: 2 };
    let scales = |weights: &[f32]| channel_scales(weights, layout, 8, Rule::Mse);
    let found = scales(&[0.0, 0.0, 1e-42, 0.0, 127.0, -127.0]).unwrap();
    assert_eq!((found[0], found[1]), (1.0, f32::MIN_POSITIVE));
    assert!((found[2] - 1.0).abs() < 1e-6);
    let refused = scales(&[1.0, 1.0, 1.0, f32::NAN, 1.0, 1.0]);
    assert!(matches!(refused, Err(KernelError::NotFinite(text)) if text.contains("channel 1")));
}

#[test]
fn impossible_grids_are_refused() {
    let good = Grid { scales: &[1.0], zero_points: &[0], inner: 1, qmin: -128, qmax: 127 };
    let refused = |grid: Grid<'_>| fake_quantize(&[1.0; 6], &mut [0.0; 6], grid).is_err();
    assert!(!refused(good));
    assert!(refused(Grid { scales: &[0.0], ..good }));
    assert!(refused(Grid { scales: &[f32::NAN], ..good }));
    assert!(refused(Grid { zero_points: &[200], ..good }));
    assert!(refused(Grid { zero_points: &[], ..good }));
    assert!(refused(Grid { scales: &[1.0; 4], zero_points: &[0; 4], ..good }));
    assert!(quantize(&[1.0], &mut [0], Grid { qmax: 200, ..good }).is_err());
}

#[test]
fn sums_do_not_depend_on_threads() {
    let a: Vec<f32> = (0..300_000).map(|i| (i as f32 * 0.37).sin() * 3.0).collect();
    let b: Vec<f32> = a.iter().map(|v| v + (v * 91.0).cos() * 0.01).collect();
    let sums = |threads| {
        set_threads(threads).unwrap();
        error_sums(Values::F32(&a), Values::F32(&b)).unwrap()
    };
    let one = sums(1);
    assert_eq!(one, sums(2));
    assert_eq!(one, sums(3));
    assert!(one.sqnr_db() > 40.0 && one.cosine() > 0.999);
}

#[test]
fn measures_at_their_limits() {
    let sums = |a: &[f32], b: &[f32]| error_sums(Values::F32(a), Values::F32(b)).unwrap();
    let same = sums(&[1.0, -2.0], &[1.0, -2.0]);
    assert_eq!(
        (same.noise_ratio(), same.sqnr_db(), same.mse(), same.cosine()),
        (0.0, f64::INFINITY, 0.0, 1.0)
    );
    let silence = sums(&[0.0, 0.0], &[0.0, 1.0]);
    assert_eq!(
        (silence.noise_ratio(), silence.sqnr_db(), silence.cosine()),
        (f64::INFINITY, f64::NEG_INFINITY, 0.0)
    );
    let nothing = ErrorSums::default();
    assert_eq!((nothing.noise_ratio(), nothing.mse(), nothing.cosine()), (0.0, 0.0, 1.0));
    let skipped = sums(&[1.0, f32::NAN, 3.0], &[1.5, 2.0, f32::INFINITY]);
    assert_eq!((skipped.count, skipped.non_finite, skipped.mse()), (1, 2, 0.25));
    assert!(error_sums(Values::F32(&[1.0]), Values::F32(&[])).is_err());
    let mut merged = same;
    merged.merge(&silence);
    assert_eq!((merged.count, merged.noise_energy, merged.reference_energy), (4, 1.0, 5.0));
}
