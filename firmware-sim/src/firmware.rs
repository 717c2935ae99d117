//! What the devices' own firmware makes of the plant: register images, written by hand from public
//! documents. Nothing here reads the agent's profiles; a scale that is wrong in one of the two
//! places must show.

pub mod dph;
pub mod image;
pub mod rpu;
pub mod sdm630;

use crate::fault::Target;
use crate::plant::view::PlantView;
use image::{Image, Refusal};

/// A kind of Modbus device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Eastron SDM630 power meter.
    Sdm630,
    /// Delta DPH UPS with Modbus card.
    Dph,
    /// Open Rack reservoir and pumping unit.
    Rpu,
}

impl Device {
    /// The name agents know it by, as in the run's inventory.
    pub fn profile(self) -> &'static str {
        match self {
            Self::Sdm630 => "eastron-sdm630",
            Self::Dph => "delta-dph",
            Self::Rpu => "openrack-rpu",
        }
    }

    /// Its Modbus unit.
    pub fn unit(self) -> u8 {
        match self {
            Self::Sdm630 | Self::Dph => 1,
            Self::Rpu => rpu::UNIT,
        }
    }

    /// The function code it answers: 4 reads input registers, 3 reads holding registers.
    pub fn function(self) -> u8 {
        match self {
            Self::Sdm630 | Self::Dph => 4,
            Self::Rpu => 3,
        }
    }

    /// Most registers in one request.
    pub fn span(self) -> u16 {
        match self {
            Self::Sdm630 => sdm630::SPAN,
            Self::Dph | Self::Rpu => 125,
        }
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
}

/// The registers of the device behind `target` now, or `None` when it has no supply and is dead.
/// `factor` other than 1 makes it lie about power, current and flow.
pub fn image(target: Target, view: &PlantView, factor: f64) -> Option<Image> {
    match target {
        Target::Pdu(rack, feed) => {
            let pdu = &view.racks[rack].pdus[feed];
            pdu.energised.then(|| sdm630::image(pdu, factor))
        }
        Target::Cooling(rack) => {
            let cooling = &view.racks[rack].cooling;
            cooling.powered.then(|| rpu::image(cooling, view.time_s, factor))
        }
        Target::Ups(feed) => Some(dph::image(&view.feeds[feed].ups, factor)),
        Target::Gpu(..) | Target::Feed(_) => None,
    }
}
