//! Stop strings in streamed text.

use crate::tokenizer::TooSmall;

/// Ends a text before the first stop string, however the text arrives.
///
/// Text that may be the beginning of a stop string is held back until it is decided. The stop string that is complete first
/// wins; of several complete at the same byte, the longest.
///
/// ```
/// use kinglet::sampler::{StopMatcher, Stopped};
///
/// let (mut held, mut out) = ([0; 16], [0; 64]);
/// let mut stops = StopMatcher::new(&["\nUser:"], &mut held).unwrap();
/// assert_eq!(stops.push("Paris.\nU", &mut out), Ok(Stopped { text: "Paris.", stop: None }));
/// assert_eq!(stops.push("ser: and", &mut out), Ok(Stopped { text: "", stop: Some(0) }));
/// ```
#[derive(Debug)]
pub struct StopMatcher<'s> {
    stops: &'s [&'s str],
    held: &'s mut [u8],
    held_len: usize,
    stopped: Option<usize>,
}

/// What a part of the text came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped<'o> {
    /// The text that is decided.
    pub text: &'o str,
    /// Which stop string ended the text, if one did, now or earlier.
    pub stop: Option<usize>,
}

impl<'s> StopMatcher<'s> {
    /// A matcher at the start of a text. `held` needs the length of the longest stop string; empty stop strings never match.
    ///
    /// # Errors
    /// [`TooSmall`] if `held` is shorter.
    pub fn new(stops: &'s [&'s str], held: &'s mut [u8]) -> Result<Self, TooSmall> {
        let needed = stops.iter().map(|stop| stop.len()).max().unwrap_or(0);
        if held.len() < needed {
            return Err(TooSmall { needed, got: held.len() });
        }
        Ok(Self { stops, held, held_len: 0, stopped: None })
    }

    /// Adds text and returns what is decided. After a stop everything is dropped.
    ///
    /// # Errors
    /// [`TooSmall`] if `out` cannot hold all that is held and added; nothing has changed then.
    pub fn push<'o>(&mut self, text: &str, out: &'o mut [u8]) -> Result<Stopped<'o>, TooSmall> {
        let needed = self.held_len + text.len();
        if out.len() < needed {
            return Err(TooSmall { needed, got: out.len() });
        }
        let mut len = 0;
        let mut give = |bytes: &[u8]| {
            out[len..len + bytes.len()].copy_from_slice(bytes);
            len += bytes.len();
        };
        for &byte in text.as_bytes() {
            if self.stopped.is_some() {
                break;
            }
            match self.held.get_mut(self.held_len) {
                Some(place) => *place = byte,
                // There is no stop string to hold anything for.
                None => {
                    give(&[byte]);
                    continue;
                }
            }
            self.held_len += 1;
            let held = &self.held[..self.held_len];
            let complete = |stop: &&str| !stop.is_empty() && held.ends_with(stop.as_bytes());
            let longest =
                self.stops.iter().enumerate().filter(|(_, stop)| complete(stop)).max_by_key(|(at, stop)| (stop.len(), usize::MAX - at));
            if let Some((at, stop)) = longest {
                give(&held[..held.len() - stop.len()]);
                self.stopped = Some(at);
                self.held_len = 0;
                continue;
            }
            // What is held always begins like a stop string; drop from the front until it does again. Stop strings start with a whole
            // character, so what is held does, too, and at the end of `text` what was given does not break one.
            let begins = |rest: &[u8]| self.stops.iter().any(|stop| stop.as_bytes().starts_with(rest));
            let decided = (0..held.len()).find(|&from| begins(&held[from..])).unwrap_or(held.len());
            give(&held[..decided]);
            self.held.copy_within(decided..self.held_len, 0);
            self.held_len -= decided;
        }
        let out: &'o [u8] = out;
        Ok(Stopped { text: core::str::from_utf8(&out[..len]).unwrap_or_default(), stop: self.stopped })
    }

    /// Ends the text: what was held back and did not become a stop string. The matcher is then at the start of a new text.
    pub fn finish(&mut self) -> &str {
        let len = core::mem::take(&mut self.held_len);
        self.stopped = None;
        core::str::from_utf8(&self.held[..len]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pushes a text in parts of `step` characters and compares all that comes out.
    fn check(stops: &[&str], text: &str, expected: &str, stop: Option<usize>) {
        for step in 1..=text.chars().count().max(1) {
            let (mut held, mut out) = ([0; 16], [0; 64]);
            let (mut all, mut len) = ([0; 64], 0);
            let mut matcher = StopMatcher::new(stops, &mut held).unwrap();
            let mut last = None;
            let mut rest = text;
            let mut keep = |text: &str| {
                all[len..len + text.len()].copy_from_slice(text.as_bytes());
                len += text.len();
            };
            while !rest.is_empty() {
                let cut = rest.char_indices().nth(step).map_or(rest.len(), |(at, _)| at);
                let part = matcher.push(&rest[..cut], &mut out).unwrap();
                keep(part.text);
                last = part.stop;
                rest = &rest[cut..];
            }
            keep(matcher.finish());
            assert_eq!(core::str::from_utf8(&all[..len]), Ok(expected), "{text:?} by {step}");
            assert_eq!(last, stop, "{text:?} by {step}");
        }
    }

    #[test]
    fn a_stop_string_ends_the_text() {
        check(&["END"], "one END two", "one ", Some(0));
        check(&["END"], "one EN two", "one EN two", None);
        check(&["END"], "one EEND", "one E", Some(0));
        check(&["aab"], "aaab", "a", Some(0));
        check(&["END"], "EN", "EN", None);
        check(&[], "all", "all", None);
        check(&[""], "all", "all", None);
    }

    #[test]
    fn the_first_complete_wins_and_of_those_the_longest() {
        check(&["abcd", "bc"], "xabcd", "xa", Some(1));
        check(&["c", "abc"], "xabc", "x", Some(1));
        check(&["b", "b"], "ab", "a", Some(0));
    }

    #[test]
    fn characters_stay_whole() {
        check(&["é!"], "aèé?é!x", "aèé?", Some(0));
        check(&["日本"], "日月日本", "日月", Some(0));
        check(&["👍"], "👋👍", "👋", Some(0));
    }

    #[test]
    fn small_buffers_are_errors() {
        assert_eq!(StopMatcher::new(&["abc"], &mut [0; 2]).unwrap_err(), TooSmall { needed: 3, got: 2 });
        let mut held = [0; 3];
        let mut matcher = StopMatcher::new(&["abc"], &mut held).unwrap();
        matcher.push("ab", &mut [0; 2]).unwrap();
        assert_eq!(matcher.push("x", &mut [0; 2]), Err(TooSmall { needed: 3, got: 2 }));
        assert_eq!(matcher.push("x", &mut [0; 3]), Ok(Stopped { text: "abx", stop: None }));
    }
}
