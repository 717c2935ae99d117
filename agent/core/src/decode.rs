//! From register words to a Reading: a pure constructor. Whatever is wrong with the words becomes
//! a reason; no number leaves here that the catalogue calls implausible.

use crate::profile::{ByteOrder, Cell, Combine, Encoding, Factor, Layout, Meaning, Point, RegisterKind, WordOrder};
use headroom_rack::{NoData, Reading, UnixMs};

/// The registers of one poll: a word, or the reason why it could not be read.
#[derive(Debug, Clone, Default)]
pub struct Registers {
    reads: Vec<Read>,
    words: Vec<u16>,
}

#[derive(Debug, Clone, Copy)]
struct Read {
    kind: RegisterKind,
    address: u16,
    count: u16,
    /// Where its words begin, or why there are none.
    words: Result<usize, NoData>,
}

impl Registers {
    /// Nothing read yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Stores an answer to a read of registers from `address` on. An answer that is not `count`
    /// words long is [`NoData::Malformed`] for all of them.
    pub fn answer(&mut self, kind: RegisterKind, address: u16, count: u16, words: &[u16]) {
        if words.len() != usize::from(count) {
            return self.fail(kind, address, count, NoData::Malformed);
        }
        self.reads.push(Read { kind, address, count, words: Ok(self.words.len()) });
        self.words.extend_from_slice(words);
    }

    /// Stores that a read failed.
    pub fn fail(&mut self, kind: RegisterKind, address: u16, count: u16, reason: NoData) {
        self.reads.push(Read { kind, address, count, words: Err(reason) });
    }

    fn word(&self, kind: RegisterKind, address: u16) -> Result<u16, NoData> {
        let holds = |read: &&Read| read.kind == kind && address.wrapping_sub(read.address) < read.count;
        // A poll is a handful of reads: a map of them costs more than a look at each.
        let read = self.reads.iter().rev().find(holds).ok_or(NoData::NotYetRead)?;
        Ok(self.words[read.words? + usize::from(address - read.address)])
    }
}

/// The Reading of one point.
pub fn decode(point: &Point, registers: &Registers, at: UnixMs) -> Reading {
    match value(point, registers) {
        Ok(value) if !value.is_finite() => Reading::none(NoData::NotAvailable, at),
        Ok(value) if !point.signal.is_plausible(value) => Reading::none(NoData::OutOfRange, at),
        Ok(value) => Reading::new(value, at),
        Err(reason) => Reading::none(reason, at),
    }
}

fn value(point: &Point, registers: &Registers) -> Result<f64, NoData> {
    if let Some(status) = point.valid_unless {
        // A status that cannot be read vouches for nothing.
        let word = registers.word(status.cell.register, status.cell.address)?;
        if word >> status.bit & 1 == 1 {
            return Err(NoData::NotAvailable);
        }
    }
    let parts = point.addresses.iter().map(|a| part(point, registers, *a));
    let value = match point.combine {
        Combine::Sum => parts.sum::<Result<f64, NoData>>()?,
        // A line the device does not have is no reason to disbelieve those it has; a line that
        // could not be read is.
        Combine::Max => parts
            .filter(|p| *p != Err(NoData::NotAvailable))
            .try_fold(None, largest)
            .and_then(|m| m.ok_or(NoData::NotAvailable))?,
    };
    point.factors.iter().try_fold(value, |value, factor| Ok(value * self::factor(factor, registers)?))
}

fn factor(factor: &Factor, registers: &Registers) -> Result<f64, NoData> {
    match factor {
        Factor::PowerOfTen(cell) => match registers.word(cell.register, cell.address)? {
            0x8000 => Err(NoData::NotAvailable),
            word => match word as i16 {
                // What the standard allows (SunSpec Information Model Specification, `sunssf`).
                exponent @ -10..=10 => Ok(10_f64.powi(exponent.into())),
                _ => Err(NoData::Malformed),
            },
        },
        Factor::Value { cell, layout, scale, fraction_bits } => {
            let raw = raw(registers, *cell, *layout)?;
            Ok(fixed(number(layout.encoding, raw), *fraction_bits) * scale)
        }
        Factor::ByCode { cell, factors } => {
            let code = registers.word(cell.register, cell.address)?;
            factors.iter().find(|(known, _)| *known == code).map(|(_, factor)| *factor).ok_or(NoData::NotAvailable)
        }
    }
}

fn largest(so_far: Option<f64>, part: Result<f64, NoData>) -> Result<Option<f64>, NoData> {
    let part = part?;
    Ok(Some(so_far.map_or(part, |m: f64| m.max(part))))
}

fn part(point: &Point, registers: &Registers, address: u16) -> Result<f64, NoData> {
    let raw = raw(registers, Cell { register: point.register, address }, point.layout)?;
    if point.not_available.contains(&raw) {
        return Err(NoData::NotAvailable);
    }
    match &point.meaning {
        Meaning::AnyBitOf(mask) => Ok(f64::from(u8::from(raw & mask != 0))),
        Meaning::OneOf(values) => Ok(f64::from(u8::from(values.contains(&raw)))),
        Meaning::Number { scale, offset, fraction_bits } => {
            let number = number(point.layout.encoding, raw);
            if !number.is_finite() {
                return Err(NoData::NotAvailable);
            }
            Ok(fixed(number, *fraction_bits) * scale + offset)
        }
    }
}

fn fixed(number: f64, fraction_bits: u8) -> f64 {
    number / f64::from(1_u32 << fraction_bits)
}

fn raw(registers: &Registers, cell: Cell, layout: Layout) -> Result<u64, NoData> {
    (0..layout.encoding.words()).try_fold(0, |raw, offset| {
        let word = registers.word(cell.register, cell.address.wrapping_add(offset))?;
        let word = u64::from(if layout.byte_order == ByteOrder::LowFirst { word.swap_bytes() } else { word });
        Ok(match layout.word_order {
            WordOrder::HighFirst => raw << 16 | word,
            WordOrder::LowFirst => raw | word << (16 * offset),
        })
    })
}

fn number(encoding: Encoding, raw: u64) -> f64 {
    match encoding {
        Encoding::Bit | Encoding::U16 | Encoding::U32 | Encoding::U64 => raw as f64,
        Encoding::I16 => f64::from(raw as u16 as i16),
        Encoding::I32 => f64::from(raw as u32 as i32),
        Encoding::I64 => raw as i64 as f64,
        Encoding::F32 => f64::from(f32::from_bits(raw as u32)),
        Encoding::F64 => f64::from_bits(raw),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::StatusBit;
    use headroom_rack::Signal;
    use proptest::prelude::*;

    fn point(signal: Signal, encoding: Encoding) -> Point {
        Point {
            signal,
            register: RegisterKind::Input,
            addresses: vec![10],
            combine: Combine::Sum,
            layout: Layout { encoding, word_order: WordOrder::HighFirst, byte_order: ByteOrder::HighFirst },
            meaning: Meaning::Number { scale: 1.0, offset: 0.0, fraction_bits: 0 },
            factors: vec![],
            not_available: vec![],
            valid_unless: None,
        }
    }

    fn read(point: &Point, words: &[u16]) -> Result<f64, NoData> {
        let mut registers = Registers::new();
        registers.answer(RegisterKind::Input, 10, u16::try_from(words.len()).unwrap(), words);
        decode(point, &registers, UnixMs::new(1)).value
    }

    #[test]
    fn words_become_numbers() {
        // 230.5 as IEEE 754 single precision is 0x43668000.
        assert_eq!(read(&point(Signal::PduVoltageL1, Encoding::F32), &[0x4366, 0x8000]), Ok(230.5));
        let mut low = point(Signal::PduVoltageL1, Encoding::F32);
        low.layout.word_order = WordOrder::LowFirst;
        assert_eq!(read(&low, &[0x8000, 0x4366]), Ok(230.5));
        assert_eq!(read(&point(Signal::CoolingReturnPressure, Encoding::I16), &[0xFFF6]), Ok(-10.0));
        let mut fixed = point(Signal::UpsBatteryVoltage, Encoding::U16);
        fixed.meaning = Meaning::Number { scale: 1.0, offset: 0.0, fraction_bits: 6 };
        assert_eq!(read(&fixed, &[54 * 64 + 32]), Ok(54.5));
    }

    #[test]
    fn each_word_is_from_a_read_that_held_it() {
        let mut registers = Registers::new();
        registers.answer(RegisterKind::Input, 8, 6, &[8, 9, 10, 11, 12, 13]);
        registers.answer(RegisterKind::Input, 10, 1, &[100]);
        registers.answer(RegisterKind::Holding, 12, 1, &[7]);
        registers.fail(RegisterKind::Input, 20, 2, NoData::Timeout);
        let words = [7, 8, 10, 11, 13, 14, 21, 22].map(|address| registers.word(RegisterKind::Input, address).ok());
        assert_eq!(words, [None, Some(8), Some(100), Some(11), Some(13), None, None, None]);
        assert_eq!(registers.word(RegisterKind::Input, 21), Err(NoData::Timeout));
        assert_eq!(registers.word(RegisterKind::Input, 22), Err(NoData::NotYetRead));
        assert_eq!(registers.word(RegisterKind::Holding, 12), Ok(7));
    }

    #[test]
    fn a_float_that_is_none_is_not_available() {
        assert_eq!(read(&point(Signal::PduVoltageL1, Encoding::F32), &[0x7FC0, 0]), Err(NoData::NotAvailable));
    }

    #[test]
    fn an_implausible_value_is_out_of_range() {
        assert_eq!(read(&point(Signal::PduVoltageL1, Encoding::U16), &[40_000]), Err(NoData::OutOfRange));
    }

    #[test]
    fn a_sentinel_is_not_available_and_a_short_answer_is_malformed() {
        let mut p = point(Signal::UpsBatteryVoltage, Encoding::U16);
        p.not_available = vec![0xFFFF];
        assert_eq!(read(&p, &[0xFFFF]), Err(NoData::NotAvailable));
        let mut registers = Registers::new();
        registers.answer(RegisterKind::Input, 10, 2, &[1]);
        assert_eq!(decode(&p, &registers, UnixMs::new(1)).value, Err(NoData::Malformed));
    }

    #[test]
    fn a_value_whose_status_bit_is_set_or_unreadable_is_not_believed() {
        let mut p = point(Signal::CoolingFlow, Encoding::U16);
        p.valid_unless = Some(StatusBit { cell: Cell { register: RegisterKind::Holding, address: 0x9200 }, bit: 4 });
        let mut registers = Registers::new();
        registers.answer(RegisterKind::Input, 10, 1, &[60]);
        registers.answer(RegisterKind::Holding, 0x9200, 1, &[1 << 4]);
        assert_eq!(decode(&p, &registers, UnixMs::new(1)).value, Err(NoData::NotAvailable));
        registers.answer(RegisterKind::Holding, 0x9200, 1, &[1 << 3]);
        assert_eq!(decode(&p, &registers, UnixMs::new(1)).value, Ok(60.0));
        registers.fail(RegisterKind::Holding, 0x9200, 1, NoData::Timeout);
        assert_eq!(decode(&p, &registers, UnixMs::new(1)).value, Err(NoData::Timeout));
    }

    #[test]
    fn a_scale_factor_of_the_device_is_a_power_of_ten_and_none_makes_it_no_value() {
        let mut p = point(Signal::PduVoltageL1, Encoding::U16);
        p.factors = vec![Factor::PowerOfTen(Cell { register: RegisterKind::Input, address: 11 })];
        assert_eq!(read(&p, &[2305, 0xFFFF]), Ok(230.5));
        assert_eq!(read(&p, &[23, 1]), Ok(230.0));
        assert_eq!(read(&p, &[2305, 0x8000]), Err(NoData::NotAvailable));
        assert_eq!(read(&p, &[2305, 900]), Err(NoData::Malformed));
        assert_eq!(read(&p, &[2305]), Err(NoData::NotYetRead));
    }

    #[test]
    fn a_share_of_a_rating_is_multiplied_by_it() {
        let mut p = point(Signal::UpsOutputPowerL1, Encoding::U16);
        p.meaning = Meaning::Number { scale: 0.01, offset: 0.0, fraction_bits: 8 };
        let cell = Cell { register: RegisterKind::Input, address: 11 };
        p.factors = vec![Factor::Value { cell, layout: p.layout, scale: 1.0, fraction_bits: 0 }];
        // 62.5 % with eight binary places, of 2700 W.
        assert_eq!(read(&p, &[62 * 256 + 128, 2700]), Ok(1687.5));
    }

    #[test]
    fn the_unit_is_what_the_device_says_and_an_unknown_one_makes_it_no_value() {
        let mut p = point(Signal::CoolingFlow, Encoding::U16);
        let cell = Cell { register: RegisterKind::Input, address: 11 };
        p.factors = vec![Factor::ByCode { cell, factors: vec![(0, 1.0), (3, 60.0)] }];
        assert_eq!(read(&p, &[2, 3]), Ok(120.0));
        assert_eq!(read(&p, &[2, 0]), Ok(2.0));
        assert_eq!(read(&p, &[2, 1]), Err(NoData::NotAvailable));
    }

    #[test]
    fn low_byte_first_is_turned_in_each_word() {
        let mut p = point(Signal::PduVoltageL1, Encoding::U32);
        p.layout.byte_order = ByteOrder::LowFirst;
        assert_eq!(read(&p, &[0x0000, 0xE600]), Ok(230.0));
    }

    #[test]
    fn the_fullest_phase_counts_and_phases_the_device_lacks_do_not() {
        let mut p = point(Signal::UpsLoad, Encoding::U16);
        p.addresses = vec![10, 11, 12];
        p.combine = Combine::Max;
        p.meaning = Meaning::Number { scale: 0.01, offset: 0.0, fraction_bits: 0 };
        p.not_available = vec![0xFFFF];
        assert_eq!(read(&p, &[40, 0xFFFF, 0xFFFF]), Ok(0.4));
        assert_eq!(read(&p, &[40, 90, 70]), Ok(0.9));
        assert_eq!(read(&p, &[0xFFFF; 3]), Err(NoData::NotAvailable));
    }

    #[test]
    fn a_flag_follows_its_rule() {
        let mut p = point(Signal::UpsOnBattery, Encoding::U16);
        p.meaning = Meaning::OneOf(vec![3]);
        assert_eq!(read(&p, &[3]), Ok(1.0));
        assert_eq!(read(&p, &[2]), Ok(0.0));
        p.meaning = Meaning::AnyBitOf(0x0FF0);
        assert_eq!(read(&p, &[0x0010]), Ok(1.0));
        assert_eq!(read(&p, &[0x000F]), Ok(0.0));
    }

    /// Words and what they are by the tests of Open Rack's own reader, facebook/openbmc rackmon2
    /// `RegisterValueTest.cpp` (INTEGER, LITTLE_INTEGER, FLOAT, FLAGS, LargeFlags).
    #[test]
    fn the_rules_of_open_rack_give_what_its_own_reader_gives() {
        let mut integer = point(Signal::PduEnergy, Encoding::U32);
        assert_eq!(read(&integer, &[0x1234, 0x5678]), Ok(f64::from(0x1234_5678)));
        // What it calls little-endian turns words and bytes.
        (integer.layout.word_order, integer.layout.byte_order) = (WordOrder::LowFirst, ByteOrder::LowFirst);
        assert_eq!(read(&integer, &[0x1234, 0x5678]), Ok(f64::from(0x7856_3412)));
        let mut fixed = point(Signal::PduCurrentL1, Encoding::I16);
        fixed.meaning = Meaning::Number { scale: 1.0, offset: 0.0, fraction_bits: 11 };
        assert!(read(&fixed, &[0x64FC]).is_ok_and(|v| (v - 12.623).abs() < 0.001));
        let flag = |encoding, bit: u32, words: &[u16]| {
            let mut flag = point(Signal::UpsBatteryWeak, encoding);
            flag.meaning = Meaning::AnyBitOf(1 << bit);
            read(&flag, words)
        };
        for (word, hello, world) in [(0x0003, 1.0, 1.0), (0x0000, 0.0, 0.0), (0x0002, 0.0, 1.0)] {
            assert_eq!((flag(Encoding::U16, 0, &[word]), flag(Encoding::U16, 1, &[word])), (Ok(hello), Ok(world)));
        }
        for (bit, set) in [(0, 1.0), (31, 0.0), (32, 0.0), (63, 1.0)] {
            assert_eq!(flag(Encoding::U64, bit, &[0x8000, 0, 0, 1]), Ok(set), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_words_a_value_is_finite_and_plausible(words in prop::collection::vec(any::<u16>(), 0..5), kind in 0..8_usize) {
            let p = point(Signal::PduPower, Encoding::ALL[kind].1);
            if let Ok(value) = read(&p, &words) {
                prop_assert!(value.is_finite() && Signal::PduPower.is_plausible(value));
            }
        }
    }
}
