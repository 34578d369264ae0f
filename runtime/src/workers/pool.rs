//! A pool of threads that spin for a moment and then sleep.
//!
//! A run's chunks are dealt to the threads in equal contiguous shares, because chunks that follow each other read memory
//! that follows each other. Each thread, the caller too, claims its own share one by one and then what is left of the
//! others', so that a thread that the system holds back costs at most the chunk it works on; the end of a run waits for
//! chunks, not for threads.
//!
//! A share's word holds the run's number and the next chunk. A thread reads the word, then the task, and then claims by
//! compare-and-swap on the word: it succeeds only if the run is still the one whose task was read. While the caller
//! exchanges the task, all words say that nothing is to be had. Runs are counted in 40 bits: only a thread that stood
//! still between that read and that claim for a multiple of 2^40 runs, years of them, could mistake one run for another.
#![expect(unsafe_code, reason = "a task that borrows from the caller's stack is handed to threads that outlive it")]

use super::Workers;
use std::boxed::Box;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::vec::Vec;

/// Turns of the spin loop before a thread sleeps: some tens of microseconds, longer than the serial parts of a layer.
const SPINS: u32 = if cfg!(miri) { 4 } else { 4_000 };
/// Turns of the caller's wait before it yields its core.
const SPINS_AT_END: u32 = if cfg!(miri) { 4 } else { 10_000 };
/// Low bits of the word, for the next chunk; the others number the run.
const CHUNK_BITS: u32 = 24;
/// All bits of a chunk: no chunk is to be had. Also the most chunks of one run.
const NOTHING: u64 = (1 << CHUNK_BITS) - 1;

/// Threads could not be started.
#[derive(Debug)]
pub struct PoolError(std::io::Error);

impl core::fmt::Display for PoolError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "starting a worker thread: {}", self.0)
    }
}

impl core::error::Error for PoolError {}

type Task<'t> = &'t (dyn Fn(usize) + Sync);

/// Number of the run, then in the low [`CHUNK_BITS`] the next chunk of a share, or [`NOTHING`]. Alone in its cache lines,
/// since each thread writes its own with every claim.
#[repr(align(128))]
struct Word(AtomicU64);

/// Chunks done, apart from what every claim reads.
#[repr(align(128))]
struct Counter(AtomicUsize);

struct Shared {
    /// One for each thread's share, the caller's first.
    words: Vec<Word>,
    chunks: AtomicUsize,
    /// Points to the caller's `Task`, alive until all chunks of its run are done.
    task: AtomicPtr<Task<'static>>,
    done: Counter,
    /// What the first chunk that panicked had to say.
    panic: Mutex<Option<Box<dyn core::any::Any + Send>>>,
    stop: AtomicBool,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
}

impl Shared {
    /// The first chunk of share `i` in a run of `chunks`; that of the share behind the last is `chunks`.
    fn share(&self, i: usize, chunks: usize) -> usize {
        let (each, more) = (chunks / self.words.len(), chunks % self.words.len());
        i * each + i.min(more)
    }

    /// Claims and runs one chunk, for thread `i`: of its own share if there is one left; `false` if there is none in any.
    fn step(&self, i: usize) -> bool {
        let threads = self.words.len();
        (i..i + threads).any(|share| self.step_in(share % threads))
    }

    /// Claims and runs one chunk of a share, or sees another thread claim it; `false` if there is none to be had.
    fn step_in(&self, share: usize) -> bool {
        let place = &self.words[share].0;
        let word = place.load(Ordering::Acquire);
        let chunk = word & NOTHING;
        let (chunks, task) = (self.chunks.load(Ordering::Acquire), self.task.load(Ordering::Acquire));
        if chunk == NOTHING || chunk >= self.share(share + 1, chunks) as u64 {
            return false;
        }
        if place.compare_exchange(word, word + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return true;
        }
        // SAFETY: the claim succeeded, so `task` is that of the word's run, and `run` does not return before this
        // chunk is counted: the task is alive.
        let task = unsafe { *task };
        // A chunk that panics is counted like any other, or the caller would wait for ever.
        if let Err(payload) = std::panic::catch_unwind(AssertUnwindSafe(|| task(chunk as usize))) {
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(payload);
        }
        self.done.0.fetch_add(1, Ordering::Release);
        true
    }

    fn work(&self, i: usize) {
        let mut idle = 0;
        while !self.stop.load(Ordering::Relaxed) {
            if self.step(i) {
                idle = 0;
            } else if idle < SPINS {
                idle += 1;
                core::hint::spin_loop();
            } else {
                self.sleep();
                idle = 0;
            }
        }
    }

    fn sleep(&self) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        // The caller publishes work first and looks for sleepers second; this thread does it the other way round, so
        // one of them sees the other.
        while !self.stop.load(Ordering::SeqCst) && !self.has_work() {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    fn has_work(&self) -> bool {
        let chunks = self.chunks.load(Ordering::SeqCst);
        self.words.iter().enumerate().any(|(share, word)| {
            let chunk = word.0.load(Ordering::SeqCst) & NOTHING;
            chunk != NOTHING && chunk < self.share(share + 1, chunks) as u64
        })
    }

    fn wake_all(&self) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            let _guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.wake.notify_all();
        }
    }
}

/// The caller and `threads - 1` threads of its own.
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// One run at a time.
    turn: Mutex<()>,
}

impl core::fmt::Debug for Pool {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Pool({} threads)", self.threads.len() + 1)
    }
}

impl Pool {
    /// A pool of `threads` threads, the caller included; 0 counts as 1.
    ///
    /// # Errors
    /// If the system starts no more threads.
    pub fn new(threads: usize) -> Result<Self, PoolError> {
        let shared = Arc::new(Shared {
            words: (0..threads.max(1)).map(|_| Word(AtomicU64::new(NOTHING))).collect(),
            chunks: AtomicUsize::new(0),
            task: AtomicPtr::new(core::ptr::null_mut()),
            done: Counter(AtomicUsize::new(0)),
            panic: Mutex::new(None),
            stop: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut pool = Self { shared, threads: Vec::new(), turn: Mutex::new(()) };
        for i in 1..threads {
            let shared = Arc::clone(&pool.shared);
            let builder = std::thread::Builder::new().name(std::format!("kinglet-{i}")).stack_size(256 << 10);
            pool.threads.push(builder.spawn(move || shared.work(i)).map_err(PoolError)?);
        }
        Ok(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        {
            let _guard = self.shared.lock.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.wake.notify_all();
        }
        for thread in self.threads.drain(..) {
            // No panic leaves `work`.
            let _ = thread.join();
        }
    }
}

// SAFETY: a claim hands out each index of a run once; `run` returns when as many chunks are done as there are.
unsafe impl Workers for Pool {
    fn count(&self) -> usize {
        self.threads.len() + 1
    }

    fn run(&self, chunks: usize, task: Task<'_>) {
        if chunks <= 1 || self.threads.is_empty() {
            (0..chunks).for_each(task);
            return;
        }
        const MOST: usize = NOTHING as usize;
        if chunks > MOST {
            return (0..chunks).step_by(MOST).for_each(|start| self.run(MOST.min(chunks - start), &|i| task(start + i)));
        }
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let shared = &*self.shared;
        let run = (shared.words[0].0.load(Ordering::Relaxed) >> CHUNK_BITS).wrapping_add(1) << CHUNK_BITS;
        for word in &shared.words {
            word.0.store(run | NOTHING, Ordering::SeqCst);
        }
        shared.chunks.store(chunks, Ordering::SeqCst);
        shared.done.0.store(0, Ordering::SeqCst);
        let place: *const Task<'_> = &task;
        shared.task.store(place.cast_mut().cast(), Ordering::SeqCst);
        for (share, word) in shared.words.iter().enumerate() {
            word.0.store(run | shared.share(share, chunks) as u64, Ordering::SeqCst);
        }
        shared.wake_all();
        while shared.step(0) {}
        let mut turns = 0;
        while shared.done.0.load(Ordering::Acquire) < chunks {
            turns += 1;
            if turns < SPINS_AT_END { core::hint::spin_loop() } else { std::thread::yield_now() }
        }
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(payload) = panic {
            std::panic::resume_unwind(payload);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_chunk_runs_once() {
        for threads in [1, 2, 3, if cfg!(miri) { 4 } else { 8 }] {
            let pool = Pool::new(threads).unwrap();
            assert_eq!(pool.count(), threads);
            for chunks in [0, 1, 2, 7, 64, if cfg!(miri) { 65 } else { 1000 }] {
                for _ in 0..if cfg!(miri) { 2 } else { 200 } {
                    let counts: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(chunks, &|i| {
                        counts[i].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1), "{threads} threads, {chunks} chunks");
                }
            }
        }
    }

    #[test]
    fn sleeping_threads_wake() {
        let pool = Pool::new(2).unwrap();
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(20));
            // Both chunks wait for each other, so both threads must take part.
            let barrier = std::sync::Barrier::new(2);
            pool.run(2, &|_| {
                barrier.wait();
            });
        }
    }

    #[test]
    fn a_panicking_chunk_reaches_the_caller() {
        let pool = Pool::new(2).unwrap();
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| pool.run(8, &|i| assert!(i != 5))));
        assert!(result.is_err());
    }

    #[test]
    fn when_every_chunk_panics_the_caller_hears_one() {
        let pool = Pool::new(3).unwrap();
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| pool.run(64, &|i| panic!("chunk {}", i / 64))));
        assert_eq!(result.unwrap_err().downcast_ref::<String>().unwrap(), "chunk 0");
        // While this thread unwinds, a run is a run like any other.
        struct Runs<'p>(&'p Pool, &'p AtomicUsize);
        impl Drop for Runs<'_> {
            fn drop(&mut self) {
                self.0.run(8, &|_| {
                    self.1.fetch_add(1, Ordering::Relaxed);
                });
            }
        }
        let ran = AtomicUsize::new(0);
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let _runs = Runs(&pool, &ran);
            panic!("outside");
        }));
        assert!(result.is_err());
        assert_eq!(ran.into_inner(), 8);
    }

    #[test]
    fn a_run_after_a_panic_is_a_run_like_any_other() {
        let pool = Pool::new(2).unwrap();
        let caller = std::thread::current().id();
        let barrier = std::sync::Barrier::new(2);
        // Each thread takes one chunk, because both wait for each other; first the caller's panics, then the other's.
        for of_caller in [true, false] {
            let panics = |_| {
                barrier.wait();
                assert!((std::thread::current().id() == caller) != of_caller);
            };
            assert!(std::panic::catch_unwind(AssertUnwindSafe(|| pool.run(2, &panics))).is_err());
            pool.run(2, &|_| {
                barrier.wait();
            });
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "millions of chunks")]
    fn more_chunks_than_a_word_counts() {
        let (pool, chunks, sum) = (Pool::new(2).unwrap(), NOTHING as usize + 2, AtomicU64::new(0));
        // Chunks that say nothing new are skipped, so that the two threads do not fight over the sum.
        pool.run(chunks, &|i| {
            if i % 4096 == 0 || i >= NOTHING as usize - 1 {
                sum.fetch_add(i as u64, Ordering::Relaxed);
            }
        });
        let expected = (0..chunks as u64).filter(|i| i % 4096 == 0 || *i >= NOTHING - 1).sum::<u64>();
        assert_eq!(sum.into_inner(), expected);
    }
}
