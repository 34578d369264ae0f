//! The meter: times a kernel and its rooflines by turns, and prints them beside each other.
//!
//! Criterion chooses what runs and for how long, and keeps its own estimates. After each of its samples, while the machine
//! is in the same mood, the rooflines of the case run for a millisecond each. A share is the median over these pairs, so
//! that a neighbour who slows both hardly changes it.

use crate::roof::{Operands, multiply};
use criterion::{Criterion, SamplingMode, Throughput};
use kinglet::isa::Isa;
use std::fmt;
use std::time::Duration;

/// A sample below this is near the tick of the clock and does not count.
const SHORTEST: Duration = Duration::from_micros(100);
/// How long a roofline runs after each sample.
const ROOF_TIME: Duration = Duration::from_millis(1);
/// A call as long as this takes the caches back from the rooflines by itself.
const LONG: Duration = Duration::from_millis(5);
/// A median of fewer samples is none.
const FEWEST: usize = 3;

/// What a roofline counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Bytes(usize),
    MultiplyAdds(usize),
}

impl Work {
    fn amount(self) -> f64 {
        match self {
            Work::Bytes(n) | Work::MultiplyAdds(n) => n as f64,
        }
    }

    fn throughput(self) -> Throughput {
        match self {
            Work::Bytes(n) => Throughput::BytesDecimal(n as u64),
            Work::MultiplyAdds(n) => Throughput::Elements(n as u64),
        }
    }

    /// The rate of this work done in `seconds`.
    fn rate(self, seconds: f64) -> Rate {
        let unit = match self {
            Work::Bytes(_) => "GB/s",
            Work::MultiplyAdds(_) => "G MAC/s",
        };
        Rate { giga: self.amount() / seconds / 1e9, unit }
    }
}

struct Rate {
    giga: f64,
    unit: &'static str,
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} {}", self.giga, self.unit)
    }
}

/// A kernel on one shape.
pub(crate) struct Case<'a> {
    pub(crate) isa: Isa,
    pub(crate) kernel: &'a str,
    pub(crate) shape: &'a str,
    /// Bytes that a call must read, and the plain read that it is held to.
    pub(crate) reads: Option<(usize, PlainRead<'a>)>,
    /// Multiply-adds of a call, and of what.
    pub(crate) multiplies: Option<(usize, Operands)>,
}

/// Reads `bytes` in one call of `run`.
pub(crate) struct PlainRead<'a> {
    pub(crate) bytes: usize,
    pub(crate) run: Box<dyn FnMut() + 'a>,
}

/// A roofline beside the work of the kernel that is held to it.
struct Roof<'a> {
    name: &'static str,
    /// What one call of the kernel does.
    kernel: Work,
    /// What one pass does.
    pass: Work,
    run: Box<dyn FnMut() + 'a>,
    /// Passes that take `ROOF_TIME`, found as it runs.
    passes: u64,
    /// For every sample the seconds of a pass, and the share of the roofline that the kernel reached.
    seconds: Vec<f64>,
    shares: Vec<f64>,
}

impl<'a> Roof<'a> {
    fn new(name: &'static str, kernel: Work, pass: Work, run: Box<dyn FnMut() + 'a>) -> Self {
        Self { name, kernel, pass, run, passes: 1, seconds: Vec::new(), shares: Vec::new() }
    }

    /// Runs beside a sample of the kernel in which a call took `call` seconds.
    fn sample(&mut self, call: f64) {
        (self.run)();
        let time = loop {
            let time = timed(self.passes, &mut self.run);
            if time >= ROOF_TIME {
                break time;
            }
            self.passes *= 2;
        };
        let pass = time.as_secs_f64() / self.passes as f64;
        self.seconds.push(pass);
        self.shares.push(self.kernel.amount() / call / (self.pass.amount() / pass));
    }
}

fn timed(times: u64, run: &mut impl FnMut()) -> Duration {
    let start = now();
    for _ in 0..times {
        run();
    }
    now() - start
}

/// The time that this thread has had a CPU: what others take of it on a busy machine is not counted.
#[cfg(unix)]
fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The time of day, for want of a better clock.
#[cfg(not(unix))]
fn now() -> Duration {
    static START: std::sync::LazyLock<std::time::Instant> = std::sync::LazyLock::new(std::time::Instant::now);
    START.elapsed()
}

/// The median.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) { sorted[middle - 1].midpoint(sorted[middle]) } else { sorted[middle] }
}

/// See the head of this file.
pub(crate) struct Meter {
    criterion: Criterion,
    rooflines: Vec<String>,
    kernels: Vec<String>,
}

impl Meter {
    pub(crate) fn new(criterion: Criterion) -> Self {
        Self { criterion, rooflines: Vec::new(), kernels: Vec::new() }
    }

    /// Times a roofline by itself.
    pub(crate) fn roofline(&mut self, isa: Isa, name: &str, pass: Work, run: impl FnMut()) {
        let samples = self.run(&format!("{isa}/roofline"), name, pass, run, &mut []);
        if samples.len() >= FEWEST {
            self.rooflines.push(format!("| {isa} | {name} | {} |", pass.rate(median(&samples))));
        }
    }

    /// Times a kernel and its rooflines; says whether it ran at all.
    pub(crate) fn kernel(&mut self, case: Case<'_>, mut run: impl FnMut()) -> bool {
        let Case { isa, kernel, shape, reads, multiplies } = case;
        let reads = reads.map(|(bytes, read)| Roof::new("plain read", Work::Bytes(bytes), Work::Bytes(read.bytes), read.run));
        let multiplies = multiplies.map(|(multiply_adds, operands)| {
            let roof = multiply(isa, operands);
            Roof::new(roof.name, Work::MultiplyAdds(multiply_adds), Work::MultiplyAdds(roof.multiply_adds), Box::new(roof.run))
        });
        let mut roofs: Vec<Roof<'_>> = reads.into_iter().chain(multiplies).collect();
        let mut ran = false;
        let counted = roofs.first().expect("a case is held to something").kernel;
        let samples = self.run(
            &format!("{isa}/{kernel}"),
            shape,
            counted,
            || {
                ran = true;
                run();
            },
            &mut roofs,
        );
        let held_to =
            roofs.iter().filter(|roof| roof.shares.len() >= FEWEST).max_by(|a, b| median(&a.shares).total_cmp(&median(&b.shares)));
        if let Some(roof) = held_to {
            let call = median(&samples);
            let (achieved, limit) = (roof.kernel.rate(call), roof.pass.rate(median(&roof.seconds)));
            let (micros, share) = (call * 1e6, median(&roof.shares) * 100.0);
            self.kernels.push(format!("| {kernel} | {shape} | {isa} | {micros:.2} | {achieved} | {limit} {} | {share:.0} |", roof.name));
        }
        ran
    }

    /// Seconds of a call in every sample, each followed by a sample of every roofline.
    fn run(&mut self, group: &str, name: &str, counted: Work, mut run: impl FnMut(), roofs: &mut [Roof<'_>]) -> Vec<f64> {
        let (mut samples, mut long) = (Vec::new(), false);
        let mut group = self.criterion.benchmark_group(group);
        group.sampling_mode(SamplingMode::Flat).throughput(counted.throughput());
        group.bench_function(name, |b| {
            // What is made on the first call is made here, and the caches are taken back from the rooflines.
            if !long {
                run();
            }
            let mut sample = None;
            b.iter_custom(|calls| {
                let time = timed(calls, &mut run);
                let call = time.as_secs_f64() / calls as f64;
                long = call > LONG.as_secs_f64();
                sample = (time >= SHORTEST).then_some(call);
                time
            });
            if let Some(call) = sample {
                samples.push(call);
                roofs.iter_mut().for_each(|roof| roof.sample(call));
            }
        });
        samples
    }

    /// Prints the tables.
    pub(crate) fn finish(self) {
        self.criterion.final_summary();
        if !self.rooflines.is_empty() {
            println!("\n{}\n\n| ISA | roofline | rate |\n|---|---|---:|", cpu());
            self.rooflines.iter().for_each(|row| println!("{row}"));
        }
        if !self.kernels.is_empty() {
            println!("\n{}\n", cpu());
            println!("| kernel | shape | ISA | µs | achieved | roofline | share, % |\n|---|---|---|---:|---:|---|---:|");
            self.kernels.iter().for_each(|row| println!("{row}"));
        }
    }
}

/// What the machine calls its CPU, where it says so.
fn cpu() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| info.lines().find(|line| line.starts_with(name)).and_then(|line| line.split(':').nth(1)).map(str::trim);
    match (field("model name"), field("cpu family"), field("model\t")) {
        (Some(name), Some(family), Some(model)) => format!("{name}, family {family}, model {model}; one thread; medians."),
        _ => "One thread; medians.".to_owned(),
    }
}
