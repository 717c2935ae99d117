//! A device family as data: which register holds which signal, how it is coded and how the link
//! wants to be treated. A profile can only read: it has no way to name a write. Reading profile
//! text is in `profile/text.rs`; turning registers into Readings is `decode`'s.

mod reference;
mod text;

pub use reference::reference;

use headroom_rack::{Class, Signal};

/// Which table of a Modbus device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RegisterKind {
    /// Input registers, function code 4.
    Input,
    /// Holding registers, function code 3.
    Holding,
    /// Coils, function code 1; each is a word of 0 or 1 here.
    Coil,
    /// Discrete inputs, function code 2; each is a word of 0 or 1 here.
    Discrete,
}

impl RegisterKind {
    /// All tables with their names in profiles.
    pub const ALL: &'static [(&'static str, RegisterKind)] =
        &[("input", Self::Input), ("holding", Self::Holding), ("coil", Self::Coil), ("discrete", Self::Discrete)];

    /// Whether its cells are single bits.
    pub fn is_bits(self) -> bool {
        matches!(self, Self::Coil | Self::Discrete)
    }
}

/// How a value lies in its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it: sign, then bits")]
pub enum Encoding {
    Bit,
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
        ("bit", Self::Bit),
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
            Self::Bit | Self::U16 | Self::I16 => 1,
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

/// Which byte of a register is the more significant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteOrder {
    /// The first (the standard).
    HighFirst,
    /// The second (Socomec on serial lines).
    LowFirst,
}

/// How one raw value lies in its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// How the value is coded.
    pub encoding: Encoding,
    /// Which word comes first.
    pub word_order: WordOrder,
    /// Which byte comes first.
    pub byte_order: ByteOrder,
}

/// One register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Which table.
    pub register: RegisterKind,
    /// Its protocol address (counted from 0).
    pub address: u16,
}

/// What else of the device a value is multiplied by.
#[derive(Debug, Clone, PartialEq)]
pub enum Factor {
    /// Ten to the power of a signed register (SunSpec `sunssf`, Information Model Specification 4.2.7;
    /// 0x8000 says that there is none).
    PowerOfTen(Cell),
    /// Another value, `raw / 2^fraction_bits * scale`: the rating of a value given in percent of it.
    Value {
        /// Its first register.
        cell: Cell,
        /// How it lies there.
        layout: Layout,
        /// Factor into the unit wanted.
        scale: f64,
        /// Binary fixed point.
        fraction_bits: u8,
    },
    /// The factor of the code in a register that tells the unit. Another code makes it no value.
    ByCode {
        /// The register.
        cell: Cell,
        /// Codes with their factors.
        factors: Vec<(u16, f64)>,
    },
}

impl Factor {
    fn run(&self) -> (Cell, u16) {
        match self {
            Self::PowerOfTen(cell) | Self::ByCode { cell, .. } => (*cell, 1),
            Self::Value { cell, layout, .. } => (*cell, layout.encoding.words()),
        }
    }
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
    /// The status register.
    pub cell: Cell,
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
    /// How a raw value lies in its registers.
    pub layout: Layout,
    /// What the raw value means.
    pub meaning: Meaning,
    /// What else of the device the value is multiplied by.
    pub factors: Vec<Factor>,
    /// Raw values (as unsigned bit patterns) by which the device says that it has no value.
    pub not_available: Vec<u64>,
    /// The value is not to be believed while this bit is set.
    pub valid_unless: Option<StatusBit>,
}

impl Point {
    /// Every run of registers this point needs.
    pub fn runs(&self) -> impl Iterator<Item = (RegisterKind, u16, u16)> + '_ {
        let words = self.layout.encoding.words();
        let status = self.valid_unless.map(|s| (s.cell, 1));
        let beside = self.factors.iter().map(Factor::run).chain(status);
        let beside = beside.map(|(cell, words)| (cell.register, cell.address, words));
        self.addresses.iter().map(move |a| (self.register, *a, words)).chain(beside)
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
    /// Silence after connecting before the first request, in milliseconds.
    pub startup_ms: u64,
    /// Time in which the device renews its values, in milliseconds: asking faster is in vain.
    pub fastest_ms: u64,
}

/// Registers that the device gives only in one request of exactly this extent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The first one.
    pub cell: Cell,
    /// How many.
    pub count: u16,
}

/// What is read to see whether a device is there, and the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The first register.
    pub cell: Cell,
    /// How many registers.
    pub count: u16,
    /// What they hold on such a device; empty: any answer will do.
    pub expect: Vec<u16>,
    /// First and last unit id such a device has by default.
    pub units: Option<(u8, u8)>,
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
    /// Requests that must be whole.
    pub blocks: Vec<Block>,
    /// The signals, each at most once.
    pub points: Vec<Point>,
}
