//! The cores that a command computes on.
//!
//! A step of a model is hundreds of short runs over the pool, and the end of each waits for the chunk that the slowest thread works on:
//! a small core beside large ones costs more than it adds. So by default there is one thread for each fast core that this process may
//! use, and the threads are kept on those cores. A mask that the user set (`taskset`, a container) is only ever narrowed, and a quota of CPU
//! time lessens the threads.

use super::affinity::{self, Granted};
use super::cpus::{Cpus, Kind};
use super::root::Root;
use crate::cli::options::MAX_THREADS;
use crate::cli::text::{count, thousands};
use std::fmt;

/// How many threads, and where.
#[derive(Clone, Debug)]
pub(crate) struct Cores {
    pub(crate) threads: usize,
    /// CPUs that the threads run on; empty where the system does not tell its CPUs.
    pub(crate) chosen: Vec<usize>,
    /// CPUs that they could have run on.
    pub(crate) allowed: Vec<usize>,
    /// What the chosen CPUs are.
    pub(crate) kinds: Vec<Kind>,
    /// Cores of the machine.
    pub(crate) machine: usize,
}

impl Cores {
    /// So many threads, or one for each fast core, on this machine.
    #[must_use]
    pub(crate) fn choose(threads: Option<usize>) -> Self {
        Self::among(&Cpus::read(&Root::system()), affinity::granted(), threads)
    }

    /// The choice for a machine of these CPUs and a process that was given this. More threads than there are fast cores get all
    /// cores.
    #[must_use]
    pub(crate) fn among(cpus: &Cpus, granted: &Granted, threads: Option<usize>) -> Self {
        let online = cpus.ids();
        let allowed: Vec<usize> = match &granted.cpus {
            Some(mask) => online.iter().copied().filter(|cpu| mask.contains(cpu)).collect(),
            None => online.clone(),
        };
        let fast = cpus.fast(&allowed);
        let fast_cores = if fast.is_empty() { granted.threads } else { cpus.cores(&fast) };
        let threads = threads.unwrap_or_else(|| fast_cores.min(granted.threads).clamp(1, MAX_THREADS));
        let chosen = if threads <= fast_cores { fast } else { allowed.clone() };
        Self { threads, kinds: cpus.kinds(&chosen), machine: cpus.cores(&online), chosen, allowed }
    }

    /// Whether some of the cores that could be used are left out.
    #[must_use]
    pub(crate) fn are_narrowed(&self) -> bool {
        self.chosen.len() < self.allowed.len()
    }

    /// CPUs that may be used and were not chosen, for what should not disturb.
    #[must_use]
    pub(crate) fn others(&self) -> Vec<usize> {
        self.allowed.iter().copied().filter(|cpu| !self.chosen.contains(cpu)).collect()
    }

    /// Keeps this thread, and those that it starts from now on, on the chosen CPUs.
    ///
    /// # Errors
    /// What the system said; threads then run where they did.
    pub(crate) fn bind(&self) -> Result<(), String> {
        // A mask is only touched on machines whose cores differ: there it may have been narrowed by an earlier choice.
        if affinity::mask().is_none_or(|mask| mask == self.chosen) || self.chosen.is_empty() {
            return Ok(());
        }
        affinity::set_mask(&self.chosen)
    }
}

impl fmt::Display for Cores {
    /// As in `4 of 8 cores: Cortex-A76`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.chosen.is_empty() {
            return f.write_str("cores that the system does not tell");
        }
        let cores: usize = self.kinds.iter().map(|kind| kind.cores).sum();
        write!(f, "{} of {}", thousands(cores as u64), count(self.machine as u64, "core"))?;
        let names: Vec<&str> = self.kinds.iter().filter_map(|kind| kind.name.as_deref()).collect();
        if names.is_empty() { Ok(()) } else { write!(f, ": {}", names.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn given(cpus: &[usize], threads: usize) -> Granted {
        Granted { cpus: Some(cpus.to_vec()), threads }
    }

    #[test]
    fn fast_cores_masks_and_quotas() {
        let all: Vec<usize> = (0..8).collect();
        let cpus = Cpus::read(&fixtures::rk3588().root());
        // What the process was given, the threads asked for; threads, CPUs, words.
        type Case<'c> = (Granted, Option<usize>, usize, &'c [usize], &'c str);
        let cases: [Case<'_>; 9] = [
            (given(&all, 8), None, 4, &[4, 5, 6, 7], "4 of 8 cores: Cortex-A76"),
            (given(&all, 8), Some(2), 2, &[4, 5, 6, 7], "4 of 8 cores: Cortex-A76"),
            (given(&all, 8), Some(6), 6, &all, "8 of 8 cores: Cortex-A76, Cortex-A55"),
            (given(&all, 2), None, 2, &[4, 5, 6, 7], "4 of 8 cores: Cortex-A76"),
            (given(&[0, 1, 2, 3], 4), None, 4, &[0, 1, 2, 3], "4 of 8 cores: Cortex-A55"),
            (given(&[3, 6], 2), None, 1, &[6], "1 of 8 cores: Cortex-A76"),
            (given(&[3, 6], 2), Some(2), 2, &[3, 6], "2 of 8 cores: Cortex-A76, Cortex-A55"),
            (Granted { cpus: None, threads: 8 }, None, 4, &[4, 5, 6, 7], "4 of 8 cores: Cortex-A76"),
            (given(&[], 1), None, 1, &[], "cores that the system does not tell"),
        ];
        for (granted, asked, threads, chosen, words) in cases {
            let cores = Cores::among(&cpus, &granted, asked);
            assert_eq!((cores.threads, &cores.chosen[..]), (threads, chosen), "{granted:?}, {asked:?}");
            assert_eq!(cores.to_string(), words);
            assert_eq!(cores.others().len(), cores.allowed.len() - cores.chosen.len());
        }
    }

    #[test]
    fn threads_of_one_core_count_once_and_an_unknown_machine_has_what_the_system_grants() {
        let vm = Cpus::read(&fixtures::vm().root());
        let cores = Cores::among(&vm, &given(&[0, 1, 2, 3], 4), None);
        assert_eq!((cores.threads, cores.are_narrowed()), (2, false));
        assert_eq!(Cores::among(&vm, &given(&[0, 2], 2), None).threads, 1, "two threads of one core");
        let unknown = Cores::among(&Cpus::default(), &Granted { cpus: None, threads: 3 }, None);
        assert_eq!((unknown.threads, unknown.chosen.len(), unknown.are_narrowed()), (3, 0, false));
        assert_eq!(Cores::among(&Cpus::default(), &Granted { cpus: None, threads: 9999 }, None).threads, MAX_THREADS);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn workers_run_on_the_chosen_cpus() {
        let all = affinity::granted().cpus.clone().unwrap();
        let mut cores = Cores::choose(Some(1));
        cores.chosen = vec![all[all.len() - 1]];
        let (last, narrowed) = (cores.chosen.clone(), cores);
        let seen = std::thread::spawn(move || {
            narrowed.bind().unwrap();
            let pool = kinglet::workers::Pool::new(2).unwrap();
            let (masks, both) = (std::sync::Mutex::new(Vec::new()), std::sync::Barrier::new(2));
            kinglet::workers::Workers::run(&pool, 2, &|_| {
                both.wait();
                masks.lock().unwrap().push(affinity::mask().unwrap());
            });
            let masks = masks.into_inner().unwrap();
            Cores { chosen: narrowed.allowed.clone(), ..narrowed }.bind().unwrap();
            (masks, affinity::mask().unwrap())
        });
        let (masks, widened) = seen.join().unwrap();
        assert_eq!(masks, [last.clone(), last]);
        assert_eq!(widened, all);
    }
}
