//! How fast the CPUs' clocks run, cluster by cluster.
//!
//! From cpufreq's policies (Documentation/admin-guide/pm/cpufreq.rst), in kHz: `scaling_cur_freq`, what the driver last asked for or
//! measured; `scaling_max_freq`, the limit that software set; `cpuinfo_max_freq`, what the hardware has. On a Raspberry Pi the firmware may
//! run the cores slower than the kernel asked for: there only the throttling flags show it.

use super::cpus::Cpus;
use super::root::Root;
use crate::cli::text::{ranges, thousands};

/// A cluster's clocks at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Clock {
    /// As in `Cortex-A76 cpu4-5`.
    pub(crate) cluster: String,
    /// Its CPUs.
    pub(crate) cpus: Vec<usize>,
    /// The slowest and the fastest of its clocks now.
    pub(crate) khz: Option<(u64, u64)>,
    /// Software's limit.
    pub(crate) limit_khz: Option<u64>,
    /// The hardware's limit.
    pub(crate) most_khz: Option<u64>,
    /// What chooses the clock, as `schedutil`.
    pub(crate) governor: Option<String>,
}

/// Policies with the same name and limits whose CPUs are single cores, as on x86, are one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Clusters(Vec<Cluster>);

#[derive(Clone, Debug)]
struct Cluster {
    name: String,
    cpus: Vec<usize>,
    folders: Vec<String>,
    single: bool,
    most: Option<u64>,
}

/// 10 MHz to 20 GHz; anything else is a driver's way to say that it does not know.
fn plausible(khz: &u64) -> bool {
    (10_000..=20_000_000).contains(khz)
}

impl Clusters {
    /// The machine's clusters that have a clock to read.
    #[must_use]
    pub(crate) fn find(root: &Root, cpus: &Cpus) -> Self {
        let mut clusters: Vec<Cluster> = Vec::new();
        for (first, ids) in cpus.policies() {
            let folder = format!("sys/devices/system/cpu/cpufreq/policy{first}");
            let name = cpus.kinds(&ids).first().and_then(|kind| kind.name.clone()).unwrap_or_default();
            let most = root.number(&format!("{folder}/cpuinfo_max_freq")).filter(plausible);
            let single = cpus.cores(&ids) == 1;
            match clusters.iter_mut().find(|c| single && c.single && c.name == name && c.most == most) {
                Some(cluster) => {
                    cluster.cpus.extend(ids);
                    cluster.folders.push(folder);
                }
                None => clusters.push(Cluster { name, cpus: ids, folders: vec![folder], single, most }),
            }
        }
        Self(clusters)
    }

    /// The clocks now; none on a machine without cpufreq.
    #[must_use]
    pub(crate) fn read(&self, root: &Root) -> Vec<Clock> {
        let read = |cluster: &Cluster| {
            let numbers = |name: &str| -> Vec<u64> {
                cluster.folders.iter().filter_map(|folder| root.number(&format!("{folder}/{name}")).filter(plausible)).collect()
            };
            let now = numbers("scaling_cur_freq");
            Clock {
                cluster: format!("{} cpu{}", cluster.name, ranges(&cluster.cpus)).trim_start().to_owned(),
                cpus: cluster.cpus.clone(),
                khz: now.iter().min().copied().zip(now.iter().max().copied()),
                limit_khz: numbers("scaling_max_freq").into_iter().max(),
                most_khz: cluster.most,
                governor: cluster.folders.first().and_then(|folder| root.text(&format!("{folder}/scaling_governor"))),
            }
        };
        self.0.iter().map(read).collect()
    }
}

/// `2,400` or `1,500–2,400`, in MHz.
#[must_use]
pub(crate) fn megahertz((least, most): (u64, u64)) -> String {
    let (least, most) = ((least + 500) / 1000, (most + 500) / 1000);
    if least == most { thousands(most) } else { format!("{}–{}", thousands(least), thousands(most)) }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures;
    use super::*;

    fn clocks(tree: &fixtures::Tree) -> Vec<Clock> {
        let root = tree.root();
        Clusters::find(&root, &Cpus::read(&root)).read(&root)
    }

    #[test]
    fn each_cluster_has_its_clock() {
        let rk = clocks(&fixtures::rk3588());
        let words: Vec<String> =
            rk.iter().map(|c| format!("{} {} {}", c.cluster, megahertz(c.khz.unwrap()), c.governor.as_ref().unwrap())).collect();
        assert_eq!(words, ["Cortex-A55 cpu0-3 1,008 schedutil", "Cortex-A76 cpu4-5 2,256 schedutil", "Cortex-A76 cpu6-7 2,304 schedutil"]);
        assert_eq!((rk[1].limit_khz, rk[1].most_khz), (Some(2_256_000), Some(2_256_000)));
        assert_eq!(clocks(&fixtures::pi5())[0].khz, Some((1_500_000, 1_500_000)));
        assert_eq!(clocks(&fixtures::vm()), []);
    }

    #[test]
    fn single_cores_are_gathered_and_unknown_clocks_are_absent() {
        let tree = fixtures::vm();
        for (cpu, khz) in [(0, "1400000"), (1, "3200000"), (2, "<unknown>"), (3, "0")] {
            let folder = format!("sys/devices/system/cpu/cpufreq/policy{cpu}");
            tree.write(&format!("{folder}/related_cpus"), &cpu.to_string());
            tree.write(&format!("{folder}/scaling_cur_freq"), khz);
        }
        let gathered = clocks(&tree);
        assert_eq!(gathered.len(), 1);
        assert_eq!((gathered[0].cluster.as_str(), gathered[0].khz), ("AMD EPYC cpu0-3", Some((1_400_000, 3_200_000))));
        assert_eq!((&gathered[0].governor, gathered[0].limit_khz), (&None, None));
        for cpu in 0..4 {
            tree.write(&format!("sys/devices/system/cpu/cpufreq/policy{cpu}/scaling_cur_freq"), "18446744073709551615");
        }
        assert_eq!(clocks(&tree)[0].khz, None);
    }
}
