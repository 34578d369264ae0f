//! The CPUs that a thread may run on.
//!
//! A mask belongs to a thread and is inherited by the threads that it starts (sched_setaffinity(2)), so a pool runs where the thread
//! that made it was allowed to. Containers and `taskset` show in the mask; a quota of CPU time does not, but the standard library
//! counts it in `available_parallelism`.

use std::sync::OnceLock;

/// What this process was given when it started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Granted {
    /// The CPUs of its mask, ascending; `None` where the system does not tell.
    pub(crate) cpus: Option<Vec<usize>>,
    /// How many threads it pays to run, by mask and quota.
    pub(crate) threads: usize,
}

/// What this process was given, as it was at the first call: before this program narrowed anything.
#[must_use]
pub(crate) fn granted() -> &'static Granted {
    static GRANTED: OnceLock<Granted> = OnceLock::new();
    GRANTED.get_or_init(|| Granted { cpus: mask(), threads: std::thread::available_parallelism().map_or(1, usize::from) })
}

#[cfg(target_os = "linux")]
mod system {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    /// The CPUs of this thread's mask.
    pub(crate) fn mask() -> Option<Vec<usize>> {
        // Fails on machines with more CPUs than the set holds.
        let set = sched_getaffinity(None).ok()?;
        Some((0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect())
    }

    /// Lets this thread run on these CPUs only.
    pub(crate) fn set_mask(cpus: &[usize]) -> Result<(), String> {
        let mut set = CpuSet::new();
        for &cpu in cpus.iter().filter(|&&cpu| cpu < CpuSet::MAX_CPU) {
            set.set(cpu);
        }
        sched_setaffinity(None, &set).map_err(|e| e.to_string())
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    pub(crate) fn mask() -> Option<Vec<usize>> {
        None
    }

    pub(crate) fn set_mask(_: &[usize]) -> Result<(), String> {
        Err("this system has no such call".to_owned())
    }
}

pub(crate) use system::{mask, set_mask};

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_inherited_and_can_be_widened_again() {
        let all = granted().cpus.clone().unwrap();
        assert!(!all.is_empty() && granted().threads <= all.len());
        // A thread of its own, so that no other test runs under its mask.
        let inherited = std::thread::spawn(move || {
            set_mask(&all[..1]).unwrap();
            let inherited = std::thread::spawn(mask).join().unwrap().unwrap();
            assert_eq!(inherited, all[..1]);
            set_mask(&all).unwrap();
            assert_eq!(mask().unwrap(), all);
        });
        inherited.join().unwrap();
        assert!(set_mask(&[]).is_err());
    }
}
