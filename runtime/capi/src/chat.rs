//! Conversations, in the format that the model was trained on.

use crate::handle::Handle;
use crate::place::{self, slice, slice_mut};
use crate::room::Room;
use crate::session::kgl_token;
use crate::status::{Fault, kgl_error, kgl_status, report};
use crate::tokenizer::{NOTHING, Texts, counted, kgl_tokenizer};
use core::ffi::c_char;
use core::ops::Range;
use kinglet::tokenizer::chat::{ChatError, ChatTemplate, End, Message, Role};
use kinglet::tokenizer::{EncodeOptions, TokenId};

/// Who speaks.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kgl_role {
    /// Nobody: the start of a conversation.
    KGL_ROLE_NONE = 0,
    /// Instructions, usually first or not at all.
    KGL_ROLE_SYSTEM = 1,
    /// The person.
    KGL_ROLE_USER = 2,
    /// The model.
    KGL_ROLE_ASSISTANT = 3,
}

/// What follows the last message.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum kgl_chat_end {
    /// The model's reply.
    KGL_CHAT_REPLY = 0,
    /// Nothing.
    KGL_CHAT_STOP = 1,
}

/// One turn of a conversation.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct kgl_message {
    /// Who speaks: a number of `kgl_role`.
    pub role: i32,
    /// What is said, UTF-8.
    pub text: *const c_char,
    /// Its length, or `KGL_TERMINATED`.
    pub text_bytes: usize,
}

fn role(number: i32, what: &'static str) -> Result<Option<Role>, Fault<'static>> {
    const ROLES: [(kgl_role, Option<Role>); 4] = [
        (kgl_role::KGL_ROLE_NONE, None),
        (kgl_role::KGL_ROLE_SYSTEM, Some(Role::System)),
        (kgl_role::KGL_ROLE_USER, Some(Role::User)),
        (kgl_role::KGL_ROLE_ASSISTANT, Some(Role::Assistant)),
    ];
    let known = ROLES.into_iter().find(|(known, _)| *known as i32 == number);
    known.map(|(_, role)| role).ok_or(Fault::Argument { what, expected: "a number of kgl_role", got: number.into() })
}

fn message(message: &kgl_message) -> Result<Message<'static>, Fault<'static>> {
    let no_role = Fault::Argument { what: "messages.role", expected: "somebody who speaks", got: 0 };
    let role = role(message.role, "messages.role")?.ok_or(no_role)?;
    // SAFETY: the caller's duty; the text is not used after the call.
    let content = unsafe { place::text(message.text, message.text_bytes, "messages.text")? };
    Ok(Message { role, content })
}

/// What C says of a conversation.
struct Conversation<'a> {
    from: i32,
    messages: &'a [kgl_message],
    end: i32,
}

impl Conversation<'_> {
    /// Renders it and hands `each` the tokenizer, the text, the contents' places in it and who spoke before it.
    fn render<R>(
        &self,
        texts: &mut Texts,
        each: impl FnOnce(&mut Texts, &str, &[Range<usize>], Option<Role>) -> Result<R, Fault<'static>>,
    ) -> Result<R, Fault<'static>> {
        let template: ChatTemplate<'static> = texts.chat.ok_or(Fault::NoTokenizer { what: "chat format" })?;
        let from = role(self.from, "from")?;
        let end = match self.end {
            end if end == kgl_chat_end::KGL_CHAT_REPLY as i32 => End::Reply,
            end if end == kgl_chat_end::KGL_CHAT_STOP as i32 => End::Stop,
            got => return Err(Fault::Argument { what: "end", expected: "a number of kgl_chat_end", got: got.into() }),
        };
        let count = self.messages.len();
        texts.lend(|texts, paper, grows| {
            let mut messages = Room::new(paper.messages, count, NOTHING, grows)?;
            let mut literal = Room::new(paper.literal, count, 0..0, grows)?;
            let most = messages.len();
            let list = messages.get_mut(..count).ok_or(Fault::TooLong { what: "messages", most, got: count })?;
            for (place, given) in list.iter_mut().zip(self.messages) {
                *place = message(given)?;
            }
            let bytes = template.render(from, list, end).map_err(Fault::Chat)?.map(|piece| piece.text().len()).sum();
            let mut text = Room::new(paper.text, bytes, 0, grows)?;
            let (text, literal) = template.assemble(from, list, end, &mut text, &mut literal).map_err(|e| match e {
                ChatError::TooSmall(size) => Fault::TooLong { what: "bytes of the conversation", most: size.got, got: size.needed },
                e => Fault::Chat(e),
            })?;
            each(texts, text, literal, from)
        })
    }
}

/// Renders messages into the text that the model was trained on, UTF-8, ended by a 0. `from` says who spoke last in what was rendered
/// before, a number of `kgl_role`; `end` is a number of `kgl_chat_end`. `*bytes` is the text's length without the 0, for which one more is needed, also
/// after `KGL_ERROR_TOO_SMALL`; with `out` NULL and `out_bytes` 0 it only tells that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_chat_render(
    tokenizer: *mut kgl_tokenizer,
    from: i32,
    messages: *const kgl_message,
    message_count: usize,
    end: i32,
    out: *mut c_char,
    out_bytes: usize,
    bytes: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (bytes, mut texts) = unsafe { (place::start(bytes, 0, "bytes")?, Handle::<Texts>::of(tokenizer)?.enter()?) };
        // SAFETY: the caller's duty.
        let (messages, out) = unsafe { (slice(messages, message_count, "messages")?, slice_mut(out.cast::<u8>(), out_bytes, "out")?) };
        Conversation { from, messages, end }.render(&mut texts, |_, text, _, _| {
            *bytes = text.len();
            let needed = text.len() + 1;
            let Some(place) = out.get_mut(..needed) else {
                return Err(Fault::TooSmall { what: "out", needed, got: out_bytes });
            };
            place[..text.len()].copy_from_slice(text.as_bytes());
            place[text.len()] = 0;
            Ok(())
        })
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}

/// The same as tokens, in which what was said never becomes a control token: `*count` of them, also after `KGL_ERROR_TOO_SMALL`;
/// with `out` NULL and `out_count` 0 it only tells that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn kgl_chat_tokenize(
    tokenizer: *mut kgl_tokenizer,
    from: i32,
    messages: *const kgl_message,
    message_count: usize,
    end: i32,
    out: *mut kgl_token,
    out_count: usize,
    count: *mut usize,
    error: *mut kgl_error,
) -> kgl_status {
    let body = || {
        // SAFETY: the caller's duty.
        let (count, mut texts) = unsafe { (place::start(count, 0, "count")?, Handle::<Texts>::of(tokenizer)?.enter()?) };
        // SAFETY: the caller's duty; a TokenId is the number and nothing else.
        let (messages, out) = unsafe { (slice(messages, message_count, "messages")?, slice_mut(out.cast::<TokenId>(), out_count, "out")?) };
        let result = Conversation { from, messages, end }.render(&mut texts, |texts, text, literal, from| {
            let options = EncodeOptions { parse_special: true, literal, add_special: false, continues: from.is_some() };
            texts.encode(text, &options, out)
        });
        counted(count, result)
    };
    // SAFETY: the caller's duty.
    unsafe { report(error, body) }
}
