//! The key/value cache, in the caller's memory: for each layer and key/value head one record, in the layout of
//! [`crate::kernels::attention`].
//!
//! A layer with a sliding window keeps only the blocks that a batch can still reach and wraps around them.

use crate::kernels::Kernels;
use crate::kernels::attention::{BLOCK, CacheF32, CacheI8, MAX_HEAD_DIM};
use crate::spec::{BlockSpec, Spec};
use crate::workers::{Parts, Split};
use core::ops::Range;
use kinglet_quant::LANES;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CacheType {
    /// int8 with one f32 scale per head and position.
    #[default]
    I8,
    /// f32, for conformance.
    F32,
}

impl CacheType {
    /// The name that users type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::I8 => "i8",
            Self::F32 => "f32",
        }
    }
}

/// Shape of one layer's cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Key/value heads.
    pub heads: usize,
    /// Channels of a head.
    pub head_dim: usize,
    /// Blocks of positions that are kept.
    pub blocks: usize,
    /// How they are stored.
    pub kind: CacheType,
}

impl Geometry {
    /// The cache of a layer for `context` positions, filled at most `batch` at a time.
    #[must_use]
    pub fn new(block: &BlockSpec, context: usize, batch: usize, kind: CacheType) -> Self {
        let all = context.div_ceil(BLOCK);
        let blocks = match block.window as usize {
            0 => all,
            // A batch and the window before it touch `window + batch - 1` positions, starting anywhere in a block.
            window => all.min(window.saturating_add(batch.saturating_sub(1)).div_ceil(BLOCK) + 1),
        };
        Self { heads: block.kv_heads as usize, head_dim: block.head_dim as usize, blocks, kind }
    }

    /// Positions kept.
    #[must_use]
    pub fn positions(&self) -> usize {
        self.blocks * BLOCK
    }

    /// Where in a head's record the blocks are that hold anything once `stored` positions were stored: keys, values, and
    /// their scales, if they have any.
    #[must_use]
    pub fn used(&self, stored: usize) -> [Range<usize>; 4] {
        let (all, used) = (self.positions(), self.blocks.min(stored.div_ceil(BLOCK)) * BLOCK);
        let (of_quants, of_scales) = match self.kind {
            CacheType::I8 => (self.head_dim, size_of::<f32>()),
            CacheType::F32 => (self.head_dim * size_of::<f32>(), 0),
        };
        let scales = 2 * all * of_quants;
        [(0, of_quants), (all * of_quants, of_quants), (scales, of_scales), (scales + all * of_scales, of_scales)]
            .map(|(start, bytes)| start..start + used * bytes)
    }

    /// Bytes of one head's record; `None` on overflow.
    #[must_use]
    pub fn head_bytes(&self) -> Option<usize> {
        let per_position = match self.kind {
            CacheType::I8 => 2 * self.head_dim + 2 * size_of::<f32>(),
            CacheType::F32 => 2 * self.head_dim * size_of::<f32>(),
        };
        self.blocks.checked_mul(BLOCK)?.checked_mul(per_position)
    }

    /// Bytes of the layer; `None` on overflow.
    #[must_use]
    pub fn layer_bytes(&self) -> Option<usize> {
        self.head_bytes()?.checked_mul(self.heads)
    }
}

/// Bytes of the whole cache of a model; `None` on overflow.
#[must_use]
pub fn cache_bytes(spec: &Spec<'_>, context: usize, batch: usize, kind: CacheType) -> Option<usize> {
    let stack = spec.stack();
    (0..stack.len()).try_fold(0usize, |sum, layer| sum.checked_add(Geometry::new(stack.block(layer), context, batch, kind).layer_bytes()?))
}

/// One layer's records.
#[derive(Debug)]
pub struct LayerCache<'a> {
    geometry: Geometry,
    bytes: &'a mut [u8],
}

impl<'a> LayerCache<'a> {
    /// A layer over `bytes`, which is aligned for f32 and exactly `layer_bytes` long.
    ///
    /// # Panics
    /// If it is not.
    #[must_use]
    pub fn new(geometry: Geometry, bytes: &'a mut [u8]) -> Self {
        assert!(Some(bytes.len()) == geometry.layer_bytes() && bytes.as_ptr().align_offset(align_of::<f32>()) == 0);
        Self { geometry, bytes }
    }

    /// Its shape.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn head_bytes(&self) -> usize {
        self.bytes.len() / self.geometry.heads
    }

    /// The records, one per head, for parallel writers.
    pub fn heads_mut(&mut self) -> impl Parts<Part = &mut [u8]> {
        let len = self.head_bytes();
        Split::new(self.bytes, len)
    }

    /// Head `head`, for reading.
    ///
    /// # Panics
    /// If there is no such head.
    #[must_use]
    pub fn head(&self, head: usize) -> HeadRef<'_> {
        let len = self.head_bytes();
        let (geometry, record) = (self.geometry, &self.bytes[head * len..][..len]);
        let head_dim = geometry.head_dim;
        let n = geometry.positions();
        match geometry.kind {
            CacheType::I8 => {
                let (quants, scales) = record.split_at(2 * n * head_dim);
                let (keys, values) = quants.split_at(n * head_dim);
                let (key_scales, value_scales) = scales.split_at(n * size_of::<f32>());
                HeadRef::I8(CacheI8 {
                    head_dim,
                    keys: bytemuck::cast_slice(keys),
                    key_scales: bytemuck::cast_slice(key_scales),
                    values: bytemuck::cast_slice(values),
                    value_scales: bytemuck::cast_slice(value_scales),
                })
            }
            CacheType::F32 => {
                let (keys, values) = record.split_at(n * head_dim * size_of::<f32>());
                HeadRef::F32(CacheF32 { head_dim, keys: bytemuck::cast_slice(keys), values: bytemuck::cast_slice(values) })
            }
        }
    }
}

/// One head's record, for reading by a kernel.
#[derive(Clone, Copy, Debug)]
pub enum HeadRef<'a> {
    /// int8.
    I8(CacheI8<'a>),
    /// f32.
    F32(CacheF32<'a>),
}

/// One head's record, for writing.
#[derive(Debug)]
pub struct HeadMut<'a> {
    geometry: Geometry,
    parts: PartsMut<'a>,
}

#[derive(Debug)]
enum PartsMut<'a> {
    I8 { keys: &'a mut [i8], values: &'a mut [i8], key_scales: &'a mut [f32], value_scales: &'a mut [f32] },
    F32 { keys: &'a mut [f32], values: &'a mut [f32] },
}

impl<'a> HeadMut<'a> {
    /// A view of a record from [`LayerCache::heads_mut`].
    ///
    /// # Panics
    /// If the record is not one of this geometry.
    #[must_use]
    pub fn new(geometry: Geometry, record: &'a mut [u8]) -> Self {
        let n = geometry.positions();
        let parts = match geometry.kind {
            CacheType::I8 => {
                let (quants, scales) = record.split_at_mut(2 * n * geometry.head_dim);
                let (keys, values) = quants.split_at_mut(n * geometry.head_dim);
                let (key_scales, value_scales) = scales.split_at_mut(n * size_of::<f32>());
                PartsMut::I8 {
                    keys: bytemuck::cast_slice_mut(keys),
                    values: bytemuck::cast_slice_mut(values),
                    key_scales: bytemuck::cast_slice_mut(key_scales),
                    value_scales: bytemuck::cast_slice_mut(value_scales),
                }
            }
            CacheType::F32 => {
                let (keys, values) = record.split_at_mut(n * geometry.head_dim * size_of::<f32>());
                PartsMut::F32 { keys: bytemuck::cast_slice_mut(keys), values: bytemuck::cast_slice_mut(values) }
            }
        };
        Self { geometry, parts }
    }

    /// Zeros the block that begins at `slot`, before its first use: a saved state shows nothing of what the memory held before.
    fn clear_block(&mut self, slot: usize) {
        let head_dim = self.geometry.head_dim;
        let channels = slot * head_dim..(slot + BLOCK) * head_dim;
        match &mut self.parts {
            PartsMut::I8 { keys, values, key_scales, value_scales } => {
                keys[channels.clone()].fill(0);
                values[channels].fill(0);
                key_scales[slot..slot + BLOCK].fill(0.0);
                value_scales[slot..slot + BLOCK].fill(0.0);
            }
            PartsMut::F32 { keys, values } => {
                keys[channels.clone()].fill(0.0);
                values[channels].fill(0.0);
            }
        }
    }

    /// Stores the key and the value, `[head_dim]` each, of position `position`.
    ///
    /// A kernel may read a whole block, and gives what lies out of range no weight, whatever the memory holds there.
    ///
    /// # Panics
    /// If `key` or `value` has another length.
    pub fn append(&mut self, kernels: &Kernels, position: usize, key: &[f32], value: &[f32]) {
        let head_dim = self.geometry.head_dim;
        let slot = position % self.geometry.positions();
        if position == slot && slot.is_multiple_of(BLOCK) {
            self.clear_block(slot);
        }
        match &mut self.parts {
            PartsMut::I8 { keys, values, key_scales, value_scales } => {
                let mut quants = [0; MAX_HEAD_DIM];
                let quants = &mut quants[..head_dim];
                (kernels.quantise_heads)(key, &mut key_scales[slot..=slot], quants);
                let tile = &mut keys[slot / LANES * LANES * head_dim..][..LANES * head_dim];
                for (four, quad) in quants.chunks_exact(4).zip(tile.chunks_exact_mut(4 * LANES)) {
                    quad[4 * (slot % LANES)..][..4].copy_from_slice(four);
                }
                (kernels.quantise_heads)(value, &mut value_scales[slot..=slot], quants);
                let block = &mut values[slot / BLOCK * BLOCK * head_dim..][..BLOCK * head_dim];
                let in_block = slot % BLOCK;
                for (eight, tile) in quants.chunks_exact(LANES).zip(block.chunks_exact_mut(LANES * BLOCK)) {
                    let quad = &mut tile[in_block / 4 * 4 * LANES..][..4 * LANES];
                    for (lane, &quant) in eight.iter().enumerate() {
                        quad[4 * lane + in_block % 4] = quant;
                    }
                }
            }
            PartsMut::F32 { keys, values } => {
                keys[slot * head_dim..][..head_dim].copy_from_slice(key);
                values[slot * head_dim..][..head_dim].copy_from_slice(value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(window: u32) -> BlockSpec {
        BlockSpec { window, kv_heads: 2, head_dim: 16, rotary_dim: 16, ..BlockSpec::default() }
    }

    #[test]
    fn an_appended_position_is_where_the_layout_says() {
        let geometry = Geometry::new(&spec(0), 130, 1, CacheType::I8);
        assert_eq!(geometry.blocks, 3);
        let mut memory = vec![u64::MAX; geometry.layer_bytes().unwrap() / 8];
        let bytes = bytemuck::cast_slice_mut(&mut memory);
        let layer = LayerCache::new(geometry, bytes);
        let (position, head_dim) = (77, 16);
        let key: [f32; 16] = core::array::from_fn(|i| i as f32 - 3.0);
        let value: [f32; 16] = core::array::from_fn(|i| 5.0 - i as f32);
        let len = layer.head_bytes();
        let scalar = Kernels::select(crate::isa::Isa::Scalar).unwrap();
        HeadMut::new(geometry, &mut layer.bytes[len..]).append(scalar, position, &key, &value);
        let HeadRef::I8(cache) = layer.head(1) else { panic!() };
        assert_eq!(cache.key_scales[position], 12.0 / 127.0);
        assert_eq!(cache.value_scales[position], 10.0 / 127.0);
        for channel in 0..head_dim {
            let (block, tile, lane) = (position / BLOCK, position % BLOCK / 8, position % 8);
            let k = cache.keys[((block * 8 + tile) * (head_dim / 4) + channel / 4) * 32 + 4 * lane + channel % 4];
            assert_eq!(f32::from(k), (key[channel] * (127.0 / 12.0)).round_ties_even());
            let v =
                cache.values[((block * (head_dim / 8) + channel / 8) * 16 + position % BLOCK / 4) * 32 + 4 * (channel % 8) + position % 4];
            assert_eq!(f32::from(v), (value[channel] * (127.0 / 10.0)).round_ties_even());
        }
    }

    #[test]
    fn a_window_keeps_what_a_batch_reaches() {
        for (window, batch) in [(1, 1), (8, 1), (64, 1), (65, 7), (100, 64), (4096, 512)] {
            let blocks = Geometry::new(&spec(window), 1 << 20, batch, CacheType::I8).blocks;
            // From the first position of the window to the last of the batch, wherever the batch starts.
            for start in window as usize..window as usize + 2 * BLOCK {
                let (first, last) = (start + 1 - window as usize, start + batch - 1);
                assert!(last / BLOCK - first / BLOCK < blocks, "window {window}, batch {batch}, start {start}");
            }
        }
    }
}
