//! A reader written from `docs/format.md` alone: it uses nothing of the runtime, so that a page and a program that
//! drift apart are seen.

pub(crate) struct Tensor<'f> {
    pub(crate) stack: u8,
    pub(crate) role: u8,
    pub(crate) layer: u16,
    pub(crate) dtype: u8,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) digest: &'f [u8],
    pub(crate) bytes: &'f [u8],
}

pub(crate) struct File<'f> {
    pub(crate) meta: Vec<(&'f str, &'f str)>,
    pub(crate) tokenizer: &'f [u8],
    pub(crate) chat: &'f [u8],
    pub(crate) stored_head_digest: &'f [u8],
    /// What the head digest is taken over.
    pub(crate) head: Vec<u8>,
    pub(crate) tensors: Vec<Tensor<'f>>,
}

fn u16_(b: &[u8], at: usize) -> usize {
    usize::from(b[at]) + (usize::from(b[at + 1]) << 8)
}
fn u32_(b: &[u8], at: usize) -> usize {
    u16_(b, at) + (u16_(b, at + 2) << 16)
}
fn u64_(b: &[u8], at: usize) -> usize {
    u32_(b, at) + (u32_(b, at + 4) << 32)
}
fn f32_(b: &[u8], at: usize) -> f32 {
    f32::from_bits(u32_(b, at) as u32)
}

/// Section 1 to 5 of the page, for a file that is known to be sound.
pub(crate) fn read(file: &[u8]) -> File<'_> {
    assert_eq!(file[..8], [0x89, 0x4b, 0x47, 0x4c, 0x0d, 0x0a, 0x1a, 0x0a]);
    assert_eq!((u32_(file, 8), u32_(file, 12)), (1, 192));
    let mut sections = Vec::new();
    let mut end: usize = 192;
    for i in 0..6 {
        let (offset, len) = (u64_(file, 16 + 16 * i), u64_(file, 24 + 16 * i));
        let align = if i == 5 { 4096 } else { 64 };
        assert_eq!(offset, end.div_ceil(align) * align, "section {i}");
        assert!(file[end..offset].iter().all(|&b| b == 0));
        end = offset + len;
        sections.push(&file[offset..end]);
    }
    assert_eq!(end, file.len());
    assert!(file[144..192].iter().all(|&b| b == 0));
    let data_at = u64_(file, 96);
    let mut head = file[..data_at].to_vec();
    head[112..144].fill(0);

    let meta = std::str::from_utf8(sections[0]).unwrap();
    let meta = meta.split_terminator('\n').map(|line| line.split_once('=').unwrap()).collect();

    let mut tensors: Vec<Tensor<'_>> = Vec::new();
    let mut expected = implied_tensors(sections[1]).into_iter();
    let mut end: usize = 0;
    for entry in sections[4].chunks(64) {
        let (rows, cols) = (u32_(entry, 8), u32_(entry, 12));
        let (offset, len) = (u64_(entry, 16), u64_(entry, 24));
        assert_eq!(offset, end.div_ceil(64) * 64);
        assert_eq!(len, tensor_bytes(entry[4], rows, cols));
        assert!(sections[5][end..offset].iter().all(|&b| b == 0));
        end = offset + len;
        let tensor = Tensor {
            stack: entry[0],
            role: entry[1],
            layer: u16_(entry, 2) as u16,
            dtype: entry[4],
            rows,
            cols,
            digest: &entry[32..64],
            bytes: &sections[5][offset..end],
        };
        assert_eq!(Some((tensor.stack, tensor.layer, tensor.role, rows, cols)), expected.next());
        tensors.push(tensor);
    }
    assert!(expected.next().is_none());
    assert_eq!(end, sections[5].len());
    File { meta, tokenizer: sections[2], chat: sections[3], stored_head_digest: &file[112..144], head, tensors }
}

/// Sections 3 and 5: which tensors a spec implies, as (stack, layer, role, rows, columns), ascending.
fn implied_tensors(spec: &[u8]) -> Vec<(u8, u16, u8, usize, usize)> {
    assert_eq!(u16_(spec, 0), 1);
    let (stacks, head) = (spec[2], spec[3]);
    let (vocab, hidden, context) = (u32_(spec, 4), u32_(spec, 8), u32_(spec, 12));
    let mut list = vec![(0, 0, 0, vocab, hidden)];
    let mut add = |wanted: bool, stack, layer, role, rows, cols| {
        if wanted {
            list.push((stack, layer, role, rows, cols));
        }
    };
    add(spec[16] == 1, 0, 0, 1, context, hidden);
    add(spec[18] != 0, 0, 0, 2, 1, hidden);
    add(spec[18] == 2, 0, 0, 3, 1, hidden);
    add(head == 2, 0, 0, 4, vocab, hidden);
    add(spec[19] == 1, 0, 0, 5, 1, vocab);
    let mut at = 64;
    for stack in 0..stacks {
        let (n_kinds, n_layers) = (usize::from(spec[at + 1]), u16_(spec, at + 2));
        let kinds = &spec[at + 16..at + 16 + 96 * n_kinds];
        let layers = &spec[at + 16 + 96 * n_kinds..][..n_layers];
        at = (at + 16 + 96 * n_kinds + n_layers).div_ceil(8) * 8;
        for (k, kind) in kinds.chunks(96).enumerate().filter(|_| stack == 0) {
            add(matches!(kind[5], 1 | 2), 0, k as u16, 6, 1, u32_(kind, 28) / 2);
        }
        for (layer, &k) in layers.iter().enumerate() {
            let kind = &kinds[96 * usize::from(k)..][..96];
            let (s, l) = (stack + 1, layer as u16);
            let (q, kv) = (u32_(kind, 16) * u32_(kind, 24), u32_(kind, 20) * u32_(kind, 24));
            let ffn = u32_(kind, 52);
            let up = if kind[8] == 1 { 2 * ffn } else { ffn };
            add(kind[0] != 0, s, l, 16, 1, hidden);
            add(kind[0] == 2, s, l, 17, 1, hidden);
            add(true, s, l, 18, q + 2 * kv, hidden);
            add(kind[2] == 1, s, l, 19, 1, q + 2 * kv);
            add(true, s, l, 20, hidden, q);
            add(kind[3] == 1, s, l, 21, 1, hidden);
            add(kind[0] != 0, s, l, 24, 1, hidden);
            add(kind[0] == 2, s, l, 25, 1, hidden);
            add(true, s, l, 26, up, hidden);
            add(kind[10] == 1, s, l, 27, 1, up);
            add(true, s, l, 28, hidden, ffn);
            add(kind[10] == 1, s, l, 29, 1, hidden);
        }
    }
    assert_eq!(at, spec.len());
    list.sort();
    list
}

/// Section 6.
fn tensor_bytes(dtype: u8, rows: usize, cols: usize) -> usize {
    let (tiles, units) = (rows.div_ceil(8), cols.div_ceil(64));
    match dtype {
        0 => 4 * rows * cols,
        1 => 2 * rows * cols,
        2 => tiles * (32 + 528 * units),
        3 => tiles * (64 + 288 * units),
        other => panic!("type {other}"),
    }
}

impl Tensor<'_> {
    /// Section 6: one weight.
    pub(crate) fn weight(&self, row: usize, col: usize) -> f32 {
        let (r, c, b) = (row % 8, col % 64, col % 64 / 32);
        let units = self.cols.div_ceil(64);
        match self.dtype {
            0 => f32_(self.bytes, 4 * (row * self.cols + col)),
            1 => f16(u16_(self.bytes, 2 * (row * self.cols + col))),
            2 => {
                let tile = &self.bytes[row / 8 * (32 + 528 * units)..];
                let unit = &tile[32 + 528 * (col / 64)..];
                let q = unit[32 * (c / 4) + 4 * r + c % 4] as i8;
                f32_(tile, 4 * r) * (f32::from(unit[512 + 8 * b + r]) * f32::from(q))
            }
            _ => {
                let tile = &self.bytes[row / 8 * (64 + 288 * units)..];
                let unit = &tile[64 + 288 * (col / 64)..];
                let byte = unit[32 * (c / 8) + 4 * r + c % 4];
                let q = if c % 8 < 4 { byte & 15 } else { byte >> 4 };
                let (s, m) = (unit[256 + 8 * b + r], unit[272 + 2 * r + b]);
                f32_(tile, 4 * r) * (f32::from(s) * f32::from(q)) - f32_(tile, 32 + 4 * r) * f32::from(m)
            }
        }
    }
}

/// IEEE binary16, finite.
fn f16(bits: usize) -> f32 {
    let (sign, exponent, fraction) = (bits >> 15, (bits >> 10 & 31) as i32, (bits & 1023) as f32);
    let size = if exponent == 0 { fraction * 2f32.powi(-24) } else { (1024.0 + fraction) * 2f32.powi(exponent - 25) };
    if sign == 1 { -size } else { size }
}
