//! What a 64-bit little-endian ELF program says it needs: its machine, its interpreter, its libraries.

/// What is read of a program.
#[derive(Debug)]
pub(crate) struct Elf {
    /// As in the first word of a target's name.
    pub(crate) machine: &'static str,
    /// The dynamic linker (`PT_INTERP`).
    pub(crate) interpreter: Option<String>,
    /// The name that others ask for a library by (`DT_SONAME`).
    pub(crate) soname: Option<String>,
    /// The libraries (`DT_NEEDED`).
    pub(crate) needed: Vec<String>,
    /// The strings of the dynamic section, versions of symbols among them.
    strings: Vec<String>,
}

const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_SONAME: u64 = 14;

/// A program header: its type, place in the file, address, length in the file.
struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    len: u64,
}

impl Elf {
    pub(crate) fn parse(file: &[u8]) -> Result<Self, String> {
        if file.get(..6) != Some(b"\x7fELF\x02\x01") {
            return Err(String::from("expected a 64-bit little-endian ELF file"));
        }
        let machine = match number(file, 18, 2)? {
            62 => "x86_64",
            183 => "aarch64",
            other => return Err(format!("expected ELF machine 62 or 183, got {other}")),
        };
        let (headers, size, count) = (number(file, 32, 8)?, number(file, 54, 2)?, number(file, 56, 2)?);
        let mut segments = Vec::new();
        for i in 0..count {
            let at = headers + i * size;
            let field = |offset| number(file, at + offset, 8);
            segments.push(Segment { kind: number(file, at, 4)?, offset: field(8)?, address: field(16)?, len: field(32)? });
        }
        let part = |kind| segments.iter().find(|segment| segment.kind == kind).map(|s| slice(file, s.offset, s.len)).transpose();
        let interpreter = part(PT_INTERP)?.map(text);
        let mut entries = Vec::new();
        if let Some(dynamic) = part(PT_DYNAMIC)? {
            for at in (0..dynamic.len() as u64 / 16).map(|i| 16 * i) {
                entries.push((number(dynamic, at, 8)?, number(dynamic, at + 8, 8)?));
            }
        }
        let entry = |tag| entries.iter().find(|entry| entry.0 == tag).map(|entry| entry.1);
        let table = match (entry(DT_STRTAB), entry(DT_STRSZ)) {
            (Some(address), Some(len)) => {
                let holds = |s: &&Segment| s.kind == PT_LOAD && address >= s.address && address - s.address < s.len;
                let segment = segments.iter().find(holds).ok_or("no segment holds the dynamic strings")?;
                slice(file, segment.offset + (address - segment.address), len)?
            }
            _ => &[],
        };
        let needed = entries.iter().filter(|entry| entry.0 == DT_NEEDED);
        let name = |offset| table.get(offset as usize..).map(text).ok_or("a library's name is out of the strings");
        let needed = needed.map(|entry| name(entry.1));
        Ok(Self {
            machine,
            interpreter,
            soname: entry(DT_SONAME).map(name).transpose()?,
            needed: needed.collect::<Result<_, _>>()?,
            strings: table.split(|byte| *byte == 0).map(|s| String::from_utf8_lossy(s).into_owned()).collect(),
        })
    }

    /// The libraries that must be there, and since when glibc.
    pub(crate) fn needs(&self) -> String {
        let newest = self.newest_glibc().map_or_else(String::new, |(major, minor)| format!(", glibc {major}.{minor} or newer"));
        format!("{}{newest}", self.needed.join(", "))
    }

    /// The newest version of glibc that a symbol asks for.
    fn newest_glibc(&self) -> Option<(u32, u32)> {
        let versions = self.strings.iter().filter_map(|s| s.strip_prefix("GLIBC_"));
        versions
            .filter_map(|v| v.split('.').map(|part| part.parse().ok()).collect::<Option<Vec<u32>>>())
            .map(|v| (v[0], v.get(1).copied().unwrap_or(0)))
            .max()
    }
}

fn slice(file: &[u8], offset: u64, len: u64) -> Result<&[u8], String> {
    let part = usize::try_from(offset).ok().zip(usize::try_from(len).ok()).and_then(|(offset, len)| file.get(offset..)?.get(..len));
    part.ok_or_else(|| format!("the ELF file ends before byte {offset} + {len}"))
}

/// A little-endian number of `len` bytes, at most 8.
fn number(file: &[u8], offset: u64, len: u64) -> Result<u64, String> {
    Ok(slice(file, offset, len)?.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// Up to the zero.
fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_is_read() {
        let path = std::env::current_exe().expect("this program");
        let bytes = std::fs::read(path).expect("its bytes");
        let elf = Elf::parse(&bytes).expect("a sound program");
        assert_eq!(elf.machine, std::env::consts::ARCH);
        if cfg!(target_env = "gnu") {
            assert!(elf.interpreter.as_ref().is_some_and(|path| path.contains("/ld-linux")), "{elf:?}");
            assert!(elf.needed.iter().any(|library| library == "libc.so.6"), "{:?}", elf.needed);
            assert!(elf.newest_glibc() > Some((2, 2)));
        }
        for len in (0..bytes.len()).step_by(bytes.len() / 997) {
            // Whatever is cut off: an answer, and no panic.
            let _ = Elf::parse(&bytes[..len]);
        }
        assert!(Elf::parse(&bytes[..100]).is_err());
        assert!(Elf::parse(b"#!/bin/sh\n").is_err());
    }
}
