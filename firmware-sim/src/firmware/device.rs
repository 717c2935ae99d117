//! The makes of devices: what each is called, and how it is spoken to.

use super::image::{Image, Refusal};
use super::{huawei, rpu, sdm630};

/// A make of Modbus device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Eastron SDM630 power meter.
    Sdm630,
    /// Any meter with SunSpec model 203: integers with scale factors.
    SunSpec203,
    /// Any meter with SunSpec model 213: floats.
    SunSpec213,
    /// Delta DPH UPS with Modbus card.
    Dph,
    /// Huawei UPS2000-A or -G.
    HuaweiUps2000,
    /// Socomec UPS with JBUS, such as DELPHYS MX.
    SocomecJbus,
    /// Phoenix Contact QUINT-UPS/24DC, the first generation.
    Quint,
    /// Phoenix Contact QUINT4-UPS/24DC.
    Quint4,
    /// Open Rack reservoir and pumping unit.
    Rpu,
}

/// The meters that can sit at the inlet of a rack's PDU.
pub const METERS: &[Device] = &[Device::Sdm630, Device::SunSpec203, Device::SunSpec213];

/// The UPSs that can feed the row.
pub const UPSS: &[Device] = &[Device::Dph, Device::HuaweiUps2000, Device::SocomecJbus, Device::Quint, Device::Quint4];

/// How a serial port is set up: eight data bits, one stop bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSettings {
    /// Bits per second.
    pub baud: u32,
    /// Even parity; none otherwise.
    pub even: bool,
}

/// What is fixed for each make: name, unit, function code, most registers in one request, baud, even parity.
type Facts = (&'static str, u8, u8, u16, u32, bool);

impl Device {
    fn facts(self) -> Facts {
        match self {
            Self::Sdm630 => ("eastron-sdm630", 1, 4, sdm630::SPAN, 9_600, false),
            Self::SunSpec203 => ("sunspec-203", 1, 3, 125, 9_600, false),
            Self::SunSpec213 => ("sunspec-213", 1, 3, 125, 9_600, false),
            Self::Dph => ("delta-dph", 1, 4, 125, 9_600, false),
            Self::HuaweiUps2000 => ("huawei-ups2000", 1, 3, 125, 9_600, false),
            Self::SocomecJbus => ("socomec-jbus", 1, 3, 125, 9_600, false),
            Self::Quint => ("phoenix-quint", 192, 4, 125, 115_200, true),
            Self::Quint4 => ("phoenix-quint4", 192, 4, 125, 115_200, true),
            Self::Rpu => ("openrack-rpu", rpu::UNIT, 3, 125, 19_200, false),
        }
    }

    /// The name agents know it by, as in the run's inventory.
    pub fn profile(self) -> &'static str {
        self.facts().0
    }

    /// Its Modbus unit.
    pub fn unit(self) -> u8 {
        self.facts().1
    }

    /// The function code it answers: 4 reads input registers, 3 reads holding registers.
    pub fn function(self) -> u8 {
        self.facts().2
    }

    /// Most registers in one request.
    pub fn span(self) -> u16 {
        self.facts().3
    }

    /// The settings of its serial port as it leaves the factory.
    pub fn line(self) -> LineSettings {
        let (.., baud, even) = self.facts();
        LineSettings { baud, even }
    }

    /// Answers a read of `count` registers at `address` by function `function`.
    ///
    /// # Errors
    /// [`Refusal`] as the device would put it into an exception.
    pub fn read(self, image: &Image, function: u8, address: u16, count: u16) -> Result<Vec<u16>, Refusal> {
        if function != self.function() {
            return Err(Refusal::Function);
        }
        if count == 0 || count > self.span() {
            return Err(Refusal::Value);
        }
        image.read(address, count)
    }

    /// Answers function 0x2B/0x0E, read device identification: object ids with their values.
    ///
    /// # Errors
    /// [`Refusal::Function`] by makes that do not have it, [`Refusal::Address`] for another object.
    pub fn identify(self, object: u8) -> Result<Vec<(u8, Vec<u8>)>, Refusal> {
        match self {
            Self::HuaweiUps2000 => huawei::identity(object),
            _ => Err(Refusal::Function),
        }
    }
}
