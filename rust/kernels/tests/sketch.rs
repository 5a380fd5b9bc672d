//! The sketch against a naive count of leading float bits, and the laws that make it mergeable.

use std::collections::BTreeMap;

use half::f16;
use proptest::prelude::*;
use xslim_kernels::sketch::{BINS, Bin, MANTISSA_BITS, MOST, Sketch};
use xslim_kernels::threads::set_threads;
use xslim_kernels::values::Values;

fn sketch(values: &[f32]) -> Sketch {
    let mut sketch = Sketch::new();
    sketch.observe(Values::F32(values));
    sketch
}

/// Counts the values of every dyadic bin one by one, in float64 arithmetic.
fn naive_bins(values: &[f32]) -> Vec<Bin> {
    let mut counts: BTreeMap<(i64, u64, u64), Bin> = BTreeMap::new();
    for value in values.iter().map(|v| f64::from(*v)).filter(|v| v.is_finite()) {
        let magnitude = value.abs();
        let (lo, hi) = if magnitude < f64::from(f32::MIN_POSITIVE) {
            (0.0, 0.0)
        } else {
            let width = 2f64.powi(magnitude.log2().floor() as i32 - MANTISSA_BITS as i32);
            // log2 may round up just below a power of two.
            let width = if magnitude < width * BINS as f64 { width / 2.0 } else { width };
            let lo = (magnitude / width).floor() * width;
            (lo, lo + width)
        };
        let (lo, hi) = if value < 0.0 && hi > 0.0 { (-hi, -lo) } else { (lo, hi) };
        let order = if lo < 0.0 { -1 } else { i64::from(hi > 0.0) };
        let rank = if lo < 0.0 { u64::MAX - (-lo).to_bits() } else { lo.to_bits() };
        counts.entry((order, rank, 0)).or_insert(Bin { lo, hi, count: 0 }).count += 1;
    }
    counts.into_values().collect()
}

/// Every kind of float: any bit pattern, small integers, zeros of both signs, specials.
fn any_float() -> impl Strategy<Value = f32> {
    prop_oneof![
        4 => any::<u32>().prop_map(f32::from_bits),
        4 => (-1000i16..1000).prop_map(|v| f32::from(v) / 16.0),
        2 => prop::sample::select(vec![0.0, -0.0, f32::MIN_POSITIVE, 1e-40, f32::MAX, f32::MIN]),
        1 => prop::sample::select(vec![f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY]),
    ]
}

fn floats() -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(any_float(), 0..300)
}

proptest! {
    #[test]
    fn counts_like_the_naive_count(values in floats()) {
        let sketch = sketch(&values);
        prop_assert_eq!(sketch.bins(), naive_bins(&values));
        let count = |keep: fn(&f32) -> bool| values.iter().filter(|v| keep(v)).count() as u64;
        prop_assert_eq!(sketch.count(), count(|v| v.is_finite()));
        prop_assert_eq!(sketch.zero_count(), count(|v| v.abs() < f32::MIN_POSITIVE));
        prop_assert_eq!(sketch.nan_count(), count(|v| v.is_nan()));
        prop_assert_eq!(sketch.pos_inf_count(), count(|v| *v == f32::INFINITY));
        prop_assert_eq!(sketch.neg_inf_count(), count(|v| *v == f32::NEG_INFINITY));
        let finite = values.iter().copied().filter(|v| v.is_finite());
        let range = finite.clone().reduce(f32::min).zip(finite.reduce(f32::max));
        prop_assert_eq!(sketch.range(), range);
    }

    #[test]
    fn depends_on_the_multiset_only(values in floats(), cut in 0..300usize, other in 0..300usize) {
        let whole = sketch(&values);
        let mut reversed = values.clone();
        reversed.reverse();
        prop_assert_eq!(&sketch(&reversed), &whole);
        let (low, high) = (cut.min(other).min(values.len()), cut.max(other).min(values.len()));
        let parts = [sketch(&values[..low]), sketch(&values[low..high]), sketch(&values[high..])];
        let mut left = parts[0].clone();
        left.merge(&parts[1]).unwrap();
        left.merge(&parts[2]).unwrap();
        let mut right = parts[2].clone();
        right.merge(&parts[1]).unwrap();
        let mut swapped = right.clone();
        swapped.merge(&parts[0]).unwrap();
        prop_assert_eq!(&left, &whole);
        prop_assert_eq!(&swapped, &whole);
        prop_assert_eq!(left.to_bytes(), whole.to_bytes());
    }

    #[test]
    fn bytes_round_trip(values in floats()) {
        let sketch = sketch(&values);
        let bytes = sketch.to_bytes();
        prop_assert_eq!(Sketch::from_bytes(&bytes), Ok(sketch));
        // The header ends after the version, two extremes and four counts of one byte each.
        for cut in 0..bytes.len().min(13) {
            prop_assert!(Sketch::from_bytes(&bytes[..cut]).is_err());
        }
    }

    #[test]
    fn foreign_bytes_are_refused_or_consistent(bytes in prop::collection::vec(any::<u8>(), 0..60), magic in any::<bool>()) {
        let bytes = if magic { [&[1u8][..], &bytes].concat() } else { bytes };
        if let Ok(sketch) = Sketch::from_bytes(&bytes) {
            prop_assert_eq!(sketch.is_empty(), sketch.count() == 0);
            prop_assert_eq!(Sketch::from_bytes(&sketch.to_bytes()), Ok(sketch));
        }
    }

    #[test]
    fn damaged_bytes_are_refused_or_consistent(
        values in floats(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = sketch(&values).to_bytes();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok(mut sketch) = Sketch::from_bytes(&bytes) {
            prop_assert!(sketch.count() <= MOST);
            let bins = sketch.bins();
            if let (Some((min, max)), Some(first), Some(last)) = (sketch.range(), bins.first(), bins.last()) {
                prop_assert!(min <= max);
                let inside = |value: f32, bin: &Bin| bin.lo <= f64::from(value) && f64::from(value) <= bin.hi;
                prop_assert!(inside(min, first) || first.hi == 0.0 && min.abs() < f32::MIN_POSITIVE);
                prop_assert!(inside(max, last) || last.lo == 0.0 && max.abs() < f32::MIN_POSITIVE);
            }
            let before = sketch.clone();
            match sketch.merge(&before) {
                Ok(()) => prop_assert_eq!(sketch.count(), 2 * before.count()),
                Err(_) => prop_assert_eq!(sketch, before),
            }
        }
    }

    #[test]
    fn percentiles_are_within_a_bin(values in prop::collection::vec(-1000f32..1000.0, 1..300), q in 0f64..=1.0) {
        let sketch = sketch(&values);
        let found = sketch.percentile(q).unwrap();
        let mut sorted = values;
        sorted.sort_by(f32::total_cmp);
        let rank = (q * sorted.len() as f64).ceil() as usize;
        let exact = f64::from(sorted[rank.clamp(1, sorted.len()) - 1]);
        let next = f64::from(sorted[rank.min(sorted.len() - 1)]);
        let slack = |v: f64| v.abs() / BINS as f64 + 1e-30;
        prop_assert!(found >= exact - slack(exact) && found <= next + slack(next), "{exact} {found} {next}");
    }

    #[test]
    fn histograms_add_up(values in prop::collection::vec(-10f32..10.0, 0..300), bins in 1usize..50) {
        let sketch = sketch(&values);
        let counts = sketch.histogram(bins, -10.0, 10.0);
        prop_assert_eq!(counts.len(), bins);
        prop_assert_eq!(counts.iter().sum::<u64>(), values.len() as u64);
    }
}

#[test]
fn histograms_put_values_where_they_are() {
    let sketch = sketch(&[-1.75, -0.25, 0.0, 0.0, 0.3, 1.0, 1.9, 7.0]);
    assert_eq!(sketch.histogram(4, -2.0, 2.0), [1, 1, 3, 2]);
    assert_eq!(sketch.histogram(2, 0.0, 7.5), [5, 1]);
}

#[test]
fn threads_and_tasks_change_nothing() {
    let values: Vec<f32> =
        (0..1_700_000u32).map(|i| (i.wrapping_mul(2_654_435_761) as f32).ln() - 20.0).collect();
    let whole = sketch(&values);
    for (threads, parallel) in [(1, true), (2, true), (3, true), (3, false)] {
        set_threads(threads).unwrap();
        let cells: Vec<_> = (0..3).map(|_| std::sync::Mutex::new(Sketch::new())).collect();
        let (left, right) = values.split_at(1_000_001);
        let pairs = [
            (&cells[0], Values::F32(&values)),
            (&cells[1], Values::F32(right)),
            (&cells[2], Values::F32(&[])),
            (&cells[1], Values::F32(left)),
        ];
        xslim_kernels::sketch::observe_many(&pairs, parallel).unwrap();
        assert_eq!(*cells[0].lock().unwrap(), whole);
        assert_eq!(*cells[1].lock().unwrap(), whole);
        assert!(cells[2].lock().unwrap().is_empty());
    }
}

#[test]
fn zeros_constants_and_specials_in_long_runs() {
    let mut values = vec![0.0f32; 100_000];
    for (index, value) in values.iter_mut().enumerate() {
        *value = match index % 7 {
            0 => -0.0,
            1 | 2 => 6.0,
            3 if index > 90_000 => f32::NAN,
            4 if index > 90_000 => f32::NEG_INFINITY,
            _ => 0.0,
        };
    }
    let sketch = sketch(&values);
    assert_eq!(sketch.bins(), naive_bins(&values));
    assert_eq!(sketch.range(), Some((0.0, 6.0)));
    assert_eq!(sketch.nan_count() + sketch.neg_inf_count() + sketch.count(), 100_000);
    assert!(sketch.range().unwrap().0.is_sign_positive());
}

/// A counter that wraps around would lose a multiple of 65,536.
#[test]
fn one_bin_takes_more_values_than_a_16_bit_counter() {
    for value in [1.5, -0.0, -3.0] {
        let mut values = vec![value; 200_000];
        values.push(2.5);
        assert_eq!(sketch(&values).bins(), naive_bins(&values));
    }
}

#[test]
fn a_nan_whose_leading_bits_are_those_of_infinity() {
    let sketch = sketch(&[f32::from_bits(0x7f80_0001), f32::from_bits(0xff80_0001), f32::INFINITY]);
    assert_eq!((sketch.nan_count(), sketch.pos_inf_count(), sketch.neg_inf_count()), (2, 1, 0));
    assert!(sketch.is_empty());
}

#[test]
fn other_widths_count_as_their_float32() {
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let singles: Vec<f32> = halves.iter().map(|v| v.to_f32()).collect();
    let doubles: Vec<f64> = singles.iter().map(|v| f64::from(*v)).collect();
    let mut from_halves = Sketch::new();
    from_halves.observe(Values::F16(&halves));
    let mut from_doubles = Sketch::new();
    from_doubles.observe(Values::F64(&doubles));
    assert_eq!(from_halves, sketch(&singles));
    assert_eq!(from_doubles, sketch(&singles));
    let mut beyond = Sketch::new();
    beyond.observe(Values::F64(&[1e300, -1e-300, 1.0]));
    assert_eq!((beyond.pos_inf_count(), beyond.zero_count(), beyond.range()), (1, 1, Some((0.0, 1.0))));
}

#[test]
fn a_lone_outlier_leaves_the_body_its_resolution() {
    let body: Vec<f32> = (0..10_000).map(|i| i as f32 / 10_000.0 - 0.5).collect();
    let with_outlier = [&body[..], &[500.0]].concat();
    let (plain, mixed) = (sketch(&body).bins(), sketch(&with_outlier).bins());
    assert_eq!(plain[..], mixed[..plain.len()], "the body's bins stay as they were");
    // 256 levels over the body are 1/256 wide: at least two bins each, mostly many more.
    assert!(plain.iter().all(|bin| bin.hi - bin.lo <= 1.0 / 512.0));
}

#[test]
fn counts_near_the_end_of_the_numbers_are_refused() {
    let number = |mut value: u64| {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    };
    // Version, extremes, then the counts of zeros, NaN and infinities.
    let zeros = |count| [&[1u8][..], &[0; 8], &number(count), &[0; 3]].concat();
    for count in [MOST + 1, 1 << 63, u64::MAX] {
        assert!(Sketch::from_bytes(&zeros(count)).is_err());
    }
    let mut most = Sketch::from_bytes(&zeros(MOST)).unwrap();
    assert!(most.merge(&sketch(&[1.0])).is_err());
    assert_eq!((most.count(), most.range()), (MOST, Some((0.0, 0.0))));
    assert!(most.merge(&Sketch::new()).is_ok());
}
