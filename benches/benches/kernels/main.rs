//! Every kernel of every instruction set of this machine, beside the rooflines that bound it.
//!
//! ```text
//! cargo bench --bench kernels                            all of it, some minutes
//! cargo bench --bench kernels -- --quick                 all of it, fewer samples
//! cargo bench --bench kernels -- avx2/matmul             what matches
//! cargo bench --bench kernels -- '/(roofline|matmul_q4)'
//! ```
//!
//! One thread. The tables at the end say what each kernel achieved, which roofline it is held to and what share of it is
//! reached; `benches/README.md` says how to read them. `cached` means the same bytes again and again, `streamed` more
//! bytes than any cache holds, in turns. Products are timed together with a check of their bits against `scalar`.

#![deny(unsafe_code)]

mod meter;
#[expect(unsafe_code, reason = "intrinsics, called where their instruction set was asked for and found")]
mod roof;

use criterion::Criterion;
use kinglet::isa::Isa;
use kinglet::kernels::attention::{CacheF32, CacheI8, Partials, QueriesF32, QueriesI8, Reach, SPAN};
use kinglet::kernels::{Activation, Kernels};
use kinglet::tensor::{Matrix, Outputs};
use kinglet_benches::data::{Acts, Lines, Random};
use kinglet_quant::DType;
use meter::{Case, Meter, PlainRead, Work};
use roof::{Operands, multiply, read};
use std::cell::LazyCell;
use std::hint::black_box;
use std::ops::Deref;
use std::time::Duration;

/// Weights or cache that no cache of a common machine holds.
const STREAMED_BYTES: usize = 128 << 20;
/// Channels of a head.
const HEAD_DIM: usize = 64;

fn main() {
    let criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(300))
        .sample_size(20)
        .nresamples(10_000)
        .configure_from_args();
    let mut meter = Meter::new(criterion);
    rooflines(&mut meter);
    products(&mut meter);
    vectors(&mut meter);
    attention(&mut meter);
    meter.finish();
}

fn tables() -> impl Iterator<Item = &'static Kernels> {
    Isa::available().filter_map(Kernels::select)
}

/// Rooflines by themselves: reads that fit the first, the second, the third cache and none, and products.
fn rooflines(meter: &mut Meter) {
    for (name, len) in
        [("read of 16 KiB", 16 << 10), ("read of 512 KiB", 512 << 10), ("read of 4 MiB", 4 << 20), ("read of 128 MiB", STREAMED_BYTES)]
    {
        let lines = LazyCell::new(|| Lines::new(len));
        for isa in Isa::available() {
            let read = read(isa);
            meter.roofline(isa, name, Work::Bytes(len), || read(black_box(lines.bytes())));
        }
    }
    for isa in Isa::available() {
        let mut all = [Operands::Q4, Operands::I8, Operands::F32].map(|operands| multiply(isa, operands)).to_vec();
        all.dedup_by_key(|roof| roof.name);
        for roof in all {
            meter.roofline(isa, roof.name, Work::MultiplyAdds(roof.multiply_adds), roof.run);
        }
    }
}

/// A product of `rows` x `cols` weights with some tokens.
struct Product {
    rows: usize,
    cols: usize,
    tokens: usize,
    /// Many matrices in turns, as the layers of a model.
    streamed: bool,
}

impl Product {
    fn name(&self) -> String {
        let Self { rows, cols, tokens, streamed } = self;
        match (tokens, streamed) {
            (1, false) => format!("{rows}x{cols}, 1 token, cached"),
            (1, true) => format!("{rows}x{cols}, 1 token, streamed"),
            _ => format!("{rows}x{cols}, {tokens} tokens"),
        }
    }
}

fn products(meter: &mut Meter) {
    let shapes = [
        Product { rows: 576, cols: 576, tokens: 1, streamed: false },
        Product { rows: 576, cols: 1536, tokens: 1, streamed: false },
        Product { rows: 576, cols: 1536, tokens: 1, streamed: true },
        Product { rows: 2048, cols: 8192, tokens: 1, streamed: true },
        Product { rows: 1536, cols: 576, tokens: 4, streamed: false },
        Product { rows: 1536, cols: 576, tokens: 96, streamed: false },
        Product { rows: 576, cols: 1536, tokens: 256, streamed: false },
        Product { rows: 2048, cols: 8192, tokens: 16, streamed: false },
    ];
    for dtype in [DType::Q4, DType::Q8, DType::F16, DType::F32] {
        for shape in &shapes {
            product(meter, dtype, shape);
        }
    }
}

fn product(meter: &mut Meter, dtype: DType, shape: &Product) {
    let Product { rows, cols, tokens, streamed } = *shape;
    let mut random = Random(0x9e37_79b9);
    let x = random.floats(tokens * cols);
    let len = dtype.matrix_bytes(rows, cols).expect("a small matrix");
    let matrices = LazyCell::new(|| vec![random.weights(dtype, rows, cols); if streamed { STREAMED_BYTES.div_ceil(len) } else { 1 }]);
    let mut acts = Acts::new(tokens, cols);
    let mut room = acts.room();
    (Kernels::best().quantise)(&x, &mut room);
    let acts = room.view();
    let multiply = |kernels: &Kernels, matrix: &Lines, out: &mut [f32]| {
        let w = Matrix::new(dtype, rows, cols, matrix.bytes()).expect("fitting bytes");
        let mut out = Outputs::new(rows, tokens, out).expect("a fitting buffer");
        match dtype {
            DType::Q4 => (kernels.matmul_q4)(&w, &acts, &mut out),
            DType::Q8 => (kernels.matmul_q8)(&w, &acts, &mut out),
            DType::F16 => (kernels.matmul_f16)(&w, &x, &mut out),
            DType::F32 => (kernels.matmul_f32)(&w, &x, &mut out),
        }
    };
    let operands = match dtype {
        DType::Q4 => Operands::Q4,
        DType::Q8 => Operands::I8,
        DType::F16 | DType::F32 => Operands::F32,
    };
    let expected = LazyCell::new(|| {
        let mut out = vec![0.0; rows * tokens];
        multiply(Kernels::select(Isa::Scalar).expect("every machine has it"), &matrices[0], &mut out);
        bits(&out)
    });
    for kernels in tables() {
        let read = read(kernels.isa);
        let mut to_read = turns(&matrices);
        let case = Case {
            isa: kernels.isa,
            kernel: &format!("matmul_{dtype}"),
            shape: &shape.name(),
            reads: (tokens == 1).then(|| (len, PlainRead { bytes: len, run: Box::new(move || read(black_box(to_read().bytes()))) })),
            multiplies: Some((rows * cols * tokens, operands)),
        };
        let mut to_multiply = turns(&matrices);
        let mut out = vec![0.0; rows * tokens];
        if meter.kernel(case, || multiply(kernels, to_multiply(), black_box(&mut out))) {
            assert!(bits(&out) == *expected, "{} differs", kernels.isa);
        }
    }
}

/// One matrix after the other, from the first again after the last.
fn turns<'a, F: FnOnce() -> Vec<Lines>>(matrices: &'a LazyCell<Vec<Lines>, F>) -> impl FnMut() -> &'a Lines {
    let mut turn = 0;
    move || {
        turn += 1;
        &matrices[turn % matrices.len()]
    }
}

fn bits(out: &[f32]) -> Vec<u32> {
    out.iter().map(|y| y.to_bits()).collect()
}

fn vectors(meter: &mut Meter) {
    const LEN: usize = 1536;
    let mut random = Random(7);
    let (x, w, bias) = (random.floats(LEN), random.floats(LEN), random.floats(LEN));
    let (cos, sin): (Vec<f32>, Vec<f32>) = w[..HEAD_DIM / 2].iter().map(|angle| (angle.cos(), angle.sin())).unzip();
    let near = Lines::new(16 << 10);
    let mut y = vec![0.0; LEN];
    let mut acts = Acts::new(1, LEN);
    // `passes` counts the operands, each as often as the law makes a pass over it.
    let mut time = |kernel: &str, passes: usize, run: &mut dyn FnMut(&Kernels)| {
        for kernels in tables() {
            let read = read(kernels.isa);
            let plain = PlainRead { bytes: near.bytes().len(), run: Box::new(|| read(black_box(near.bytes()))) };
            let reads = Some((passes * LEN * size_of::<f32>(), plain));
            let shape = &format!("{LEN} values");
            meter.kernel(Case { isa: kernels.isa, kernel, shape, reads, multiplies: None }, || run(kernels));
        }
    };
    time("quantise", 2, &mut |kernels| (kernels.quantise)(black_box(&x), &mut acts.room()));
    time("rms_norm", 3, &mut |kernels| (kernels.rms_norm)(&w, 1e-5, black_box(&x), &mut y));
    time("layer_norm", 5, &mut |kernels| (kernels.layer_norm)(&w, &bias, 1e-5, black_box(&x), &mut y));
    time("rope", 2, &mut |kernels| black_box(&mut y).chunks_exact_mut(HEAD_DIM).for_each(|head| (kernels.rope)(&cos, &sin, head)));
    time("add", 2, &mut |kernels| (kernels.add)(black_box(&bias), &mut y));
    for f in [Activation::Silu, Activation::GeluTanh, Activation::GeluErf, Activation::Relu] {
        // The copy is part of it: a value that is activated again and again dwindles.
        time(&format!("activate {f:?}"), 2, &mut |kernels| {
            y.copy_from_slice(&x);
            (kernels.activate)(f, black_box(&mut y));
        });
        time(&format!("activate_gated {f:?}"), 3, &mut |kernels| {
            y.copy_from_slice(&x);
            (kernels.activate_gated)(f, black_box(&w), &mut y);
        });
    }
}

/// Attention of some rows over a span of 512 positions.
struct Attention {
    rows: usize,
    /// Many spans in turns, as the heads of a long context.
    streamed: bool,
}

/// What a span has of keys, and of values.
const SPAN_LEN: usize = SPAN * HEAD_DIM;

fn attention(meter: &mut Meter) {
    for shape in [(1, false), (3, false), (3, true), (96, false)].map(|(rows, streamed)| Attention { rows, streamed }) {
        attend_i8(meter, &shape);
        attend_f32(meter, &shape);
    }
}

impl Attention {
    fn name(&self) -> String {
        let Self { rows, streamed } = self;
        format!("{SPAN}x{HEAD_DIM}, {rows} row{}, {}", if *rows == 1 { "" } else { "s" }, if *streamed { "streamed" } else { "cached" })
    }

    /// Spans of `bytes` each that are taken in turns.
    fn spans(&self, bytes: usize) -> usize {
        if self.streamed { STREAMED_BYTES / bytes } else { 1 }
    }

    /// Times `run`, which is given the span, beside a plain read of as many bytes of keys and of values.
    fn time(&self, meter: &mut Meter, isa: Isa, operands: Operands, cache: &dyn Deref<Target = [Lines; 2]>, mut run: impl FnMut(usize)) {
        let (kernel, bytes, scales) = match operands {
            Operands::F32 => ("attend_f32", 2 * SPAN_LEN * size_of::<f32>(), 0),
            Operands::Q4 | Operands::I8 => ("attend_i8", 2 * SPAN_LEN, 2 * SPAN * size_of::<f32>()),
        };
        let (spans, read) = (self.spans(bytes), read(isa));
        let mut turn = 0;
        let plain = move || {
            turn = (turn + 1) % spans;
            for lines in &**cache {
                read(black_box(&lines.bytes()[turn * bytes / 2..][..bytes / 2]));
            }
        };
        let case = Case {
            isa,
            kernel,
            shape: &self.name(),
            reads: Some((bytes + scales, PlainRead { bytes, run: Box::new(plain) })),
            multiplies: Some((2 * self.rows * SPAN_LEN, operands)),
        };
        let mut turn = 0;
        meter.kernel(case, || {
            turn = (turn + 1) % spans;
            run(turn);
        });
    }
}

fn attend_i8(meter: &mut Meter, shape: &Attention) {
    let (rows, spans) = (shape.rows, shape.spans(2 * SPAN_LEN));
    let mut random = Random(11);
    let (quants, span) = (random.quants(rows * HEAD_DIM), random.quants(SPAN_LEN));
    let cache = LazyCell::new(|| [(); 2].map(|()| Lines::repeat(bytemuck::cast_slice(&span), spans)));
    let (scales, query_scales) = (vec![1e-2; spans * SPAN], vec![1e-3; rows]);
    let reach = vec![Reach { start: 0, end: spans * SPAN }; rows];
    let queries = QueriesI8 { quants: &quants, scales: &query_scales, reach: &reach };
    let (mut max, mut sum, mut acc) = (vec![0.0; rows], vec![0.0; rows], vec![0.0; rows * HEAD_DIM]);
    for kernels in tables() {
        shape.time(meter, kernels.isa, Operands::I8, &cache, |span| {
            let [keys, values] = cache.each_ref().map(|lines| bytemuck::cast_slice(lines.bytes()));
            let cache = CacheI8 { head_dim: HEAD_DIM, keys, key_scales: &scales, values, value_scales: &scales };
            let mut out = Partials { max: &mut max, sum: &mut sum, acc: &mut acc };
            (kernels.attend_i8)(black_box(&cache), &queries, span, &mut out);
        });
    }
}

fn attend_f32(meter: &mut Meter, shape: &Attention) {
    let (rows, spans) = (shape.rows, shape.spans(2 * SPAN_LEN * size_of::<f32>()));
    let mut random = Random(13);
    let (query, span) = (random.floats(rows * HEAD_DIM), random.floats(SPAN_LEN));
    let cache = LazyCell::new(|| [(); 2].map(|()| Lines::repeat(bytemuck::cast_slice(&span), spans)));
    let reach = vec![Reach { start: 0, end: spans * SPAN }; rows];
    let queries = QueriesF32 { values: &query, scale: 0.1, reach: &reach };
    let (mut max, mut sum, mut acc) = (vec![0.0; rows], vec![0.0; rows], vec![0.0; rows * HEAD_DIM]);
    for kernels in tables() {
        shape.time(meter, kernels.isa, Operands::F32, &cache, |span| {
            let [keys, values] = cache.each_ref().map(|lines| bytemuck::cast_slice(lines.bytes()));
            let mut out = Partials { max: &mut max, sum: &mut sum, acc: &mut acc };
            (kernels.attend_f32)(black_box(&CacheF32 { head_dim: HEAD_DIM, keys, values }), &queries, span, &mut out);
        });
    }
}
