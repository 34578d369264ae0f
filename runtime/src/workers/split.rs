//! Disjoint mutable parts for parallel chunks: the one place where a slice is shared out.
#![expect(unsafe_code, reason = "parts are disjoint by construction, which the type system cannot see")]

use super::Workers;
use crate::tensor::Outputs;
use core::marker::PhantomData;

/// Memory that falls into disjoint parts, one per index.
///
/// # Safety
/// Parts of different indices must not overlap, and nothing else may reach them while they live: a value that hands
/// them out owns the exclusive borrow, so it is neither `Copy` nor `Clone`.
pub unsafe trait Parts: Sync {
    /// What a chunk gets; it may be made on one thread and live on in another.
    type Part: Send;

    /// Number of parts.
    fn count(&self) -> usize;

    /// Part `index`.
    ///
    /// # Safety
    /// `index` is below [`Parts::count`], and each part is taken at most once, ever: parts may outlive `self`.
    unsafe fn part(&self, index: usize) -> Self::Part;
}

/// A slice cut into parts of equal length; the last part is shorter if that does not divide the slice's.
#[derive(Debug)]
pub struct Split<'a, T> {
    base: *mut T,
    total: usize,
    len: usize,
    marker: PhantomData<&'a mut [T]>,
}

impl<'a, T> Split<'a, T> {
    /// Cuts `slice` every `len` elements.
    ///
    /// # Panics
    /// If `len` is 0.
    pub fn new(slice: &'a mut [T], len: usize) -> Self {
        assert!(len > 0);
        Self { base: slice.as_mut_ptr(), total: slice.len(), len, marker: PhantomData }
    }
}

// SAFETY: through a shared `Split` each part can be reached only by the unsafe `part`, at most once.
unsafe impl<T: Send> Sync for Split<'_, T> {}

// SAFETY: part `i` is `i * len..(i + 1) * len`, cut at the end.
unsafe impl<'a, T: Send> Parts for Split<'a, T> {
    type Part = &'a mut [T];

    fn count(&self) -> usize {
        self.total.div_ceil(self.len)
    }

    unsafe fn part(&self, index: usize) -> &'a mut [T] {
        let start = index * self.len;
        debug_assert!(start < self.total);
        // SAFETY: `index < count`, so `start < total` and the part lies inside the slice; it is taken once.
        unsafe { core::slice::from_raw_parts_mut(self.base.add(start), self.len.min(self.total - start)) }
    }
}

macro_rules! tuple_parts {
    ($($name:ident . $i:tt),+) => {
        // SAFETY: the parts of each member are disjoint.
        unsafe impl<$($name: Parts),+> Parts for ($($name,)+) {
            type Part = ($($name::Part,)+);

            fn count(&self) -> usize {
                // The shortest member ends it.
                [$(self.$i.count()),+].into_iter().min().unwrap_or(0)
            }

            unsafe fn part(&self, index: usize) -> Self::Part {
                // SAFETY: `index` is below the least count; taken once, as the caller promises.
                unsafe { ($(self.$i.part(index),)+) }
            }
        }
    };
}

tuple_parts!(A.0, B.1);
tuple_parts!(A.0, B.1, C.2);
tuple_parts!(A.0, B.1, C.2, D.3);
tuple_parts!(A.0, B.1, C.2, D.3, E.4);

// SAFETY: there is no memory to overlap.
unsafe impl Parts for () {
    type Part = ();

    fn count(&self) -> usize {
        usize::MAX
    }

    unsafe fn part(&self, _: usize) {}
}

/// Calls `body(i, part i)` for the first `count` parts, on the workers.
///
/// The parts are used up: `body` may keep its part, which must then never be handed out again.
///
/// ```compile_fail
/// use kinglet::workers::{Serial, Split, for_each};
/// let mut bytes = [0u8; 4];
/// let parts = Split::new(&mut bytes, 2);
/// let kept = std::sync::Mutex::new(Vec::new());
/// for_each(&Serial, 2, parts, |_, part| kept.lock().unwrap().push(part));
/// for_each(&Serial, 2, parts, |_, part| kept.lock().unwrap().push(part)); // each part a second time
/// ```
///
/// # Panics
/// If there are fewer than `count` parts.
pub fn for_each<P: Parts>(workers: &dyn Workers, count: usize, parts: P, body: impl Fn(usize, P::Part) + Sync) {
    assert!(count <= parts.count(), "{count} chunks of {} parts", parts.count());
    // SAFETY: `Workers::run` calls each index in `0..count` once, and nobody else has `parts`, now or later.
    workers.run(count, &|i| body(i, unsafe { parts.part(i) }));
}

/// The outputs of a product, cut every few tiles.
#[derive(Debug)]
pub struct TileParts<'a> {
    whole: Outputs<'a>,
    tiles: usize,
}

impl<'a> TileParts<'a> {
    /// Cuts `whole` every `tiles` tiles.
    ///
    /// # Panics
    /// If `tiles` is 0.
    #[must_use]
    pub fn new(whole: Outputs<'a>, tiles: usize) -> Self {
        assert!(tiles > 0);
        Self { whole, tiles }
    }
}

// SAFETY: through a shared `TileParts` each part can be reached only by the unsafe `part`, at most once.
unsafe impl Sync for TileParts<'_> {}

// SAFETY: parts have disjoint tiles.
unsafe impl<'a> Parts for TileParts<'a> {
    type Part = Outputs<'a>;

    fn count(&self) -> usize {
        self.whole.tiles().len().div_ceil(self.tiles)
    }

    unsafe fn part(&self, index: usize) -> Outputs<'a> {
        let tiles = self.whole.tiles();
        let start = tiles.start + index * self.tiles;
        // SAFETY: tiles of different indices are disjoint, and this part is taken once.
        unsafe { self.whole.part(start..(start + self.tiles).min(tiles.end)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::Serial;
    use kinglet_quant::LANES;

    fn all(run: &dyn Fn(&dyn Workers)) {
        run(&Serial);
        #[cfg(feature = "std")]
        run(&crate::workers::Pool::new(3).unwrap());
    }

    #[test]
    fn each_element_is_in_one_part() {
        all(&|workers| {
            for (len, every) in [(0, 3), (1, 3), (9, 3), (10, 3), (10, usize::MAX)] {
                let (mut a, mut b) = (vec![0usize; len], vec![0u8; len]);
                let parts = (Split::new(&mut a, every), Split::new(&mut b, every));
                let count = parts.count();
                for_each(workers, count, parts, |i, (a, b)| {
                    a.iter_mut().for_each(|x| *x += i + 1);
                    b.iter_mut().for_each(|x| *x += 1);
                });
                assert!(a.iter().enumerate().all(|(at, x)| *x == at / every + 1), "{len} every {every}: {a:?}");
                assert!(b.iter().all(|x| *x == 1));
            }
        });
    }

    #[test]
    fn tiles_of_all_tokens_are_written_side_by_side() {
        all(&|workers| {
            // 5 tiles, the last of one row, 2 at a time.
            let mut out = vec![0.0; 3 * 33];
            let parts = TileParts::new(Outputs::new(33, 3, &mut out).unwrap(), 2);
            assert_eq!(parts.count(), 3);
            for_each(workers, 3, parts, |_, mut part| {
                for tile in part.tiles() {
                    for token in 0..part.tokens() {
                        part.store(tile, token, core::array::from_fn(|lane| (1000 * token + LANES * tile + lane) as f32));
                    }
                }
            });
            assert!(out.iter().enumerate().all(|(at, x)| *x == (1000 * (at / 33) + at % 33) as f32), "{out:?}");
        });
    }
}
