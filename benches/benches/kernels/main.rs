//! Every kernel of every instruction set of this machine, beside the plain read that bounds it.
//!
//! ```text
//! cargo bench --bench kernels                    all of it, about a minute
//! cargo bench --bench kernels -- avx2/matmul     what matches
//! ```
//!
//! `GiB/s` counts the bytes of weights (or of cache) that one call reads; `Gelem/s` counts multiply-adds in products
//! and in attention, values elsewhere. One thread. `cached` fits the second cache; `streamed` fits none. Before a
//! product is timed, its bits are held against `scalar`.

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main, measurement::WallTime};
use kinglet::isa::Isa;
use kinglet::kernels::attention::{BLOCK, CacheF32, CacheI8, Partials, QueriesF32, QueriesI8, Reach, SPAN};
use kinglet::kernels::{Activation, Kernels};
use kinglet::tensor::{ActsMut, Matrix, Outputs};
use kinglet_quant::{DType, LANES, act, q4, q8};
use std::hint::black_box;
use std::time::Duration;

/// Weights or cache that no cache of a common machine holds.
const STREAMED_BYTES: usize = 96 << 20;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next() >> 40) as f32 / 8_388_608.0 - 1.0).collect()
    }

    fn quants(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| (self.next() % 255) as u8 as i8).map(|q| q.max(-127)).collect()
    }

    /// A matrix of random quants with small row scales.
    fn weights(&mut self, dtype: DType, rows: usize, cols: usize) -> Vec<u8> {
        let len = dtype.matrix_bytes(rows, cols).expect("a small matrix");
        let (tile_bytes, head) = match dtype {
            DType::Q4 => (q4::tile_bytes(cols), q4::HEAD_BYTES),
            DType::Q8 => (q8::tile_bytes(cols), q8::HEAD_BYTES),
            DType::F16 => {
                return (0..len / 2).flat_map(|_| ((self.next() & 0x83ff) as u16 | 0x3800).to_le_bytes()).collect();
            }
            DType::F32 => return self.floats(len / 4).into_iter().flat_map(f32::to_le_bytes).collect(),
        };
        let mut bytes: Vec<u8> = (0..len).map(|_| self.next() as u8).map(|b| if b == 0x80 { 0 } else { b }).collect();
        for tile in bytes.chunks_exact_mut(tile_bytes.expect("a small matrix")) {
            tile[..head].as_chunks_mut::<4>().0.fill(1e-5_f32.to_le_bytes());
        }
        bytes
    }
}

/// Quantised activations with their buffers.
struct Acts {
    quants: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i16>,
    tokens: usize,
    cols: usize,
}

impl Acts {
    fn new(tokens: usize, cols: usize) -> Self {
        let quants = vec![0; tokens * act::padded(cols)];
        let (scales, sums) = (vec![0.0; tokens * act::groups(cols)], vec![0; tokens * act::blocks(cols)]);
        Self { quants, scales, sums, tokens, cols }
    }

    fn room(&mut self) -> ActsMut<'_> {
        ActsMut::new(self.tokens, self.cols, &mut self.quants, &mut self.scales, &mut self.sums).expect("fitting buffers")
    }
}

fn tables() -> impl Iterator<Item = &'static Kernels> {
    Isa::available().filter_map(Kernels::select)
}

fn plain_read(bytes: &[u64]) -> u64 {
    let mut sums = [0; 16];
    for chunk in bytes.as_chunks::<16>().0 {
        for (sum, v) in sums.iter_mut().zip(chunk) {
            *sum |= v;
        }
    }
    sums.iter().fold(0, |a, b| a | b)
}

fn bandwidth(c: &mut Criterion) {
    let mut group = c.benchmark_group("plain_read");
    for (name, len) in [("cached", 192 << 10), ("streamed", STREAMED_BYTES)] {
        let bytes = vec![1_u64; len / 8];
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(name, |b| b.iter(|| plain_read(black_box(&bytes))));
    }
}

/// One product: shape, and what its throughput is counted in.
struct Product {
    name: &'static str,
    rows: usize,
    cols: usize,
    tokens: usize,
    counts: fn(weight_bytes: u64, multiply_adds: u64) -> Throughput,
}

fn products(c: &mut Criterion) {
    let bytes = |bytes, _| Throughput::Bytes(bytes);
    let multiply_adds = |_, n| Throughput::Elements(n);
    for dtype in [DType::Q4, DType::Q8, DType::F16, DType::F32] {
        let streamed_rows = STREAMED_BYTES / dtype.matrix_bytes(1, 1536).expect("a row") * if dtype.is_quantised() { LANES } else { 1 };
        let shapes = [
            Product { name: "vector, cached", rows: 320, cols: 576, tokens: 1, counts: bytes },
            Product { name: "vector, streamed", rows: streamed_rows, cols: 1536, tokens: 1, counts: bytes },
            Product { name: "batch of 4", rows: 576, cols: 576, tokens: 4, counts: multiply_adds },
            Product { name: "batch of 96", rows: 576, cols: 576, tokens: 96, counts: multiply_adds },
            Product { name: "batch of 512, wide", rows: 576, cols: 1536, tokens: 512, counts: multiply_adds },
        ];
        for shape in shapes {
            product(c, dtype, &shape);
        }
    }
}

fn product(c: &mut Criterion, dtype: DType, shape: &Product) {
    let Product { name, rows, cols, tokens, counts } = *shape;
    let mut random = Random(0x9e37_79b9);
    let bytes = random.weights(dtype, rows, cols);
    let w = Matrix::new(dtype, rows, cols, &bytes).expect("fitting bytes");
    let x = random.floats(tokens * cols);
    let mut acts = Acts::new(tokens, cols);
    let mut room = acts.room();
    (Kernels::best().quantise)(&x, &mut room);
    let acts = room.view();
    let run = |kernels: &Kernels, out: &mut [f32]| {
        let mut out = Outputs::new(rows, tokens, out).expect("a fitting buffer");
        match dtype {
            DType::Q4 => (kernels.matmul_q4)(&w, &acts, &mut out),
            DType::Q8 => (kernels.matmul_q8)(&w, &acts, &mut out),
            DType::F16 => (kernels.matmul_f16)(&w, &x, &mut out),
            DType::F32 => (kernels.matmul_f32)(&w, &x, &mut out),
        }
    };
    let mut expected = None;
    for kernels in tables() {
        let mut group = group(c, &format!("{}/matmul_{dtype}", kernels.isa));
        group.throughput(counts(bytes.len() as u64, (rows * cols * tokens) as u64));
        let mut out = vec![0.0; rows * tokens];
        group.bench_function(name, |b| {
            run(kernels, &mut out);
            let bits: Vec<u32> = out.iter().map(|y| y.to_bits()).collect();
            assert!(*expected.get_or_insert_with(|| bits.clone()) == bits, "{} differs", kernels.isa);
            b.iter(|| run(kernels, black_box(&mut out)));
        });
    }
}

fn vectors(c: &mut Criterion) {
    const LEN: usize = 1536;
    let mut random = Random(7);
    let (x, w, bias) = (random.floats(LEN), random.floats(LEN), random.floats(LEN));
    for kernels in tables() {
        let mut group = group(c, kernels.isa.name());
        group.throughput(Throughput::Elements(LEN as u64));
        let mut y = vec![0.0; LEN];
        let mut acts = Acts::new(1, LEN);
        group.bench_function("quantise", |b| b.iter(|| (kernels.quantise)(black_box(&x), &mut acts.room())));
        group.bench_function("rms_norm", |b| b.iter(|| (kernels.rms_norm)(&w, 1e-5, black_box(&x), &mut y)));
        group.bench_function("layer_norm", |b| b.iter(|| (kernels.layer_norm)(&w, &bias, 1e-5, black_box(&x), &mut y)));
        group.bench_function("rope", |b| b.iter(|| (kernels.rope)(&w[..LEN / 2], &bias[..LEN / 2], black_box(&mut y))));
        group.bench_function("add", |b| b.iter(|| (kernels.add)(black_box(&bias), &mut y)));
        for f in [Activation::Silu, Activation::GeluTanh, Activation::GeluErf] {
            group.bench_function(format!("activate_gated {f:?}"), |b| {
                b.iter(|| {
                    y.copy_from_slice(&x);
                    (kernels.activate_gated)(f, black_box(&w), &mut y);
                });
            });
        }
    }
}

fn attention(c: &mut Criterion) {
    const HEAD_DIM: usize = 64;
    let mut random = Random(11);
    let streamed = STREAMED_BYTES / (2 * HEAD_DIM) / SPAN * SPAN;
    for (name, rows, positions) in
        [("3 rows, cached", 3, SPAN), ("3 rows, streamed", 3, streamed), ("1 row, cached", 1, SPAN), ("96 rows, cached", 96, SPAN)]
    {
        let (keys, values) = (random.quants(positions * HEAD_DIM), random.quants(positions * HEAD_DIM));
        let scales = vec![1e-2; positions];
        let cache = CacheI8 { head_dim: HEAD_DIM, keys: &keys, key_scales: &scales, values: &values, value_scales: &scales };
        let quants = random.quants(rows * HEAD_DIM);
        let (query_scales, reach) = (vec![1e-3; rows], vec![Reach { start: 0, end: positions }; rows]);
        let queries = QueriesI8 { quants: &quants, scales: &query_scales, reach: &reach };
        let (mut max, mut sum, mut acc) = (vec![0.0; rows], vec![0.0; rows], vec![0.0; rows * HEAD_DIM]);
        for kernels in tables() {
            let mut group = group(c, &format!("{}/attend_i8", kernels.isa));
            group.throughput(if rows == 96 {
                Throughput::Elements((2 * rows * positions * HEAD_DIM) as u64)
            } else {
                Throughput::Bytes((2 * positions * (HEAD_DIM + 4)) as u64)
            });
            group.bench_function(name, |b| {
                b.iter(|| {
                    for span in 0..positions / SPAN {
                        let mut out = Partials { max: &mut max, sum: &mut sum, acc: &mut acc };
                        (kernels.attend_i8)(black_box(&cache), &queries, span, &mut out);
                    }
                });
            });
        }
    }

    let (keys, values) = (random.floats(SPAN * HEAD_DIM), random.floats(SPAN * HEAD_DIM));
    let cache = CacheF32 { head_dim: HEAD_DIM, keys: &keys, values: &values };
    let rows = 3;
    let query = random.floats(rows * HEAD_DIM);
    let reach = vec![Reach { start: 0, end: SPAN }; rows];
    let queries = QueriesF32 { values: &query, scale: 0.1, reach: &reach };
    let (mut max, mut sum, mut acc) = (vec![0.0; rows], vec![0.0; rows], vec![0.0; rows * HEAD_DIM]);
    for kernels in tables() {
        let mut group = group(c, &format!("{}/attend_f32", kernels.isa));
        group.throughput(Throughput::Elements((2 * rows * SPAN * HEAD_DIM) as u64));
        group.bench_function("3 rows, cached", |b| {
            b.iter(|| {
                let mut out = Partials { max: &mut max, sum: &mut sum, acc: &mut acc };
                (kernels.attend_f32)(black_box(&cache), &queries, 0, &mut out);
            });
        });
    }
    assert_eq!(streamed % BLOCK, 0);
}

fn group<'c>(c: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    c.benchmark_group(name)
}

criterion_group! {
    name = kernels;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .sample_size(10);
    targets = bandwidth, products, vectors, attention
}
criterion_main!(kernels);
