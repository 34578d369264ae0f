//! A conversation as the text that the model was trained on.
//!
//! Checkpoints describe this by a template that is a program. The converter runs it and compiles what it finds into a table that
//! executes nothing: the text that stands between two contents, depending only on who spoke before and who speaks next.
//! `docs/format-tokenizer.md` specifies the section.
//!
//! Rendering keeps the template's own text and the contents apart, so that control tokens are parsed in the one and never in the other:
//!
//! ```
//! use kinglet::tokenizer::chat::{ChatTemplate, End, Message, Piece, Role};
//!
//! fn show(section: &[u8]) -> Option<String> {
//!     let template = ChatTemplate::parse(section).ok()?;
//!     let messages = [Message { role: Role::User, content: "Hello" }];
//!     let pieces = template.render(None, &messages, End::Reply).ok()?;
//!     Some(pieces.map(Piece::text).collect())
//! }
//! assert_eq!(show(b""), None);
//! ```

use core::ops::Range;

use super::TooSmall;
use super::unicode::is_space;

/// First four bytes of a section.
pub const MAGIC: [u8; 4] = *b"KCHT";
/// The version this reader knows.
pub const VERSION: u32 = 1;
/// Length of the header: magic, version, options, length of the text.
pub const HEADER_BYTES: usize = 16;
/// Bytes of a transition: flags, end of its text.
pub const TRANSITION_BYTES: usize = 8;
/// Number of transitions: from start, system, user, assistant to system, user, assistant, reply, stop.
pub const TRANSITIONS: usize = 4 * 5;
/// Option: contents must not be empty or white space only.
pub const NO_EMPTY: u32 = 1;
/// Transition: the template has it.
pub const PRESENT: u32 = 1;
/// Transition: white space at the end of the content before it is dropped.
pub const TRIM_BEFORE: u32 = 2;
/// Transition: white space at the start of the content after it is dropped.
pub const TRIM_AFTER: u32 = 4;

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Instructions, usually first or not at all.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: &'a str,
}

/// What follows the last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The model's reply.
    Reply,
    /// Nothing.
    Stop,
}

/// A step of a conversation: from the start or a speaker to a speaker or the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Next {
    /// A message.
    Message(Role),
    /// The end.
    End(End),
}

/// The place of a transition in the table.
#[must_use]
pub fn transition_index(from: Option<Role>, to: Next) -> usize {
    let from = match from {
        None => 0,
        Some(Role::System) => 1,
        Some(Role::User) => 2,
        Some(Role::Assistant) => 3,
    };
    let to = match to {
        Next::Message(Role::System) => 0,
        Next::Message(Role::User) => 1,
        Next::Message(Role::Assistant) => 2,
        Next::End(End::Reply) => 3,
        Next::End(End::Stop) => 4,
    };
    from * 5 + to
}

/// Why a section is refused or a conversation is not rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatError {
    /// The section does not begin with [`MAGIC`].
    Magic,
    /// A version this reader does not know.
    Version {
        /// The version found.
        got: u32,
    },
    /// The section is not as long as its header says.
    Length {
        /// By the header.
        expected: u64,
        /// The slice given.
        got: u64,
    },
    /// Unknown options, or flags of an absent transition.
    Flags,
    /// Padding is not zero.
    Padding,
    /// A transition's text falls, leaves the text, or is not UTF-8.
    Transition {
        /// Its place in the table.
        index: usize,
    },
    /// The template has no such step.
    Unsupported {
        /// How many messages come before it.
        position: usize,
        /// Who speaks before; nobody at the start.
        from: Option<Role>,
        /// What follows.
        to: Next,
    },
    /// This template has no meaning for a message without content.
    EmptyContent {
        /// The message.
        position: usize,
    },
    /// A buffer of [`ChatTemplate::assemble`] is too small.
    TooSmall(TooSmall),
}

impl core::fmt::Display for ChatError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Magic => write!(f, "not a chat section"),
            Self::Version { got } => write!(f, "chat section version {got}, this reader knows {VERSION}"),
            Self::Length { expected, got } => write!(f, "chat section has {got} bytes, {expected} expected"),
            Self::Flags => write!(f, "unknown flags in the chat section"),
            Self::Padding => write!(f, "padding of the chat section is not zero"),
            Self::Transition { index } => write!(f, "wrong text of chat transition {index}"),
            Self::Unsupported { position, from, to } => {
                let name = |role: &Role| match role {
                    Role::System => "system",
                    Role::User => "user",
                    Role::Assistant => "assistant",
                };
                let from = from.as_ref().map_or("the start", name);
                let to = match to {
                    Next::Message(role) => name(role),
                    Next::End(End::Reply) => "a reply",
                    Next::End(End::Stop) => "the end",
                };
                write!(f, "this model's chat format has no step from {from} to {to} (after {position} messages)")
            }
            Self::EmptyContent { position } => write!(f, "this model's chat format has no empty messages (message {position})"),
            Self::TooSmall(size) => write!(f, "{size}"),
        }
    }
}

impl core::error::Error for ChatError {}

/// A part of a rendered conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The template's own text, in which control tokens are parsed.
    Text(&'a str),
    /// A message's content, in which they are not.
    Content(&'a str),
}

impl<'a> Piece<'a> {
    /// The piece's text of either kind.
    #[must_use]
    pub fn text(self) -> &'a str {
        match self {
            Self::Text(text) | Self::Content(text) => text,
        }
    }
}

/// A checked chat section.
#[derive(Clone, Copy, Debug)]
pub struct ChatTemplate<'m> {
    no_empty: bool,
    flags: [u32; TRANSITIONS],
    texts: [&'m str; TRANSITIONS],
}

impl<'m> ChatTemplate<'m> {
    /// Checks a section and borrows it. The bytes may have any alignment.
    ///
    /// # Errors
    /// A [`ChatError`] for the first fault found.
    pub fn parse(section: &'m [u8]) -> Result<Self, ChatError> {
        let length = |expected: u64| ChatError::Length { expected, got: section.len() as u64 };
        let (words, _) = section.as_chunks::<4>();
        let word = |at: usize| words.get(at).map_or(0, |word| u32::from_le_bytes(*word));
        let table_bytes = HEADER_BYTES + TRANSITIONS * TRANSITION_BYTES;
        let (Some(_), Some(body)) = (section.get(..HEADER_BYTES), section.get(table_bytes..)) else {
            return Err(length(table_bytes as u64));
        };
        if !section.starts_with(&MAGIC) {
            return Err(ChatError::Magic);
        }
        if word(1) != VERSION {
            return Err(ChatError::Version { got: word(1) });
        }
        let options = word(2);
        let text_bytes = word(3);
        let padded = u64::from(text_bytes).next_multiple_of(4);
        if body.len() as u64 != padded {
            return Err(length(table_bytes as u64 + padded));
        }
        let (text, padding) = body.split_at_checked(text_bytes as usize).unwrap_or_default();
        if padding.iter().any(|&byte| byte != 0) {
            return Err(ChatError::Padding);
        }
        if options & !NO_EMPTY != 0 {
            return Err(ChatError::Flags);
        }
        let mut template = Self { no_empty: options == NO_EMPTY, flags: [0; TRANSITIONS], texts: [""; TRANSITIONS] };
        let mut start = 0;
        for index in 0..TRANSITIONS {
            let at = HEADER_BYTES / 4 + index * 2;
            let (flags, end) = (word(at), word(at + 1) as usize);
            if flags & !(PRESENT | TRIM_BEFORE | TRIM_AFTER) != 0 || (flags & PRESENT == 0 && flags != 0) {
                return Err(ChatError::Flags);
            }
            let bytes = text.get(start..end).filter(|bytes| flags & PRESENT != 0 || bytes.is_empty());
            let text = bytes.and_then(|bytes| core::str::from_utf8(bytes).ok()).ok_or(ChatError::Transition { index })?;
            template.flags[index] = flags;
            template.texts[index] = text;
            start = end;
        }
        if start != text.len() {
            return Err(ChatError::Transition { index: TRANSITIONS });
        }
        Ok(template)
    }

    /// Whether the template has a step.
    #[must_use]
    pub fn has(&self, from: Option<Role>, to: Next) -> bool {
        self.flags[transition_index(from, to)] & PRESENT != 0
    }

    /// Renders messages. `from` is who spoke last in what has been rendered before; nobody at the start of a conversation.
    ///
    /// The text contains the model's own beginning token if the template has one, so it is encoded without adding another.
    ///
    /// # Errors
    /// [`ChatError::Unsupported`] or [`ChatError::EmptyContent`], before anything is rendered.
    pub fn render<'a>(&'a self, from: Option<Role>, messages: &'a [Message<'a>], end: End) -> Result<Pieces<'a>, ChatError> {
        let mut before = from;
        for position in 0..=messages.len() {
            let to = next(messages, position, end);
            if !self.has(before, to) {
                return Err(ChatError::Unsupported { position, from: before, to });
            }
            if let Some(message) = messages.get(position) {
                if self.no_empty && message.content.chars().all(is_space) {
                    return Err(ChatError::EmptyContent { position });
                }
                before = Some(message.role);
            }
        }
        Ok(Pieces { template: self, from, messages, end, position: 0, content_next: false })
    }

    /// Renders messages into one text, with the ranges of the contents: what [`EncodeOptions::literal`](super::EncodeOptions::literal) takes.
    /// `literal` needs one range per message.
    ///
    /// # Errors
    /// Those of [`render`](Self::render), and [`ChatError::TooSmall`] with the need of the buffer that is too small.
    pub fn assemble<'o>(
        &self,
        from: Option<Role>,
        messages: &[Message<'_>],
        end: End,
        out: &'o mut [u8],
        literal: &'o mut [Range<usize>],
    ) -> Result<(&'o str, &'o [Range<usize>]), ChatError> {
        let needed = self.render(from, messages, end)?.map(|piece| piece.text().len()).sum();
        if needed > out.len() {
            return Err(ChatError::TooSmall(TooSmall { needed, got: out.len() }));
        }
        if messages.len() > literal.len() {
            return Err(ChatError::TooSmall(TooSmall { needed: messages.len(), got: literal.len() }));
        }
        let (mut len, mut count) = (0, 0);
        for piece in self.render(from, messages, end)? {
            let text = piece.text();
            let range = len..len + text.len();
            out[range.clone()].copy_from_slice(text.as_bytes());
            len = range.end;
            if let Piece::Content(_) = piece {
                literal[count] = range;
                count += 1;
            }
        }
        let out: &'o [u8] = out;
        Ok((core::str::from_utf8(&out[..len]).unwrap_or_default(), &literal[..count]))
    }
}

fn next(messages: &[Message<'_>], position: usize, end: End) -> Next {
    messages.get(position).map_or(Next::End(end), |message| Next::Message(message.role))
}

/// The parts of a rendered conversation, text and content in turn.
#[derive(Clone, Debug)]
pub struct Pieces<'a> {
    template: &'a ChatTemplate<'a>,
    from: Option<Role>,
    messages: &'a [Message<'a>],
    end: End,
    position: usize,
    content_next: bool,
}

impl Pieces<'_> {
    /// The transition into message `position`.
    fn transition(&self, position: usize) -> usize {
        let from = position.checked_sub(1).and_then(|before| self.messages.get(before)).map_or(self.from, |message| Some(message.role));
        transition_index(from, next(self.messages, position, self.end))
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        if self.position > self.messages.len() {
            return None;
        }
        let into = self.transition(self.position);
        if !self.content_next {
            self.content_next = self.position < self.messages.len();
            self.position += usize::from(!self.content_next);
            return Some(Piece::Text(self.template.texts[into]));
        }
        let mut content = self.messages[self.position].content;
        self.position += 1;
        self.content_next = false;
        if self.template.flags[into] & TRIM_AFTER != 0 {
            content = content.trim_start_matches(is_space);
        }
        if self.template.flags[self.transition(self.position)] & TRIM_BEFORE != 0 {
            content = content.trim_end_matches(is_space);
        }
        Some(Piece::Content(content))
    }
}
