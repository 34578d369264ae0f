//! The machine's CPUs: which there are, of which kind, which of them share a core or a clock, and which are fast.
//!
//! From `/sys/devices/system/cpu` (Documentation/ABI/testing/sysfs-devices-system-cpu): `online`; for each CPU
//! `topology/thread_siblings_list`, `cpu_capacity` (computing power beside the machine's largest core, which has 1024; see
//! Documentation/scheduler/sched-capacity.rst) and `regs/identification/midr_el1`; `cpufreq/policyN/related_cpus`, the CPUs that share a
//! clock (Documentation/admin-guide/pm/cpufreq.rst). Names of x86 processors stand in `/proc/cpuinfo` alone.

use super::midr::Midr;
use super::root::{Root, cpu_list};
use std::collections::{BTreeMap, BTreeSet};

const FOLDER: &str = "sys/devices/system/cpu";

/// A CPU, as the scheduler counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) id: usize,
    /// The least CPU of the same core: itself, unless the core has several threads.
    pub(crate) core: usize,
    /// The least CPU with the same clock, where clocks are told.
    pub(crate) policy: Option<usize>,
    /// Computing power, 1024 for the machine's largest core.
    pub(crate) capacity: Option<u32>,
    /// Arm's identification.
    pub(crate) midr: Option<Midr>,
}

/// CPUs of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// As in `Cortex-A76`; `None` where the system does not tell.
    pub(crate) name: Option<String>,
    pub(crate) capacity: Option<u32>,
    pub(crate) cpus: Vec<usize>,
    /// Cores, each of one or more CPUs.
    pub(crate) cores: usize,
}

/// The CPUs that are online.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cpus {
    cpus: Vec<Cpu>,
    /// The processor's name in `/proc/cpuinfo`.
    model: Option<String>,
    /// Whether `/proc/cpuinfo` is that of an x86 processor.
    x86: bool,
}

/// Fields of `/proc/cpuinfo` for each CPU, by its number.
fn cpuinfo(text: &str) -> BTreeMap<usize, BTreeMap<&str, &str>> {
    let mut blocks: BTreeMap<usize, BTreeMap<&str, &str>> = BTreeMap::new();
    let mut cpu = None;
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let (key, value) = (key.trim(), value.trim());
        if key == "processor" {
            cpu = value.parse().ok();
        }
        // Fields in front of the first number, and those of the whole machine behind the last CPU, do harm to nobody.
        if let Some(cpu) = cpu {
            blocks.entry(cpu).or_default().entry(key).or_insert(value);
        }
    }
    blocks
}

fn hexadecimal(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok()
}

impl Cpus {
    /// The machine's; none where the system does not tell.
    #[must_use]
    pub(crate) fn read(root: &Root) -> Self {
        let info = root.text("proc/cpuinfo").unwrap_or_default();
        let info = cpuinfo(&info);
        let online = root.text(&format!("{FOLDER}/online")).and_then(|text| cpu_list(&text));
        let ids = online.unwrap_or_else(|| root.numbered(FOLDER, "cpu").into_iter().map(|(id, _)| id).collect());
        let policies: BTreeMap<usize, usize> = root
            .numbered(&format!("{FOLDER}/cpufreq"), "policy")
            .into_iter()
            .filter_map(|(_, path)| cpu_list(&root.text(&format!("{path}/related_cpus"))?))
            .flat_map(|cpus| cpus.clone().into_iter().map(move |cpu| (cpu, cpus[0])))
            .collect();
        let cpu = |id: usize| {
            let at = |name: &str| format!("{FOLDER}/cpu{id}/{name}");
            let siblings = root.text(&at("topology/thread_siblings_list")).and_then(|text| cpu_list(&text));
            let register = root.text(&at("regs/identification/midr_el1")).and_then(|text| hexadecimal(&text)).map(Midr::of_register);
            let fields = || {
                let field = |name| hexadecimal(info.get(&id)?.get(name)?);
                Some(Midr { implementer: field("CPU implementer")?.try_into().ok()?, part: field("CPU part")?.try_into().ok()? })
            };
            Cpu {
                id,
                core: siblings.filter(|cpus| cpus.contains(&id)).map_or(id, |cpus| cpus[0]),
                policy: policies.get(&id).copied(),
                capacity: root.number(&at("cpu_capacity")).filter(|&capacity| capacity > 0),
                midr: register.or_else(fields),
            }
        };
        let first = info.values().next();
        let field = |name: &str| first.and_then(|fields| fields.get(name)).filter(|name| !name.is_empty()).map(ToString::to_string);
        Self {
            cpus: ids.into_iter().map(cpu).collect(),
            model: ["model name", "uarch", "cpu model"].into_iter().find_map(field),
            x86: first.is_some_and(|fields| fields.contains_key("vendor_id")),
        }
    }

    /// The CPUs' numbers, ascending.
    #[must_use]
    pub(crate) fn ids(&self) -> Vec<usize> {
        self.cpus.iter().map(|cpu| cpu.id).collect()
    }

    fn among<'c>(&'c self, ids: &'c [usize]) -> impl Iterator<Item = &'c Cpu> {
        self.cpus.iter().filter(|cpu| ids.contains(&cpu.id))
    }

    /// How many cores these CPUs are.
    #[must_use]
    pub(crate) fn cores(&self, ids: &[usize]) -> usize {
        self.among(ids).map(|cpu| cpu.core).collect::<BTreeSet<_>>().len()
    }

    fn name(&self, cpu: &Cpu) -> Option<String> {
        cpu.midr.map(Midr::name).or_else(|| self.model.clone())
    }

    /// These CPUs by kind, the largest kind first. Kinds differ by name; where names do not differ, by capacity.
    #[must_use]
    pub(crate) fn kinds(&self, ids: &[usize]) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = Vec::new();
        for cpu in self.among(ids) {
            let name = self.name(cpu);
            // Cores of one name may be made to run at clocks that differ a little; x86 and unnamed ones differ by capacity alone.
            let same = |kind: &&mut Kind| kind.name == name && (cpu.midr.is_some() || kind.capacity == cpu.capacity);
            match kinds.iter_mut().find(same) {
                Some(kind) => {
                    kind.capacity = kind.capacity.max(cpu.capacity);
                    kind.cpus.push(cpu.id);
                }
                None => kinds.push(Kind { name, capacity: cpu.capacity, cpus: vec![cpu.id], cores: 0 }),
            }
        }
        for kind in &mut kinds {
            kind.cores = self.cores(&kind.cpus);
        }
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.capacity));
        kinds
    }

    /// Those of these CPUs that are worth giving an equal share of the work: with at least two thirds of the capacity of the largest
    /// among them, and not of Arm's small kinds beside a larger one (kernels that are told no capacities give every CPU 1024).
    ///
    /// The bound keeps the middle cores of three kinds (a Cortex-A78 beside a Cortex-X1) and leaves out the small ones of two.
    #[must_use]
    pub(crate) fn fast(&self, ids: &[usize]) -> Vec<usize> {
        let cpus: Vec<&Cpu> = self.among(ids).collect();
        // Capacities are compared only where all have one.
        let capacities: Option<Vec<u32>> = cpus.iter().map(|cpu| cpu.capacity).collect();
        let largest = capacities.and_then(|capacities| capacities.into_iter().max());
        let little = |cpu: &Cpu| cpu.midr.is_some_and(Midr::is_little);
        let mixed = cpus.iter().any(|cpu| little(cpu)) && cpus.iter().any(|cpu| cpu.midr.is_some() && !little(cpu));
        let strong = |cpu: &Cpu| match (cpu.capacity, largest) {
            (Some(capacity), Some(largest)) => u64::from(capacity) * 3 >= u64::from(largest) * 2,
            _ => true,
        };
        let fast: Vec<usize> = cpus.iter().filter(|cpu| strong(cpu) && !(mixed && little(cpu))).map(|cpu| cpu.id).collect();
        // The largest by capacity could be called little: then capacities are nonsense, and nothing is left out.
        if fast.is_empty() { ids.to_vec() } else { fast }
    }

    /// The kinds of all CPUs in words, `4 × Cortex-A76 + 4 × Cortex-A55`; `None` where no name is told.
    #[must_use]
    pub(crate) fn describe(&self) -> Option<String> {
        let words = |kind: &Kind| Some(format!("{} × {}", kind.cores, kind.name.as_ref()?));
        let kinds: Option<Vec<String>> = self.kinds(&self.ids()).iter().map(words).collect();
        // An emulator of a whole processor may show no CPUs in sysfs.
        kinds.filter(|kinds| !kinds.is_empty()).map_or_else(|| self.model.clone(), |kinds| Some(kinds.join(" + ")))
    }

    /// Whether these are not the CPUs that the program's instructions are for: it runs under an emulator.
    #[must_use]
    pub(crate) fn are_emulating(&self) -> bool {
        let arm = self.cpus.iter().any(|cpu| cpu.midr.is_some());
        match std::env::consts::ARCH {
            "x86_64" | "x86" => arm,
            _ => self.x86 && !arm,
        }
    }

    /// The CPUs with one clock, by the least of them; CPUs whose clock is not told are left out.
    #[must_use]
    pub(crate) fn policies(&self) -> BTreeMap<usize, Vec<usize>> {
        let mut policies: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for cpu in &self.cpus {
            if let Some(policy) = cpu.policy {
                policies.entry(policy).or_default().push(cpu.id);
            }
        }
        policies
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{self, Tree};
    use super::*;

    #[test]
    fn kinds_and_fast_cores_of_boards() {
        let cases: [(Tree, &str, &[usize], usize); 5] = [
            (fixtures::pi4(), "4 × Cortex-A72", &[0, 1, 2, 3], 4),
            (fixtures::pi5(), "4 × Cortex-A76", &[0, 1, 2, 3], 4),
            (fixtures::orin(), "6 × Cortex-A78AE", &[0, 1, 2, 3, 4, 5], 6),
            (fixtures::rk3588(), "4 × Cortex-A76 + 4 × Cortex-A55", &[4, 5, 6, 7], 8),
            (fixtures::vm(), "2 × AMD EPYC", &[0, 1, 2, 3], 2),
        ];
        for (tree, words, fast, cores) in cases {
            let cpus = Cpus::read(&tree.root());
            let ids = cpus.ids();
            assert_eq!(cpus.describe().as_deref(), Some(words));
            assert_eq!(cpus.fast(&ids), fast, "{words}");
            assert_eq!(cpus.cores(&ids), cores, "{words}");
        }
    }

    #[test]
    fn fast_is_said_of_the_cpus_that_may_be_used() {
        let cpus = Cpus::read(&fixtures::rk3588().root());
        assert_eq!(cpus.fast(&[0, 1, 2]), [0, 1, 2]);
        assert_eq!(cpus.fast(&[2, 3, 5]), [5]);
        assert_eq!(cpus.kinds(&[3, 4, 5]).iter().map(|kind| kind.cores).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(cpus.fast(&[]), Vec::<usize>::new());
        assert_eq!(cpus.policies().values().map(Vec::len).collect::<Vec<_>>(), [4, 2, 2]);
    }

    #[test]
    fn a_kernel_without_capacities_is_known_by_its_parts_and_three_kinds_keep_the_middle_one() {
        let tree = fixtures::rk3588();
        for cpu in 0..8 {
            tree.remove(&format!("{FOLDER}/cpu{cpu}/cpu_capacity"));
        }
        assert_eq!(Cpus::read(&tree.root()).fast(&[0, 1, 2, 3, 4, 5, 6, 7]), [4, 5, 6, 7]);
        for cpu in 0..8 {
            tree.write(&format!("{FOLDER}/cpu{cpu}/cpu_capacity"), "1024\n");
        }
        assert_eq!(Cpus::read(&tree.root()).fast(&[0, 1, 2, 3, 4, 5, 6, 7]), [4, 5, 6, 7]);

        let three = Tree::new(&[("sys/devices/system/cpu/online", "0-3")]);
        for (cpu, capacity, midr) in [(0, 270, 0x410f_d050), (1, 870, 0x410f_d410), (2, 870, 0x410f_d410), (3, 1024, 0x410f_d440)] {
            three.write(&format!("{FOLDER}/cpu{cpu}/cpu_capacity"), &capacity.to_string());
            three.write(&format!("{FOLDER}/cpu{cpu}/regs/identification/midr_el1"), &format!("{midr:#018x}"));
        }
        let cpus = Cpus::read(&three.root());
        assert_eq!(cpus.fast(&cpus.ids()), [1, 2, 3]);
        assert_eq!(cpus.describe().as_deref(), Some("1 × Cortex-X1 + 2 × Cortex-A78 + 1 × Cortex-A55"));
    }

    #[test]
    fn nonsense_is_nothing() {
        let cases = [
            Tree::new(&[]),
            Tree::new(&[("sys/devices/system/cpu/online", "0-99999999999")]),
            Tree::new(&[("sys/devices/system/cpu/online", "\u{1F600}"), ("proc/cpuinfo", ":::\n:\nprocessor: x\nCPU part: 0xzz\n")]),
            Tree::new(&[
                ("sys/devices/system/cpu/online", "0-1"),
                ("sys/devices/system/cpu/cpu0/cpu_capacity", "-5"),
                ("sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "7-9"),
                ("sys/devices/system/cpu/cpu1/regs/identification/midr_el1", "0xfffffffffffffffffffff"),
                ("sys/devices/system/cpu/cpufreq/policy0/related_cpus", "one two"),
                ("proc/cpuinfo", "processor: 0\nCPU implementer: 0x4141\nCPU part: 0xd0b\n"),
            ]),
        ];
        for tree in cases {
            let cpus = Cpus::read(&tree.root());
            let ids = cpus.ids();
            assert!(ids.len() <= 2 && cpus.policies().is_empty());
            assert_eq!((cpus.fast(&ids), cpus.cores(&ids)), (ids.clone(), ids.len()));
            assert_eq!(cpus.describe(), None);
        }
    }
}
