//! Boards that people own, with their memory.

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What a `kinglet` process takes beside the file and the arena, at most: the promise of `run`.
pub(crate) const PROGRAM_BYTES: u64 = 16 * MIB;

/// Where a board keeps a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// A file mapped into RAM, which an operating system shares.
    Linux {
        /// What the data sheet says.
        ram: u64,
        /// What firmware, kernel and services hold: a headless system at rest.
        system: u64,
    },
    /// The file in memory-mapped flash; only the arena is in RAM. No operating system.
    Bare {
        /// RAM that one arena can lie in.
        ram: u64,
        /// Flash that is mapped.
        flash: u64,
    },
}

/// A board.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Board {
    /// Name and variant.
    pub(crate) name: &'static str,
    /// Its memory.
    pub(crate) memory: Memory,
}

/// What firmware takes of a microcontroller's flash: code, constants, the tokenizer's tables of Unicode.
const FIRMWARE_FLASH: u64 = 256 * KIB;
/// What stack, buffers and drivers take of a microcontroller's RAM.
const FIRMWARE_RAM: u64 = 48 * KIB;

const fn linux(name: &'static str, ram: u64, system: u64) -> Board {
    Board { name, memory: Memory::Linux { ram, system } }
}

const fn bare(name: &'static str, ram: u64, flash: u64) -> Board {
    Board { name, memory: Memory::Bare { ram, flash } }
}

/// The boards, smallest memory first within each family.
pub(crate) const BOARDS: &[Board] = &[
    bare("Raspberry Pi Pico 2 (RP2350)", 520 * KIB, 4 * MIB),
    bare("Pimoroni Pico Plus 2 (RP2350, PSRAM)", 8 * MIB, 16 * MIB),
    bare("STM32H743 Nucleo", 512 * KIB, 2 * MIB),
    bare("Teensy 4.1", 512 * KIB, 8 * MIB),
    bare("NXP i.MX RT1170-EVK", 64 * MIB, 16 * MIB),
    bare("STM32N6570-DK", 32 * MIB, 128 * MIB),
    linux("Raspberry Pi Zero 2 W", 512 * MIB, 160 * MIB),
    linux("Raspberry Pi 3", GIB, 192 * MIB),
    linux("Raspberry Pi 4, 1 GB", GIB, 256 * MIB),
    linux("Raspberry Pi 4, 2 GB", 2 * GIB, 256 * MIB),
    linux("Raspberry Pi 4, 4 GB", 4 * GIB, 256 * MIB),
    linux("Raspberry Pi 4, 8 GB", 8 * GIB, 256 * MIB),
    linux("Raspberry Pi 5, 2 GB", 2 * GIB, 320 * MIB),
    linux("Raspberry Pi 5, 4 GB", 4 * GIB, 320 * MIB),
    linux("Raspberry Pi 5, 8 GB", 8 * GIB, 320 * MIB),
    linux("Raspberry Pi 5, 16 GB", 16 * GIB, 320 * MIB),
    linux("Jetson Orin Nano, 4 GB", 4 * GIB, 1280 * MIB),
    linux("Jetson Orin Nano, 8 GB", 8 * GIB, 1280 * MIB),
    linux("Jetson Orin NX, 8 GB", 8 * GIB, 1280 * MIB),
    linux("Jetson Orin NX, 16 GB", 16 * GIB, 1536 * MIB),
    linux("Jetson AGX Orin, 32 GB", 32 * GIB, 2 * GIB),
    linux("Jetson AGX Orin, 64 GB", 64 * GIB, 2 * GIB),
];

/// The assumptions behind [`Board::headroom`], for people.
pub(crate) const ASSUMPTIONS: &str = "Linux boards: file + arena + 16 MiB of program, beside a headless system at rest \
(160-320 MiB on a Raspberry Pi, 1.25-2 GiB on a Jetson). Microcontrollers: the file in mapped flash beside 256 KiB of \
firmware, the arena in RAM beside 48 KiB of stack and drivers. Fitting says nothing about speed.";

impl Board {
    /// Bytes left of what is scarcest, negative where the model does not fit; and what that is.
    #[must_use]
    pub(crate) fn headroom(&self, file: u64, arena: u64) -> (i128, &'static str) {
        let left = |have: u64, taken: u64, needed: u64| i128::from(have) - i128::from(taken) - i128::from(needed);
        match self.memory {
            Memory::Linux { ram, system } => (left(ram, system + PROGRAM_BYTES, file) - i128::from(arena), "RAM"),
            Memory::Bare { ram, flash } => {
                let (in_ram, in_flash) = (left(ram, FIRMWARE_RAM, arena), left(flash, FIRMWARE_FLASH, file));
                // Whichever does not fit is named; if both do, the one with less left.
                if in_ram < in_flash { (in_ram, "RAM") } else { (in_flash, "flash") }
            }
        }
    }

    /// RAM and flash as the data sheet says.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> (u64, Option<u64>) {
        match self.memory {
            Memory::Linux { ram, .. } => (ram, None),
            Memory::Bare { ram, flash } => (ram, Some(flash)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headroom_is_exact_at_the_edge() {
        let pi = linux("a Pi", 512 * MIB, 160 * MIB);
        let room = (512 - 160 - 16) * MIB;
        assert_eq!(pi.headroom(room - 100, 100), (0, "RAM"));
        assert_eq!(pi.headroom(room, 1), (-1, "RAM"));
        let pico = bare("a Pico", 520 * KIB, 4 * MIB);
        assert_eq!(pico.headroom(4 * MIB - FIRMWARE_FLASH + 1, 0), (-1, "flash"));
        assert_eq!(pico.headroom(0, 472 * KIB + 7), (-7, "RAM"));
        assert_eq!(pico.headroom(5 * MIB, 0).1, "flash");
        assert!(pico.headroom(u64::MAX, u64::MAX).0 < 0);
    }

    #[test]
    fn names_are_unique() {
        for (i, board) in BOARDS.iter().enumerate() {
            assert!(BOARDS[..i].iter().all(|b| b.name != board.name), "{} stands twice", board.name);
        }
    }
}
