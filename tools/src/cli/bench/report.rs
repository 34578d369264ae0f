//! What a bench found, for people, for programs, and as a row of docs/boards.md.

use super::{BenchArgs, Row};
use crate::cli::hardware::Hardware;
use crate::cli::hardware::cores::Cores;
use crate::cli::hardware::energy::Energy;
use crate::cli::hardware::frequency::{Clock, megahertz};
use crate::cli::hardware::throttling::Seen;
use crate::cli::hardware::watch::Log;
use crate::cli::text::{Align, Table, count, grouped, printable, ranges, significant, size};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// Clocks and temperatures at one moment.
pub(super) struct Moment {
    clocks: Vec<Clock>,
    degrees: Vec<Option<f64>>,
}

impl Moment {
    pub(super) fn now(hardware: &Hardware) -> Self {
        Self { clocks: hardware.clusters.read(&hardware.root), degrees: hardware.sensors.read(&hardware.root) }
    }
}

/// All that a bench found.
pub(super) struct Report<'r> {
    pub(super) args: &'r BenchArgs,
    /// The model file's name without its extension.
    pub(super) name: String,
    /// The model's own name, if the file tells it.
    pub(super) title: Option<&'r str>,
    pub(super) file_bytes: u64,
    /// Of weights that a token reads.
    pub(super) weight_bytes: u64,
    /// What tells this build from others.
    pub(super) build: String,
    /// The type that most weights have.
    pub(super) dtype: &'static str,
    pub(super) isa: &'static str,
    pub(super) hardware: &'r Hardware,
    pub(super) before: Moment,
    pub(super) after: Moment,
    /// What was seen in all rows together.
    pub(super) log: Option<Log>,
    /// For each number of threads, in the order of the rows.
    pub(super) cores: Vec<Cores>,
    pub(super) rows: Vec<Row>,
    /// Bytes a second that so many threads read.
    pub(super) bandwidths: Vec<(usize, f64)>,
}

const COLUMNS: &[(&str, Align)] = &[
    ("model", Align::Left),
    ("size", Align::Right),
    ("isa", Align::Left),
    ("threads", Align::Right),
    ("cache", Align::Left),
    ("test", Align::Left),
    ("t/s ± sd", Align::Right),
    ("GB/s", Align::Right),
    ("of memory", Align::Right),
    ("peak RSS", Align::Right),
    ("logits", Align::Left),
];
const CSV_COLUMNS: &[(&str, Align)] = &[
    ("model", Align::Left),
    ("file_bytes", Align::Right),
    ("isa", Align::Left),
    ("threads", Align::Right),
    ("cache", Align::Left),
    ("test", Align::Left),
    ("tokens_per_second", Align::Right),
    ("tokens_per_second_sd", Align::Right),
    ("gigabytes_per_second", Align::Right),
    ("memory_share", Align::Right),
    ("peak_rss_bytes", Align::Right),
    ("logits", Align::Left),
    ("type", Align::Left),
    ("version", Align::Left),
    ("build", Align::Left),
    ("board", Align::Left),
    ("cpu", Align::Left),
    ("cores", Align::Left),
    ("memory_gigabytes_per_second", Align::Right),
    ("mhz_before", Align::Right),
    ("mhz_lowest", Align::Right),
    ("mhz_highest", Align::Right),
    ("mhz_after", Align::Right),
    ("celsius_before", Align::Right),
    ("celsius_highest", Align::Right),
    ("celsius_after", Align::Right),
    ("throttled", Align::Left),
    ("watts", Align::Right),
    ("joules", Align::Right),
    ("joules_per_token", Align::Right),
    ("tokens_per_joule", Align::Right),
    ("energy_source", Align::Left),
];
/// The columns of docs/boards.md.
const BOARD_COLUMNS: [&str; 15] = [
    "board",
    "CPU, ISA",
    "cores",
    "memory GB/s",
    "model",
    "type",
    "prompt t/s",
    "generation t/s",
    "generation at depth t/s",
    "frequency",
    "temperature",
    "throttled",
    "W",
    "J/token",
    "version",
];

/// What stands for something that the machine does not tell.
const ABSENT: &str = "–";

fn celsius(degrees: Option<f64>) -> String {
    degrees.map_or_else(|| ABSENT.to_owned(), |degrees| format!("{degrees:.1}"))
}

/// `no`, `yes: under-voltage`, or that it is not told.
fn throttled(seen: Option<&Seen>) -> Option<String> {
    let seen = seen.filter(|seen| seen.is_told())?;
    let events: Vec<&str> = seen.events.iter().map(String::as_str).collect();
    Some(if events.is_empty() { "no".to_owned() } else { format!("yes: {}", events.join(", ")) })
}

/// Mean power of the runs, joules of all of them, and of a token.
struct Drawn {
    watts: f64,
    joules: f64,
    joules_per_token: f64,
}

fn drawn(row: &Row) -> Option<Drawn> {
    let watts = row.log.energy.as_ref().ok()?.watts?;
    let joules = watts * row.seconds;
    Some(Drawn { watts, joules, joules_per_token: joules / row.all_tokens() })
}

impl Report<'_> {
    fn bandwidth(&self, threads: usize) -> f64 {
        self.bandwidths.iter().find(|(t, _)| *t == threads).map_or(f64::NAN, |(_, b)| *b)
    }

    fn cores_of(&self, threads: usize) -> Option<&Cores> {
        self.cores.iter().find(|cores| cores.threads == threads)
    }

    fn cpu(&self) -> Option<String> {
        let cpus = &self.hardware.cpus;
        let name = cpus.describe()?;
        let emulating = self.hardware.root.is_system() && cpus.are_emulating();
        Some(if emulating { format!("{name} (emulating {})", std::env::consts::ARCH) } else { name })
    }

    fn version(&self) -> String {
        let sysroot = if self.hardware.root.is_system() { "" } else { ", not this machine: --sysroot" };
        format!("{} ({}{sysroot})", env!("CARGO_PKG_VERSION"), self.build)
    }

    fn seen(&self) -> Option<&Seen> {
        self.log.as_ref().map(|log| &log.throttling)
    }

    /// The temperature that stands for the machine's: the processor's hottest, else the hottest of all.
    fn hottest(&self) -> Option<usize> {
        let most = &self.log.as_ref()?.hottest;
        let sensors = match self.hardware.sensors.of_processor() {
            0 => most.len(),
            n => n.min(most.len()),
        };
        (0..sensors).filter(|&i| most[i].is_some()).reduce(|a, b| if most[b] > most[a] { b } else { a })
    }

    /// The clocks of the clusters that a number of threads ran on, cluster by cluster, in kHz.
    fn clocks(&self, threads: usize, khz: impl Fn(usize) -> Option<(u64, u64)>) -> Vec<(u64, u64)> {
        let Some(cores) = self.cores_of(threads) else { return Vec::new() };
        let used = |clock: &Clock| clock.cpus.iter().any(|cpu| cores.chosen.contains(cpu));
        self.before.clocks.iter().enumerate().filter(|(_, clock)| used(clock)).filter_map(|(i, _)| khz(i)).collect()
    }

    fn clocks_meanwhile(&self, threads: usize) -> Vec<(u64, u64)> {
        self.clocks(threads, |i| *self.log.as_ref()?.khz.get(i)?)
    }

    /// A row of docs/boards.md for each number of threads.
    fn board_rows(&self) -> Vec<[String; BOARD_COLUMNS.len()]> {
        let cell = |text: Option<String>| text.map_or_else(|| ABSENT.to_owned(), |text| printable(&text).replace('|', "\\|"));
        let row = |cores: &Cores| {
            let rows = || self.rows.iter().filter(move |row| row.threads == cores.threads);
            let shallow = |generate: bool| {
                let mut of_kind = rows().filter(move |row| row.test.generate == generate);
                of_kind.clone().find(|row| row.test.depth == 0).or_else(|| of_kind.next())
            };
            let deep = rows().filter(|row| row.test.generate && row.test.depth > 0).max_by_key(|row| row.test.depth);
            let (prompt, generation) = (shallow(false), shallow(true));
            let speed = |row: Option<&Row>| row.map(|row| format!("{} ({})", significant(row.speed.mean()), row.test.name()));
            let energy = generation.and_then(|row| row.log.energy.as_ref().ok());
            let joules = generation.and_then(drawn);
            let watts = |energy: &Energy| match energy.watts {
                Some(watts) => format!("{} ({})", significant(watts), energy.source),
                None => energy.rails.iter().map(|(name, watts)| format!("{name} {}", significant(*watts))).collect::<Vec<_>>().join(", "),
            };
            let cpu = self.cpu().map_or_else(|| self.isa.to_owned(), |cpu| format!("{cpu}, {}", self.isa));
            let narrowed = cores.are_narrowed().then(|| cores.to_string());
            let machine = format!("{} of {}", cores.kinds.iter().map(|kind| kind.cores).sum::<usize>(), cores.machine);
            let place = narrowed.unwrap_or_else(|| if cores.chosen.is_empty() { String::new() } else { format!("{machine} cores") });
            let place = format!("{}{}{place}", count(cores.threads as u64, "thread"), if place.is_empty() { "" } else { " on " });
            let mut clocks: Vec<String> = self.clocks_meanwhile(cores.threads).into_iter().map(megahertz).collect();
            clocks.dedup();
            let clocks = (!clocks.is_empty()).then(|| format!("{} MHz", clocks.join(" / ")));
            let degrees = self.hottest().map(|i| {
                let whole = |degrees: Option<f64>| degrees.map_or_else(|| ABSENT.to_owned(), |degrees| format!("{degrees:.0}"));
                format!("{} → {} °C", whole(self.before.degrees[i]), whole(self.after.degrees[i]))
            });
            [
                self.hardware.model.clone(),
                Some(cpu),
                Some(place),
                Some(format!("{:.1}", self.bandwidth(cores.threads) / 1e9)),
                Some(self.title.unwrap_or(&self.name).to_owned()),
                Some(self.dtype.to_owned()),
                speed(prompt),
                speed(generation),
                speed(deep),
                clocks,
                degrees,
                throttled(self.seen()),
                energy.map(watts),
                joules.map(|drawn| significant(drawn.joules_per_token)),
                Some(self.version()),
            ]
            .map(cell)
        };
        self.cores.iter().map(row).collect()
    }

    /// The rows as lines of Markdown.
    fn board_lines(&self) -> Vec<String> {
        self.board_rows().into_iter().map(|cells| format!("| {} |", cells.join(" | "))).collect()
    }

    /// What the machine tells of itself, line by line: a word, and what there is to say.
    fn machine(&self) -> Vec<(&'static str, String)> {
        let mut lines = Vec::new();
        let hardware = self.hardware;
        if !hardware.root.is_system() {
            lines.push(("sysroot", "given: what follows is not said of this machine".to_owned()));
        }
        let told = |text: Option<String>, why: &str| text.map_or_else(|| format!("not told ({why})"), |text| printable(&text));
        lines.push(("board", told(hardware.model.clone(), "no device tree, no DMI")));
        lines.push(("cpu", told(self.cpu(), "nothing in /proc/cpuinfo and /sys/devices/system/cpu")));
        for cores in &self.cores {
            let cpus = if cores.chosen.is_empty() { String::new() } else { format!(" (cpu{})", ranges(&cores.chosen)) };
            lines.push(("cores", format!("{} on {cores}{cpus}", count(cores.threads as u64, "thread"))));
        }
        for (threads, bytes) in &self.bandwidths {
            lines.push(("memory", format!("{:.1} GB/s read with {}", bytes / 1e9, count(*threads as u64, "thread"))));
        }
        self.frequency_lines(&mut lines);
        self.temperature_lines(&mut lines);
        lines.push(("throttling", self.throttling_line()));
        self.energy_lines(&mut lines);
        lines
    }

    fn frequency_lines(&self, lines: &mut Vec<(&'static str, String)>) {
        if self.before.clocks.is_empty() {
            lines.push(("frequency", "not told (no cpufreq)".to_owned()));
        }
        let words = |khz: Option<(u64, u64)>| khz.map_or_else(|| ABSENT.to_owned(), megahertz);
        for (i, clock) in self.before.clocks.iter().enumerate() {
            let meanwhile = self.log.as_ref().and_then(|log| *log.khz.get(i)?);
            let after = self.after.clocks.get(i).and_then(|clock| clock.khz);
            let mut line =
                format!("{}: {} before, {} while measuring, {} MHz after", clock.cluster, words(clock.khz), words(meanwhile), words(after));
            if let Some(governor) = &clock.governor {
                let _ = write!(line, "; governor {}", printable(governor));
            }
            if let Some(limit) = clock.limit_khz {
                let _ = write!(line, ", limit {}", megahertz((limit, limit)));
            }
            if let Some(most) = clock.most_khz.filter(|most| Some(*most) != clock.limit_khz) {
                let _ = write!(line, ", hardware {}", megahertz((most, most)));
            }
            lines.push(("frequency", line));
        }
    }

    fn temperature_lines(&self, lines: &mut Vec<(&'static str, String)>) {
        if self.before.degrees.is_empty() {
            lines.push(("temperature", "not told (no thermal zone, no hardware monitor)".to_owned()));
        }
        for (i, name) in self.hardware.sensors.names().enumerate() {
            let highest = self.log.as_ref().and_then(|log| *log.hottest.get(i)?);
            let degrees = |moment: &Moment| celsius(moment.degrees.get(i).copied().flatten());
            lines.push((
                "temperature",
                format!(
                    "{}: {} before, {} highest, {} °C after",
                    printable(name),
                    degrees(&self.before),
                    celsius(highest),
                    degrees(&self.after)
                ),
            ));
        }
    }

    fn throttling_line(&self) -> String {
        let Some((seen, words)) = self.seen().zip(throttled(self.seen())) else {
            return "not told (no firmware flags, no cooling device of a processor, no counters)".to_owned();
        };
        let before: Vec<&str> = seen.before.iter().map(String::as_str).collect();
        let before = if before.is_empty() { String::new() } else { format!("; before that: {}", before.join(", ")) };
        format!("{words}{before} ({})", seen.sources.join(", "))
    }

    fn energy_lines(&self, lines: &mut Vec<(&'static str, String)>) {
        let mut reasons: Vec<String> = Vec::new();
        for row in &self.rows {
            let threads = if self.cores.len() > 1 { format!(", {}", count(row.threads as u64, "thread")) } else { String::new() };
            let what = format!("{}{threads}", row.test.name());
            match &row.log.energy {
                Ok(energy) => {
                    let figures = drawn(row).map(|drawn| {
                        let (watts, joules) = (significant(drawn.watts), significant(drawn.joules_per_token));
                        format!("{watts} W, {joules} J/token, {} tokens/J; ", significant(1.0 / drawn.joules_per_token))
                    });
                    let rails: Vec<String> =
                        energy.rails.iter().map(|(name, watts)| format!("{} {} W", printable(name), significant(*watts))).collect();
                    let rails = if rails.len() > 1 || energy.watts.is_none() { format!(": {}", rails.join(", ")) } else { String::new() };
                    lines.push(("energy", format!("{what}: {}{}{rails}", figures.unwrap_or_default(), energy.source)));
                }
                // A sensor that is not there is said to be absent once, one that failed for each row.
                Err(why) if self.hardware.energy.is_err() => {
                    if !reasons.contains(why) {
                        reasons.push(why.clone());
                    }
                }
                Err(why) => lines.push(("energy", format!("{what}: not told ({why})"))),
            }
        }
        lines.extend(reasons.into_iter().map(|why| ("energy", format!("not told ({why})"))));
    }

    /// The result for people: a table, what the machine tells, and the row to send.
    #[must_use]
    pub(super) fn text(&self) -> String {
        let mut table = Table::new(COLUMNS);
        for row in &self.rows {
            let speed = row.speed.mean();
            let bytes_a_second = row.bytes_per_token.map(|b| b * speed);
            let share = bytes_a_second.map(|b| b / self.bandwidth(row.threads));
            table.row([
                self.name.clone(),
                size(self.file_bytes),
                self.isa.to_owned(),
                row.threads.to_string(),
                self.args.cache.clone(),
                row.test.name(),
                format!("{} ± {:.2}", grouped(speed, 2), row.speed.deviation()),
                bytes_a_second.map_or_else(|| ABSENT.into(), |b| format!("{:.1}", b / 1e9)),
                share.map_or_else(|| ABSENT.into(), |s| format!("{:.0} %", 100.0 * s)),
                row.peak_rss.map_or_else(|| ABSENT.into(), size),
                row.hash.clone(),
            ]);
        }
        let mut out = table.markdown() + "\n";
        for (what, words) in self.machine() {
            let _ = writeln!(out, "{what:<12} {words}");
        }
        let rows = self.board_lines();
        let _ = writeln!(out, "\n{} for docs/boards.md:", if rows.len() == 1 { "row" } else { "rows" });
        for line in rows {
            let _ = writeln!(out, "{line}");
        }
        out
    }

    /// The result as CSV.
    #[must_use]
    pub(super) fn csv(&self) -> String {
        let mut table = Table::new(CSV_COLUMNS);
        let number = |x: Option<f64>| x.filter(|x| x.is_finite()).map_or_else(String::new, |x| format!("{x:.4}"));
        let hottest = self.hottest();
        let degrees = |moment: &Moment| number(hottest.and_then(|i| *moment.degrees.get(i)?));
        for row in &self.rows {
            let bytes_a_second = row.bytes_per_token.map(|b| b * row.speed.mean());
            let drawn = drawn(row);
            let source = row.log.energy.as_ref().ok().map(|energy| energy.source.clone());
            let mhz = |khz: Option<u64>| khz.map_or_else(String::new, |khz| format!("{:.0}", khz as f64 / 1e3));
            let most = |moment: &Moment| mhz(self.clocks(row.threads, |i| moment.clocks.get(i)?.khz).iter().map(|(_, most)| *most).max());
            let meanwhile = self.clocks_meanwhile(row.threads);
            table.row([
                self.name.clone(),
                self.file_bytes.to_string(),
                self.isa.to_owned(),
                row.threads.to_string(),
                self.args.cache.clone(),
                row.test.name(),
                number(Some(row.speed.mean())),
                number(Some(row.speed.deviation())),
                number(bytes_a_second.map(|b| b / 1e9)),
                number(bytes_a_second.map(|b| b / self.bandwidth(row.threads))),
                row.peak_rss.map_or_else(String::new, |b| b.to_string()),
                row.hash.clone(),
                self.dtype.to_owned(),
                env!("CARGO_PKG_VERSION").to_owned(),
                self.build.clone(),
                self.hardware.model.clone().unwrap_or_default(),
                self.cpu().unwrap_or_default(),
                self.cores_of(row.threads).map_or_else(String::new, ToString::to_string),
                number(Some(self.bandwidth(row.threads) / 1e9)),
                most(&self.before),
                mhz(meanwhile.iter().map(|(least, _)| *least).min()),
                mhz(meanwhile.iter().map(|(_, most)| *most).max()),
                most(&self.after),
                degrees(&self.before),
                number(hottest.and_then(|i| *self.log.as_ref()?.hottest.get(i)?)),
                degrees(&self.after),
                throttled(Some(&row.log.throttling)).unwrap_or_default(),
                number(drawn.as_ref().map(|drawn| drawn.watts)),
                number(drawn.as_ref().map(|drawn| drawn.joules)),
                number(drawn.as_ref().map(|drawn| drawn.joules_per_token)),
                number(drawn.as_ref().map(|drawn| 1.0 / drawn.joules_per_token)),
                source.unwrap_or_default(),
            ]);
        }
        table.csv()
    }

    /// The result as JSON: an array of rows, each with what the machine told.
    #[must_use]
    pub(super) fn json(&self) -> Value {
        let boards = self.board_lines();
        let machine = self.machine_json();
        let row = |row: &Row| {
            let bytes_a_second = row.bytes_per_token.map(|b| b * row.speed.mean());
            let bandwidth = self.bandwidth(row.threads);
            let at = self.cores.iter().position(|cores| cores.threads == row.threads);
            let cores = at.map(|i| &self.cores[i]);
            json!({
                "model": self.name, "name": self.title, "file_bytes": self.file_bytes, "weight_bytes_per_token": self.weight_bytes, "type": self.dtype,
                "version": env!("CARGO_PKG_VERSION"), "build": self.build, "arch": std::env::consts::ARCH, "isa": self.isa,
                "threads": row.threads, "cpus": cores.map(|cores| &cores.chosen), "cores": cores.map(ToString::to_string),
                "cache": self.args.cache, "batch": self.args.batch, "test": row.test.name(), "tokens": row.test.tokens,
                "depth": row.test.depth, "repetitions": row.speed.count(), "seconds": row.seconds,
                "tokens_per_second": row.speed.mean(), "tokens_per_second_sd": row.speed.deviation(),
                "bytes_read_per_token": row.bytes_per_token, "bytes_read_per_second": bytes_a_second,
                "memory_bytes_per_second": bandwidth, "memory_share": bytes_a_second.map(|b| b / bandwidth),
                "peak_rss_bytes": row.peak_rss, "logits": row.hash,
                "energy": energy_json(row), "throttling": throttling_json(&row.log.throttling),
                "machine": machine, "boards_row": at.map(|i| &boards[i]),
            })
        };
        Value::Array(self.rows.iter().map(row).collect())
    }

    fn machine_json(&self) -> Value {
        let pair = |khz: Option<(u64, u64)>| khz.map(|(least, most)| json!({ "least": least, "most": most }));
        let clusters: Vec<Value> = (self.before.clocks.iter().enumerate())
            .map(|(i, clock)| {
                json!({
                    "cluster": clock.cluster, "cpus": clock.cpus, "governor": clock.governor, "limit_khz": clock.limit_khz,
                    "hardware_khz": clock.most_khz, "before_khz": pair(clock.khz),
                    "while_measuring_khz": pair(self.log.as_ref().and_then(|log| *log.khz.get(i)?)),
                    "after_khz": pair(self.after.clocks.get(i).and_then(|clock| clock.khz)),
                })
            })
            .collect();
        let sensors: Vec<Value> = (self.hardware.sensors.names().enumerate())
            .map(|(i, name)| {
                json!({
                    "sensor": name, "before_celsius": self.before.degrees.get(i), "after_celsius": self.after.degrees.get(i),
                    "highest_celsius": self.log.as_ref().and_then(|log| log.hottest.get(i).copied().flatten()),
                })
            })
            .collect();
        let cpus = &self.hardware.cpus;
        let kinds: Vec<Value> = (cpus.kinds(&cpus.ids()).into_iter())
            .map(|kind| json!({ "name": kind.name, "capacity": kind.capacity, "cpus": kind.cpus, "cores": kind.cores }))
            .collect();
        json!({
            "board": self.hardware.model, "cpu": self.cpu(), "kinds": kinds, "frequency": clusters, "temperature": sensors,
            "throttling": self.seen().map(throttling_json), "is_this_machine": self.hardware.root.is_system(),
        })
    }
}

fn throttling_json(seen: &Seen) -> Value {
    if seen.is_told() { json!({ "sources": seen.sources, "events": seen.events, "before": seen.before }) } else { Value::Null }
}

fn energy_json(row: &Row) -> Value {
    match &row.log.energy {
        Err(why) => json!({ "absent": why }),
        Ok(energy) => {
            let drawn = drawn(row);
            let figure = |f: fn(&Drawn) -> f64| drawn.as_ref().map(f);
            let rails: Vec<Value> = energy.rails.iter().map(|(name, watts)| json!({ "rail": name, "watts": watts })).collect();
            json!({
                "source": energy.source, "watts": figure(|d| d.watts), "joules": figure(|d| d.joules),
                "joules_per_token": figure(|d| d.joules_per_token), "tokens_per_joule": figure(|d| 1.0 / d.joules_per_token),
                "rails": rails,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header in docs/boards.md has the columns that the program writes.
    #[test]
    fn rows_fit_the_table_in_the_documentation() {
        let header = format!("| {} |", BOARD_COLUMNS.join(" | "));
        let page = include_str!("../../../../docs/boards.md");
        assert!(page.lines().any(|line| line == header), "expected in docs/boards.md:\n{header}");
    }
}
