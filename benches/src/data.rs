//! Seeded weights and activations.

use kinglet::tensor::ActsMut;
use kinglet_quant::{DType, act, q4, q8};

/// An xorshift generator.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Floats of -1..1.
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| (self.next() >> 40) as f32 / 8_388_608.0 - 1.0).collect()
    }

    /// Quants of -127..=127.
    pub fn quants(&mut self, n: usize) -> Vec<i8> {
        (0..n).map(|_| (self.next() % 255) as u8 as i8).map(|q| q.max(-127)).collect()
    }

    /// A matrix of random quants with small row scales.
    pub fn weights(&mut self, dtype: DType, rows: usize, cols: usize) -> Lines {
        let mut lines = Lines::new(dtype.matrix_bytes(rows, cols).expect("a small matrix"));
        let bytes = lines.bytes_mut();
        let (tile_bytes, head) = match dtype {
            DType::Q4 => (q4::tile_bytes(cols), q4::HEAD_BYTES),
            DType::Q8 => (q8::tile_bytes(cols), q8::HEAD_BYTES),
            DType::F16 => {
                bytes.as_chunks_mut().0.fill_with(|| ((self.next() & 0x83ff) as u16 | 0x3800).to_le_bytes());
                return lines;
            }
            DType::F32 => {
                bytes.as_chunks_mut().0.fill_with(|| ((self.next() >> 40) as f32 / 8_388_608.0 - 1.0).to_le_bytes());
                return lines;
            }
        };
        // As a quant of q8, -128 is out of range; q4 loses nothing by going without that byte.
        bytes.fill_with(|| Some(self.next() as u8).filter(|byte| *byte != 0x80).unwrap_or(0));
        for tile in bytes.chunks_exact_mut(tile_bytes.expect("a small matrix")) {
            tile[..head].as_chunks_mut::<4>().0.fill(1e-5_f32.to_le_bytes());
        }
        lines
    }
}

/// Bytes that begin at a line of the cache, as a tensor of a mapped file does.
#[derive(Debug)]
pub struct Lines {
    room: Vec<u8>,
    start: usize,
}

impl Lines {
    const BYTES: usize = 64;

    /// Bytes that are not zero: pages never written would all be one page.
    pub fn new(len: usize) -> Self {
        let room = vec![1; len + Self::BYTES - 1];
        let start = room.as_ptr().align_offset(Self::BYTES);
        Self { room, start }
    }

    /// `times` copies of `bytes`, one after the other.
    pub fn repeat(bytes: &[u8], times: usize) -> Self {
        let mut lines = Self::new(times * bytes.len());
        lines.bytes_mut().chunks_exact_mut(bytes.len()).for_each(|copy| copy.copy_from_slice(bytes));
        lines
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.room[self.start..][..self.room.len() - (Self::BYTES - 1)]
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let len = self.room.len() - (Self::BYTES - 1);
        &mut self.room[self.start..][..len]
    }
}

impl Clone for Lines {
    fn clone(&self) -> Self {
        Self::repeat(self.bytes(), 1)
    }
}

/// Quantised activations with their buffers.
#[derive(Debug)]
pub struct Acts {
    quants: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i16>,
    tokens: usize,
    cols: usize,
}

impl Acts {
    /// Room for `tokens` vectors of `cols` inputs.
    pub fn new(tokens: usize, cols: usize) -> Self {
        let quants = vec![0; tokens * act::padded(cols)];
        let (scales, sums) = (vec![0.0; tokens * act::groups(cols)], vec![0; tokens * act::blocks(cols)]);
        Self { quants, scales, sums, tokens, cols }
    }

    /// The buffers, to be filled and viewed.
    pub fn room(&mut self) -> ActsMut<'_> {
        ActsMut::new(self.tokens, self.cols, &mut self.quants, &mut self.scales, &mut self.sums).expect("fitting buffers")
    }
}
