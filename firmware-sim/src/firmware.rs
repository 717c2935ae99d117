//! What the devices' own firmware makes of the plant: register images, written by hand from public
//! documents. Nothing here reads the agent's profiles; a scale that is wrong in one of the two
//! places must show.

pub mod device;
pub mod dph;
pub mod huawei;
pub mod image;
pub mod quint;
pub mod rpu;
pub mod sdm630;
pub mod socomec;
pub mod sunspec;

use crate::fault::Target;
use crate::plant::view::PlantView;
pub use device::Device;
use image::Image;

/// Which make stands where; cooling units come in one make only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fitting {
    /// At the inlet of each PDU.
    pub meter: Device,
    /// On each feed.
    pub ups: Device,
}

impl Default for Fitting {
    fn default() -> Self {
        Self { meter: Device::Sdm630, ups: Device::Dph }
    }
}

/// The registers of the `device` at `target` now, or `None` when it has no supply and is dead, or no
/// device of this make can stand there. `factor` other than 1 makes it lie about power, current and flow.
pub fn image(device: Device, target: Target, view: &PlantView, factor: f64) -> Option<Image> {
    match target {
        Target::Pdu(rack, feed) => {
            let pdu = Some(&view.racks[rack].pdus[feed]).filter(|pdu| pdu.energised)?;
            match device {
                Device::Sdm630 => Some(sdm630::image(pdu, factor)),
                Device::SunSpec203 => Some(sunspec::integers(pdu, factor)),
                Device::SunSpec213 => Some(sunspec::floats(pdu, factor)),
                _ => None,
            }
        }
        Target::Cooling(rack) => {
            let cooling = Some(&view.racks[rack].cooling).filter(|c| c.powered && device == Device::Rpu)?;
            Some(rpu::image(cooling, view.time_s, factor))
        }
        Target::Ups(feed) => {
            let ups = &view.feeds[feed].ups;
            match device {
                Device::Dph => Some(dph::image(ups, factor)),
                Device::HuaweiUps2000 => Some(huawei::image(ups, factor)),
                Device::SocomecJbus => Some(socomec::image(ups, view.time_s, factor)),
                Device::Quint => Some(quint::first(ups, factor)),
                Device::Quint4 => Some(quint::fourth(ups, factor)),
                _ => None,
            }
        }
        Target::Gpu(..) | Target::Feed(_) => None,
    }
}
