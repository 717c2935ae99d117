//! A sparse map of 16-bit registers and the ways to write values into it.

use std::collections::BTreeMap;

/// Why a request is refused, by the exception code it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 1: this function code is not served.
    Function,
    /// 2: a register outside the map.
    Address,
    /// 3: an impossible count.
    Value,
}

/// The registers of one device at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Image {
    registers: BTreeMap<u16, u16>,
}

impl Image {
    /// Reads `count` registers; all of them have to exist.
    ///
    /// # Errors
    /// [`Refusal::Address`] when one does not.
    pub fn read(&self, address: u16, count: u16) -> Result<Vec<u16>, Refusal> {
        let end = u32::from(address) + u32::from(count);
        let words: Vec<u16> = self.registers.range(address..).take(usize::from(count)).map(|(_, w)| *w).collect();
        let last =
            self.registers.range(address..).nth(usize::from(count).saturating_sub(1)).map(|(a, _)| u32::from(*a));
        if last == Some(end - 1) { Ok(words) } else { Err(Refusal::Address) }
    }

    /// One raw register.
    pub fn word(&mut self, address: u16, word: u16) {
        self.registers.insert(address, word);
    }

    /// IEEE 754 single, high word first.
    pub fn float(&mut self, address: u16, value: f64) {
        let bits = (value as f32).to_bits();
        self.word(address, (bits >> 16) as u16);
        self.word(address + 1, (bits & 0xffff) as u16);
    }

    /// Unsigned, in units of `unit`, rounded to the nearest and held inside what the register can
    /// say (`most` leaves room for reserved codes).
    pub fn scaled(&mut self, address: u16, value: f64, unit: f64, most: u16) {
        self.word(address, (value / unit).round().clamp(0.0, f64::from(most)) as u16);
    }

    /// Signed (two's complement), in units of `unit`.
    pub fn signed(&mut self, address: u16, value: f64, unit: f64) {
        let n = (value / unit).round().clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16;
        self.word(address, n as u16);
    }

    /// 32 bits, high word first.
    pub fn long(&mut self, address: u16, value: u32) {
        self.word(address, (value >> 16) as u16);
        self.word(address + 1, (value & 0xffff) as u16);
    }

    /// Text, two characters to a register, high byte first, padded with spaces.
    pub fn text(&mut self, address: u16, text: &str, registers: u16) {
        self.padded(address, text, registers, b' ');
    }

    /// Text like [`Image::text`], padded with zeros.
    pub fn string(&mut self, address: u16, text: &str, registers: u16) {
        self.padded(address, text, registers, 0);
    }

    fn padded(&mut self, address: u16, text: &str, registers: u16, pad: u8) {
        let mut bytes = text.bytes();
        for i in 0..registers {
            let mut next = || u16::from(bytes.next().unwrap_or(pad));
            let word = (next() << 8) | next();
            self.word(address + i, word);
        }
    }

    /// The same word in a whole range of addresses, both ends included.
    pub fn fill(&mut self, addresses: std::ops::RangeInclusive<u16>, word: u16) {
        addresses.for_each(|address| self.word(address, word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_touches_a_hole_is_refused() {
        let mut image = Image::default();
        image.fill(10..=19, 7);
        assert_eq!(image.read(10, 10), Ok(vec![7; 10]));
        for (address, count) in [(9, 2), (19, 2), (0, 1), (10, 11), (u16::MAX, 1), (u16::MAX, 2)] {
            assert_eq!(image.read(address, count), Err(Refusal::Address), "{address}+{count}");
        }
    }

    #[test]
    fn values_are_laid_out_as_the_documents_say() {
        let mut image = Image::default();
        image.float(0, 1.0);
        image.scaled(2, 24.96, 0.1, 0xfffe);
        image.signed(3, -1.25, 0.1);
        image.long(4, 0x0001_0002);
        image.text(6, "AB", 2);
        image.string(8, "ABC", 2);
        let words = vec![0x3f80, 0, 250, (-13_i16) as u16, 1, 2, 0x4142, 0x2020, 0x4142, 0x4300];
        assert_eq!(image.read(0, 10), Ok(words));
    }
}
