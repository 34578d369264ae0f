//! Looks at the machine while something is measured on it.
//!
//! A thread of its own looks several times a second, at sensors that take a program to be asked once a second; where the machine has
//! cores that the measurement leaves alone, it runs there.

use super::affinity;
use super::energy::{Energy, Meter};
use super::throttling::Seen;
use super::{Hardware, frequency};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Time between two looks.
const TICK: Duration = Duration::from_millis(200);
/// Looks for one at what is slow to look at.
const SLOW_TICKS: u32 = 5;

/// What was seen in a span of time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Log {
    /// Mean power, or why it is not known.
    pub(crate) energy: Result<Energy, String>,
    pub(crate) throttling: Seen,
    /// The slowest and the fastest clock of each cluster, in kHz.
    pub(crate) khz: Vec<Option<(u64, u64)>>,
    /// The highest temperature of each sensor, in degrees Celsius.
    pub(crate) hottest: Vec<Option<f64>>,
}

impl Log {
    /// Adds what was seen in another span, whose energy is its own.
    pub(crate) fn merge(&mut self, other: Log) {
        self.throttling.merge(other.throttling);
        widen(&mut self.khz, other.khz);
        raise(&mut self.hottest, &other.hottest);
    }
}

fn widen(ranges: &mut [Option<(u64, u64)>], now: Vec<Option<(u64, u64)>>) {
    for (range, now) in ranges.iter_mut().zip(now) {
        *range = match (*range, now) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (range, now) => range.or(now),
        };
    }
}

fn raise(most: &mut [Option<f64>], now: &[Option<f64>]) {
    for (most, now) in most.iter_mut().zip(now) {
        // `None` is less than every temperature.
        *most = if *now > *most { *now } else { *most };
    }
}

/// Runs `work` while a thread looks at the machine, from just before it to just after.
pub(crate) fn watch<R>(hardware: &Hardware, elsewhere: &[usize], work: impl FnOnce() -> R) -> (R, Log) {
    std::thread::scope(|scope| {
        let (ready, started) = mpsc::channel();
        let (stop, stopped) = mpsc::channel::<()>();
        let watcher = scope.spawn(move || {
            if !elsewhere.is_empty() {
                // If it cannot go elsewhere it looks from here.
                let _ = affinity::set_mask(elsewhere);
            }
            look(hardware, &ready, &stopped)
        });
        // The watcher says that it has looked once; a watcher that died is waited for no longer.
        let _ = started.recv();
        let result = work();
        drop(stop);
        (result, watcher.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn look(hardware: &Hardware, ready: &mpsc::Sender<()>, stopped: &mpsc::Receiver<()>) -> Log {
    let root = &hardware.root;
    let mut meter = Meter::default();
    let start = Instant::now();
    let sample = |meter: &mut Meter| {
        if let Ok(sensor) = &hardware.energy {
            meter.add(start.elapsed().as_secs_f64(), sensor.read(root));
        }
    };
    let clocks = || -> Vec<_> { hardware.clusters.read(root).into_iter().map(|clock: frequency::Clock| clock.khz).collect() };
    let first = hardware.throttling.read(root);
    let mut throttling = hardware.throttling.begin(&first);
    let (mut khz, mut hottest) = (vec![None; clocks().len()], hardware.sensors.read(root));
    sample(&mut meter);
    // Nobody listens only if the measurement is over.
    let _ = ready.send(());
    let is_slow = hardware.energy.as_ref().is_ok_and(|sensor| sensor.is_slow());
    for tick in 1u32.. {
        let last = !matches!(stopped.recv_timeout(TICK), Err(mpsc::RecvTimeoutError::Timeout));
        let slow = last || tick.is_multiple_of(SLOW_TICKS);
        if slow || !is_slow {
            sample(&mut meter);
        }
        if slow || !hardware.throttling.are_slow() {
            hardware.throttling.look(&mut throttling, &first, &hardware.throttling.read(root));
        }
        // The clocks at the end may be those of idle cores.
        if !last || khz.iter().all(Option::is_none) {
            widen(&mut khz, clocks());
        }
        raise(&mut hottest, &hardware.sensors.read(root));
        if last {
            break;
        }
    }
    let energy = hardware.energy.as_ref().map_err(Clone::clone).and_then(|sensor| meter.energy(sensor));
    Log { energy, throttling, khz, hottest }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    #[test]
    fn what_happens_meanwhile_is_seen() {
        let tree = fixtures::orin();
        let hardware = Hardware::read(tree.root());
        let write = |mhz: u64, milliamperes: u64, degrees: u64, state: u64| {
            tree.write("sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq", &(mhz * 1000).to_string());
            tree.write("sys/class/hwmon/hwmon1/curr1_input", &milliamperes.to_string());
            tree.write("sys/class/thermal/thermal_zone0/temp", &(degrees * 1000).to_string());
            tree.write("sys/class/thermal/cooling_device1/cur_state", &state.to_string());
        };
        write(1510, 2000, 60, 0);
        let ((), log) = watch(&hardware, &[], || {
            std::thread::sleep(3 * TICK);
            write(1113, 2000, 71, 2);
            std::thread::sleep(3 * TICK);
            write(1510, 2000, 65, 0);
            std::thread::sleep(3 * TICK);
        });
        assert_eq!(log.khz[0], Some((1_113_000, 1_510_000)));
        assert_eq!(log.hottest[0], Some(71.0));
        assert_eq!(log.throttling.events.iter().collect::<Vec<_>>(), ["cpufreq-cpu0"]);
        let energy = log.energy.unwrap();
        assert!((energy.watts.unwrap() - 10.0).abs() < 1e-6, "{energy:?}");
    }

    #[test]
    fn a_machine_that_vanishes_and_a_run_of_no_time_leave_nothing() {
        let tree = fixtures::orin();
        let hardware = Hardware::read(tree.root());
        let ((), log) = watch(&hardware, &[], || {
            std::thread::sleep(2 * TICK);
            std::fs::remove_dir_all(tree.path()).unwrap();
            std::thread::sleep(2 * TICK);
        });
        assert!(log.energy.unwrap_err().contains("told nothing"));
        assert!(log.throttling.events.is_empty() && log.hottest[0].is_some());
        let (seven, log) = watch(&hardware, &[], || 7);
        assert_eq!((seven, log.khz[0], log.hottest[0]), (7, None, None));
        assert!(log.energy.is_err());
    }

    #[test]
    fn logs_add_up() {
        let tree = fixtures::vm();
        let hardware = Hardware::read(tree.root());
        let (_, mut log) = watch(&hardware, &[], || ());
        assert!(log.energy.is_err() && !log.throttling.is_told() && log.khz.is_empty() && log.hottest.is_empty());
        log.khz = vec![None, Some((5, 6))];
        log.hottest = vec![Some(1.0), None];
        let other = Log { khz: vec![Some((1, 2)), Some((4, 5))], hottest: vec![None, Some(2.0)], ..log.clone() };
        log.merge(other);
        assert_eq!(log.khz, [Some((1, 2)), Some((4, 6))]);
        assert_eq!(log.hottest, [Some(1.0), Some(2.0)]);
    }
}
