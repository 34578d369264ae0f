use kinglet::{
    isa::Isa,
    kernels::Kernels,
    tensor::{Acts, ActsMut, Matrix, Outputs},
};
use kinglet_quant::{DType, act};
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let dtypes: Vec<DType> = if args.len() > 1 && args[1] == "q8" { vec![DType::Q8] } else { vec![DType::Q4] };
    for dtype in dtypes {
        for (rows, cols, tokens) in [(576, 1536, 120), (2048, 8192, 128), (320, 576, 1), (576, 1536, 1), (4096, 2048, 1), (65536, 2048, 1)]
        {
            let mut r = 1u64;
            let bytes: Vec<u8> = (0..dtype.matrix_bytes(rows, cols).unwrap())
                .map(|_| {
                    r = r.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    ((r >> 33) as u8) % 120
                })
                .collect();
            let w = Matrix::new(dtype, rows, cols, &bytes).unwrap();
            let x: Vec<f32> = (0..tokens * cols).map(|i| ((i * 7919 % 1013) as f32) - 500.0).collect();
            let (mut q, mut s, mut b) =
                (vec![0i8; tokens * act::padded(cols)], vec![0f32; tokens * act::groups(cols)], vec![0i16; tokens * act::blocks(cols)]);
            let mut m = ActsMut::new(tokens, cols, &mut q, &mut s, &mut b).unwrap();
            (Kernels::best().quantise)(&x, &mut m);
            let acts: Acts = m.view();
            let mut out = vec![0f32; rows * tokens];
            print!("{dtype} {rows}x{cols}x{tokens}: ");
            for isa in Isa::available().skip(1) {
                let k = Kernels::select(isa).unwrap();
                let f = if dtype == DType::Q4 { k.matmul_q4 } else { k.matmul_q8 };
                let mut best = f64::MAX;
                let t0 = Instant::now();
                while t0.elapsed().as_secs_f64() < 0.3 {
                    let mut o = Outputs::new(rows, tokens, &mut out).unwrap();
                    let t = Instant::now();
                    f(&w, &acts, &mut o);
                    best = best.min(t.elapsed().as_secs_f64());
                }
                if tokens > 1 {
                    print!("{isa} {:.0} G/s  ", (rows * cols * tokens) as f64 / best / 1e9);
                } else {
                    print!("{isa} {:.1} GB/s  ", bytes.len() as f64 / best / 1e9);
                }
            }
            println!();
        }
    }
}
