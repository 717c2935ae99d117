//! The signal catalogue: every quantity an agent can report, with unit and plausible range. A
//! value outside the range is a quality flag, not a number. Coolant names follow Redfish
//! (`SupplyTemperatureCelsius`, `FlowLitersPerMinute`) in this project's spelling.

use crate::id::DeviceId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of device a signal belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A GPU.
    Gpu,
    /// A rack PDU or power meter.
    Pdu,
    /// An uninterruptible power supply.
    Ups,
    /// A coolant distribution or pumping unit.
    Cooling,
}

/// The unit of a signal's value, as written in the Sparkplug `engUnit` property.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unit {
    /// W
    Watts,
    /// VA
    VoltAmperes,
    /// J
    Joules,
    /// A
    Amperes,
    /// V
    Volts,
    /// Hz
    Hertz,
    /// MHz
    Megahertz,
    /// Degrees Celsius
    Celsius,
    /// K
    Kelvins,
    /// 0 to 1, may exceed 1 under overload
    Ratio,
    /// B
    Bytes,
    /// s
    Seconds,
    /// l/min
    LitersPerMinute,
    /// kPa
    Kilopascals,
    /// 1/min
    RevolutionsPerMinute,
    /// A count
    Count,
    /// A bit mask
    Bits,
    /// 0 or 1
    Flag,
}

impl Unit {
    /// The unit's symbol.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::Watts => "W",
            Self::VoltAmperes => "VA",
            Self::Joules => "J",
            Self::Amperes => "A",
            Self::Volts => "V",
            Self::Hertz => "Hz",
            Self::Megahertz => "MHz",
            Self::Celsius => "°C",
            Self::Kelvins => "K",
            Self::Ratio => "1",
            Self::Bytes => "B",
            Self::Seconds => "s",
            Self::LitersPerMinute => "l/min",
            Self::Kilopascals => "kPa",
            Self::RevolutionsPerMinute => "rpm",
            Self::Count => "count",
            Self::Bits => "bits",
            Self::Flag => "flag",
        }
    }
}

macro_rules! signals {
    ($( $class:ident $variant:ident $name:literal $unit:ident $low:literal $high:literal $doc:literal; )*) => {
        /// Every signal of the catalogue. The order is not on the wire; names are.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Signal {
            $( #[doc = $doc] $variant, )*
        }

        impl Signal {
            /// The whole catalogue in its written order.
            pub const ALL: &'static [Signal] = &[ $( Signal::$variant, )* ];

            /// Unique name with the unit at its end; the metric is `headroom_<name>`.
            pub fn name(self) -> &'static str {
                match self { $( Self::$variant => $name, )* }
            }

            /// The class of device that reports it.
            pub fn class(self) -> Class {
                match self { $( Self::$variant => Class::$class, )* }
            }

            /// The unit of its value.
            pub fn unit(self) -> Unit {
                match self { $( Self::$variant => Unit::$unit, )* }
            }

            /// Plausible values, both ends included.
            pub fn range(self) -> (f64, f64) {
                match self { $( Self::$variant => ($low, $high), )* }
            }

            /// One line for people.
            pub fn describe(self) -> &'static str {
                match self { $( Self::$variant => $doc, )* }
            }
        }
    };
}

signals! {
    Gpu GpuPower "gpu_power_watts" Watts 0.0 3000.0 "Board power, mean of one second.";
    Gpu GpuPowerInstant "gpu_power_instant_watts" Watts 0.0 6000.0 "Board power, instantaneous (NVML field 186).";
    Gpu GpuEnergy "gpu_energy_joules" Joules 0.0 1e18 "Energy since the driver was loaded.";
    Gpu GpuLimitEnforced "gpu_limit_enforced_watts" Watts 0.0 3000.0 "Power limit in force after all limiters.";
    Gpu GpuLimitRequested "gpu_limit_requested_watts" Watts 0.0 3000.0 "Power limit last asked for in band.";
    Gpu GpuLimitMin "gpu_limit_min_watts" Watts 0.0 3000.0 "Lowest power limit the board accepts.";
    Gpu GpuLimitMax "gpu_limit_max_watts" Watts 0.0 3000.0 "Highest power limit the board accepts.";
    Gpu GpuLimitDefault "gpu_limit_default_watts" Watts 0.0 3000.0 "Power limit after boot.";
    Gpu GpuSmClock "gpu_sm_clock_mhz" Megahertz 0.0 10000.0 "Streaming multiprocessor clock.";
    Gpu GpuMemoryClock "gpu_memory_clock_mhz" Megahertz 0.0 20000.0 "Memory clock.";
    Gpu GpuUtilization "gpu_utilization_ratio" Ratio 0.0 1.0 "Share of the sample period with a kernel running.";
    Gpu GpuMemoryUsed "gpu_memory_used_bytes" Bytes 0.0 1e13 "Device memory in use.";
    Gpu GpuTemperature "gpu_temperature_celsius" Celsius -20.0 130.0 "Core temperature.";
    Gpu GpuTemperatureMargin "gpu_temperature_margin_kelvins" Kelvins -60.0 150.0 "Margin to the start of software slowdown (T.Limit).";
    Gpu GpuMemoryTemperature "gpu_memory_temperature_celsius" Celsius -20.0 130.0 "Memory temperature.";
    Gpu GpuThrottleReasons "gpu_throttle_reasons_bits" Bits 0.0 65535.0 "Clock event reason mask.";
    Gpu GpuPowerCappedTime "gpu_power_capped_seconds" Seconds 0.0 1e10 "Time throttled by the software power cap.";
    Gpu GpuEccDoubleBit "gpu_ecc_uncorrected_count" Count 0.0 1e12 "Uncorrected ECC errors since the driver was loaded.";
    Gpu GpuMemoryUtilization "gpu_memory_utilization_ratio" Ratio 0.0 1.0 "Share of the sample period with memory being read or written.";
    Gpu GpuMemoryTotal "gpu_memory_total_bytes" Bytes 0.0 1e13 "Device memory there is.";
    Gpu GpuProcesses "gpu_processes_count" Count 0.0 1e6 "Compute processes.";
    Gpu GpuThermalThrottledTime "gpu_thermal_throttled_seconds" Seconds 0.0 1e10 "Time throttled by heat (NVML field 75).";
    Gpu GpuSyncBoostTime "gpu_sync_boost_throttled_seconds" Seconds 0.0 1e10 "Time throttled because another GPU limits (field 76).";
    Gpu GpuBoardLimitTime "gpu_board_limit_throttled_seconds" Seconds 0.0 1e10 "Time throttled by the board's own limit (field 77).";
    Gpu GpuPowerBrakeTime "gpu_power_brake_seconds" Seconds 0.0 1e10 "Time throttled by the external power brake (field 253, 271 since 580.82).";
    Gpu GpuEccCorrected "gpu_ecc_corrected_count" Count 0.0 1e15 "Corrected ECC errors since the driver was loaded.";
    Gpu GpuEccLifetime "gpu_ecc_uncorrected_lifetime_count" Count 0.0 1e12 "Uncorrected ECC errors of the board's life.";
    Gpu GpuRemappedCorrected "gpu_remapped_rows_corrected_count" Count 0.0 1e6 "Memory rows remapped after corrected errors.";
    Gpu GpuRemappedUncorrected "gpu_remapped_rows_uncorrected_count" Count 0.0 1e6 "Memory rows remapped after uncorrected errors; at 512 no more can be.";
    Gpu GpuRemapPending "gpu_remap_pending_flag" Flag 0.0 1.0 "1 when a row is remapped with the next reset.";
    Gpu GpuRemapFailed "gpu_remap_failed_flag" Flag 0.0 1.0 "1 when a row could not be remapped: the board is to be replaced.";
    Gpu GpuPcieReplays "gpu_pcie_replays_count" Count 0.0 1e12 "PCI Express packets sent again.";
    Gpu GpuNvlinkCrcErrors "gpu_nvlink_crc_errors_count" Count 0.0 1e15 "NVLink flit and data CRC errors, all links (to NVLink 4).";
    Gpu GpuNvlinkReplays "gpu_nvlink_replays_count" Count 0.0 1e15 "NVLink replays, all links (to NVLink 4).";
    Gpu GpuNvlinkRecoveries "gpu_nvlink_recoveries_count" Count 0.0 1e15 "NVLink recoveries, all links (to NVLink 4).";
    Gpu GpuRecoveryAction "gpu_recovery_action_code" Count 0.0 100.0 "What the driver asks for: 0 nothing, 1 reset the GPU, 2 reboot the node, 3 drain, 4 drain and reset.";
    Gpu GpuXid "gpu_xid_last_count" Count 0.0 100000.0 "Number of the last Xid event, 0 before the first.";
    Gpu GpuXidEvents "gpu_xid_events_count" Count 0.0 1e12 "Xid events since the agent started.";
    Pdu PduPower "pdu_power_watts" Watts -1e6 1e7 "Active power, all phases.";
    Pdu PduPowerL1 "pdu_power_l1_watts" Watts -1e6 1e7 "Active power, phase 1.";
    Pdu PduPowerL2 "pdu_power_l2_watts" Watts -1e6 1e7 "Active power, phase 2.";
    Pdu PduPowerL3 "pdu_power_l3_watts" Watts -1e6 1e7 "Active power, phase 3.";
    Pdu PduCurrentL1 "pdu_current_l1_amperes" Amperes 0.0 10000.0 "Current, phase 1.";
    Pdu PduCurrentL2 "pdu_current_l2_amperes" Amperes 0.0 10000.0 "Current, phase 2.";
    Pdu PduCurrentL3 "pdu_current_l3_amperes" Amperes 0.0 10000.0 "Current, phase 3.";
    Pdu PduVoltageL1 "pdu_voltage_l1_volts" Volts 0.0 1000.0 "Voltage, phase 1 to neutral.";
    Pdu PduVoltageL2 "pdu_voltage_l2_volts" Volts 0.0 1000.0 "Voltage, phase 2 to neutral.";
    Pdu PduVoltageL3 "pdu_voltage_l3_volts" Volts 0.0 1000.0 "Voltage, phase 3 to neutral.";
    Pdu PduApparentPower "pdu_apparent_power_va" VoltAmperes 0.0 1e7 "Apparent power, all phases.";
    Pdu PduPowerFactor "pdu_power_factor_ratio" Ratio -1.0 1.0 "Power factor.";
    Pdu PduFrequency "pdu_frequency_hz" Hertz 0.0 100.0 "Line frequency.";
    Pdu PduEnergy "pdu_energy_joules" Joules 0.0 1e18 "Imported active energy.";
    Ups UpsInputVoltage "ups_input_voltage_volts" Volts 0.0 1000.0 "Input voltage, phase 1.";
    Ups UpsInputFrequency "ups_input_frequency_hz" Hertz 0.0 100.0 "Input frequency.";
    Ups UpsOutputVoltage "ups_output_voltage_volts" Volts 0.0 1000.0 "Output voltage, phase 1.";
    Ups UpsOutputFrequency "ups_output_frequency_hz" Hertz 0.0 100.0 "Output frequency.";
    Ups UpsOutputPowerL1 "ups_output_power_l1_watts" Watts 0.0 1e7 "Output active power, phase 1.";
    Ups UpsOutputPowerL2 "ups_output_power_l2_watts" Watts 0.0 1e7 "Output active power, phase 2.";
    Ups UpsOutputPowerL3 "ups_output_power_l3_watts" Watts 0.0 1e7 "Output active power, phase 3.";
    Ups UpsLoad "ups_load_ratio" Ratio 0.0 3.0 "Load of the fullest phase as a share of its rating.";
    Ups UpsRatedPower "ups_rated_power_watts" Watts 0.0 1e8 "Rated active power.";
    Ups UpsBatteryCharge "ups_battery_charge_ratio" Ratio 0.0 1.0 "State of charge.";
    Ups UpsBatteryVoltage "ups_battery_voltage_volts" Volts 0.0 2000.0 "Battery voltage.";
    Ups UpsBatteryCurrent "ups_battery_current_amperes" Amperes 0.0 10000.0 "Battery current.";
    Ups UpsBatteryTemperature "ups_battery_temperature_celsius" Celsius -40.0 120.0 "Battery temperature.";
    Ups UpsBatteryRuntime "ups_battery_runtime_seconds" Seconds 0.0 1e6 "Estimated runtime on battery.";
    Ups UpsOnBattery "ups_on_battery_flag" Flag 0.0 1.0 "1 while the battery is discharging into the load.";
    Ups UpsBatteryWeak "ups_battery_weak_flag" Flag 0.0 1.0 "1 when the UPS itself calls its battery weak.";
    Cooling CoolingSupplyTemperature "cooling_supply_temperature_celsius" Celsius -20.0 120.0 "Coolant supplied to the rack.";
    Cooling CoolingSupplySetpoint "cooling_supply_setpoint_celsius" Celsius -20.0 120.0 "Set-point of the coolant supplied to the rack.";
    Cooling CoolingReturnTemperature "cooling_return_temperature_celsius" Celsius -20.0 120.0 "Coolant returning from the rack.";
    Cooling CoolingFlow "cooling_flow_liters_per_minute" LitersPerMinute 0.0 10000.0 "Coolant flow.";
    Cooling CoolingSupplyPressure "cooling_supply_pressure_kilopascals" Kilopascals -200.0 2000.0 "Coolant pressure at the outlet to the rack.";
    Cooling CoolingReturnPressure "cooling_return_pressure_kilopascals" Kilopascals -200.0 2000.0 "Coolant pressure at the inlet from the rack.";
    Cooling CoolingPumpSpeed "cooling_pump_speed_ratio" Ratio 0.0 1.0 "Pump drive as a share of full speed.";
    Cooling CoolingPump1Rpm "cooling_pump1_rpm" RevolutionsPerMinute 0.0 20000.0 "Speed of pump 1.";
    Cooling CoolingPump2Rpm "cooling_pump2_rpm" RevolutionsPerMinute 0.0 20000.0 "Speed of pump 2.";
    Cooling CoolingPower "cooling_power_watts" Watts 0.0 1e6 "Power drawn by the cooling unit.";
    Cooling CoolingLeak "cooling_leak_flag" Flag 0.0 1.0 "1 when a leak is detected.";
}

impl Signal {
    /// The signal of this name, if the catalogue has one.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|s| s.name() == name)
    }

    /// Whether `value` lies in the plausible range.
    pub fn is_plausible(self, value: f64) -> bool {
        let (low, high) = self.range();
        (low..=high).contains(&value)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Signal {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let name = String::deserialize(d)?;
        Self::from_name(&name).ok_or_else(|| serde::de::Error::custom(format!("no signal is named {name:?}")))
    }
}

/// One signal of one device of a rack. Its text `device/signal` is the Sparkplug metric name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SignalPath {
    /// The device within the rack.
    pub device: DeviceId,
    /// What is measured.
    pub signal: Signal,
}

impl SignalPath {
    /// Joins device and signal.
    pub fn new(device: DeviceId, signal: Signal) -> Self {
        Self { device, signal }
    }

    /// The path behind a metric name; `None` if it has another form or names no known signal.
    pub fn parse(text: &str) -> Option<Self> {
        let (device, signal) = text.split_once('/')?;
        Some(Self { device: DeviceId::new(device).ok()?, signal: Signal::from_name(signal)? })
    }
}

impl fmt::Display for SignalPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device, self.signal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_signal_has_a_name_of_its_own_and_a_range() {
        let names: BTreeSet<_> = Signal::ALL.iter().map(|s| s.name()).collect();
        assert_eq!(names.len(), Signal::ALL.len());
        for s in Signal::ALL {
            let (low, high) = s.range();
            assert!(low < high, "{s} has an empty range");
            assert_eq!(Signal::from_name(s.name()), Some(*s));
        }
    }

    #[test]
    fn a_path_survives_its_text() {
        let path = SignalPath::new(DeviceId::gpu(3), Signal::GpuPower);
        assert_eq!(SignalPath::parse(&path.to_string()), Some(path));
        assert_eq!(SignalPath::parse("gpu-3/unknown"), None);
    }
}
