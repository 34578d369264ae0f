use kinglet::{
    isa::Isa,
    kernels::Kernels,
    tensor::{Acts, ActsMut, Matrix, Outputs},
};
use kinglet_quant::{DType, act};
use std::time::Instant;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let dtype = if args[1] == "q8" { DType::Q8 } else { DType::Q4 };
    let tok = if dtype == DType::Q8 { 2 } else { 1 };
    let nt: usize = args[2].parse().unwrap();
    for cols in [576usize, 1536, 2048] {
        let rows = (80usize << 20) / (dtype.matrix_bytes(8, cols).unwrap()) * 8;
        let bytes = vec![37u8; dtype.matrix_bytes(rows, cols).unwrap()];
        let w = Matrix::new(dtype, rows, cols, &bytes).unwrap();
        let x: Vec<f32> = (0..cols * tok).map(|i| ((i * 7919 % 1013) as f32) - 500.0).collect();
        let (mut q, mut s, mut b) =
            (vec![0i8; tok * act::padded(cols)], vec![0f32; tok * act::groups(cols)], vec![0i16; tok * act::blocks(cols)]);
        let mut m = ActsMut::new(tok, cols, &mut q, &mut s, &mut b).unwrap();
        (Kernels::best().quantise)(&x, &mut m);
        let acts: Acts = m.view();
        let isas: Vec<_> = Isa::available().skip(1).collect();
        let mut times = vec![vec![]; isas.len() + 1];
        let mut out = vec![0f32; rows];
        let words: &[u64] = unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / 8) };
        for _ in 0..40 {
            for (i, isa) in isas.iter().enumerate() {
                let k = Kernels::select(*isa).unwrap();
                let f = if dtype == DType::Q4 { k.matmul_q4 } else { k.matmul_q8 };
                let mut rest = Some(Outputs::sums(rows, 1, tok, &mut out).unwrap());
                let t = Instant::now();
                std::thread::scope(|sc| {
                    for j in 0..nt {
                        let (mut a, r) = rest.take().unwrap().split((w.tiles() / nt) + 1);
                        rest = Some(r);
                        let (w, acts) = (&w, &acts);
                        if j + 1 < nt {
                            sc.spawn(move || f(w, acts, &mut a));
                        } else {
                            f(w, acts, &mut a)
                        }
                    }
                });
                times[i].push(t.elapsed().as_secs_f64());
            }
            let t = Instant::now();
            std::thread::scope(|sc| {
                for part in words.chunks(words.len() / nt + 1) {
                    sc.spawn(move || {
                        let mut s = [0u64; 16];
                        for c in part.as_chunks::<16>().0 {
                            for (s, c) in s.iter_mut().zip(c) {
                                *s |= c
                            }
                        }
                        std::hint::black_box(s);
                    });
                }
            });
            times[isas.len()].push(t.elapsed().as_secs_f64());
        }
        print!("{dtype} k{cols} t{nt}: ");
        for (i, t) in times.iter_mut().enumerate() {
            t.sort_by(f64::total_cmp);
            print!(
                "{} best {:.1} median {:.1} GB/s   ",
                isas.get(i).map_or("plain".into(), |i| i.to_string()),
                bytes.len() as f64 / t[0] / 1e9,
                bytes.len() as f64 / t[t.len() / 2] / 1e9
            );
        }
        println!();
    }
}
