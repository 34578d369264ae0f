//! Byte-pair merging of one word.
//!
//! The symbols of a word form a linked list. Again and again the adjacent pair with the lowest rank is merged, the leftmost of equals first, until
//! no pair has a merge. A heap holds the left symbol of each pair that has one:
//!
//! ```text
//! for each symbol: rank[symbol] = rank of (symbol, next symbol); those with one form a heap by (rank, position)
//! while the heap is not empty:
//!     symbol = the least; it becomes the result of rank[symbol] and absorbs its next symbol
//!     rank symbol and its previous symbol anew: move them in the heap, add or remove them
//! ```
//! 1. The heap knows each symbol's place in it (`place`), so entries are corrected instead of left to go stale: it never holds more than there are symbols.
//! 2. Each merge costs at most two lookups and three moves along the heap's height: O(n log n) for any word.

use super::section::{NONE, Tokenizer};

/// Words of scratch per symbol.
pub(super) const WORDS_PER_SYMBOL: usize = 6;

/// The symbols of one word, in the caller's memory.
pub(super) struct Word<'s> {
    // Each of these: [capacity]
    id: &'s mut [u32],
    previous: &'s mut [u32],
    next: &'s mut [u32],
    rank: &'s mut [u32],
    place: &'s mut [u32],
    heap: &'s mut [u32],
    len: usize,
    heap_len: usize,
}

impl<'s> Word<'s> {
    /// An empty word with room for `scratch.len() / WORDS_PER_SYMBOL` symbols.
    pub(super) fn new(scratch: &'s mut [u32]) -> Self {
        let capacity = scratch.len() / WORDS_PER_SYMBOL;
        let (id, rest) = scratch.split_at_mut(capacity);
        let (previous, rest) = rest.split_at_mut(capacity);
        let (next, rest) = rest.split_at_mut(capacity);
        let (rank, rest) = rest.split_at_mut(capacity);
        let (place, rest) = rest.split_at_mut(capacity);
        let heap = &mut rest[..capacity];
        Self { id, previous, next, rank, place, heap, len: 0, heap_len: 0 }
    }

    /// Appends a symbol; false if there is no room.
    #[must_use]
    pub(super) fn push(&mut self, id: u32) -> bool {
        let Some(place) = self.id.get_mut(self.len) else {
            return false;
        };
        *place = id;
        self.len += 1;
        true
    }

    /// Merges until nothing merges.
    pub(super) fn merge_all(&mut self, tokenizer: &Tokenizer<'_>) {
        let len = self.len;
        for at in 0..len {
            self.previous[at] = (at as u32).wrapping_sub(1);
            self.next[at] = if at + 1 < len { at as u32 + 1 } else { NONE };
            self.place[at] = NONE;
            self.rank[at] = NONE;
        }
        self.heap_len = 0;
        for at in 0..len {
            if let Some(rank) = self.pair_rank(tokenizer, at as u32) {
                self.rank[at] = rank;
                self.place[at] = self.heap_len as u32;
                self.heap[self.heap_len] = at as u32;
                self.heap_len += 1;
            }
        }
        for at in (0..self.heap_len / 2).rev() {
            self.sink(at);
        }
        while self.heap_len > 0 {
            let symbol = self.heap[0];
            let absorbed = self.next[symbol as usize];
            let after = self.next[absorbed as usize];
            self.remove(absorbed);
            self.id[symbol as usize] = tokenizer.result(self.rank[symbol as usize]);
            self.next[symbol as usize] = after;
            if after != NONE {
                self.previous[after as usize] = symbol;
            }
            self.rank_anew(tokenizer, symbol);
            let before = self.previous[symbol as usize];
            if before != NONE {
                self.rank_anew(tokenizer, before);
            }
        }
    }

    /// The ids that are left, in order.
    pub(super) fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        let mut at = if self.len == 0 { NONE } else { 0 };
        core::iter::from_fn(move || {
            let id = *self.id.get(at as usize)?;
            at = self.next[at as usize];
            Some(id)
        })
    }

    fn pair_rank(&self, tokenizer: &Tokenizer<'_>, left: u32) -> Option<u32> {
        let right = self.next[left as usize];
        if right == NONE {
            return None;
        }
        tokenizer.rank(self.id[left as usize], self.id[right as usize])
    }

    /// Gives a symbol the rank of its pair as it is now.
    fn rank_anew(&mut self, tokenizer: &Tokenizer<'_>, symbol: u32) {
        match self.pair_rank(tokenizer, symbol) {
            None => self.remove(symbol),
            Some(rank) => {
                self.rank[symbol as usize] = rank;
                if self.place[symbol as usize] == NONE {
                    self.place[symbol as usize] = self.heap_len as u32;
                    self.heap[self.heap_len] = symbol;
                    self.heap_len += 1;
                }
                let at = self.rise(self.place[symbol as usize] as usize);
                self.sink(at);
            }
        }
    }

    /// Takes a symbol out of the heap if it is there.
    fn remove(&mut self, symbol: u32) {
        let at = self.place[symbol as usize];
        if at == NONE {
            return;
        }
        self.place[symbol as usize] = NONE;
        self.heap_len -= 1;
        if at as usize != self.heap_len {
            let last = self.heap[self.heap_len];
            self.put(at as usize, last);
            let at = self.rise(at as usize);
            self.sink(at);
        }
    }

    fn put(&mut self, at: usize, symbol: u32) {
        self.heap[at] = symbol;
        self.place[symbol as usize] = at as u32;
    }

    fn key(&self, at: usize) -> (u32, u32) {
        (self.rank[self.heap[at] as usize], self.heap[at])
    }

    fn swap(&mut self, a: usize, b: usize) {
        let (left, right) = (self.heap[a], self.heap[b]);
        self.put(a, right);
        self.put(b, left);
    }

    /// Moves an entry up while it is less than its parent; returns where it ends.
    fn rise(&mut self, mut at: usize) -> usize {
        while at > 0 && self.key(at) < self.key((at - 1) / 2) {
            self.swap(at, (at - 1) / 2);
            at = (at - 1) / 2;
        }
        at
    }

    /// Moves an entry down while a child is less.
    fn sink(&mut self, mut at: usize) {
        loop {
            let mut least = at;
            for child in [2 * at + 1, 2 * at + 2] {
                if child < self.heap_len && self.key(child) < self.key(least) {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.swap(at, least);
            at = least;
        }
    }
}
