//! What the machine draws, where a sensor tells it.
//!
//! - Jetson: INA3221 monitors (Documentation/hwmon/ina3221.rst): `inN_label` names a rail, `inN_input` is its voltage in mV, `currN_input` its
//!   current in mA, N from 1 to 3. On Orin Nano, Orin NX and Xavier NX the rail `VDD_IN` is all that the module takes
//!   (<https://forums.developer.nvidia.com/t/interpretation-of-jetson-nx-power-rail/200883>), on the first Nano `POM_5V_IN`; then it is the
//!   figure. Elsewhere rails may contain each other, and there is no figure for the whole, only one for each rail.
//! - Raspberry Pi 5: `vcgencmd pmic_read_adc` prints a line for each measurement of its power chip, `VDD_CORE_A current(7)=0.56259000A` and
//!   `VDD_CORE_V volt(15)=0.76798460V`. Currents are paired with voltages by name, and their products summed. What the chip does not
//!   measure (its own losses, USB, fan, HATs on 5 V) is not in the sum; `EXT5V_V` has no current.
//! - x86: RAPL counters (Documentation/power/powercap/powercap.rst), `energy_uj` of the packages, in microjoules, which starts anew after
//!   `max_energy_range_uj`; and of `dram` where the package does not contain it. Only root may read them on most systems.

use super::root::{Root, Unread};
use std::collections::BTreeMap;

/// Rails that are all that a module takes.
const INPUT_RAILS: [&str; 2] = ["VDD_IN", "POM_5V_IN"];
/// A rail of a board takes less; a whole server less than ten times that.
const MOST_WATTS: f64 = 1000.0;
/// Fewer looks at a power that varies say nothing about its mean.
const LEAST_LOOKS: usize = 4;
/// Counters move a thousand times a second; of a time this long one step is a hundredth.
const LEAST_SECONDS: f64 = 0.1;

/// What one rail or counter says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Reading {
    /// Power now.
    Watts(f64),
    /// Joules since some time, beginning anew after so many.
    Joules(f64, Option<f64>),
}

/// A sensor, found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Sensor {
    /// Rails: label, file of the voltage, file of the current.
    Ina3221(Vec<(String, String, String)>),
    /// The Pi's power chip: the program to ask.
    Pmic(String),
    /// Counters: name, file, range in joules.
    Rapl(Vec<(String, String, Option<f64>)>),
}

/// Energy of a span of time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Energy {
    /// As `VDD_IN`: what the mean power is that of. `None` where only rails are known, and none is the whole.
    pub(crate) watts: Option<f64>,
    /// What was measured, in words.
    pub(crate) source: String,
    /// Mean power of each rail.
    pub(crate) rails: Vec<(String, f64)>,
}

impl Sensor {
    /// The machine's sensor.
    ///
    /// # Errors
    /// Why there is none, in words.
    pub(crate) fn find(root: &Root) -> Result<Self, String> {
        let mut rails = Vec::new();
        for (_, folder) in root.numbered("sys/class/hwmon", "hwmon") {
            if root.text(&format!("{folder}/name")).as_deref() != Some("ina3221") {
                continue;
            }
            for n in 1..=3 {
                let label = root.text(&format!("{folder}/in{n}_label")).filter(|label| label != "NC");
                let off = root.number::<u8>(&format!("{folder}/in{n}_enable")) == Some(0);
                let (volts, amperes) = (format!("{folder}/in{n}_input"), format!("{folder}/curr{n}_input"));
                if let Some(label) = label.filter(|_| !off && rail_watts(root, &volts, &amperes).is_some()) {
                    rails.push((label, volts, amperes));
                }
            }
        }
        if !rails.is_empty() {
            return Ok(Self::Ina3221(rails));
        }
        let asked = super::VCGENCMD.iter().find(|path| root.run(path, &["pmic_read_adc"]).is_some_and(|text| !pmic(&text).is_empty()));
        if let Some(path) = asked {
            return Ok(Self::Pmic((*path).to_owned()));
        }
        Self::rapl(root)
    }

    fn rapl(root: &Root) -> Result<Self, String> {
        let (mut zones, mut denied) = (Vec::new(), false);
        for folder in root.names("sys/class/powercap").into_iter().filter(|name| name.starts_with("intel-rapl:")) {
            let at = |file: &str| format!("sys/class/powercap/{folder}/{file}");
            let name = root.text(&at("name")).unwrap_or_default();
            // `core` and `uncore` are parts of their package; `psys` contains packages, on some machines.
            if !(name.starts_with("package") || name == "dram") {
                continue;
            }
            match root.read(&at("energy_uj")) {
                Ok(text) if text.parse::<u64>().is_ok() => {
                    let range = root.number::<u64>(&at("max_energy_range_uj")).filter(|&range| range > 0);
                    zones.push((name, at("energy_uj"), range.map(|range| range as f64 / 1e6)));
                }
                Err(Unread::Denied) => denied = true,
                _ => {}
            }
        }
        match (zones.is_empty(), denied) {
            (false, false) => Ok(Self::Rapl(zones)),
            (_, true) => Err("RAPL counters (energy_uj) may be read by root only".to_owned()),
            _ => Err("no sensor that is known here (INA3221, Raspberry Pi PMIC, RAPL)".to_owned()),
        }
    }

    /// Whether looking starts a program.
    #[must_use]
    pub(crate) fn is_slow(&self) -> bool {
        matches!(self, Self::Pmic(_))
    }

    /// What every rail says now, in a fixed order.
    #[must_use]
    pub(crate) fn read(&self, root: &Root) -> Vec<(String, Option<Reading>)> {
        match self {
            Self::Ina3221(rails) => {
                let read = |(label, volts, amperes): &(String, String, String)| {
                    (label.clone(), rail_watts(root, volts, amperes).map(Reading::Watts))
                };
                rails.iter().map(read).collect()
            }
            Self::Pmic(path) => {
                let rails = root.run(path, &["pmic_read_adc"]).map(|text| pmic(&text)).unwrap_or_default();
                let sum: f64 = rails.values().sum();
                let sum = (!rails.is_empty() && sum <= MOST_WATTS).then_some(Reading::Watts(sum));
                vec![("rails of the PMIC".to_owned(), sum)]
            }
            Self::Rapl(zones) => {
                let read = |(name, path, range): &(String, String, Option<f64>)| {
                    let joules = root.number::<u64>(path).map(|uj| uj as f64 / 1e6);
                    (name.clone(), joules.map(|joules| Reading::Joules(joules, *range)))
                };
                zones.iter().map(read).collect()
            }
        }
    }
}

fn rail_watts(root: &Root, volts: &str, amperes: &str) -> Option<f64> {
    let millivolts: i64 = root.number(volts)?;
    // A rail at rest may read a little below zero.
    let milliamperes: i64 = root.number(amperes)?;
    let plausible = (0..=100_000).contains(&millivolts) && (-1_000..=100_000).contains(&milliamperes);
    plausible.then(|| millivolts as f64 * milliamperes as f64 / 1e6).filter(|watts| *watts <= MOST_WATTS)
}

/// Watts of the rails that have both a current and a voltage, by name.
fn pmic(text: &str) -> BTreeMap<String, f64> {
    let (mut amperes, mut volts) = (BTreeMap::new(), BTreeMap::new());
    for line in text.lines() {
        let Some((name, value)) = line.trim().split_once('=') else { continue };
        let name = name.split_whitespace().next().unwrap_or_default();
        let of = |suffix: &str, unit: char| {
            let value: f64 = value.trim().strip_suffix(unit)?.parse().ok()?;
            Some((name.strip_suffix(suffix)?.to_owned(), value)).filter(|_| (0.0..=MOST_WATTS).contains(&value))
        };
        amperes.extend(of("_A", 'A'));
        volts.extend(of("_V", 'V'));
    }
    amperes.into_iter().filter_map(|(name, amperes)| volts.get(&name).map(|volts| (name, amperes * volts))).collect()
}

/// One rail over time: energy by the trapezoid rule, or as its counter says.
#[derive(Clone, Debug, Default)]
struct Rail {
    joules: f64,
    looks: usize,
    missed: usize,
    /// Time of the first look that told something.
    first: Option<f64>,
    last: Option<(f64, Reading)>,
    /// Whether the last look told nothing.
    gone: bool,
    impossible: bool,
}

impl Rail {
    fn add(&mut self, seconds: f64, reading: Option<Reading>) {
        self.gone = reading.is_none();
        let Some(reading) = reading else {
            self.missed += 1;
            return;
        };
        self.looks += 1;
        if let Some((then, before)) = self.last {
            let time = seconds - then;
            let joules = match (before, reading) {
                (Reading::Watts(a), Reading::Watts(b)) => (a + b) / 2.0 * time,
                (Reading::Joules(a, _), Reading::Joules(b, _)) if b >= a => b - a,
                // Once around; twice would take many minutes.
                (Reading::Joules(a, Some(range)), Reading::Joules(b, _)) => b + range - a,
                _ => f64::NAN,
            };
            self.impossible |= joules.is_nan() || joules.abs() > 10.0 * MOST_WATTS * time.max(1e-3);
            self.joules += joules;
        }
        self.first.get_or_insert(seconds);
        self.last = Some((seconds, reading));
    }

    /// Mean power, or why there is none.
    fn watts(&self, name: &str) -> Result<f64, String> {
        let (Some(first), Some((last, reading))) = (self.first, self.last) else {
            return Err(format!("{name} told nothing"));
        };
        let (seconds, counter) = (last - first, matches!(reading, Reading::Joules(..)));
        if self.gone || self.missed * 10 > self.looks + self.missed {
            return Err(format!("{name} told nothing at {} of {} looks", self.missed, self.looks + self.missed));
        }
        if self.impossible {
            return Err(format!("{name} told what cannot be"));
        }
        if seconds < LEAST_SECONDS || !counter && self.looks < LEAST_LOOKS {
            return Err(format!("the run was too short for {name}"));
        }
        if counter && self.joules == 0.0 {
            return Err(format!("the counter {name} stands still"));
        }
        Ok(self.joules / seconds)
    }
}

/// Sums up what a sensor says over time.
#[derive(Clone, Debug, Default)]
pub(crate) struct Meter(Vec<(String, Rail)>);

impl Meter {
    /// Adds a look at a time in seconds.
    pub(crate) fn add(&mut self, seconds: f64, readings: Vec<(String, Option<Reading>)>) {
        if self.0.is_empty() {
            self.0 = readings.iter().map(|(name, _)| (name.clone(), Rail::default())).collect();
        }
        for ((_, rail), (_, reading)) in self.0.iter_mut().zip(readings) {
            rail.add(seconds, reading);
        }
    }

    /// What was drawn from the first look to the last.
    ///
    /// # Errors
    /// Why that is not known, in words.
    pub(crate) fn energy(&self, sensor: &Sensor) -> Result<Energy, String> {
        if self.0.is_empty() {
            return Err("the sensor was not looked at".to_owned());
        }
        if let Sensor::Ina3221(_) = sensor {
            let rails: Vec<(String, Result<f64, String>)> = self.0.iter().map(|(name, rail)| (name.clone(), rail.watts(name))).collect();
            let input = rails.iter().find(|(name, _)| INPUT_RAILS.contains(&name.as_str()));
            let watts = input.map(|(_, watts)| watts.clone()).transpose()?;
            let source = input.map_or_else(|| "INA3221, no rail of which is the whole".to_owned(), |(name, _)| format!("INA3221 {name}"));
            let known: Vec<(String, f64)> = rails.iter().filter_map(|(name, watts)| Some((name.clone(), *watts.as_ref().ok()?))).collect();
            return match rails.into_iter().find_map(|(_, watts)| watts.err()) {
                Some(why) if known.is_empty() => Err(why),
                _ => Ok(Energy { watts, source, rails: known }),
            };
        }
        let rails: Result<Vec<(String, f64)>, String> = self.0.iter().map(|(name, rail)| Ok((name.clone(), rail.watts(name)?))).collect();
        let rails = rails?;
        let names: Vec<&str> = rails.iter().map(|(name, _)| name.as_str()).collect();
        let source = match sensor {
            Sensor::Rapl(_) => format!("RAPL {}", names.join(" + ")),
            _ => names.join(" + "),
        };
        Ok(Energy { watts: Some(rails.iter().map(|(_, watts)| watts).sum()), source, rails })
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, Tree};
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9 * b.abs().max(1.0)
    }

    #[test]
    fn the_input_rail_of_a_jetson_is_the_figure() {
        let tree = fixtures::orin();
        let root = tree.root();
        let sensor = Sensor::find(&root).unwrap();
        let mut meter = Meter::default();
        // 5 W, then 9 W: the mean of the trapezoids over 3 s.
        for (second, milliamperes) in [(0.0, "1000"), (1.0, "1000"), (2.0, "1800"), (3.0, "1800")] {
            tree.write("sys/class/hwmon/hwmon1/curr1_input", milliamperes);
            meter.add(second, sensor.read(&root));
        }
        let energy = meter.energy(&sensor).unwrap();
        assert!(close(energy.watts.unwrap(), (5.0 + 7.0 + 9.0) / 3.0), "{energy:?}");
        assert_eq!(energy.source, "INA3221 VDD_IN");
        assert_eq!(energy.rails.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"]);
    }

    #[test]
    fn rails_of_which_none_is_the_whole_have_no_sum() {
        let tree = fixtures::orin();
        tree.write("sys/class/hwmon/hwmon1/in1_label", "VDD_GPU_SOC");
        tree.write("sys/class/hwmon/hwmon1/in3_label", "NC");
        let root = tree.root();
        let sensor = Sensor::find(&root).unwrap();
        let mut meter = Meter::default();
        (0..4).for_each(|i| meter.add(f64::from(i), sensor.read(&root)));
        let energy = meter.energy(&sensor).unwrap();
        assert_eq!((energy.watts, energy.rails.len()), (None, 2));
    }

    #[test]
    fn a_sensor_that_vanishes_or_lies_gives_no_figure() {
        let rail = "sys/class/hwmon/hwmon1/curr1_input";
        // Twelve looks; from one on, the file is this, or gone. One bad look of twelve is bridged.
        let cases: [(usize, Option<&str>, bool, Option<&str>); 6] = [
            (6, None, false, Some("VDD_IN told nothing at 6 of 12 looks")),
            (11, None, false, Some("VDD_IN told nothing at 1 of 12 looks")),
            (5, None, true, None),
            (5, Some("99999999"), true, None),
            (2, Some("-2147483648"), false, Some("VDD_IN told nothing at 10 of 12 looks")),
            (2, Some("1e3"), false, Some("VDD_IN told nothing at 10 of 12 looks")),
        ];
        for (at, content, recovers, expected) in cases {
            let tree = fixtures::orin();
            let root = tree.root();
            let sensor = Sensor::find(&root).unwrap();
            let mut meter = Meter::default();
            for look in 0..12 {
                match content {
                    _ if recovers && look == at + 1 => tree.write(rail, "1000"),
                    Some(text) if look == at => tree.write(rail, text),
                    None if look == at => tree.remove(rail),
                    _ => {}
                }
                meter.add(look as f64, sensor.read(&root));
            }
            let energy = meter.energy(&sensor);
            assert_eq!(energy.as_ref().err().map(String::as_str), expected, "{at} {content:?}");
            if let Ok(energy) = energy {
                assert!(close(energy.watts.unwrap(), 5.0), "{energy:?}");
            }
        }
    }

    #[test]
    fn currents_of_the_pi_are_paired_with_voltages() {
        let rails = pmic(fixtures::PMIC);
        assert_eq!(rails.len(), 3);
        assert!(close(rails["VDD_CORE"], 2.0 * 0.8) && close(rails["DDR_VDD2"], 0.25 * 1.1) && close(rails["HDMI"], 0.02 * 5.0));
        for bad in ["", "error=1 error_msg=\"Command not registered\"", "X_A current(1)=nanA\nX_V volt(2)=1V", "X_A=-1A\nX_V=1V", "=A\n=V"]
        {
            assert!(pmic(bad).is_empty(), "{bad}: {:?}", pmic(bad));
        }
    }

    #[cfg(unix)]
    #[test]
    fn the_pi_5_is_asked_by_its_program() {
        let tree = fixtures::pi5();
        let root = tree.root();
        let sensor = Sensor::find(&root).unwrap();
        assert!(sensor.is_slow());
        let mut meter = Meter::default();
        (0..4).for_each(|i| meter.add(f64::from(i), sensor.read(&root)));
        let energy = meter.energy(&sensor).unwrap();
        assert!(close(energy.watts.unwrap(), 1.6 + 0.275 + 0.1), "{energy:?}");
        tree.remove("usr/bin/vcgencmd");
        meter.add(4.0, sensor.read(&root));
        assert_eq!(meter.energy(&sensor).unwrap_err(), "rails of the PMIC told nothing at 1 of 5 looks");
    }

    #[test]
    fn counters_wrap_stand_still_and_jump() {
        let tree = Tree::new(&[
            ("sys/class/powercap/intel-rapl:0/name", "package-0"),
            ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "1000000000"),
            ("sys/class/powercap/intel-rapl:0/energy_uj", "0"),
            ("sys/class/powercap/intel-rapl:0:0/name", "core"),
            ("sys/class/powercap/intel-rapl:0:0/energy_uj", "5"),
            ("sys/class/powercap/intel-rapl:1/name", "psys"),
            ("sys/class/powercap/intel-rapl:1/energy_uj", "5"),
        ]);
        let root = tree.root();
        let sensor = Sensor::find(&root).unwrap();
        let watts = |counts: &[&str]| {
            let mut meter = Meter::default();
            for (second, count) in counts.iter().enumerate() {
                tree.write("sys/class/powercap/intel-rapl:0/energy_uj", count);
                meter.add(second as f64, sensor.read(&root));
            }
            meter.energy(&sensor).map(|energy| (energy.source, energy.watts.unwrap()))
        };
        assert_eq!(watts(&["990000000", "5000000", "30000000"]), Ok(("RAPL package-0".to_owned(), 20.0)));
        assert_eq!(watts(&["7", "7", "7"]).unwrap_err(), "the counter package-0 stands still");
        assert_eq!(watts(&["7"]).unwrap_err(), "the run was too short for package-0");
        assert_eq!(watts(&["7", "18446744073709551615"]).unwrap_err(), "package-0 told what cannot be");
        tree.remove("sys/class/powercap/intel-rapl:0/max_energy_range_uj");
        let sensor = Sensor::find(&root).unwrap();
        let mut meter = Meter::default();
        for (second, count) in [(0.0, "9"), (1.0, "3")] {
            tree.write("sys/class/powercap/intel-rapl:0/energy_uj", count);
            meter.add(second, sensor.read(&root));
        }
        assert_eq!(meter.energy(&sensor).unwrap_err(), "package-0 told what cannot be");
    }

    #[test]
    fn machines_without_a_sensor_say_so() {
        for tree in [fixtures::pi4(), fixtures::rk3588(), fixtures::vm()] {
            assert!(Sensor::find(&tree.root()).unwrap_err().starts_with("no sensor"));
        }
        assert!(Meter::default().energy(&Sensor::Rapl(Vec::new())).is_err());
    }
}
