//! Machines in folders: what boards show in `/sys` and `/proc`, as far as it is read here.

use super::root::Root;
use std::path::Path;

/// A folder in place of `/`.
pub(crate) struct Tree(tempfile::TempDir);

impl Tree {
    /// A folder with these files.
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let tree = Self(tempfile::tempdir().unwrap());
        files.iter().for_each(|(path, text)| tree.write(path, text));
        tree
    }

    pub(crate) fn root(&self) -> Root {
        Root::at(self.0.path())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        self.bytes(path, text.as_bytes());
    }

    pub(crate) fn remove(&self, path: &str) {
        std::fs::remove_file(self.0.path().join(path)).unwrap();
    }

    /// A program that the shell runs.
    pub(crate) fn program(&self, path: &str, script: &str) {
        self.write(path, &format!("#!/bin/sh\n{script}\n"));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let path = self.0.path().join(path);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            // A child that another test started a moment ago may still hold the file open for writing.
            let busy = || {
                std::process::Command::new(&path).arg("--busy?").output().is_err_and(|e| e.kind() == std::io::ErrorKind::ExecutableFileBusy)
            };
            while !script.contains("sleep") && busy() {}
        }
    }

    /// Every file but programs.
    pub(crate) fn files(&self) -> Vec<String> {
        fn walk(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { walk(&path, found) } else { found.push(path) }
            }
        }
        let mut found = Vec::new();
        walk(self.path(), &mut found);
        let name = |path: std::path::PathBuf| path.strip_prefix(self.path()).unwrap().to_str().unwrap().to_owned();
        found.into_iter().map(name).filter(|name| !name.starts_with("usr/bin")).collect()
    }

    /// CPUs of one cluster: register, capacity, and kHz: now, limit, most.
    fn cluster(&self, cpus: std::ops::Range<usize>, midr: u32, capacity: u32, khz: [u64; 3], governor: &str) {
        let policy = format!("sys/devices/system/cpu/cpufreq/policy{}", cpus.start);
        let related: Vec<String> = cpus.clone().map(|cpu| cpu.to_string()).collect();
        self.write(&format!("{policy}/related_cpus"), &(related.join(" ") + "\n"));
        for (name, khz) in ["scaling_cur_freq", "scaling_max_freq", "cpuinfo_max_freq"].into_iter().zip(khz) {
            self.write(&format!("{policy}/{name}"), &format!("{khz}\n"));
        }
        self.write(&format!("{policy}/scaling_governor"), &format!("{governor}\n"));
        for cpu in cpus {
            let at = |name: &str| format!("sys/devices/system/cpu/cpu{cpu}/{name}");
            self.write(&at("cpu_capacity"), &format!("{capacity}\n"));
            self.write(&at("topology/thread_siblings_list"), &format!("{cpu}\n"));
            self.write(&at("regs/identification/midr_el1"), &format!("{midr:#018x}\n"));
        }
    }
}

/// Where the kernel of a Raspberry Pi shows the firmware's bits.
pub(crate) const PI_THROTTLED: &str = "sys/devices/platform/soc/soc:firmware/get_throttled";

/// Some lines of a Raspberry Pi 5, with round values. `EXT5V` has no current, `3V3_DAC` no voltage.
pub(crate) const PMIC: &str = "    VDD_CORE_A current(7)=2.00000000A
  DDR_VDD2_A current(3)=0.25000000A
      HDMI_A current(22)=0.02000000A
   3V3_DAC_A current(17)=0.00036630A
  VDD_CORE_V volt(15)=0.80000000V
  DDR_VDD2_V volt(11)=1.10000000V
      HDMI_V volt(23)=5.00000000V
     EXT5V_V volt(24)=5.14158000V
";

/// Raspberry Pi 4, without `vcgencmd`; under-voltage was seen. The kernel names cores in `/proc/cpuinfo` only.
pub(crate) fn pi4() -> Tree {
    let tree = Tree::new(&[
        ("proc/device-tree/model", "Raspberry Pi 4 Model B Rev 1.4\0"),
        ("sys/devices/system/cpu/online", "0-3\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "48686\n"),
        ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "48686\n"),
        ("sys/class/hwmon/hwmon1/name", "rpi_volt\n"),
        (PI_THROTTLED, "10000\n"),
    ]);
    tree.cluster(0..4, 0, 1024, [600_000, 1_800_000, 1_800_000], "ondemand");
    let block = |cpu| {
        format!(
            "processor\t: {cpu}\nBogoMIPS\t: 108.00\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n"
        )
    };
    let info: String = (0..4).map(block).collect();
    tree.write("proc/cpuinfo", &(info + "Revision\t: b03114\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n"));
    for cpu in 0..4 {
        tree.remove(&format!("sys/devices/system/cpu/cpu{cpu}/regs/identification/midr_el1"));
    }
    tree
}

/// Raspberry Pi 5 with `vcgencmd`.
pub(crate) fn pi5() -> Tree {
    let tree = Tree::new(&[
        ("proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0"),
        ("sys/devices/system/cpu/online", "0-3\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "51800\n"),
        ("sys/class/thermal/cooling_device0/type", "pwm-fan\n"),
        ("sys/class/thermal/cooling_device0/cur_state", "2\n"),
        ("sys/class/hwmon/hwmon0/name", "cpu_thermal\n"),
        ("sys/class/hwmon/hwmon0/temp1_input", "51800\n"),
        ("sys/class/hwmon/hwmon1/name", "rp1_adc\n"),
        ("sys/class/hwmon/hwmon1/temp1_input", "47030\n"),
        ("pmic", PMIC),
        ("throttled", "throttled=0x0\n"),
    ]);
    tree.cluster(0..4, 0x414f_d0b1, 1024, [1_500_000, 2_400_000, 2_400_000], "ondemand");
    let folder = tree.path().display().to_string();
    tree.program(
        "usr/bin/vcgencmd",
        &format!("case $1 in pmic_read_adc) cat '{folder}/pmic';; get_throttled) cat '{folder}/throttled';; *) exit 1;; esac"),
    );
    tree
}

/// Jetson Orin Nano; it was short of current before.
pub(crate) fn orin() -> Tree {
    let tree = Tree::new(&[
        ("proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0"),
        ("sys/devices/system/cpu/online", "0-5\n"),
        ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "50031\n"),
        ("sys/class/thermal/thermal_zone1/type", "gpu-thermal\n"),
        ("sys/class/thermal/thermal_zone1/temp", "48812\n"),
        ("sys/class/thermal/thermal_zone2/type", "cv0-thermal\n"),
        ("sys/class/thermal/thermal_zone2/temp", "-256000\n"),
        ("sys/class/thermal/thermal_zone3/type", "soc0-thermal\n"),
        ("sys/class/thermal/thermal_zone3/temp", "48500\n"),
        ("sys/class/thermal/thermal_zone4/type", "tj-thermal\n"),
        ("sys/class/thermal/thermal_zone4/temp", "50031\n"),
        ("sys/class/thermal/cooling_device0/type", "pwm-fan\n"),
        ("sys/class/thermal/cooling_device0/cur_state", "1\n"),
        ("sys/class/thermal/cooling_device1/type", "cpufreq-cpu0\n"),
        ("sys/class/thermal/cooling_device1/cur_state", "0\n"),
        ("sys/class/hwmon/hwmon1/name", "ina3221\n"),
        ("sys/class/hwmon/hwmon1/in1_label", "VDD_IN\n"),
        ("sys/class/hwmon/hwmon1/in1_input", "5000\n"),
        ("sys/class/hwmon/hwmon1/curr1_input", "1000\n"),
        ("sys/class/hwmon/hwmon1/in2_label", "VDD_CPU_GPU_CV\n"),
        ("sys/class/hwmon/hwmon1/in2_input", "4976\n"),
        ("sys/class/hwmon/hwmon1/curr2_input", "280\n"),
        ("sys/class/hwmon/hwmon1/in3_label", "VDD_SOC\n"),
        ("sys/class/hwmon/hwmon1/in3_input", "4968\n"),
        ("sys/class/hwmon/hwmon1/curr3_input", "296\n"),
        ("sys/class/hwmon/hwmon1/in7_label", "sum of shunt voltages\n"),
        ("sys/class/hwmon/hwmon1/in7_input", "5760\n"),
        ("sys/class/hwmon/hwmon2/name", "soctherm_oc\n"),
        ("sys/class/hwmon/hwmon2/oc1_event_cnt", "0\n"),
        ("sys/class/hwmon/hwmon2/oc2_event_cnt", "0\n"),
        ("sys/class/hwmon/hwmon2/oc3_event_cnt", "27\n"),
    ]);
    tree.cluster(0..4, 0x410f_d421, 1024, [1_113_600, 1_510_400, 1_510_400], "schedutil");
    tree.cluster(4..6, 0x410f_d421, 1024, [729_600, 1_510_400, 1_510_400], "schedutil");
    tree
}

/// A board with an RK3588: four small cores and two pairs of large ones, whose clocks differ a little.
pub(crate) fn rk3588() -> Tree {
    let tree = Tree::new(&[
        ("proc/device-tree/model", "Radxa ROCK 5B\0"),
        ("sys/devices/system/cpu/online", "0-7\n"),
        ("sys/class/thermal/thermal_zone0/type", "soc-thermal\n"),
        ("sys/class/thermal/thermal_zone0/temp", "43461\n"),
        ("sys/class/thermal/thermal_zone1/type", "bigcore0-thermal\n"),
        ("sys/class/thermal/thermal_zone1/temp", "44384\n"),
        ("sys/class/thermal/cooling_device0/type", "thermal-cpufreq-0\n"),
        ("sys/class/thermal/cooling_device0/cur_state", "0\n"),
    ]);
    tree.cluster(0..4, 0x412f_d050, 391, [1_008_000, 1_800_000, 1_800_000], "schedutil");
    tree.cluster(4..6, 0x414f_d0b0, 1003, [2_256_000, 2_256_000, 2_256_000], "schedutil");
    tree.cluster(6..8, 0x414f_d0b0, 1024, [2_304_000, 2_304_000, 2_304_000], "schedutil");
    tree
}

/// A virtual machine that shows nothing but two cores of two threads each.
pub(crate) fn vm() -> Tree {
    let tree = Tree::new(&[("sys/devices/system/cpu/online", "0-3\n")]);
    let block = |cpu| format!("processor\t: {cpu}\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\ncpu MHz\t\t: 2596.124\n\n");
    tree.write("proc/cpuinfo", &(0..4).map(block).collect::<String>());
    for cpu in 0..4 {
        let core = cpu % 2;
        tree.write(&format!("sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"), &format!("{core},{}\n", core + 2));
        tree.write(&format!("sys/devices/system/cpu/cpu{cpu}/cpu_capacity"), "1024\n");
    }
    tree
}
