//! Working memory: an object's own, or the system's where that is allowed.

use crate::status::Fault;
use core::ops::{Deref, DerefMut};

/// Elements to work with.
#[derive(Debug)]
pub(crate) enum Room<'a, T> {
    /// The object's.
    Own(&'a mut [T]),
    /// More than it has, for one call.
    #[cfg(feature = "std")]
    Systems(Vec<T>),
}

impl<'a, T: Clone> Room<'a, T> {
    /// `len` elements, if `own` has them or the system may be asked (`grows`); else as many as `own` has.
    #[cfg_attr(not(feature = "std"), expect(unused_variables, clippy::unnecessary_wraps, reason = "without a system there is no more"))]
    pub(crate) fn new(own: &'a mut [T], len: usize, value: T, grows: bool) -> Result<Self, Fault<'static>> {
        #[cfg(feature = "std")]
        if grows && own.len() < len {
            let mut more = Vec::new();
            let needed = len.saturating_mul(size_of::<T>());
            more.try_reserve_exact(len).map_err(|_| Fault::Memory { what: "the text", needed })?;
            more.resize(len, value);
            return Ok(Self::Systems(more));
        }
        Ok(Self::Own(own))
    }
}

impl<T> Deref for Room<'_, T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::Own(own) => own,
            #[cfg(feature = "std")]
            Self::Systems(more) => more,
        }
    }
}

impl<T> DerefMut for Room<'_, T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::Own(own) => own,
            #[cfg(feature = "std")]
            Self::Systems(more) => more,
        }
    }
}
