//! Borrowed views: a shape and a slice that fits it. No ownership, no strides that nothing uses.
//!
//! Weights come first, activations second, outputs last, here and in every kernel. `tokens` counts the vectors of a
//! batch; a vector lies contiguous, batches are `[tokens][cols]`.

use core::marker::PhantomData;
use core::ops::Range;
use kinglet_quant::{DType, LANES, act, float, q4, q8};

/// What does not fit when a view is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TensorError {
    /// A slice has another length than its shape says.
    Length {
        /// Elements (bytes, for weights) that the shape needs.
        expected: usize,
        /// Elements in the slice.
        got: usize,
    },
    /// The shape's size in bytes does not fit `usize`.
    TooLarge {
        /// Rows of the shape.
        rows: usize,
        /// Columns of the shape.
        cols: usize,
    },
    /// A number of terms that is no power of two.
    Terms {
        /// That number.
        got: usize,
    },
}

impl core::fmt::Display for TensorError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            TensorError::Length { expected, got } => {
                write!(f, "slice length: expected {expected}, got {got}")
            }
            TensorError::TooLarge { rows, cols } => {
                write!(f, "a {rows} x {cols} tensor does not fit the address space")
            }
            TensorError::Terms { got } => write!(f, "terms: expected a power of two, got {got}"),
        }
    }
}

impl core::error::Error for TensorError {}

/// A weight matrix in the layout of its type: `y[row] = Σ w[row][col] * x[col]`.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    dtype: DType,
    rows: usize,
    cols: usize,
    data: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// A view of `data` as `rows` × `cols` weights of type `dtype`.
    ///
    /// # Errors
    /// If `data` is not exactly as long as the shape needs.
    pub fn new(dtype: DType, rows: usize, cols: usize, data: &'a [u8]) -> Result<Self, TensorError> {
        let expected = dtype.matrix_bytes(rows, cols).ok_or(TensorError::TooLarge { rows, cols })?;
        if data.len() != expected {
            return Err(TensorError::Length { expected, got: data.len() });
        }
        Ok(Self { dtype, rows, cols, data })
    }

    /// Element type.
    #[must_use]
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Outputs.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The stored bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// Tiles of 8 rows; the last one may be partly padding.
    #[must_use]
    pub fn tiles(&self) -> usize {
        self.rows.div_ceil(LANES)
    }

    /// Bytes of tile `tile`: 8 packed rows of a quantised matrix, or up to 8 plain rows of a float one.
    ///
    /// # Panics
    /// If `tile` is not below [`Matrix::tiles`].
    #[must_use]
    pub fn tile(&self, tile: usize) -> &'a [u8] {
        let tile_bytes = if self.dtype.is_quantised() { self.data.len() / self.tiles() } else { LANES * (self.data.len() / self.rows) };
        let start = tile * tile_bytes;
        &self.data[start..(start + tile_bytes).min(self.data.len())]
    }

    /// Decodes one row into `out`, as an embedding look-up does.
    ///
    /// # Panics
    /// If `row` is not below [`Matrix::rows`] or `out` is not `cols` long.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.cols, "row {row} of {}, {} of {} columns", self.rows, out.len(), self.cols);
        let (tile, lane) = (self.tile(row / LANES), row % LANES);
        match self.dtype {
            DType::F32 => float::read_f32(&tile[lane * 4 * self.cols..], out),
            DType::F16 => float::read_f16(&tile[lane * 2 * self.cols..], out),
            DType::Q8 => q8::read_row(tile, lane, out),
            DType::Q4 => q4::read_row(tile, lane, out),
        }
    }
}

/// Quantised activations of a batch, in the layout of [`kinglet_quant::act`].
#[derive(Clone, Copy, Debug)]
pub struct Acts<'a> {
    cols: usize,
    tokens: usize,
    quants: &'a [i8],
    scales: &'a [f32],
    sums: &'a [i16],
}

impl<'a> Acts<'a> {
    /// The fronts of three buffers as the activations of `tokens` vectors of `cols` inputs.
    ///
    /// # Errors
    /// If one of them is too short.
    pub fn new(tokens: usize, cols: usize, quants: &'a [i8], scales: &'a [f32], sums: &'a [i16]) -> Result<Self, TensorError> {
        let quants = front(quants, tokens, act::padded(cols))?;
        let scales = front(scales, tokens, act::groups(cols))?;
        let sums = front(sums, tokens, act::blocks(cols))?;
        Ok(Self { cols, tokens, quants, scales, sums })
    }

    /// Inputs of a vector, without padding.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Vectors in the batch.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// `[tokens][padded(cols)]`, each in -127..=127.
    #[must_use]
    pub fn quants(&self) -> &'a [i8] {
        self.quants
    }

    /// `[tokens][groups(cols)]`.
    #[must_use]
    pub fn scales(&self) -> &'a [f32] {
        self.scales
    }

    /// `[tokens][blocks(cols)]`, each the sum of its block's quants and so in -4064..=4064.
    #[must_use]
    pub fn sums(&self) -> &'a [i16] {
        self.sums
    }
}

/// Room for the quantised activations of a batch; filled by the kernel `quantise`, read through [`ActsMut::view`].
#[derive(Debug)]
pub struct ActsMut<'a> {
    cols: usize,
    tokens: usize,
    quants: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [i16],
}

impl<'a> ActsMut<'a> {
    /// Takes the fronts of three buffers that are long enough for `tokens` vectors of `cols` inputs.
    ///
    /// # Errors
    /// If one of them is too short.
    pub fn new(tokens: usize, cols: usize, quants: &'a mut [i8], scales: &'a mut [f32], sums: &'a mut [i16]) -> Result<Self, TensorError> {
        let quants = front_mut(quants, tokens, act::padded(cols))?;
        let scales = front_mut(scales, tokens, act::groups(cols))?;
        let sums = front_mut(sums, tokens, act::blocks(cols))?;
        Ok(Self { cols, tokens, quants, scales, sums })
    }

    /// The filled activations.
    #[must_use]
    pub fn view(&self) -> Acts<'_> {
        Acts { cols: self.cols, tokens: self.tokens, quants: self.quants, scales: self.scales, sums: self.sums }
    }

    /// Inputs of a vector, without padding.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Vectors in the batch.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// The three parts of vector after vector: `(quants, scales, sums)`; nothing if vectors have no inputs.
    pub fn rows(&mut self) -> impl Iterator<Item = (&mut [i8], &mut [f32], &mut [i16])> {
        // The buffers of vectors without inputs are empty, and no chunk may be.
        let [quants, scales, sums] = [act::padded(self.cols), act::groups(self.cols), act::blocks(self.cols)].map(|len| len.max(1));
        self.quants
            .chunks_exact_mut(quants)
            .zip(self.scales.chunks_exact_mut(scales))
            .zip(self.sums.chunks_exact_mut(sums))
            .map(|((q, s), b)| (q, s, b))
    }
}

fn front<T>(slice: &[T], tokens: usize, len: usize) -> Result<&[T], TensorError> {
    let expected = tokens.checked_mul(len).ok_or(TensorError::TooLarge { rows: tokens, cols: len })?;
    slice.get(..expected).ok_or(TensorError::Length { expected, got: slice.len() })
}

fn front_mut<T>(slice: &mut [T], tokens: usize, len: usize) -> Result<&mut [T], TensorError> {
    let expected = tokens.checked_mul(len).ok_or(TensorError::TooLarge { rows: tokens, cols: len })?;
    let got = slice.len();
    slice.get_mut(..expected).ok_or(TensorError::Length { expected, got })
}

/// The outputs `[tokens][rows]` of a matrix product, or those of some of its tiles.
///
/// Made whole from a slice; workers get parts with disjoint tiles. A part cannot write, or read, outside its tiles,
/// so parts never race.
#[derive(Debug)]
pub struct Outputs<'a> {
    base: *mut f32,
    rows: usize,
    tokens: usize,
    /// Vectors that add up to one vector of outputs are 2 to the power of this: a division would take as long as some
    /// hundred multiply-adds.
    log2_terms: u32,
    tiles: Range<usize>,
    marker: PhantomData<&'a mut [f32]>,
}

// SAFETY: a part has exclusive access to its tiles, like a `&mut [f32]`, which is `Send`.
#[expect(unsafe_code, reason = "the one shared output of parallel products")]
unsafe impl Send for Outputs<'_> {}

impl<'a> Outputs<'a> {
    /// All outputs of a product with `rows` outputs for each of `tokens` vectors.
    ///
    /// # Errors
    /// If `out` is not `tokens * rows` long.
    pub fn new(rows: usize, tokens: usize, out: &'a mut [f32]) -> Result<Self, TensorError> {
        let expected = rows.checked_mul(tokens).ok_or(TensorError::TooLarge { rows: tokens, cols: rows })?;
        if out.len() != expected {
            return Err(TensorError::Length { expected, got: out.len() });
        }
        Ok(Self { base: out.as_mut_ptr(), rows, tokens, log2_terms: 0, tiles: 0..rows.div_ceil(LANES), marker: PhantomData })
    }

    /// All outputs `[tokens][rows]` of a product whose batch holds `terms` vectors, a power of two, for each token, one after
    /// the other: a token's outputs are the sum of what its vectors give, in their order.
    ///
    /// # Errors
    /// If `out` is not `tokens * rows` long, `terms` no power of two, or `tokens * terms` too large.
    pub fn sums(rows: usize, tokens: usize, terms: usize, out: &'a mut [f32]) -> Result<Self, TensorError> {
        let whole = Self::new(rows, tokens, out)?;
        let vectors = tokens.checked_mul(terms).ok_or(TensorError::TooLarge { rows: tokens, cols: terms })?;
        let log2_terms = if terms.is_power_of_two() { terms.ilog2() } else { return Err(TensorError::Terms { got: terms }) };
        Ok(Self { tokens: vectors, log2_terms, ..whole })
    }

    /// The tiles of this part.
    #[must_use]
    pub fn tiles(&self) -> Range<usize> {
        self.tiles.clone()
    }

    /// Vectors in the batch, terms counted one by one.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Outputs of the whole product (not of this part).
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Cuts off the first `tiles` tiles, as a part of their own.
    #[must_use]
    pub fn split(self, tiles: usize) -> (Self, Self) {
        let at = self.tiles.start.saturating_add(tiles).min(self.tiles.end);
        let part =
            |tiles| Self { base: self.base, rows: self.rows, tokens: self.tokens, log2_terms: self.log2_terms, tiles, marker: PhantomData };
        (part(self.tiles.start..at), part(at..self.tiles.end))
    }

    /// A part with some of this one's tiles.
    ///
    /// # Safety
    /// While the part lives, nothing else writes its tiles.
    #[expect(unsafe_code, reason = "parts of one slice that interleave; see workers::TileParts")]
    pub(crate) unsafe fn part(&self, tiles: Range<usize>) -> Outputs<'a> {
        debug_assert!(self.tiles.start <= tiles.start && tiles.end <= self.tiles.end);
        Self { base: self.base, rows: self.rows, tokens: self.tokens, log2_terms: self.log2_terms, tiles, marker: PhantomData }
    }

    /// Stores the eight outputs of a tile for one vector of the batch, those that only pad the last tile being dropped.
    /// A kernel stores the vectors of a tile in ascending order: of a token's terms the first is stored, the others are
    /// added.
    ///
    /// # Panics
    /// If `tile` is outside this part or `token` outside the batch.
    #[inline(always)]
    #[expect(unsafe_code, reason = "parts of one slice that interleave")]
    pub fn store(&mut self, tile: usize, token: usize, lanes: [f32; LANES]) {
        assert!(self.tiles.contains(&tile) && token < self.tokens);
        let row = tile * LANES;
        let len = LANES.min(self.rows - row);
        let (output, term) = (token >> self.log2_terms, token & ((1 << self.log2_terms) - 1));
        // SAFETY: `row + len <= rows` and `output` is below the number of tokens, so the place lies inside the slice
        // given to `new`; this part alone has this tile, because `part`'s caller gives each tile to one part only.
        let place = unsafe { core::slice::from_raw_parts_mut(self.base.add(output * self.rows + row), len) };
        let is_first = term == 0;
        if let Some(whole) = place.first_chunk_mut() {
            // Only the last tile can be short: every other is one store of a register, not a call that copies memory.
            *whole = if is_first { lanes } else { core::array::from_fn(|lane| whole[lane] + lanes[lane]) };
        } else {
            for (place, lane) in place.iter_mut().zip(lanes) {
                *place = if is_first { lane } else { *place + lane };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_without_inputs_have_no_rows() {
        let mut acts = ActsMut::new(3, 0, &mut [], &mut [], &mut []).unwrap();
        assert_eq!(acts.rows().count(), 0);
        for isa in crate::isa::Isa::available() {
            (crate::kernels::Kernels::select(isa).unwrap().quantise)(&[], &mut acts);
        }
    }

    #[test]
    fn parts_of_outputs_never_overlap() {
        let mut out = [0.0; 40];
        let whole = || 0..5;
        for first in [0, 1, 4, 5, 6, usize::MAX] {
            for second in [0, 1, 5, usize::MAX - 1, usize::MAX] {
                let (a, rest) = Outputs::new(40, 1, &mut out).unwrap().split(first);
                let (b, c) = rest.split(second);
                let tiles = [a.tiles(), b.tiles(), c.tiles()];
                assert!(tiles.iter().cloned().flatten().eq(whole()), "split at {first}, then {second}: {tiles:?}");
            }
        }
    }

    #[test]
    fn parts_that_interleave_write_their_rows_only() {
        // 3 tokens of 2 vectors each, 20 outputs: the third tile is half padding.
        let mut out = [f32::NAN; 60];
        for got in [0, 3] {
            assert_eq!(Outputs::sums(20, 3, got, &mut out).unwrap_err(), TensorError::Terms { got });
        }
        let whole = Outputs::sums(20, 3, 2, &mut out).unwrap();
        let (mut first, rest) = whole.split(1);
        let (mut second, mut third) = rest.split(1);
        for vector in 0..6 {
            for (tile, part) in [(2, &mut third), (0, &mut first), (1, &mut second)] {
                part.store(tile, vector, core::array::from_fn(|lane| (100 * vector + 8 * tile + lane) as f32));
            }
        }
        for (at, x) in out.iter().enumerate() {
            let (token, row) = (at / 20, at % 20);
            assert_eq!(*x, (100 * (4 * token + 1) + 2 * row) as f32, "token {token}, row {row}");
        }
    }

    #[test]
    fn every_row_of_a_matrix_is_read_within_its_bytes() {
        for dtype in DType::ALL {
            for (rows, cols) in [(1, 1), (8, 64), (9, 65)] {
                let bytes = vec![0; dtype.matrix_bytes(rows, cols).unwrap()];
                let matrix = Matrix::new(dtype, rows, cols, &bytes).unwrap();
                let mut row = vec![f32::NAN; cols];
                for index in 0..rows {
                    row.fill(f32::NAN);
                    matrix.read_row(index, &mut row);
                    assert!(row.iter().all(|x| *x == 0.0), "{dtype}, {rows} x {cols}, row {index}");
                }
                assert!((0..matrix.tiles()).map(|tile| matrix.tile(tile).len()).sum::<usize>() == bytes.len());
                assert!(Matrix::new(dtype, rows, cols, &bytes[1..]).is_err());
            }
        }
        assert!(matches!(Matrix::new(DType::F32, usize::MAX, 2, &[]), Err(TensorError::TooLarge { .. })));
    }
}
