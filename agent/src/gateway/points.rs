//! What a device of ours is on DSX Exchange (BMS Event Bus 1.0, AsyncAPI of dsx-exchange): object type,
//! point type, unit and metadata of each signal. Signals that the bus has no type for are a `GenericPoint`.

use headroom_rack::{Class, DeviceId, RackId, Reading, Signal, SignalPath, Unit};
use serde_json::{Value, json};

/// One signal as the bus knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Which signal.
    pub path: SignalPath,
    /// `{objectType}/{pointType}/{tagPath}`.
    pub topic: String,
    /// Its metadata message.
    pub metadata: Value,
    /// From our unit to that of the metadata.
    factor: f64,
}

impl Point {
    /// What a signal of a device is on the bus; `tag` is where the rack stands, such as
    /// `hall-2/row-1/rack-1`. A GPU is nothing there.
    pub fn of(rack: &RackId, tag: &str, device: &DeviceId, signal: Signal) -> Option<Self> {
        let object = match signal.class() {
            Class::Pdu => "PowerMeter",
            Class::Ups => "UPS",
            Class::Cooling => "CDU",
            Class::Gpu => return None,
        };
        let Type { point, unit, factor } = typed(signal);
        let mut metadata = json!({
            "objectType": object,
            "pointType": point,
            "objectName": format!("{rack} {device}"),
            "objectId": format!("{tag}/{device}"),
            "servesId": [tag],
        });
        if signal.unit() == Unit::Flag {
            let [no, yes] = if point == "LeakDetect" { ["NoLeak", "Leak"] } else { ["No", "Yes"] };
            metadata["stateText"] = json!([{"value": 0, "text": no}, {"value": 1, "text": yes}]);
        } else if point != "PowerFactor" {
            metadata["engUnit"] = json!(unit);
        }
        if let Some(phase) = phase(signal).filter(|_| matches!(point, "PhaseCurrent" | "GenericPoint")) {
            metadata["phase"] = json!(phase);
        }
        if signal == Signal::CoolingSupplySetpoint {
            metadata["isSetpoint"] = json!(true);
        }
        let area = area(signal);
        if point == "GenericPoint" {
            metadata["processArea"] = json!([area.unwrap_or(signal.name())]);
        } else if let Some(area) = area {
            metadata["processArea"] = json!([area]);
        }
        let topic = format!("{object}/{point}/{tag}/{device}/{}", signal.name());
        Some(Self { path: SignalPath::new(device.clone(), signal), topic, metadata, factor })
    }

    /// The value message: no number is `null` with quality 0.
    pub fn value(&self, reading: &Reading) -> Value {
        let value = reading.value.ok().map(|v| v * self.factor);
        json!({"value": value, "timestamp": reading.at.get(), "quality": u8::from(value.is_some())})
    }
}

struct Type {
    point: &'static str,
    unit: &'static str,
    factor: f64,
}

fn typed(signal: Signal) -> Type {
    let of = |point, unit, factor| Type { point, unit, factor };
    match signal {
        Signal::PduPower => of("ActivePower", "W", 1.0),
        Signal::PduApparentPower => of("ApparentPower", "VA", 1.0),
        Signal::PduPowerFactor => of("PowerFactor", "", 1.0),
        Signal::PduFrequency => of("Frequency", "Hz", 1.0),
        Signal::PduCurrentL1 | Signal::PduCurrentL2 | Signal::PduCurrentL3 => of("PhaseCurrent", "A", 1.0),
        Signal::PduVoltageL1 | Signal::PduVoltageL2 | Signal::PduVoltageL3 => of("Voltage", "V", 1.0),
        Signal::CoolingSupplyTemperature | Signal::CoolingReturnTemperature | Signal::CoolingSupplySetpoint => {
            of("LiquidTemperature", "C", 1.0)
        }
        Signal::CoolingFlow => of("LiquidFlow", "LPM", 1.0),
        Signal::CoolingSupplyPressure | Signal::CoolingReturnPressure => of("LiquidPressure", "kPa", 1.0),
        Signal::CoolingPumpSpeed => of("PumpSpeed", "%", 100.0),
        Signal::CoolingPump1Rpm | Signal::CoolingPump2Rpm => of("PumpSpeed", "RPM", 1.0),
        Signal::CoolingLeak => of("LeakDetect", "", 1.0),
        other => match other.unit() {
            Unit::Celsius => of("GenericPoint", "C", 1.0),
            Unit::Ratio => of("GenericPoint", "%", 100.0),
            unit => of("GenericPoint", unit.symbol(), 1.0),
        },
    }
}

fn phase(signal: Signal) -> Option<&'static str> {
    let name = signal.name();
    [("_l1_", "1"), ("_l2_", "2"), ("_l3_", "3")].into_iter().find(|(part, _)| name.contains(part)).map(|(_, p)| p)
}

fn area(signal: Signal) -> Option<&'static str> {
    match signal {
        Signal::CoolingSupplyTemperature | Signal::CoolingSupplyPressure | Signal::CoolingSupplySetpoint => {
            Some("Supply")
        }
        Signal::CoolingReturnTemperature | Signal::CoolingReturnPressure => Some("Return"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headroom_rack::{NoData, UnixMs};

    fn point(device: &str, signal: Signal) -> Point {
        let (rack, device) = (RackId::new("rack-1").unwrap(), DeviceId::new(device).unwrap());
        Point::of(&rack, "hall-2/rack-1", &device, signal).unwrap()
    }

    #[test]
    fn a_signal_has_the_type_and_unit_of_the_bus() {
        let current = point("pdu-a", Signal::PduCurrentL2);
        assert_eq!(current.topic, "PowerMeter/PhaseCurrent/hall-2/rack-1/pdu-a/pdu_current_l2_amperes");
        assert_eq!((&current.metadata["phase"], &current.metadata["engUnit"]), (&json!("2"), &json!("A")));
        let pump = point("cooling", Signal::CoolingPumpSpeed);
        let reading = Reading::new(0.5, UnixMs::new(7));
        assert_eq!(pump.value(&reading), json!({"value": 50.0, "timestamp": 7, "quality": 1}));
        assert_eq!(pump.metadata["engUnit"], "%");
        let leak = point("cooling", Signal::CoolingLeak);
        assert!(leak.metadata["engUnit"].is_null() && leak.metadata["stateText"][1]["text"] == "Leak");
        let setpoint = point("cooling", Signal::CoolingSupplySetpoint).metadata;
        assert_eq!((&setpoint["pointType"], &setpoint["isSetpoint"]), (&json!("LiquidTemperature"), &json!(true)));
        let charge = point("ups-a", Signal::UpsBatteryCharge);
        assert!(charge.topic.starts_with("UPS/GenericPoint/") && charge.metadata["processArea"][0].is_string());
    }

    #[test]
    fn no_number_is_null_with_bad_quality_and_a_gpu_is_not_on_the_bus() {
        let supply = point("cooling", Signal::CoolingSupplyTemperature);
        let none = Reading::none(NoData::Timeout, UnixMs::new(7));
        assert_eq!(supply.value(&none), json!({"value": null, "timestamp": 7, "quality": 0}));
        let rack = RackId::new("rack-1").unwrap();
        assert_eq!(Point::of(&rack, "t", &DeviceId::gpu(0), Signal::GpuPower), None);
    }
}
