//! How warm the machine is.
//!
//! Thermal zones (`/sys/class/thermal/thermal_zoneN`: `type`, `temp`; Documentation/driver-api/thermal/sysfs-api.rst) and hardware monitors
//! (`/sys/class/hwmon/hwmonN`: `name`, `tempN_input`, `tempN_label`; Documentation/hwmon/sysfs-interface.rst), both in thousandths of a
//! degree Celsius. A zone that is also shown as a monitor of its own name counts once.

use super::root::Root;

/// A sensor: its name, the file, and whether it is the processor's.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sensor {
    name: String,
    path: String,
    processor: bool,
}

/// The machine's sensors of temperature, the processor's first.
#[derive(Clone, Debug)]
pub(crate) struct Sensors(Vec<Sensor>);

/// Words in the names of sensors that sit in a processor, on the boards and PCs that are known.
const PROCESSOR: [&str; 12] =
    ["cpu", "soc", "tj", "x86_pkg_temp", "package", "bigcore", "big-core", "coretemp", "k10temp", "zenpower", "tctl", "cluster"];

fn is_processor(name: &str) -> bool {
    let name = name.to_lowercase();
    PROCESSOR.iter().any(|word| name.contains(word))
}

impl Sensors {
    /// The sensors that give a temperature now.
    #[must_use]
    pub(crate) fn find(root: &Root) -> Self {
        let plain = |name: &str| name.replace('-', "_").to_lowercase();
        let mut sensors: Vec<Sensor> = Vec::new();
        for (n, folder) in root.numbered("sys/class/thermal", "thermal_zone") {
            let name = root.text(&format!("{folder}/type")).unwrap_or_else(|| format!("thermal_zone{n}"));
            sensors.push(Sensor { processor: is_processor(&name), name, path: format!("{folder}/temp") });
        }
        let zones: Vec<String> = sensors.iter().map(|sensor| plain(&sensor.name)).collect();
        for (n, folder) in root.numbered("sys/class/hwmon", "hwmon") {
            let chip = root.text(&format!("{folder}/name")).unwrap_or_else(|| format!("hwmon{n}"));
            if zones.contains(&plain(&chip)) {
                continue;
            }
            for file in root.names(&folder) {
                let Some(channel) = file.strip_prefix("temp").and_then(|rest| rest.strip_suffix("_input")) else { continue };
                let label = root.text(&format!("{folder}/temp{channel}_label"));
                let name = label.map_or_else(|| chip.clone(), |label| format!("{chip} {label}"));
                sensors.push(Sensor { processor: is_processor(&name), name, path: format!("{folder}/{file}") });
            }
        }
        sensors.retain(|sensor| degrees(root, sensor).is_some());
        sensors.sort_by_key(|sensor| !sensor.processor);
        Self(sensors)
    }

    /// Their names, the processor's first.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|sensor| sensor.name.as_str())
    }

    /// Whether the first sensors are the processor's, and how many.
    #[must_use]
    pub(crate) fn of_processor(&self) -> usize {
        self.0.iter().filter(|sensor| sensor.processor).count()
    }

    /// Degrees Celsius now, sensor by sensor; `None` for one that does not answer, or with what no running machine has.
    #[must_use]
    pub(crate) fn read(&self, root: &Root) -> Vec<Option<f64>> {
        self.0.iter().map(|sensor| degrees(root, sensor)).collect()
    }
}

fn degrees(root: &Root, sensor: &Sensor) -> Option<f64> {
    let thousandths: i64 = root.number(&sensor.path)?;
    // Zones without a sensor behind them say -274 or -127, or a whole register.
    (-60_000..=150_000).contains(&thousandths).then(|| thousandths as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, Tree};
    use super::*;

    fn read(tree: &Tree) -> Vec<(String, Option<f64>)> {
        let root = tree.root();
        let sensors = Sensors::find(&root);
        sensors.names().map(str::to_owned).zip(sensors.read(&root)).collect()
    }

    #[test]
    fn zones_and_monitors_once_each_the_processor_first() {
        assert_eq!(read(&fixtures::pi4()), [("cpu-thermal".to_owned(), Some(48.686))]);
        assert_eq!(read(&fixtures::pi5()), [("cpu-thermal".to_owned(), Some(51.8)), ("rp1_adc".to_owned(), Some(47.03))]);
        let orin = read(&fixtures::orin());
        assert_eq!(
            orin.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["cpu-thermal", "soc0-thermal", "tj-thermal", "gpu-thermal"]
        );
        assert_eq!(read(&fixtures::vm()), []);
    }

    #[test]
    fn sensors_that_lie_vanish_or_are_nonsense() {
        let tree = Tree::new(&[
            ("sys/class/thermal/thermal_zone0/type", "cold"),
            ("sys/class/thermal/thermal_zone0/temp", "-274000"),
            ("sys/class/thermal/thermal_zone1/temp", "41000"),
            ("sys/class/thermal/thermal_zone2/temp", "9223372036854775808"),
            ("sys/class/hwmon/hwmon7/name", "coretemp"),
            ("sys/class/hwmon/hwmon7/temp1_label", "Package id 0"),
            ("sys/class/hwmon/hwmon7/temp1_input", "55000"),
            ("sys/class/hwmon/hwmon7/temp2_input", "warm"),
            ("sys/class/hwmon/hwmon7/temp_input", ""),
        ]);
        assert_eq!(read(&tree), [("coretemp Package id 0".to_owned(), Some(55.0)), ("thermal_zone1".to_owned(), Some(41.0))]);
        let root = tree.root();
        let sensors = Sensors::find(&root);
        assert_eq!(sensors.of_processor(), 1);
        tree.remove("sys/class/hwmon/hwmon7/temp1_input");
        assert_eq!(sensors.read(&root), [None, Some(41.0)]);
    }
}
