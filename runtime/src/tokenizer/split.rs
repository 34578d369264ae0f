//! The rules that cut text into words, as scanners.
//!
//! The tokenizers of these families are described by regular expressions. Each scanner here takes the characters from where a word starts and
//! returns the word's length in bytes: exactly what the expression's leftmost match would be. Every expression matches at every
//! character, so words follow each other without gaps.

use super::section::{Header, Split};
use super::unicode::{is_letter, is_number, is_space};

/// Length of the word that `text` starts with, at least one character. With `lead`, the text is taken as if a space stood in front of it,
/// which belongs to the word but is not counted.
pub(super) fn word_len(header: &Header, lead: bool, text: &str) -> usize {
    let chars = lead.then_some(' ').into_iter().chain(text.chars());
    let len = match header.split {
        Split::None => return text.len(),
        Split::Gpt2 => gpt2(chars),
        Split::Llama3 => llama3(chars, usize::from(header.max_digits)),
        Split::Space => space(chars),
    };
    len - usize::from(lead)
}

/// Length of the part that `text` starts with when digits stand alone: one number, or all up to the next.
pub(super) fn digit_part_len(text: &str) -> usize {
    match text.chars().next() {
        Some(first) if is_number(first) => first.len_utf8(),
        _ => run(text.chars(), |character| !is_number(character)),
    }
}

/// Bytes of the leading characters that satisfy a condition.
fn run(chars: impl Iterator<Item = char>, condition: impl Fn(char) -> bool) -> usize {
    chars.take_while(|character| condition(*character)).map(char::len_utf8).sum()
}

fn is_newline(character: char) -> bool {
    matches!(character, '\r' | '\n')
}

/// Neither white space nor letter nor number.
fn is_other(character: char) -> bool {
    !is_space(character) && !is_letter(character) && !is_number(character)
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
fn gpt2(chars: impl Iterator<Item = char> + Clone) -> usize {
    let mut rest = chars.clone();
    let Some(first) = rest.next() else { return 0 };
    if first == '\'' {
        let mut next = rest.clone();
        match (next.next(), next.next()) {
            (Some('s' | 't' | 'm' | 'd'), _) => return 2,
            (Some('r' | 'v'), Some('e')) | (Some('l'), Some('l')) => return 3,
            _ => {}
        }
    }
    let (spaces, body) = if first == ' ' { (1, rest.next()) } else { (0, Some(first)) };
    let tail = chars.clone().skip(spaces);
    match body {
        Some(character) if is_letter(character) => spaces + run(tail, is_letter),
        Some(character) if is_number(character) => spaces + run(tail, is_number),
        Some(character) if is_other(character) => spaces + run(tail, is_other),
        _ => space_run(chars),
    }
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,max_digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
fn llama3(chars: impl Iterator<Item = char> + Clone, max_digits: usize) -> usize {
    let mut rest = chars.clone();
    let Some(first) = rest.next() else { return 0 };
    let second = rest.clone().next();
    if first == '\'' {
        let mut next = rest.clone();
        match (next.next(), next.next()) {
            (Some('s' | 'S' | 't' | 'T' | 'm' | 'M' | 'd' | 'D'), _) => return 2,
            // The long s is a case of s.
            (Some('ſ'), _) => return 1 + 'ſ'.len_utf8(),
            (Some('r' | 'R' | 'v' | 'V'), Some('e' | 'E')) | (Some('l' | 'L'), Some('l' | 'L')) => {
                return 3;
            }
            _ => {}
        }
    }
    if is_letter(first) {
        return run(chars, is_letter);
    }
    if is_number(first) {
        return run(chars.take(max_digits), is_number);
    }
    if !is_newline(first) && second.is_some_and(is_letter) {
        return first.len_utf8() + run(rest, is_letter);
    }
    let spaces = usize::from(first == ' ' && second.is_some_and(is_other));
    if spaces == 1 || is_other(first) {
        let body = run(chars.clone().skip(spaces), is_other);
        let mut after = chars;
        let mut passed = 0;
        while passed < spaces + body {
            passed += after.next().map_or(usize::MAX / 2, char::len_utf8);
        }
        return spaces + body + run(after, is_newline);
    }
    // White space: up to its last line break, if there is one.
    let (mut len, mut last_newline) = (0, 0);
    for character in chars.clone().take_while(|character| is_space(*character)) {
        len += character.len_utf8();
        if is_newline(character) {
            last_newline = len;
        }
    }
    if last_newline > 0 { last_newline } else { space_run(chars) }
}

/// `\s+(?!\S)|\s+`: white space, but its last character is left to the word that follows, unless it is the only one.
fn space_run(chars: impl Iterator<Item = char>) -> usize {
    let (mut len, mut before_last) = (0, 0);
    for character in chars {
        if !is_space(character) {
            return if before_last > 0 { before_last } else { len };
        }
        before_last = len;
        len += character.len_utf8();
    }
    len
}

/// A space or U+2581 starts a word.
fn space(mut chars: impl Iterator<Item = char>) -> usize {
    let first = chars.next().map_or(0, char::len_utf8);
    first + run(chars, |character| !matches!(character, ' ' | '\u{2581}'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::str::Chars;

    /// Cuts a text into words and compares them.
    fn check(text: &str, scan: impl Fn(Chars<'_>) -> usize, expected: &[&str]) {
        let mut rest = text;
        for expected in expected {
            let (word, after) = rest.split_at(scan(rest.chars()));
            assert_eq!(word, *expected, "in {text:?}");
            rest = after;
        }
        assert_eq!(rest, "", "in {text:?}");
    }

    #[test]
    fn gpt2_words() {
        let scan = |chars: Chars<'_>| gpt2(chars);
        check("I'll don't  say", scan, &["I", "'ll", " don", "'t", " ", " say"]);
        check("say\n\n 12 'S !?x", scan, &["say", "\n\n", " 12", " '", "S", " !?", "x"]);
        check("a  \t", scan, &["a", "  \t"]);
    }

    #[test]
    fn llama3_words() {
        let scan = |chars: Chars<'_>| llama3(chars, 3);
        check("I'LL 12345!\r\n\n  x", scan, &["I", "'LL", " ", "123", "45", "!\r\n\n", " ", " x"]);
        check("x\t\ty 'ſ", scan, &["x", "\t", "\ty", " '", "ſ"]);
        check(" \n \n  a", scan, &[" \n \n", " ", " a"]);
        check("it'ſ (c)", scan, &["it", "'ſ", " (", "c", ")"]);
        check("\u{a0}é", scan, &["\u{a0}é"]);
        check("12345", |chars| llama3(chars, 1), &["1", "2", "3", "4", "5"]);
    }

    #[test]
    fn space_words() {
        let scan = |chars: Chars<'_>| space(chars);
        check("a  b\u{2581}c ", scan, &["a", " ", " b", "\u{2581}c", " "]);
    }

    #[test]
    fn a_leading_space_is_not_counted() {
        let header = Header { split: Split::Gpt2, ..crate::tokenizer::section::tests::header() };
        assert_eq!(word_len(&header, true, "ab c"), 2);
        // " \tx": the first space, then the tab alone, because x takes only a space.
        assert_eq!(word_len(&header, true, "\tx"), 0);
        assert_eq!(digit_part_len("٣4"), 2);
        assert_eq!(digit_part_len("ab4"), 2);
    }
}
