//! A device family as data: which register holds which signal, how it is coded and how the link
//! wants to be treated. A profile can only read: it has no way to name a write. Reading profile
//! text is in `profile/text.rs`; turning registers into Readings is `decode`'s.

mod text;

use headroom_rack::{Class, Signal};

/// Which table of a Modbus device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterKind {
    /// Input registers, function code 4.
    Input,
    /// Holding registers, function code 3.
    Holding,
}

/// How a value lies in its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it: sign, then bits")]
pub enum Encoding {
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F32,
    F64,
}

impl Encoding {
    /// All encodings with their names in profiles.
    pub const ALL: &'static [(&'static str, Encoding)] = &[
        ("u16", Self::U16),
        ("i16", Self::I16),
        ("u32", Self::U32),
        ("i32", Self::I32),
        ("u64", Self::U64),
        ("i64", Self::I64),
        ("f32", Self::F32),
        ("f64", Self::F64),
    ];

    /// How many 16-bit registers one value takes.
    pub fn words(self) -> u16 {
        match self {
            Self::U16 | Self::I16 => 1,
            Self::U32 | Self::I32 | Self::F32 => 2,
            Self::U64 | Self::I64 | Self::F64 => 4,
        }
    }

    /// Whether the value is floating point.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }
}

/// Which register of several holds the most significant word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WordOrder {
    /// The one with the lowest address (most devices).
    HighFirst,
    /// The one with the highest address (Carlo Gavazzi, Belimo).
    LowFirst,
}

/// How several raw values become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Combine {
    /// All must be there; added up.
    Sum,
    /// The largest of those the device has.
    Max,
}

/// What the raw value means.
#[derive(Debug, Clone, PartialEq)]
pub enum Meaning {
    /// `value = raw / 2^fraction_bits * scale + offset`, in the signal's unit.
    Number {
        /// Factor into the signal's unit.
        scale: f64,
        /// Added after scaling, in the signal's unit.
        offset: f64,
        /// Binary fixed point (APC, Open Rack).
        fraction_bits: u8,
    },
    /// 1 when any of these bits is set, else 0.
    AnyBitOf(u64),
    /// 1 when the raw value is one of these, else 0.
    OneOf(Vec<u64>),
}

/// A status bit that declares a value invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusBit {
    /// Table of the status register.
    pub register: RegisterKind,
    /// Its protocol address (counted from 0).
    pub address: u16,
    /// The bit, 0 is the least significant.
    pub bit: u8,
}

/// One signal of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// What is measured.
    pub signal: Signal,
    /// Which table.
    pub register: RegisterKind,
    /// Protocol addresses (counted from 0) of the first register of each raw value; never empty.
    pub addresses: Vec<u16>,
    /// How several raw values become one.
    pub combine: Combine,
    /// How a raw value is coded.
    pub encoding: Encoding,
    /// Which word comes first.
    pub word_order: WordOrder,
    /// What the raw value means.
    pub meaning: Meaning,
    /// Raw values (as unsigned bit patterns) by which the device says that it has no value.
    pub not_available: Vec<u64>,
    /// The value is not to be believed while this bit is set.
    pub valid_unless: Option<StatusBit>,
}

impl Point {
    /// Every run of registers this point needs.
    pub fn runs(&self) -> impl Iterator<Item = (RegisterKind, u16, u16)> + '_ {
        let words = self.encoding.words();
        let status = self.valid_unless.map(|s| (s.register, s.address, 1));
        self.addresses.iter().map(move |a| (self.register, *a, words)).chain(status)
    }
}

/// What the device and its line can bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// Most registers in one request, 1 to 125.
    pub max_span: u16,
    /// Whether a request may run over registers that no point needs.
    pub bridge: bool,
    /// Silence between an answer and the next request, in milliseconds.
    pub gap_ms: u64,
    /// Time-out of one request when the config names none, in milliseconds.
    pub timeout_ms: u64,
}

/// What is read to see whether a device that did not answer is back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Which table.
    pub register: RegisterKind,
    /// Protocol address (counted from 0).
    pub address: u16,
    /// How many registers.
    pub count: u16,
}

/// A device family.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Name used in configs.
    pub name: String,
    /// What kind of device.
    pub class: Class,
    /// For people.
    pub describes: String,
    /// The public document the map comes from.
    pub source: String,
    /// On what the map was tried, and on what it was not.
    pub validated: String,
    /// What the line can bear.
    pub link: Link,
    /// What is read while the device is dormant.
    pub probe: Probe,
    /// The signals, each at most once.
    pub points: Vec<Point>,
}
