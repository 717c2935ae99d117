//! One GPU read once: one batched call for the field values, and a few calls for what has no
//! field. Whatever a board or driver lacks becomes a reason, never a number.

use super::margin;
use headroom_rack::{NoData, Reading, Signal, UnixMs};
use nvml_wrapper::Device;
use nvml_wrapper::enum_wrappers::device::{Clock, TemperatureSensor};
use nvml_wrapper::enums::device::SampleValue;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::structs::device::FieldId;
use std::collections::BTreeMap;

/// Signal, its fields (nvml.h), which add up, and the factor from their unit: mW to W, mJ to J, ns to s.
/// Fields from 251 on are named as in CUDA 12; nvml-wrapper asks newer drivers (580.82) by their new ids.
type Field = (Signal, &'static [u32], f64);

const INSTANT: Field = (Signal::GpuPowerInstant, &[186], 1e-3);
const FIELDS: &[Field] = &[
    (Signal::GpuPower, &[185], 1e-3),
    INSTANT,
    (Signal::GpuEnergy, &[83], 1e-3),
    (Signal::GpuLimitEnforced, &[190], 1e-3),
    (Signal::GpuLimitRequested, &[192], 1e-3),
    (Signal::GpuLimitMin, &[187], 1e-3),
    (Signal::GpuLimitMax, &[188], 1e-3),
    (Signal::GpuLimitDefault, &[189], 1e-3),
    (Signal::GpuMemoryTemperature, &[82], 1.0),
    (Signal::GpuPowerCappedTime, &[74], 1e-9),
    (Signal::GpuThermalThrottledTime, &[75], 1e-9),
    (Signal::GpuSyncBoostTime, &[76], 1e-9),
    (Signal::GpuBoardLimitTime, &[77], 1e-9),
    (Signal::GpuPowerBrakeTime, &[253], 1e-9),
    (Signal::GpuEccCorrected, &[3], 1.0),
    (Signal::GpuEccDoubleBit, &[4], 1.0),
    (Signal::GpuEccLifetime, &[6], 1.0),
    (Signal::GpuRemappedCorrected, &[142], 1.0),
    (Signal::GpuRemappedUncorrected, &[143], 1.0),
    (Signal::GpuRemapPending, &[144], 1.0),
    (Signal::GpuRemapFailed, &[145], 1.0),
    (Signal::GpuPcieReplays, &[94], 1.0),
    (Signal::GpuNvlinkCrcErrors, &[38, 45], 1.0),
    (Signal::GpuNvlinkReplays, &[52], 1.0),
    (Signal::GpuNvlinkRecoveries, &[59], 1.0),
    (Signal::GpuRecoveryAction, &[230], 1.0),
];

/// Every signal of a GPU. Xids come by events.
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
    Signal::GpuMemoryUtilization,
    Signal::GpuMemoryUsed,
    Signal::GpuMemoryTotal,
    Signal::GpuProcesses,
    Signal::GpuTemperature,
    Signal::GpuTemperatureMargin,
    Signal::GpuMemoryTemperature,
    Signal::GpuThrottleReasons,
    Signal::GpuPowerCappedTime,
    Signal::GpuThermalThrottledTime,
    Signal::GpuSyncBoostTime,
    Signal::GpuBoardLimitTime,
    Signal::GpuPowerBrakeTime,
    Signal::GpuEccCorrected,
    Signal::GpuEccDoubleBit,
    Signal::GpuEccLifetime,
    Signal::GpuRemappedCorrected,
    Signal::GpuRemappedUncorrected,
    Signal::GpuRemapPending,
    Signal::GpuRemapFailed,
    Signal::GpuPcieReplays,
    Signal::GpuNvlinkCrcErrors,
    Signal::GpuNvlinkReplays,
    Signal::GpuNvlinkRecoveries,
    Signal::GpuRecoveryAction,
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
    let rates = device.utilization_rates().map_err(|e| no_data(&e));
    values.insert(Signal::GpuUtilization, rates.as_ref().map(|u| f64::from(u.gpu) / 100.0).map_err(|e| *e));
    values.insert(Signal::GpuMemoryUtilization, rates.map(|u| f64::from(u.memory) / 100.0));
    let memory = device.memory_info().map_err(|e| no_data(&e));
    values.insert(Signal::GpuMemoryUsed, memory.as_ref().map(|m| m.used as f64).map_err(|e| *e));
    values.insert(Signal::GpuMemoryTotal, memory.map(|m| m.total as f64));
    values.insert(Signal::GpuProcesses, call(device.running_compute_processes_count()));
    values.insert(Signal::GpuTemperature, call(device.temperature(TemperatureSensor::Gpu)));
    values.insert(Signal::GpuTemperatureMargin, margin::kelvins(device).map_err(|e| no_data(&e)));
    values.insert(Signal::GpuThrottleReasons, call(device.current_throttle_reasons().map(|r| r.bits())));
    if values.get(&Signal::GpuLimitEnforced) == Some(&Err(NoData::DeviceLost)) {
        // A lost GPU is lost as a whole, even where the driver still answers from a cache.
        values.values_mut().for_each(|v| *v = Err(NoData::DeviceLost));
    }
    values.into_iter().map(|(signal, value)| (signal, reading(signal, value, at))).collect()
}

/// Instantaneous power alone, for the guard.
pub fn instant_power(device: &Device<'_>, at: UnixMs) -> Reading {
    let value = fields(device, &[INSTANT]).remove(&Signal::GpuPowerInstant).unwrap_or(Err(NoData::NotSupported));
    reading(Signal::GpuPowerInstant, value, at)
}

fn reading(signal: Signal, value: Value, at: UnixMs) -> Reading {
    match value {
        Ok(v) if v.is_finite() && !signal.is_plausible(v) => Reading::none(NoData::OutOfRange, at),
        Ok(v) => Reading::new(v, at),
        Err(reason) => Reading::none(reason, at),
    }
}

fn fields(device: &Device<'_>, wanted: &[Field]) -> BTreeMap<Signal, Value> {
    let ids: Vec<FieldId> = wanted.iter().flat_map(|(_, ids, _)| ids.iter().copied().map(FieldId)).collect();
    let mut samples = match device.field_values_for(&ids) {
        Ok(samples) => samples.into_iter(),
        Err(error) => return wanted.iter().map(|(signal, ..)| (*signal, Err(no_data(&error)))).collect(),
    };
    let mut next = || match samples.next().map_or(Err(NvmlError::NotFound), |s| s.and_then(|s| s.value)) {
        Ok(SampleValue::F64(v)) => Ok(v),
        Ok(SampleValue::U32(v)) => Ok(f64::from(v)),
        Ok(SampleValue::U64(v)) => Ok(v as f64),
        Ok(SampleValue::I64(v)) => Ok(v as f64),
        Err(error) => Err(no_data(&error)),
    };
    let mut of_signal = |ids: &[u32]| {
        // All are taken, so that the next signal gets its own.
        let values: Vec<Value> = ids.iter().map(|_| next()).collect();
        values.into_iter().sum::<Value>()
    };
    wanted.iter().map(|(signal, ids, factor)| (*signal, of_signal(ids).map(|v| v * factor))).collect()
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
