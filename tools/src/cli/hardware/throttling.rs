//! Whether the machine was slowed down, and by what.
//!
//! - Raspberry Pi: the firmware's bits, from `vcgencmd get_throttled`
//!   (<https://www.raspberrypi.com/documentation/computers/os.html#get_throttled>), else from
//!   `/sys/devices/platform/soc/soc:firmware/get_throttled`, hexadecimal, which is what the kernel read within the last two seconds
//!   (drivers/firmware/raspberrypi.c and drivers/hwmon/raspberrypi-hwmon.c of the Raspberry Pi's kernel; the latter also clears the file's
//!   upper bits at every read, so that they do not reach back to the boot).
//! - Cooling devices that lower clocks or inject idle time: `/sys/class/thermal/cooling_deviceN`, `type` and `cur_state`, 0 where it does
//!   nothing (Documentation/driver-api/thermal/sysfs-api.rst). Fans are no throttling.
//! - x86: events since the boot, `/sys/devices/system/cpu/cpuN/thermal_throttle/*_throttle_count`
//!   (Documentation/ABI/testing/sysfs-devices-system-cpu).
//! - Jetson: over-current and under-voltage events since the boot, `ocN_event_cnt` of the monitor `soctherm_oc` (NVIDIA Jetson Linux
//!   Developer Guide, "Platform Power and Performance").

use super::root::Root;
use std::collections::{BTreeMap, BTreeSet};

/// The firmware's bits, now in the lower half, at some time before in the upper.
const BITS: [(u32, &str); 4] = [(0, "under-voltage"), (1, "frequency capped"), (2, "throttled"), (3, "soft temperature limit")];
const SINCE: u32 = 16;

/// Names of cooling devices that slow a processor or its memory down begin so.
const SLOWING: [&str; 8] =
    ["cpufreq-", "thermal-cpufreq-", "idle-", "thermal-idle-", "devfreq-", "thermal-devfreq-", "Processor", "intel_powerclamp"];

/// Where the firmware's bits are told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Firmware {
    Command(String),
    File(String),
}

/// What this machine tells about throttling.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    firmware: Option<Firmware>,
    /// Cooling devices: name, folder.
    coolers: Vec<(String, String)>,
    /// Counters of events: name, files whose sum it is.
    counters: BTreeMap<String, Vec<String>>,
}

/// What they tell at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    firmware: Option<u32>,
    coolers: Vec<Option<i64>>,
    counters: Vec<Option<u64>>,
}

/// What was seen of throttling from a first look to a last one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Where it was looked for; empty where this machine tells nothing.
    pub(crate) sources: Vec<String>,
    /// What happened.
    pub(crate) events: BTreeSet<String>,
    /// What had happened before, since the boot.
    pub(crate) before: BTreeSet<String>,
}

fn bits(text: &str) -> Option<u32> {
    let text = text.trim();
    let text = text.strip_prefix("throttled=").unwrap_or(text);
    u32::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

impl Sources {
    /// Those that answer now.
    #[must_use]
    pub(crate) fn find(root: &Root) -> Self {
        let command = super::VCGENCMD.iter().map(|path| Firmware::Command((*path).to_owned()));
        let platform = "sys/devices/platform";
        let soc = root.names(platform).into_iter().filter(|name| name.starts_with("soc")).map(|name| format!("{platform}/{name}"));
        let nodes = soc.flat_map(|soc| root.names(&soc).into_iter().map(move |name| format!("{soc}/{name}")));
        let file = nodes.filter(|node| node.ends_with(":firmware")).map(|node| Firmware::File(format!("{node}/get_throttled")));
        let firmware = command.chain(file).find(|firmware| firmware.read(root).is_some());

        let mut coolers = Vec::new();
        for (_, folder) in root.numbered("sys/class/thermal", "cooling_device") {
            let name = root.text(&format!("{folder}/type")).unwrap_or_default();
            if SLOWING.iter().any(|prefix| name.starts_with(prefix)) && root.number::<i64>(&format!("{folder}/cur_state")).is_some() {
                coolers.push((name, folder));
            }
        }
        let mut counters: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut add = |name: String, path: String| {
            if root.number::<u64>(&path).is_some() {
                counters.entry(name).or_default().push(path);
            }
        };
        for (_, cpu) in root.numbered("sys/devices/system/cpu", "cpu") {
            for (name, file) in [("core thermal throttling", "core"), ("package thermal throttling", "package")] {
                add(name.to_owned(), format!("{cpu}/thermal_throttle/{file}_throttle_count"));
            }
        }
        for (_, folder) in root.numbered("sys/class/hwmon", "hwmon") {
            if root.text(&format!("{folder}/name")).as_deref() == Some("soctherm_oc") {
                for (n, words) in [(1, "under-voltage"), (2, "average over-current"), (3, "instantaneous over-current")] {
                    add(format!("{words} (oc{n})"), format!("{folder}/oc{n}_event_cnt"));
                }
            }
        }
        Self { firmware, coolers, counters }
    }

    /// Whether looking starts a program.
    #[must_use]
    pub(crate) fn are_slow(&self) -> bool {
        matches!(self.firmware, Some(Firmware::Command(_)))
    }

    /// Looks.
    #[must_use]
    pub(crate) fn read(&self, root: &Root) -> State {
        let sum = |paths: &Vec<String>| paths.iter().map(|path| root.number::<u64>(path)).try_fold(0, |sum: u64, n| sum.checked_add(n?));
        State {
            firmware: self.firmware.as_ref().and_then(|firmware| firmware.read(root)),
            coolers: self.coolers.iter().map(|(_, folder)| root.number(&format!("{folder}/cur_state"))).collect(),
            counters: self.counters.values().map(sum).collect(),
        }
    }

    /// What a first look says: where it was looked, what had happened before, and what goes on.
    #[must_use]
    pub(crate) fn begin(&self, state: &State) -> Seen {
        let mut seen = Seen::default();
        match &self.firmware {
            Some(Firmware::Command(_)) => seen.sources.push("vcgencmd get_throttled".to_owned()),
            Some(Firmware::File(_)) => seen.sources.push("get_throttled".to_owned()),
            None => {}
        }
        if !self.coolers.is_empty() {
            seen.sources.push("cooling devices".to_owned());
        }
        if !self.counters.is_empty() {
            seen.sources.push("event counters".to_owned());
        }
        let firmware = state.firmware.unwrap_or(0);
        let had = BITS.iter().filter(|(bit, _)| firmware >> (bit + SINCE) & 1 == 1).map(|(_, words)| (*words).to_owned());
        seen.before.extend(had);
        let counted = self.counters.keys().zip(&state.counters).filter(|(_, n)| n.is_some_and(|n| n > 0));
        seen.before.extend(counted.map(|(name, _)| name.clone()));
        self.look(&mut seen, state, state);
        seen
    }

    /// Adds what a later look says. A cooler or a file that has vanished says nothing.
    pub(crate) fn look(&self, seen: &mut Seen, first: &State, now: &State) {
        let (was, is) = (first.firmware.unwrap_or(0), now.firmware.unwrap_or(0));
        // What happened between two looks shows in the upper half, unless it had happened before.
        let happened = is | (is & !was) >> SINCE;
        seen.events.extend(BITS.iter().filter(|(bit, _)| happened >> bit & 1 == 1).map(|(_, words)| (*words).to_owned()));
        for ((name, _), state) in self.coolers.iter().zip(&now.coolers) {
            // intel_powerclamp says -1 where it does nothing.
            if state.is_some_and(|state| state > 0) {
                seen.events.insert(name.clone());
            }
        }
        for ((name, then), count) in self.counters.keys().zip(&first.counters).zip(&now.counters) {
            if let (Some(then), Some(count)) = (then, count)
                && count > then
            {
                seen.events.insert(name.clone());
            }
        }
    }
}

impl Firmware {
    fn read(&self, root: &Root) -> Option<u32> {
        match self {
            Firmware::Command(path) => bits(&root.run(path, &["get_throttled"])?),
            Firmware::File(path) => bits(&root.text(path)?),
        }
    }
}

impl Seen {
    /// Whether this machine tells of throttling at all.
    #[must_use]
    pub(crate) fn is_told(&self) -> bool {
        !self.sources.is_empty()
    }

    /// Adds what was seen at another time.
    pub(crate) fn merge(&mut self, other: Seen) {
        if !self.is_told() {
            self.before = other.before;
        }
        self.sources = other.sources;
        self.events.extend(other.events);
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, Tree};
    use super::*;

    fn words(set: &BTreeSet<String>) -> Vec<&str> {
        set.iter().map(String::as_str).collect()
    }

    #[test]
    fn bits_of_the_firmware() {
        let cases = [
            ("throttled=0x50005\n", Some(0x50005)),
            ("0x0", Some(0)),
            ("80008", Some(0x80008)),
            ("throttled=", None),
            ("error=1", None),
            ("0x123456789", None),
            ("-1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(bits(text), expected, "{text:?}");
        }
        let tree = fixtures::pi4();
        let root = tree.root();
        let sources = Sources::find(&root);
        let first = sources.read(&root);
        let mut seen = sources.begin(&first);
        assert_eq!((&seen.sources[..], words(&seen.before)), (&["get_throttled".to_owned()][..], vec!["under-voltage"]));
        assert_eq!(words(&seen.events), Vec::<&str>::new());
        // Throttled now; the temperature limit came and went; under-voltage is old.
        tree.write(fixtures::PI_THROTTLED, "90004\n");
        sources.look(&mut seen, &first, &sources.read(&root));
        assert_eq!(words(&seen.events), ["soft temperature limit", "throttled"]);
        tree.write(fixtures::PI_THROTTLED, "nonsense");
        sources.look(&mut seen, &first, &sources.read(&root));
        tree.remove(fixtures::PI_THROTTLED);
        sources.look(&mut seen, &first, &sources.read(&root));
        assert_eq!(words(&seen.events), ["soft temperature limit", "throttled"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_command_is_asked_before_the_file() {
        let tree = fixtures::pi5();
        let root = tree.root();
        let sources = Sources::find(&root);
        assert!(sources.are_slow());
        let seen = sources.begin(&sources.read(&root));
        assert_eq!((&seen.sources[0][..], words(&seen.before)), ("vcgencmd get_throttled", vec![]));
    }

    #[test]
    fn coolers_and_counters() {
        let tree = fixtures::orin();
        let root = tree.root();
        let sources = Sources::find(&root);
        let first = sources.read(&root);
        let mut seen = sources.begin(&first);
        assert_eq!(seen.sources, ["cooling devices", "event counters"]);
        assert_eq!(words(&seen.before), ["instantaneous over-current (oc3)"]);
        assert!(seen.events.is_empty(), "the fan runs: {:?}", seen.events);
        tree.write("sys/class/thermal/cooling_device1/cur_state", "3");
        tree.write("sys/class/hwmon/hwmon2/oc3_event_cnt", "28");
        sources.look(&mut seen, &first, &sources.read(&root));
        assert_eq!(words(&seen.events), ["cpufreq-cpu0", "instantaneous over-current (oc3)"]);

        let x86 = Tree::new(&[
            ("sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", "7"),
            ("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "0"),
            ("sys/class/thermal/cooling_device0/type", "intel_powerclamp"),
            ("sys/class/thermal/cooling_device0/cur_state", "-1"),
            ("sys/class/thermal/cooling_device1/type", "Processor"),
            ("sys/class/thermal/cooling_device1/cur_state", "?"),
        ]);
        let root = x86.root();
        let sources = Sources::find(&root);
        let first = sources.read(&root);
        let mut seen = sources.begin(&first);
        x86.write("sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "2");
        sources.look(&mut seen, &first, &sources.read(&root));
        assert_eq!(words(&seen.events), ["core thermal throttling"]);
    }

    #[test]
    fn a_machine_that_tells_nothing_is_not_said_to_be_unthrottled() {
        let tree = fixtures::vm();
        let root = tree.root();
        let sources = Sources::find(&root);
        assert!(!sources.begin(&sources.read(&root)).is_told());
    }
}
