//! One kernel of one instruction set, called once to warm up and once more between the markers of `tools/tcg-trace`.
//!
//! ```text
//! arm_kernels ISA KERNEL ROWS COLS TOKENS
//! ```
//!
//! Prints what the call works on: `multiply-adds N` or `values N`, for products `bytes N`, those of the weights, and `terms N`,
//! the vectors that stand for each token. For attention, ROWS are positions, COLS channels and TOKENS query rows; other
//! kernels take TOKENS vectors of COLS, and no ROWS.
//! `cargo xtask arm-cycles` runs it under QEMU; elsewhere than on AArch64 there are no markers.

#![deny(unsafe_code)]

use kinglet::isa::Isa;
use kinglet::kernels::attention::{BLOCK, CacheF32, CacheI8, MAX_HEAD_DIM, Partials, QueriesF32, QueriesI8, Reach, SPAN};
use kinglet::kernels::{Activation, Kernels};
use kinglet::tensor::{Matrix, Outputs};
use kinglet_benches::data::{Acts, Random};
use kinglet_quant::{DType, act};
use std::hint::black_box;
use std::process::ExitCode;

/// What the kernel is run on.
#[derive(Clone, Copy)]
struct Shape {
    rows: usize,
    cols: usize,
    tokens: usize,
}

fn main() -> ExitCode {
    match run(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("arm_kernels: {message}");
            ExitCode::from(2)
        }
    }
}

fn run(args: &[String]) -> Result<(), String> {
    let [isa, kernel, rows, cols, tokens] = args else {
        return Err("expected ISA KERNEL ROWS COLS TOKENS".to_owned());
    };
    let isa: Isa = isa.parse().map_err(|e| format!("{isa:?}: {e}"))?;
    let kernels = Kernels::select(isa).ok_or_else(|| format!("this CPU does not have {isa}"))?;
    let number = |name: &str, text: &String| {
        text.parse().ok().filter(|n| (1..=65_536).contains(n)).ok_or_else(|| format!("{name}: expected 1 to 65536, got {text:?}"))
    };
    let shape = Shape { rows: number("ROWS", rows)?, cols: number("COLS", cols)?, tokens: number("TOKENS", tokens)? };
    if kernel.starts_with("attend") && shape.rows > SPAN {
        return Err(format!("ROWS of {kernel}: expected at most the {SPAN} positions of a span, got {}", shape.rows));
    }
    match kernel.as_str() {
        "matmul_q4" => matmul(kernels, DType::Q4, shape),
        "matmul_q8" => matmul(kernels, DType::Q8, shape),
        "matmul_f16" => matmul(kernels, DType::F16, shape),
        "matmul_f32" => matmul(kernels, DType::F32, shape),
        "attend_i8" => return attend_i8(kernels, shape),
        "attend_f32" => return attend_f32(kernels, shape),
        name => return vectors(kernels, name, shape),
    }
    Ok(())
}

/// Runs `kernel` twice, the second time between the markers.
#[inline(never)]
fn traced(mut kernel: impl FnMut()) {
    kernel();
    mark::<90>();
    kernel();
    mark::<91>();
}

/// A hint that no core knows.
#[inline(always)]
#[cfg_attr(target_arch = "aarch64", expect(unsafe_code, reason = "the one instruction"))]
fn mark<const HINT: u8>() {
    // SAFETY: hints that a core does not know do nothing.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("hint #{hint}", hint = const HINT);
    }
}

fn matmul(kernels: &Kernels, dtype: DType, Shape { rows, cols, tokens }: Shape) {
    let mut random = Random(0x9e37_79b9);
    let terms = act::terms(dtype);
    let vectors = tokens * terms;
    let x = random.floats(vectors * cols);
    let weights = random.weights(dtype, rows, cols);
    let w = Matrix::new(dtype, rows, cols, weights.bytes()).expect("fitting bytes");
    let mut acts = Acts::new(vectors, cols);
    let mut room = acts.room();
    (kernels.quantise)(&x, &mut room);
    let acts = room.view();
    let mut out = vec![0.0; rows * tokens];
    traced(|| {
        let mut out = Outputs::sums(rows, tokens, terms, black_box(&mut out)).expect("a fitting buffer");
        match dtype {
            DType::Q4 => (kernels.matmul_q4)(&w, &acts, &mut out),
            DType::Q8 => (kernels.matmul_q8)(&w, &acts, &mut out),
            DType::F16 => (kernels.matmul_f16)(&w, &x, &mut out),
            DType::F32 => (kernels.matmul_f32)(&w, &x, &mut out),
        }
    });
    println!("multiply-adds {}\nbytes {}\nterms {terms}", rows * cols * vectors, weights.bytes().len());
}

fn attend_i8(kernels: &Kernels, Shape { rows: positions, cols: head_dim, tokens }: Shape) -> Result<(), String> {
    if head_dim % 8 != 0 || head_dim > MAX_HEAD_DIM {
        return Err(format!("COLS of attend_i8: expected a multiple of 8 up to {MAX_HEAD_DIM}, got {head_dim}"));
    }
    let stored = positions.next_multiple_of(BLOCK);
    let mut random = Random(11);
    let (quants, keys, values) = (random.quants(tokens * head_dim), random.quants(stored * head_dim), random.quants(stored * head_dim));
    let (key_scales, query_scales) = (vec![1e-2; stored], vec![1e-3; tokens]);
    let reach = vec![Reach { start: 0, end: positions }; tokens];
    let cache = CacheI8 { head_dim, keys: &keys, key_scales: &key_scales, values: &values, value_scales: &key_scales };
    let queries = QueriesI8 { quants: &quants, scales: &query_scales, reach: &reach };
    let (mut max, mut sum, mut acc) = (vec![0.0; tokens], vec![0.0; tokens], vec![0.0; tokens * head_dim]);
    traced(|| {
        let mut out = Partials { max: &mut max, sum: &mut sum, acc: &mut acc };
        (kernels.attend_i8)(black_box(&cache), &queries, 0, &mut out);
    });
    println!("multiply-adds {}", 2 * tokens * positions * head_dim);
    Ok(())
}

fn attend_f32(kernels: &Kernels, Shape { rows: positions, cols: head_dim, tokens }: Shape) -> Result<(), String> {
    let stored = positions.next_multiple_of(BLOCK);
    let mut random = Random(13);
    let (query, keys, values) = (random.floats(tokens * head_dim), random.floats(stored * head_dim), random.floats(stored * head_dim));
    let reach = vec![Reach { start: 0, end: positions }; tokens];
    let queries = QueriesF32 { values: &query, scale: 0.1, reach: &reach };
    let (mut max, mut sum, mut acc) = (vec![0.0; tokens], vec![0.0; tokens], vec![0.0; tokens * head_dim]);
    traced(|| {
        let mut out = Partials { max: &mut max, sum: &mut sum, acc: &mut acc };
        (kernels.attend_f32)(black_box(&CacheF32 { head_dim, keys: &keys, values: &values }), &queries, 0, &mut out);
    });
    println!("multiply-adds {}", 2 * tokens * positions * head_dim);
    Ok(())
}

fn vectors(kernels: &Kernels, name: &str, Shape { cols, tokens, .. }: Shape) -> Result<(), String> {
    let len = tokens * cols;
    let mut random = Random(7);
    let (x, w, bias) = (random.floats(len), random.floats(len), random.floats(len));
    let (cos, sin): (Vec<f32>, Vec<f32>) = w[..cols / 2].iter().map(|angle| (angle.cos(), angle.sin())).unzip();
    let mut y = random.floats(len);
    let mut acts = Acts::new(tokens, cols);
    match name {
        "quantise" => traced(|| (kernels.quantise)(black_box(&x), &mut acts.room())),
        "quantise_heads" => {
            let (mut scales, mut quants) = (vec![0.0; tokens], vec![0; len]);
            traced(|| (kernels.quantise_heads)(black_box(&x), &mut scales, &mut quants));
        }
        "subtract" => {
            (kernels.quantise)(&x, &mut acts.room());
            traced(|| (kernels.subtract)(&acts.room().view(), black_box(&mut y)));
        }
        "rms_norm" => traced(|| rows(cols, &mut y, |i, y| (kernels.rms_norm)(&w[..cols], 1e-5, black_box(&x[i..][..cols]), y))),
        "layer_norm" => {
            traced(|| rows(cols, &mut y, |i, y| (kernels.layer_norm)(&w[..cols], &bias[..cols], 1e-5, black_box(&x[i..][..cols]), y)));
        }
        "rope" => traced(|| rows(cols, &mut y, |_, y| (kernels.rope)(&cos, &sin, black_box(y)))),
        "silu" => traced(|| (kernels.activate_gated)(Activation::Silu, &w, black_box(&mut y))),
        "gelu_tanh" => traced(|| (kernels.activate)(Activation::GeluTanh, black_box(&mut y))),
        "gelu_erf" => traced(|| (kernels.activate)(Activation::GeluErf, black_box(&mut y))),
        "add" => traced(|| (kernels.add)(black_box(&x), &mut y)),
        "merge" => {
            let (mut max, mut sum, mut acc) = (vec![1.0; tokens], vec![1.0; tokens], bias);
            let (mut later_max, mut later_sum) = (vec![2.0; tokens], vec![1.0; tokens]);
            traced(|| {
                let later = Partials { max: &mut later_max, sum: &mut later_sum, acc: &mut y };
                (kernels.merge)(black_box(&later), &mut Partials { max: &mut max, sum: &mut sum, acc: &mut acc });
            });
        }
        _ => return Err(format!("there is no kernel {name:?} here")),
    }
    println!("values {len}");
    Ok(())
}

/// Calls `kernel` with each vector of `y` and where it begins.
fn rows(cols: usize, y: &mut [f32], mut kernel: impl FnMut(usize, &mut [f32])) {
    for (row, y) in y.chunks_exact_mut(cols).enumerate() {
        kernel(row * cols, y);
    }
}
