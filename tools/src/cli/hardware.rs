//! The machine under the program: what it is, how its cores differ, how fast, warm and throttled it is, and what it draws.
//!
//! Everything is read from text files that Linux shows, below a root that tests replace, or from the Raspberry Pi's `vcgencmd`. What a
//! machine does not tell is absent here: nothing is guessed, and no zero stands for it. Each file names its sources; paths under
//! `Documentation` are those of the Linux kernel's tree (<https://docs.kernel.org>).
//!
//! Not here: the list of boards that `plan` knows, which is `boards`, and the speed of memory, which is `bandwidth`.

pub(crate) mod affinity;
pub(crate) mod cores;
pub(crate) mod cpus;
pub(crate) mod energy;
#[cfg(test)]
pub(crate) mod fixtures;
pub(crate) mod frequency;
mod midr;
pub(crate) mod root;
pub(crate) mod temperature;
pub(crate) mod throttling;
pub(crate) mod watch;

use cpus::Cpus;
use root::Root;

/// Where systems for the Raspberry Pi keep the program that asks its firmware.
const VCGENCMD: [&str; 2] = ["usr/bin/vcgencmd", "opt/vc/bin/vcgencmd"];

/// What a machine is, and where it tells how it is.
#[derive(Clone, Debug)]
pub(crate) struct Hardware {
    pub(crate) root: Root,
    /// The board or the computer, as its maker calls it.
    pub(crate) model: Option<String>,
    pub(crate) cpus: Cpus,
    pub(crate) clusters: frequency::Clusters,
    pub(crate) sensors: temperature::Sensors,
    pub(crate) throttling: throttling::Sources,
    /// The sensor of energy, or why there is none.
    pub(crate) energy: Result<energy::Sensor, String>,
}

impl Hardware {
    /// Looks around below a root.
    #[must_use]
    pub(crate) fn read(root: Root) -> Self {
        let cpus = Cpus::read(&root);
        Self {
            model: model(&root),
            clusters: frequency::Clusters::find(&root, &cpus),
            sensors: temperature::Sensors::find(&root),
            throttling: throttling::Sources::find(&root),
            energy: energy::Sensor::find(&root),
            cpus,
            root,
        }
    }
}

/// The board's name: `model` of the device tree (Devicetree Specification, 2.3.2), else maker and product of DMI
/// (`/sys/class/dmi/id`, drivers/firmware/dmi-id.c), where makers did not leave it blank.
fn model(root: &Root) -> Option<String> {
    let tree = ["proc/device-tree/model", "sys/firmware/devicetree/base/model"];
    if let Some(model) = tree.iter().find_map(|path| root.text(path)) {
        return Some(model);
    }
    let told = |name: &str| {
        const BLANK: [&str; 6] = ["to be filled", "default string", "system product", "system manufacturer", "not specified", "none"];
        let text = root.text(&format!("sys/class/dmi/id/{name}"))?;
        (!BLANK.iter().any(|blank| text.to_lowercase().starts_with(blank))).then_some(text)
    };
    let product = told("product_name").or_else(|| told("board_name"))?;
    let maker = told("sys_vendor").or_else(|| told("board_vendor")).filter(|maker| !product.starts_with(maker.as_str()));
    Some(maker.map_or_else(|| product.clone(), |maker| format!("{maker} {product}")))
}

#[cfg(test)]
mod tests {
    use super::fixtures::Tree;
    use super::*;

    #[test]
    fn boards_and_computers_have_names() {
        let dmi = |vendor, product, board| {
            Tree::new(&[
                ("sys/class/dmi/id/sys_vendor", vendor),
                ("sys/class/dmi/id/product_name", product),
                ("sys/class/dmi/id/board_name", board),
            ])
        };
        let cases = [
            (fixtures::pi5(), Some("Raspberry Pi 5 Model B Rev 1.0")),
            (fixtures::orin(), Some("NVIDIA Jetson Orin Nano Developer Kit")),
            (fixtures::vm(), None),
            (dmi("ASRock", "ASRock X300", "x"), Some("ASRock X300")),
            (dmi("QEMU", "Standard PC", "x"), Some("QEMU Standard PC")),
            (dmi("System manufacturer", "To Be Filled By O.E.M.", "B550"), Some("B550")),
            (dmi("", "", ""), None),
        ];
        for (tree, expected) in cases {
            assert_eq!(model(&tree.root()).as_deref(), expected);
        }
    }

    /// One file of a board after the other replaced by nonsense, then all of them: whatever is read, nothing panics.
    #[test]
    fn no_content_makes_any_reader_panic() {
        let read = |tree: &Tree, what: &str| {
            let hardware = Hardware::read(tree.root());
            let given = affinity::Granted { cpus: None, threads: 2 };
            let cores = cores::Cores::among(&hardware.cpus, &given, None);
            assert!((1..=2).contains(&cores.threads), "{what}: {cores}");
            assert!(hardware.clusters.read(&hardware.root).len() <= 8, "{what}");
            hardware
        };
        let nonsense: [&[u8]; 9] = [
            b"",
            b"\0",
            b"-1",
            b"18446744073709551615",
            b"9223372036854775807",
            b"0-1023",
            b"99999999999999999999999999",
            b"\xff\xfe\x80 \xf0\x9f",
            b"processor : 1023\nCPU part : 0xffffffffffffffff\nCPU implementer : 0xff\nA_A current(1)=1e308A\nA_V volt(1)=1e308V\n",
        ];
        for tree in [fixtures::pi4(), fixtures::pi5(), fixtures::orin(), fixtures::rk3588(), fixtures::vm()] {
            let sane = read(&tree, "sane");
            for (i, path) in tree.files().into_iter().enumerate() {
                let content = std::fs::read(tree.path().join(&path)).unwrap();
                for kind in [i, i + 4] {
                    tree.bytes(&path, nonsense[kind % nonsense.len()]);
                    read(&tree, &path);
                }
                tree.bytes(&path, &content);
            }
            for bytes in nonsense {
                tree.files().iter().for_each(|path| tree.bytes(path, bytes));
                read(&tree, "all");
                // What was found before has turned into nonsense.
                let (_, log) = watch::watch(&sane, &[], || ());
                assert!(log.energy.is_err(), "{bytes:?}");
            }
        }
    }
}
