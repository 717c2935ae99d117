//! One GPU read once: one batched call for the field values, and a few calls for what has no
//! field. Whatever a board or driver lacks becomes a reason, never a number.

use headroom_rack::{NoData, Reading, Signal, UnixMs};
use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use std::collections::BTreeMap;

/// Field ids of nvml.h; none lies in the range that was renumbered with driver 580.82.
mod field {
    pub const ECC_DBE_VOL_TOTAL: u32 = 4;
    pub const PERF_POLICY_POWER: u32 = 74;
    pub const MEMORY_TEMP: u32 = 82;
    pub const TOTAL_ENERGY: u32 = 83;
    pub const POWER_AVERAGE: u32 = 185;
    pub const POWER_INSTANT: u32 = 186;
    pub const POWER_MIN_LIMIT: u32 = 187;
    pub const POWER_MAX_LIMIT: u32 = 188;
    pub const POWER_DEFAULT_LIMIT: u32 = 189;
    pub const POWER_CURRENT_LIMIT: u32 = 190;
    pub const POWER_REQUESTED_LIMIT: u32 = 192;
}

/// Signal, field and factor from the field's unit: mW to W, mJ to J, ns to s.
const FIELDS: &[(Signal, u32, f64)] = &[
    (Signal::GpuPower, field::POWER_AVERAGE, 1e-3),
    (Signal::GpuPowerInstant, field::POWER_INSTANT, 1e-3),
    (Signal::GpuEnergy, field::TOTAL_ENERGY, 1e-3),
    (Signal::GpuLimitEnforced, field::POWER_CURRENT_LIMIT, 1e-3),
    (Signal::GpuLimitRequested, field::POWER_REQUESTED_LIMIT, 1e-3),
    (Signal::GpuLimitMin, field::POWER_MIN_LIMIT, 1e-3),
    (Signal::GpuLimitMax, field::POWER_MAX_LIMIT, 1e-3),
    (Signal::GpuLimitDefault, field::POWER_DEFAULT_LIMIT, 1e-3),
    (Signal::GpuMemoryTemperature, field::MEMORY_TEMP, 1.0),
    (Signal::GpuPowerCappedTime, field::PERF_POLICY_POWER, 1e-9),
    (Signal::GpuEccDoubleBit, field::ECC_DBE_VOL_TOTAL, 1.0),
];

/// Every signal of a GPU. The margin to slowdown has no field and no safe wrapper yet: it stays
/// `not_supported`. Xids come by events.
pub const SIGNALS: &[Signal] = &[
    Signal::GpuPower,
    Signal::GpuPowerInstant,
    Signal::GpuEnergy,
    Signal::GpuLimitEnforced,
    Signal::GpuLimitRequested,
    Signal::GpuLimitMin,
    Signal::GpuLimitMax,
    Signal::GpuLimitDefault,
    Signal::GpuSmClock,
    Signal::GpuMemoryClock,
    Signal::GpuUtilization,
    Signal::GpuMemoryUsed,
    Signal::GpuTemperature,
    Signal::GpuTemperatureMargin,
    Signal::GpuMemoryTemperature,
    Signal::GpuThrottleReasons,
    Signal::GpuPowerCappedTime,
    Signal::GpuEccDoubleBit,
    Signal::GpuXid,
    Signal::GpuXidEvents,
];

type Value = Result<f64, NoData>;

/// Everything but Xids.
pub fn readings(device: &Device<'_>, at: UnixMs) -> Vec<(Signal, Reading)> {
    let mut values = fields(device, FIELDS);
    // Boards and drivers without the fields still have the older calls.
    let milli = |value: Result<u32, NvmlError>| value.map(|v| f64::from(v) * 1e-3).map_err(|e| no_data(&e));
    let mut or_call = |signal, call: &dyn Fn() -> Value| {
        if values.get(&signal).is_none_or(|v| *v == Err(NoData::NotSupported)) {
            values.insert(signal, call());
        }
    };
    or_call(Signal::GpuPower, &|| milli(device.power_usage()));
    or_call(Signal::GpuLimitEnforced, &|| milli(device.enforced_power_limit()));
    or_call(Signal::GpuLimitRequested, &|| milli(device.power_management_limit()));
    or_call(Signal::GpuLimitDefault, &|| milli(device.power_management_limit_default()));
    or_call(Signal::GpuLimitMin, &|| milli(device.power_management_limit_constraints().map(|c| c.min_limit)));
    or_call(Signal::GpuLimitMax, &|| milli(device.power_management_limit_constraints().map(|c| c.max_limit)));
    or_call(Signal::GpuEnergy, &|| call(device.total_energy_consumption()).map(|mj| mj * 1e-3));
    values.insert(Signal::GpuSmClock, call(device.clock_info(Clock::SM)));
    values.insert(Signal::GpuMemoryClock, call(device.clock_info(Clock::Memory)));
    values.insert(Signal::GpuUtilization, call(device.utilization_rates().map(|u| u.gpu)).map(|p| p / 100.0));
    values.insert(Signal::GpuMemoryUsed, call(device.memory_info().map(|m| m.used)));
    values.insert(Signal::GpuTemperature, call(device.temperature(TemperatureSensor::Gpu)));
    values.insert(Signal::GpuTemperatureMargin, Err(NoData::NotSupported));
    values.insert(Signal::GpuThrottleReasons, call(device.current_throttle_reasons().map(|r| r.bits())));
    if values.get(&Signal::GpuLimitEnforced) == Some(&Err(NoData::DeviceLost)) {
        // A lost GPU is lost as a whole, even where the driver still answers from a cache.
        values.values_mut().for_each(|v| *v = Err(NoData::DeviceLost));
    }
    values.into_iter().map(|(signal, value)| (signal, reading(signal, value, at))).collect()
}

/// Instantaneous power alone, for the guard.
pub fn instant_power(device: &Device<'_>, at: UnixMs) -> Reading {
    let instant = &FIELDS[1..2];
    let value = fields(device, instant).remove(&Signal::GpuPowerInstant).unwrap_or(Err(NoData::NotSupported));
    reading(Signal::GpuPowerInstant, value, at)
}

fn reading(signal: Signal, value: Value, at: UnixMs) -> Reading {
    match value {
        Ok(v) if v.is_finite() && !signal.is_plausible(v) => Reading::none(NoData::OutOfRange, at),
        Ok(v) => Reading::new(v, at),
        Err(reason) => Reading::none(reason, at),
    }
}

fn fields(device: &Device<'_>, wanted: &[(Signal, u32, f64)]) -> BTreeMap<Signal, Value> {
    let ids: Vec<FieldId> = wanted.iter().map(|(_, id, _)| FieldId(*id)).collect();
    let samples = match device.field_values_for(&ids) {
        Ok(samples) => samples,
        Err(error) => return wanted.iter().map(|(signal, ..)| (*signal, Err(no_data(&error)))).collect(),
    };
    let value = |sample: Result<SampleValue, NvmlError>| match sample {
        Ok(SampleValue::F64(v)) => Ok(v),
        Ok(SampleValue::U32(v)) => Ok(f64::from(v)),
        Ok(SampleValue::U64(v)) => Ok(v as f64),
        Ok(SampleValue::I64(v)) => Ok(v as f64),
        Err(error) => Err(no_data(&error)),
    };
    wanted
        .iter()
        .zip(samples)
        .map(|((signal, _, factor), sample)| (*signal, value(sample.and_then(|s| s.value)).map(|v| v * factor)))
        .collect()
}

fn call<T: Counted>(result: Result<T, NvmlError>) -> Value {
    result.map(T::into_f64).map_err(|e| no_data(&e))
}

trait Counted {
    fn into_f64(self) -> f64;
}
impl Counted for u32 {
    fn into_f64(self) -> f64 {
        self.into()
    }
}
impl Counted for u64 {
    fn into_f64(self) -> f64 {
        self as f64
    }
}

/// What an NVML error means for a signal. Not supported and not permitted are normal.
pub fn no_data(error: &NvmlError) -> NoData {
    match error {
        NvmlError::NotSupported
        | NvmlError::FunctionNotFound
        | NvmlError::FailedToLoadSymbol(_)
        | NvmlError::InvalidArg => NoData::NotSupported,
        NvmlError::NoPermission => NoData::PermissionDenied,
        NvmlError::GpuLost | NvmlError::ResetRequired => NoData::DeviceLost,
        NvmlError::Timeout => NoData::Timeout,
        NvmlError::Uninitialized | NvmlError::DriverNotLoaded | NvmlError::LibRmVersionMismatch => NoData::Disconnected,
        NvmlError::UnexpectedVariant(_) | NvmlError::IncorrectBits(_) | NvmlError::Utf8Error(_) => NoData::Malformed,
        _ => NoData::NotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_driver_lacks_is_not_supported_and_a_lost_gpu_is_lost() {
        assert_eq!(no_data(&NvmlError::FailedToLoadSymbol("x".into())), NoData::NotSupported);
        assert_eq!(no_data(&NvmlError::NoPermission), NoData::PermissionDenied);
        assert_eq!(no_data(&NvmlError::GpuLost), NoData::DeviceLost);
    }

    #[test]
    fn every_gpu_signal_of_the_catalogue_is_announced() {
        let all = Signal::ALL.iter().filter(|s| s.class() == headroom_rack::Class::Gpu);
        assert!(all.clone().all(|s| SIGNALS.contains(s)) && all.count() == SIGNALS.len());
    }
}
