//! The caller's pointers, each checked for null and then trusted, as the real library does. What they
//! point at is the caller's promise; nothing else of this library dereferences a caller's pointer.

use crate::code::{Code, Done, INSUFFICIENT_SIZE, INVALID_ARGUMENT};
use std::ffi::c_char;

/// Where the caller wants one `T`, or keeps one that is read and replaced.
#[repr(transparent)]
pub struct Out<T>(*mut T);

impl<T: Copy> Out<T> {
    /// Stores the answer.
    pub fn put(self, value: T) -> Done {
        if self.0.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: not null; the caller of the exported function vouches for the rest.
        unsafe { self.0.write(value) };
        Ok(())
    }

    /// What the caller stored there.
    pub fn get(&self) -> Result<T, Code> {
        if self.0.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        // SAFETY: as above; every `T` used here is plain data for which any bytes are valid.
        Ok(unsafe { self.0.read() })
    }

    /// Whether the caller gave nothing.
    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// The same place again, for functions that look before they store.
    pub fn again(&self) -> Self {
        Self(self.0)
    }

    /// The element `index` of an array that the caller says is long enough.
    pub fn at(&self, index: usize) -> Self {
        Self(self.0.wrapping_add(index))
    }
}

/// Where the caller wants a text.
pub type OutText = Out<c_char>;

impl OutText {
    /// Stores a text and its 0 within `length` bytes.
    pub fn put_text(self, length: u32, text: &[u8]) -> Done {
        if self.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        if text.len() >= length as usize {
            return Err(INSUFFICIENT_SIZE);
        }
        text.iter().chain(&[0]).enumerate().try_for_each(|(at, byte)| self.at(at).put(*byte as c_char))
    }
}

/// A text by the caller.
#[repr(transparent)]
pub struct InText(*const c_char);

impl InText {
    /// At most 255 bytes of it.
    pub fn get(&self) -> Result<String, Code> {
        if self.0.is_null() {
            return Err(INVALID_ARGUMENT);
        }
        let mut bytes = Vec::new();
        for at in 0..255 {
            // SAFETY: not null and, so far, no 0 seen; the caller vouches for a text that ends with 0.
            match unsafe { self.0.add(at).read() } {
                0 => return String::from_utf8(bytes).map_err(|_| INVALID_ARGUMENT),
                byte => bytes.push(byte as u8),
            }
        }
        Err(INVALID_ARGUMENT)
    }
}

/// What this library hands out for a thing of its own. A number in a pointer's clothes: compared, never
/// dereferenced, so that a wrong one is refused and cannot crash.
#[repr(transparent)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Handle(*mut u8);

impl Handle {
    /// The handle of the thing `number`, told apart from other kinds by `kind`.
    pub fn new(kind: usize, number: usize) -> Self {
        Self(std::ptr::without_provenance_mut(kind + number * 16))
    }

    /// The number again, when it is one of this kind below `count`.
    pub fn number(self, kind: usize, count: usize) -> Result<usize, Code> {
        let offset = self.0.addr().checked_sub(kind).filter(|offset| offset % 16 == 0);
        offset.map(|offset| offset / 16).filter(|number| *number < count).ok_or(INVALID_ARGUMENT)
    }
}

#[cfg(test)]
impl<T> Out<T> {
    /// As a C caller passes `&value`.
    pub fn to(value: &mut T) -> Self {
        Self(value)
    }

    /// As a C caller passes NULL.
    pub fn null() -> Self {
        Self(std::ptr::null_mut())
    }
}

#[cfg(test)]
impl InText {
    /// As a C caller passes a text, or NULL.
    pub fn from(text: Option<&std::ffi::CStr>) -> Self {
        Self(text.map_or(std::ptr::null(), std::ffi::CStr::as_ptr))
    }
}

#[cfg(test)]
impl Handle {
    /// Any number for a pointer.
    pub fn wild(address: usize) -> Self {
        Self(std::ptr::without_provenance_mut(address))
    }
}
