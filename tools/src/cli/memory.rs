//! What this process and this machine hold, as Linux tells it; other systems say nothing, and nothing is claimed.

/// A `key: N kB` line of a `/proc` file, in bytes.
fn field(text: &str, key: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    rest.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The largest resident set since the start, or since [`reset_peak`].
#[must_use]
pub(crate) fn peak_rss() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM")
}

/// Resident memory that belongs to no file: what is left of it when the mapped weights are not counted.
#[must_use]
pub(crate) fn anonymous_rss() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/self/status").ok()?, "RssAnon")
}

/// Starts the peak anew from the current resident set. Where that is not allowed the old peak stays: an upper bound.
pub(crate) fn reset_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Memory that a new program could take without swapping.
#[must_use]
pub(crate) fn available() -> Option<u64> {
    field(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let text = "VmHWMx:\t1 kB\nVmHWM:\t   3044 kB\nRssAnon:\t  12 MB\n";
        assert_eq!(field(text, "VmHWM"), Some(3044 * 1024));
        assert_eq!(field(text, "RssAnon"), None);
        assert_eq!(field(text, "Vm"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_peak_follows_an_allocation() {
        let before = peak_rss().unwrap();
        let block = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(peak_rss().unwrap() >= before.min(block.len() as u64));
        assert!(anonymous_rss().unwrap() >= block.len() as u64);
    }
}
