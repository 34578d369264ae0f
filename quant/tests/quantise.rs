//! The quantisers: against a plain fit, on weights that are representable, at the ends of the range, and byte by byte.

use kinglet_quant::metrics::ErrorStats;
use kinglet_quant::{BLOCK, LANES, QuantiseError, UNIT, q4, q8};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Q4,
    Q8,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Q4, Kind::Q8];

    fn quantise(self, rows: &[&[f32]], importance: Option<&[f32]>) -> Result<Vec<u8>, QuantiseError> {
        let cols = rows[0].len();
        // Dirty, so that a byte that is not written is seen.
        let mut tile = vec![0xa5; if self == Kind::Q4 { q4::tile_bytes(cols) } else { q8::tile_bytes(cols) }.unwrap()];
        match self {
            Kind::Q4 => q4::quantise_tile(rows, importance, &mut tile)?,
            Kind::Q8 => q8::quantise_tile(rows, importance, &mut tile)?,
        }
        Ok(tile)
    }

    /// Decodes every row and column of a tile, padding too, by the tables of the modules' documentation: over the
    /// bytes as they lie. `(weight, quant, scale, minimum)` for each input.
    fn decode(self, tile: &[u8]) -> Vec<Vec<(f32, i32, u8, u8)>> {
        let float = |at: usize| f32::from_le_bytes(tile[at..at + 4].try_into().unwrap());
        let (head, unit_bytes) = if self == Kind::Q4 { (64, 288) } else { (32, 528) };
        let units = (tile.len() - head) / unit_bytes;
        assert_eq!(tile.len(), head + units * unit_bytes);
        let mut rows = vec![vec![(f32::NAN, 0, 0, 0); 64 * units]; 8];
        for u in 0..units {
            let unit = &tile[head + u * unit_bytes..][..unit_bytes];
            let mut put = |r: usize, input: usize, q: i32| {
                let b = input / 32;
                rows[r][64 * u + input] = if self == Kind::Q4 {
                    let (s, m) = (unit[256 + 8 * b + r], unit[272 + 2 * r + b]);
                    let w = float(4 * r) * (f32::from(s) * q as f32) - float(32 + 4 * r) * f32::from(m);
                    (w, q, s, m)
                } else {
                    let s = unit[512 + 8 * b + r];
                    (float(4 * r) * (f32::from(s) * q as f32), q, s, 0)
                };
            };
            for (at, byte) in unit[..if self == Kind::Q4 { 256 } else { 512 }].iter().enumerate() {
                let (load, r, j) = (at / 32, at % 32 / 4, at % 4);
                if self == Kind::Q4 {
                    put(r, 8 * load + j, i32::from(byte & 15));
                    put(r, 8 * load + 4 + j, i32::from(byte >> 4));
                } else {
                    put(r, 4 * load + j, i32::from(*byte as i8));
                }
            }
        }
        rows
    }

    fn read_row(self, tile: &[u8], lane: usize, cols: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; cols];
        match self {
            Kind::Q4 => q4::read_row(tile, lane, &mut out),
            Kind::Q8 => q8::read_row(tile, lane, &mut out),
        }
        out
    }

    fn check_tile(self, tile: &[u8]) -> bool {
        match self {
            Kind::Q4 => q4::check_tile(tile),
            Kind::Q8 => q8::check_tile(tile),
        }
    }

    fn stats(self, row: &[f32]) -> ErrorStats {
        stats(row, &self.read_row(&self.quantise(&[row], None).unwrap(), 0, row.len()))
    }
}

/// Whether `searched` is no worse than `plain`, but for what the rounding of the row's scales to f32 does.
fn no_worse(searched: ErrorStats, plain: ErrorStats) -> bool {
    searched.noise <= plain.noise * (1.0 + 1e-5) + plain.signal * 1e-10
}

fn stats(row: &[f32], decoded: &[f32]) -> ErrorStats {
    let mut stats = ErrorStats::default();
    stats.add(row, decoded);
    stats
}

/// What the searches have to beat: steps from the largest and smallest weight of every block, rounded up, so that
/// nothing is cut off.
fn plain(kind: Kind, row: &[f32]) -> Vec<f32> {
    let bounds: Vec<(f32, f32)> =
        row.chunks(BLOCK).map(|b| (b.iter().copied().fold(0.0, f32::min), b.iter().copied().fold(0.0, f32::max))).collect();
    let mut out = Vec::new();
    let step = |(low, high): (f32, f32)| {
        if kind == Kind::Q4 { (high - low) / 15.0 } else { high.max(-low) / 127.0 }
    };
    let scale = bounds.iter().map(|b| step(*b)).fold(0.0, f32::max) / 255.0;
    let min = bounds.iter().map(|b| -b.0).fold(0.0, f32::max) / 255.0;
    let multiple = |v: f32, unit: f32| {
        if unit > 0.0 { (v / unit).ceil().min(255.0) * unit } else { 0.0 }
    };
    for (block, &(low, high)) in row.chunks(BLOCK).zip(&bounds) {
        let a = multiple(step((low, high)), scale);
        let b = if kind == Kind::Q4 { -multiple(-low, min) } else { 0.0 };
        let range = if kind == Kind::Q4 { (0.0, 15.0) } else { (-127.0, 127.0) };
        out.extend(block.iter().map(|w| if a > 0.0 { ((w - b) / a).round().clamp(range.0, range.1) * a + b } else { b }));
    }
    out
}

/// A small generator of our own: the same weights on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    fn below(&mut self, n: u32) -> u32 {
        self.next() % n
    }

    /// -1..1.
    fn uniform(&mut self) -> f32 {
        self.next() as f32 / (1u32 << 30) as f32 - 1.0
    }

    /// Near enough to a normal distribution of variance 1.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() / 2.0
    }
}

/// Rows of the shapes that checkpoints have, and some that they should not have.
fn shapes() -> Vec<(&'static str, Vec<f32>)> {
    let mut r = Random(7);
    let mut row = |f: &mut dyn FnMut(usize, &mut Random) -> f32| (0..576).map(|i| f(i, &mut r)).collect::<Vec<f32>>();
    vec![
        ("normal", row(&mut |_, r| r.normal())),
        ("uniform", row(&mut |_, r| r.uniform())),
        ("heavy tails", row(&mut |_, r| r.normal().powi(5))),
        ("one outlier", row(&mut |i, r| if i == 77 { 300.0 } else { r.normal() })),
        ("negative outliers", row(&mut |i, r| if i % 50 == 0 { -40.0 } else { r.normal() })),
        ("positive", row(&mut |_, r| 1.0 + 0.05 * r.normal())),
        ("negative", row(&mut |_, r| -3.0 + 0.2 * r.normal())),
        ("blocks of either sign", row(&mut |i, r| if i / 32 % 2 == 0 { 2.0 } else { -2.0 } + 0.2 * r.normal())),
        ("blocks of many sizes", row(&mut |i, r| r.normal() * 0.5f32.powi((i / 32) as i32))),
        ("sparse", row(&mut |_, r| if r.below(20) == 0 { r.normal() } else { 0.0 })),
        ("two values", row(&mut |_, r| if r.below(2) == 0 { 0.25 } else { -0.125 })),
        ("ternary", row(&mut |_, r| 0.3 * (r.below(3) as f32 - 1.0))),
        ("one weight", row(&mut |i, _| if i == 100 { 1.5 } else { 0.0 })),
    ]
}

#[test]
fn no_shape_is_worse_than_a_plain_fit() {
    let mut failures = Vec::new();
    for kind in Kind::ALL {
        for (name, row) in shapes() {
            let (searched, plain) = (kind.stats(&row), stats(&row, &plain(kind, &row)));
            if !no_worse(searched, plain) {
                failures.push(format!("{kind:?} {name}: {:.2} dB, plain {:.2}", searched.snr_db(), plain.snr_db()));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn normal_weights_reach_the_known_quality() {
    let mut r = Random(1);
    let (mut total, mut plain_total) = ([ErrorStats::default(); 2], [ErrorStats::default(); 2]);
    for _ in 0..32 {
        let row: Vec<f32> = (0..512).map(|_| r.normal()).collect();
        for (k, kind) in Kind::ALL.into_iter().enumerate() {
            total[k].merge(&kind.stats(&row));
            plain_total[k].merge(&stats(&row, &plain(kind, &row)));
        }
    }
    let gain = [0, 1].map(|k| total[k].snr_db() - plain_total[k].snr_db());
    assert!(total[0].snr_db() > 23.2 && gain[0] > 1.0, "q4: {:.2} dB, gain {:.2}", total[0].snr_db(), gain[0]);
    assert!(total[1].snr_db() > 46.2 && gain[1] > 0.8, "q8: {:.2} dB, gain {:.2}", total[1].snr_db(), gain[1]);
}

#[test]
fn weights_on_a_grid_come_back() {
    let mut r = Random(3);
    for trial in 0..50 {
        let (most, top) = (1 + r.below(255), if trial % 2 == 0 { 15 } else { 3 + r.below(12) });
        let (scale, min) = (0.01 + r.uniform().abs(), 0.01 + r.uniform().abs());
        let (mut four, mut eight) = (Vec::new(), Vec::new());
        for _ in 0..12 {
            let (s, m) = ((1 + r.below(most)) as f32, r.below(256) as f32);
            for i in 0..BLOCK {
                // Both ends of a range occur: of the whole range, or of a part that this trial keeps to.
                let q = if i < 2 { top * i as u32 } else { r.below(top + 1) } as f32;
                four.push(scale * (s * q) - min * m);
                let q = if i < 1 { 127.0 } else { r.below(255) as f32 - 127.0 };
                eight.push(scale * (s * q));
            }
        }
        for (kind, row) in Kind::ALL.into_iter().zip([four, eight]) {
            for sign in [1.0, -1.0] {
                let row: Vec<f32> = row.iter().map(|w| sign * w).collect();
                let snr = kind.stats(&row).snr_db();
                assert!(snr > 100.0, "{kind:?}, trial {trial}, sign {sign}: {snr:.1} dB");
            }
        }
    }
}

#[test]
fn blocks_without_spread_come_back() {
    for kind in Kind::ALL {
        for value in [0.0, -0.0, 1.0, -1.0, 0.3, -7e-5, 1e30, -1e30, 1e-29] {
            let row = [value; 96];
            let worst = kind.stats(&row).max_abs;
            assert!(worst <= 1e-6 * f64::from(value.abs()), "{kind:?} {value}: {worst}");
        }
    }
}

#[test]
fn zeros_are_stored_as_zeros() {
    for kind in Kind::ALL {
        for value in [0.0, -0.0, 1e-31, f32::from_bits(1), -f32::MIN_POSITIVE] {
            assert!(kind.quantise(&[&[value; 80]], None).unwrap().iter().all(|byte| *byte == 0), "{kind:?} {value}");
        }
    }
}

#[test]
fn a_block_of_zeros_stays_zero_beside_others() {
    let mut r = Random(5);
    let row: Vec<f32> = (0..192).map(|i| if (64..96).contains(&i) { 0.0 } else { r.normal() }).collect();
    for kind in Kind::ALL {
        let decoded = kind.read_row(&kind.quantise(&[&row], None).unwrap(), 0, 192);
        assert!(decoded[64..96].iter().all(|w| *w == 0.0), "{kind:?}");
    }
}

#[test]
fn a_power_of_two_changes_the_head_only() {
    let mut r = Random(11);
    let row: Vec<f32> = (0..160).map(|_| r.normal()).collect();
    for kind in Kind::ALL {
        let head = if kind == Kind::Q4 { q4::HEAD_BYTES } else { q8::HEAD_BYTES };
        let tile = kind.quantise(&[&row], None).unwrap();
        for factor in [2f32.powi(100), 2f32.powi(-80), 0.5, 2.0] {
            let scaled: Vec<f32> = row.iter().map(|w| w * factor).collect();
            let other = kind.quantise(&[&scaled], None).unwrap();
            assert_eq!(tile[head..], other[head..], "{kind:?} {factor}");
            let decoded: Vec<f32> = kind.read_row(&tile, 0, 160).iter().map(|w| w * factor).collect();
            assert_eq!(kind.read_row(&other, 0, 160), decoded, "{kind:?} {factor}");
        }
    }
}

#[test]
fn bad_input_is_named() {
    let good = [1.0f32; 70];
    let with = |col: usize, value: f32| {
        let mut row = good;
        row[col] = value;
        row
    };
    for kind in Kind::ALL {
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let result = kind.quantise(&[&good, &good, &with(69, value)], None);
            assert_eq!(result, Err(QuantiseError::NonFinite { row: 2, col: 69 }), "{kind:?} {value}");
        }
        // -2^120, exactly: miri lets `powi` err.
        let result = kind.quantise(&[&good, &with(3, -f32::from_bits((127 + 120) << 23))], None);
        assert_eq!(result, Err(QuantiseError::TooLarge { row: 1, col: 3 }), "{kind:?}");
        for value in [f32::NAN, f32::INFINITY, -1e-9] {
            let result = kind.quantise(&[&good], Some(&with(7, value)));
            assert_eq!(result, Err(QuantiseError::BadImportance { col: 7 }), "{kind:?} {value}");
        }
    }
    assert_eq!(QuantiseError::NonFinite { row: 2, col: 69 }.to_string(), "the weight at row 2, column 69 is not finite");
}

#[test]
fn the_largest_weights_stay_finite() {
    let limit = f32::from_bits(2f32.powi(120).to_bits() - 1);
    let row: Vec<f32> = (0..64).map(|i| if i % 2 == 0 { limit } else { -limit }).collect();
    for kind in Kind::ALL {
        assert!(kind.stats(&row).snr_db() > 20.0, "{kind:?}");
    }
}

#[test]
fn importance_moves_the_error_where_it_matters_less() {
    let mut r = Random(13);
    let row: Vec<f32> = (0..512).map(|_| r.normal()).collect();
    let importance: Vec<f32> = (0..512).map(|i| if i % 4 == 0 { 1e6 } else { 1e4 }).collect();
    let important = |row: &[f32]| -> Vec<f32> { row.iter().copied().step_by(4).collect() };
    for kind in Kind::ALL {
        let noise = |importance: Option<&[f32]>| {
            let decoded = kind.read_row(&kind.quantise(&[&row], importance).unwrap(), 0, 512);
            stats(&important(&row), &important(&decoded)).noise
        };
        assert!(noise(Some(&importance)) < 0.8 * noise(None), "{kind:?}");
    }
}

#[test]
fn importance_of_one_or_of_nothing_is_no_importance() {
    let mut r = Random(17);
    let row: Vec<f32> = (0..96).map(|_| r.normal()).collect();
    for kind in Kind::ALL {
        let none = kind.quantise(&[&row], None);
        for value in [1.0, 3.0, 1e-38, f32::MAX, 0.0] {
            assert_eq!(kind.quantise(&[&row], Some(&[value; 96])), none, "{kind:?} {value}");
        }
        // A block without importance beside one that has it is still fitted.
        let importance: Vec<f32> = (0..96).map(|i| if i < 32 { 1.0 } else { 0.0 }).collect();
        let decoded = kind.read_row(&kind.quantise(&[&row], Some(&importance)).unwrap(), 0, 96);
        assert!(stats(&row[32..], &decoded[32..]).snr_db() > 18.0, "{kind:?}");
    }
}

/// Bytes of every value at every place decode as the documentation says.
#[test]
fn layouts_decode_as_documented() {
    let mut r = Random(19);
    for kind in Kind::ALL {
        let (bytes, head) = match kind {
            Kind::Q4 => (q4::tile_bytes(192).unwrap(), q4::HEAD_BYTES),
            Kind::Q8 => (q8::tile_bytes(192).unwrap(), q8::HEAD_BYTES),
        };
        let mut tile: Vec<u8> = (0..bytes).map(|_| r.below(256) as u8).collect();
        for at in (0..head).step_by(4) {
            tile[at..at + 4].copy_from_slice(&r.uniform().to_le_bytes());
        }
        if kind == Kind::Q8 {
            tile[head..].iter_mut().filter(|q| **q == 0x80).for_each(|q| *q = 0x81);
        }
        let decoded = kind.decode(&tile);
        for (lane, row) in decoded.iter().enumerate() {
            let expected: Vec<f32> = row.iter().map(|part| part.0).collect();
            assert_eq!(kind.read_row(&tile, lane, 192), expected, "{kind:?} row {lane}");
        }
        // And taking it apart and writing it again gives the same bytes.
        let mut copy = vec![0x5a; bytes];
        copy[..head].copy_from_slice(&tile[..head]);
        for (lane, row) in decoded.iter().enumerate() {
            match kind {
                Kind::Q4 => q4::write_head(&mut copy, lane, q4::row_head(&tile, lane)),
                Kind::Q8 => q8::write_head(&mut copy, lane, q8::row_scale(&tile, lane)),
            }
            for (b, block) in row.chunks(BLOCK).enumerate() {
                let (_, _, s, m) = block[0];
                let q: [i32; BLOCK] = core::array::from_fn(|i| block[i].1);
                match kind {
                    Kind::Q4 => q4::write_block(&mut copy, lane, b, s, m, &q.map(|q| q as u8)),
                    Kind::Q8 => q8::write_block(&mut copy, lane, b, s, &q.map(|q| q as i8)),
                }
            }
        }
        assert_eq!(copy, tile, "{kind:?}");
    }
}

#[test]
fn tiles_are_checked() {
    let mut r = Random(23);
    let row: Vec<f32> = (0..100).map(|_| r.normal()).collect();
    for kind in Kind::ALL {
        let check = |tile: &[u8]| kind.check_tile(tile);
        let tile = kind.quantise(&[row.as_slice(); 8], None).unwrap();
        assert!(check(&tile));
        assert!(!check(&tile[1..]) && !check(&tile[..tile.len() - 1]) && !check(&[]), "{kind:?}");
        let head = if kind == Kind::Q4 { q4::HEAD_BYTES } else { q8::HEAD_BYTES };
        for at in (0..head).step_by(4) {
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut bad = tile.clone();
                bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
                assert!(!check(&bad), "{kind:?} {value} at {at}");
            }
        }
        for at in head..tile.len() {
            let mut bytes = tile.clone();
            bytes[at] = 0x80;
            let is_quant = kind == Kind::Q8 && (at - head) % q8::UNIT_BYTES < q8::QUANT_BYTES;
            assert_eq!(check(&bytes), !is_quant, "{kind:?} -128 at {at}");
        }
    }
}

fn rows() -> impl Strategy<Value = Vec<Vec<f32>>> {
    let weight = prop_oneof![8 => -1.0f32..1.0, 1 => -50.0f32..50.0, 1 => Just(0.0), 1 => -1e-4f32..1e-4];
    (1usize..=8, 1usize..200)
        .prop_flat_map(move |(rows, cols)| proptest::collection::vec(proptest::collection::vec(weight.clone(), cols), rows))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 128 }, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_rows(rows in rows()) {
        let views: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let cols = rows[0].len();
        for kind in Kind::ALL {
            let tile = kind.quantise(&views, None).unwrap();
            let decoded = kind.decode(&tile);
            prop_assert!(kind.check_tile(&tile));
            for (lane, row) in rows.iter().enumerate() {
                // The neighbours do not matter: any split of the work gives the same bytes.
                let alone = kind.quantise(&[row], None).unwrap();
                prop_assert_eq!(&kind.decode(&alone)[0], &decoded[lane]);
                let searched = stats(row, &kind.read_row(&tile, lane, cols));
                let plain = stats(row, &plain(kind, row));
                prop_assert!(no_worse(searched, plain),
                    "{:?} row {}: {:?}, plain {:?}", kind, lane, searched, plain);
                // A block that no other block outshines is never off by much more than a step.
                let peak = row.iter().fold(0.0f32, |m, w| m.max(w.abs()));
                let step = f64::from(peak) * if kind == Kind::Q4 { 2.0 / 15.0 } else { 1.0 / 127.0 };
                prop_assert!(searched.max_abs <= 2.0 * step);
            }
            for (lane, row) in decoded.iter().enumerate() {
                for (col, part) in row.iter().enumerate() {
                    let padding = lane >= rows.len() || col >= cols;
                    prop_assert!(!padding || part.1 == 0);
                    let block_is_padding = lane >= rows.len() || col / BLOCK * BLOCK >= cols;
                    prop_assert!(!block_is_padding || (part.2, part.3) == (0, 0));
                }
                prop_assert!(lane < rows.len() || row.iter().all(|part| part.0.to_bits() == 0));
            }
            prop_assert_eq!((decoded.len(), decoded[0].len()), (LANES, cols.next_multiple_of(UNIT)));
        }
    }
}
