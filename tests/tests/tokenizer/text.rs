//! Seeded text in many scripts.

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

/// Letters of a script; words are runs of them.
const SCRIPTS: &[(char, char)] = &[
    ('a', 'z'),
    ('A', 'Z'),
    ('à', 'ö'),
    ('ā', 'ž'),
    ('α', 'ω'),
    ('а', 'я'),
    ('ա', 'և'),
    ('א', 'ת'),
    ('ا', 'ي'),
    ('अ', 'ह'),
    ('অ', 'হ'),
    ('ก', 'ฮ'),
    ('ა', 'ჰ'),
    ('ᄀ', 'ᄒ'),
    ('가', '힣'),
    ('ぁ', 'ん'),
    ('ァ', 'ヶ'),
    ('一', '龥'),
    ('አ', 'ኮ'),
    ('ក', 'អ'),
    ('Ꭰ', 'Ᏼ'),
    ('𐌰', '𐍊'),
    ('𝐀', '𝛀'),
];

/// Whole pieces that rules treat in their own ways.
const PIECES: &[&str] = &[
    "'s",
    "'S",
    "'ll",
    "'LL",
    "'re",
    "'vE",
    "'ſ",
    "don't",
    "I'm",
    "''",
    "'",
    "it's",
    " 's",
    "\n",
    "\r\n",
    "\n\n",
    "\r",
    "\t",
    "  ",
    "   ",
    " \n ",
    "\u{a0}",
    "\u{3000}",
    "\u{2028}",
    "\u{85}",
    "\u{200b}",
    "\u{200d}",
    "\u{feff}",
    "\u{ad}",
    "\u{0}",
    "\u{1}",
    "\u{4}",
    "\u{6}",
    "\u{1b}[0m",
    "\u{7f}",
    "\u{80}",
    "\u{fffd}",
    "\u{10ffff}",
    "\u{e000}",
    "▁",
    "▁▁",
    " ▁",
    "▁a",
    "Ġ",
    "Ċ",
    "<0x41>",
    "0",
    "7",
    "12",
    "123",
    "1234",
    "3.14",
    "1,000,000",
    "2024-11-05",
    "٣٤",
    "५६",
    "²",
    "½",
    "Ⅷ",
    "①",
    "一二",
    "0x1F",
    "👍",
    "👩‍👩‍👧‍👦",
    "🏳️‍🌈",
    "🇩🇪",
    "👋🏽",
    "❤️",
    "e\u{301}",
    "é",
    "ñ",
    "n\u{303}",
    "a\u{323}\u{301}",
    "a\u{301}\u{323}",
    "\u{301}",
    "क्षि",
    "ਪੰਜਾਬੀ",
    "பு",
    "Å",
    "\u{212b}",
    "ﬁ",
    "각",
    "\u{1100}\u{1161}\u{11a8}",
    "fn main() {",
    "}",
    "let x = &mut y[0..n];",
    "// ---",
    "==",
    "!=",
    "->",
    "::<u8>",
    "/* */",
    "#include <stdio.h>",
    "def f(x):\n    return x",
    "\\n",
    "\"\"\"",
    "https://example.org/?q=a%20b&c=d",
    "user@example.org",
    "{{ x }}",
    "!!!",
    "...",
    "…",
    "—",
    "“",
    "”",
    "¿",
    "。",
    "、",
    "(",
    ")",
    "[",
    "]",
    "$",
    "€",
    "%",
    "^",
    "~",
    "`",
    "|",
    "+",
    "_",
    "__init__",
    "snake_case",
    "CamelCase",
    "<|im_start|>",
    "<|im_end|>",
    "<|im",
    "|>",
    "<|im_end|",
    "<|end|>",
    "<|endoftext|>",
    "<s>",
    "</s>",
    "<unk>",
    "<mask>",
    " <mask> ",
    "  <mask>  ",
    "<tool_call>",
    "two words",
    " two words ",
    "[INST]",
    "[/INST]",
];

const WORDS: &[&str] = &[
    "the",
    "of",
    "and",
    "to",
    "in",
    "that",
    "was",
    "her",
    "she",
    "had",
    "with",
    "not",
    "token",
    "model",
    "small",
    "bird",
    "river",
    "machine",
    "language",
    "Number",
    "HELLO",
    "straße",
    "naïve",
    "coöperate",
    "мир",
    "слово",
    "κόσμος",
    "שלום",
    "مرحبا",
    "नमस्ते",
    "สวัสดี",
    "你好",
    "世界",
    "こんにちは",
    "안녕",
    "ሰላም",
    "გამარჯობა",
];

/// A run of letters of one script.
pub(crate) fn word(random: &mut Random) -> String {
    let (first, last) = random.pick(SCRIPTS);
    let span = (last as u32 - first as u32 + 1) as usize;
    // Few letters are common, as in real text, so that training finds merges.
    let common = span.min(12);
    (0..random.below(7) + 1)
        .filter_map(|_| {
            let offset = if random.below(4) == 0 { random.below(span) } else { random.below(common).min(random.below(common)) };
            char::from_u32(first as u32 + offset as u32)
        })
        .collect()
}

/// One string of up to a dozen words and pieces.
pub(crate) fn string(random: &mut Random) -> String {
    let mut text = String::new();
    let spaced = random.below(4);
    for _ in 0..random.below(12) {
        match random.below(8) {
            0..=1 => text.push_str(&word(random)),
            2..=3 => text.push_str(random.pick(WORDS)),
            4..=6 => text.push_str(random.pick(PIECES)),
            _ => {
                let (first, last) = random.pick(SCRIPTS);
                text.extend(char::from_u32(first as u32 + random.below((last as u32 - first as u32 + 1) as usize) as u32));
            }
        }
        if random.below(4) < spaced {
            text.push(' ');
        }
    }
    text
}

/// `count` strings: every piece alone first, then random ones.
pub(crate) fn strings(count: usize, seed: u64) -> Vec<String> {
    let mut random = Random(seed);
    let mut strings: Vec<String> = std::iter::once("").chain(PIECES.iter().copied()).map(str::to_owned).take(count).collect();
    while strings.len() < count {
        strings.push(string(&mut random));
    }
    strings
}
