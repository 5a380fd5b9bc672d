//! Extremes per channel against loops over single values.

use half::f16;
use proptest::prelude::*;
use xslim_kernels::channels::{Layout, channel_ranges};
use xslim_kernels::values::Values;

fn naive(data: &[f32], layout: Layout) -> (Vec<f32>, Vec<f32>) {
    let Layout { groups, rows, block, .. } = layout;
    let mut found = (vec![f32::INFINITY; groups * block], vec![f32::NEG_INFINITY; groups * block]);
    for (index, value) in data.iter().enumerate() {
        let channel = index / (rows * block) % groups * block + index % block;
        let (low, high) = (&mut found.0[channel], &mut found.1[channel]);
        let unknown = value.is_nan() || low.is_nan();
        (*low, *high) = if unknown { (f32::NAN, f32::NAN) } else { (low.min(*value), high.max(*value)) };
    }
    found
}

fn same(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || a.is_nan() && b.is_nan())
}

fn value() -> impl Strategy<Value = f32> {
    let special = prop_oneof![
        Just(f32::NAN),
        Just(-f32::NAN),
        Just(f32::INFINITY),
        Just(f32::NEG_INFINITY),
        Just(-0.0),
        Just(f32::MAX),
    ];
    prop_oneof![60 => -10f32..10.0, 1 => special]
}

fn layout() -> impl Strategy<Value = Layout> {
    let block = prop_oneof![Just(1usize), Just(8), Just(16), 2usize..20];
    (1usize..4, 1usize..5, 1usize..70, block).prop_map(|(outer, groups, rows, block)| Layout {
        outer,
        groups,
        rows,
        block,
    })
}

proptest! {
    #[test]
    fn extremes_are_those_of_single_values(
        (layout, data) in layout().prop_flat_map(|layout| {
            let size = layout.outer * layout.groups * layout.rows * layout.block;
            (Just(layout), proptest::collection::vec(value(), size))
        })
    ) {
        let (low, high) = channel_ranges(Values::F32(&data), layout).unwrap();
        let expected = naive(&data, layout);
        prop_assert!(same(&low, &expected.0) && same(&high, &expected.1), "{low:?} {high:?} {expected:?}");
        let halves: Vec<f16> = data.iter().map(|value| f16::from_f32(*value)).collect();
        let widened: Vec<f32> = halves.iter().map(|value| value.to_f32()).collect();
        let (low, high) = channel_ranges(Values::F16(&halves), layout).unwrap();
        let expected = naive(&widened, layout);
        prop_assert!(same(&low, &expected.0) && same(&high, &expected.1));
    }
}

#[test]
fn a_layout_that_does_not_fit_is_refused() {
    let layout = |outer, groups, rows, block| Layout { outer, groups, rows, block };
    assert!(channel_ranges(Values::F32(&[1.0; 6]), layout(1, 2, 2, 2)).is_err());
    assert!(channel_ranges(Values::F32(&[1.0; 6]), layout(0, 2, 3, 1)).is_err());
    assert!(channel_ranges(Values::F32(&[]), layout(1, 0, 3, 1)).is_err());
}
