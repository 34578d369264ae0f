//! The law of activations against the same law written with the standard library.

use kinglet_quant::act::{GROUP, QUANT_MAX, TINY, blocks, groups, padded, quantise};
use proptest::prelude::*;

struct Token {
    q: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i16>,
}

/// Every buffer starts out dirty, so that what is not written is seen.
fn quantised(x: &[f32]) -> Token {
    let mut token = Token { q: vec![99; padded(x.len())], scales: vec![99.0; groups(x.len())], sums: vec![99; blocks(x.len())] };
    quantise(x, &mut token.q, &mut token.scales, &mut token.sums);
    token
}

/// For finite input. `f32::max`, `clamp` and `round_ties_even` instead of the forms that vector units have.
fn check(x: &[f32]) {
    let token = quantised(x);
    for (g, group) in x.chunks(GROUP).enumerate() {
        let peak = group.iter().map(|v| v.abs()).fold(0.0, f32::max);
        let (scale, inverse) = if peak < TINY { (0.0, 0.0) } else { (peak / 127.0, 127.0 / peak) };
        assert_eq!(token.scales[g].to_bits(), f32::to_bits(scale), "scale of group {g}");
        for (i, v) in group.iter().enumerate() {
            let expected = (v * inverse).clamp(-127.0, 127.0).round_ties_even();
            assert_eq!(f32::from(token.q[g * GROUP + i]), expected, "input {i} of group {g}: {v}");
        }
    }
    assert!(token.q[x.len()..].iter().all(|q| *q == 0), "padding");
    for (b, sum) in token.sums.iter().enumerate() {
        let expected: i32 = token.q[32 * b..32 * b + 32].iter().map(|q| i32::from(*q)).sum();
        assert_eq!(i32::from(*sum), expected, "sum of block {b}");
    }
}

#[test]
fn halves_go_to_the_even_neighbour() {
    let token = quantised(&[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 126.5, -126.5, 0.0, -0.0]);
    assert_eq!(token.q[..11], [127, 0, 2, 2, 0, -2, -2, 126, -126, 0, 0]);
    assert_eq!(token.scales, [1.0]);
}

#[test]
fn lengths_around_blocks_units_and_groups() {
    for len in [0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257, 576] {
        let x: Vec<f32> = (0..len).map(|i| ((i * 7919) % 2003) as f32 - 1001.0).collect();
        check(&x);
    }
}

#[test]
fn sizes_at_the_ends_of_f32() {
    let below = f32::from_bits(TINY.to_bits() - 1);
    for peak in [f32::MAX, 1e30, TINY, below, f32::MIN_POSITIVE, f32::from_bits(1), 0.0] {
        let x: Vec<f32> = (0..64).map(|i| peak * ((i - 32) as f32 / 32.0)).collect();
        check(&x);
    }
    assert_eq!(quantised(&[below; 64]).scales, [0.0]);
    assert!(quantised(&[TINY; 64]).scales[0].is_normal());
}

#[test]
fn the_largest_sums_fit() {
    assert_eq!(quantised(&[3.0; 64]).sums, [32 * 127; 2]);
    assert_eq!(quantised(&[-3.0; 64]).sums, [-32 * 127; 2]);
}

#[test]
fn nan_and_infinity_have_written_values() {
    let token = quantised(&[f32::NAN, 2.0, -f32::NAN, -1.0]);
    assert_eq!((token.scales[0], &token.q[..4]), (2.0 / 127.0, &[-127, 127, -127, -64][..]));
    let token = quantised(&[f32::NAN; 3]);
    assert_eq!((token.scales[0], &token.q[..3]), (0.0, &[0, 0, 0][..]));
    for infinity in [f32::INFINITY, f32::NEG_INFINITY] {
        let token = quantised(&[1.0, infinity, -5.0, f32::NAN]);
        assert_eq!((token.scales[0], &token.q[..4]), (f32::INFINITY, &[0, -127, 0, -127][..]));
    }
    // One group does not reach into the next.
    let mut x = vec![1.0; 2 * GROUP];
    x[0] = f32::INFINITY;
    assert_eq!(quantised(&x).scales, [f32::INFINITY, 1.0 / 127.0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 256 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn finite_input_follows_the_law(x in proptest::collection::vec(-1e3f32..1e3, 0..300)) {
        check(&x);
    }

    #[test]
    fn any_bits_stay_in_range(bits in proptest::collection::vec(any::<u32>(), 0..300)) {
        let x: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let token = quantised(&x);
        prop_assert!(token.q.iter().all(|q| (-QUANT_MAX..=QUANT_MAX).contains(q)));
        prop_assert!(token.scales.iter().all(|s| *s >= 0.0));
    }
}
