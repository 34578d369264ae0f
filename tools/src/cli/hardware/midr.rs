//! Arm's cores by name.
//!
//! The register MIDR_EL1 identifies a core: bits 31 to 24 are the implementer, bits 15 to 4 the part number (Arm Architecture Reference
//! Manual; each core's Technical Reference Manual gives its part number). Linux shows the register as
//! `/sys/devices/system/cpu/cpuN/regs/identification/midr_el1` (Documentation/arch/arm64/cpu-feature-registers.rst), and its fields in
//! `/proc/cpuinfo`. Numbers and names below stand also in Linux's `arch/arm64/include/asm/cputype.h`.

/// Implementer and part number of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Midr {
    /// Who made the core, as 0x41 for Arm.
    pub(crate) implementer: u8,
    /// Which core it is.
    pub(crate) part: u16,
}

const ARM: u8 = 0x41;

/// Implementer, part, name.
const NAMES: &[(u8, u16, &str)] = &[
    (ARM, 0xc05, "Cortex-A5"),
    (ARM, 0xc07, "Cortex-A7"),
    (ARM, 0xc08, "Cortex-A8"),
    (ARM, 0xc09, "Cortex-A9"),
    (ARM, 0xc0e, "Cortex-A17"),
    (ARM, 0xc0f, "Cortex-A15"),
    (ARM, 0xd01, "Cortex-A32"),
    (ARM, 0xd02, "Cortex-A34"),
    (ARM, 0xd03, "Cortex-A53"),
    (ARM, 0xd04, "Cortex-A35"),
    (ARM, 0xd05, "Cortex-A55"),
    (ARM, 0xd07, "Cortex-A57"),
    (ARM, 0xd08, "Cortex-A72"),
    (ARM, 0xd09, "Cortex-A73"),
    (ARM, 0xd0a, "Cortex-A75"),
    (ARM, 0xd0b, "Cortex-A76"),
    (ARM, 0xd0c, "Neoverse-N1"),
    (ARM, 0xd0d, "Cortex-A77"),
    (ARM, 0xd0e, "Cortex-A76AE"),
    (ARM, 0xd40, "Neoverse-V1"),
    (ARM, 0xd41, "Cortex-A78"),
    (ARM, 0xd42, "Cortex-A78AE"),
    (ARM, 0xd44, "Cortex-X1"),
    (ARM, 0xd46, "Cortex-A510"),
    (ARM, 0xd47, "Cortex-A710"),
    (ARM, 0xd48, "Cortex-X2"),
    (ARM, 0xd49, "Neoverse-N2"),
    (ARM, 0xd4b, "Cortex-A78C"),
    (ARM, 0xd4c, "Cortex-X1C"),
    (ARM, 0xd4d, "Cortex-A715"),
    (ARM, 0xd4e, "Cortex-X3"),
    (ARM, 0xd4f, "Neoverse-V2"),
    (ARM, 0xd80, "Cortex-A520"),
    (ARM, 0xd81, "Cortex-A720"),
    (ARM, 0xd82, "Cortex-X4"),
    (ARM, 0xd84, "Neoverse-V3"),
    (ARM, 0xd85, "Cortex-X925"),
    (ARM, 0xd87, "Cortex-A725"),
    (0x4e, 0x003, "Denver 2"),
    (0x4e, 0x004, "Carmel"),
    (0x51, 0x800, "Kryo 2xx Gold"),
    (0x51, 0x801, "Kryo 2xx Silver"),
    (0x51, 0x802, "Kryo 3xx Gold"),
    (0x51, 0x803, "Kryo 3xx Silver"),
    (0x51, 0x804, "Kryo 4xx Gold"),
    (0x51, 0x805, "Kryo 4xx Silver"),
];

/// Cores that are made small on purpose and stand beside larger ones.
const LITTLE: &[(u8, u16)] = &[
    (ARM, 0xc05),
    (ARM, 0xc07),
    (ARM, 0xd01),
    (ARM, 0xd02),
    (ARM, 0xd03),
    (ARM, 0xd04),
    (ARM, 0xd05),
    (ARM, 0xd46),
    (ARM, 0xd80),
    (0x51, 0x801),
    (0x51, 0x803),
    (0x51, 0x805),
];

impl Midr {
    /// The register's value.
    #[must_use]
    pub(crate) fn of_register(value: u64) -> Self {
        Self { implementer: (value >> 24) as u8, part: (value >> 4) as u16 & 0xfff }
    }

    /// The core's name, or its numbers where the name is not known here.
    #[must_use]
    pub(crate) fn name(self) -> String {
        let known = NAMES.iter().find(|&&(implementer, part, _)| Self { implementer, part } == self);
        known.map_or_else(|| format!("implementer {:#04x} part {:#05x}", self.implementer, self.part), |&(_, _, name)| name.to_owned())
    }

    /// Whether it is the small kind.
    #[must_use]
    pub(crate) fn is_little(self) -> bool {
        LITTLE.contains(&(self.implementer, self.part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registers_have_names() {
        let cases = [
            (0x410f_d034, "Cortex-A53"),
            (0x410f_d083, "Cortex-A72"),
            (0x414f_d0b1, "Cortex-A76"),
            (0x412f_d050, "Cortex-A55"),
            (0x410f_d421, "Cortex-A78AE"),
            (0x4e0f_0040, "Carmel"),
            (0x7f0f_abc0, "implementer 0x7f part 0xabc"),
        ];
        for (value, name) in cases {
            assert_eq!(Midr::of_register(value).name(), name, "{value:#x}");
        }
    }

    #[test]
    fn each_core_stands_once_and_little_ones_have_names() {
        for (i, a) in NAMES.iter().enumerate() {
            assert!(NAMES[..i].iter().all(|b| (a.0, a.1) != (b.0, b.1) && a.2 != b.2), "{} stands twice", a.2);
        }
        for &(implementer, part) in LITTLE {
            assert!(!Midr { implementer, part }.name().starts_with("implementer"), "{implementer:#x} {part:#x}");
        }
    }
}
