#!/usr/bin/env python3
"""pymodbus reads one simulated device; the values are decoded here by the device's own document.

    modbus_devices.py KIND HOST PORT UNIT
    modbus_devices.py KIND LINE BAUD UNIT        RTU without parity; nothing wrong is asked there

Prints one JSON object: `readings` as [signal, value, within], where `within` is what the register
can resolve; `texts`; `refusals`, the exception code each wrong request was answered with (null when
it was answered with data). Addresses, types and scales are written out here from the manuals and
must not be taken from Headroom's profiles: a mistake made there has to show.
"""

import json
import math
import struct
import sys

from pymodbus.client import ModbusSerialClient, ModbusTcpClient

FLOAT_ULP = 2.0**-23


class Device:
    """One unit on one connection; reads by `function`, 3 for holding and 4 for input registers."""

    def __init__(self, host, port, unit, function):
        self.is_line = host.startswith("/")
        if self.is_line:
            self.client = ModbusSerialClient(host, baudrate=int(port), parity="N", timeout=10, retries=0)
        else:
            self.client = ModbusTcpClient(host, port=int(port), timeout=10, retries=0)
        if not self.client.connect():
            sys.exit(f"nobody listens at {host}:{port}")
        self.unit, self.function = int(unit), function

    def ask(self, address, count=1, function=None, unit=None):
        client = self.client
        call = {3: client.read_holding_registers, 4: client.read_input_registers}[function or self.function]
        return call(address, count=count, device_id=self.unit if unit is None else unit)

    def words(self, address, count=1):
        answer = self.ask(address, count)
        if answer.isError():
            sys.exit(f"register {address}: {answer}")
        return answer.registers

    def bytes(self, address, count):
        return struct.pack(f">{count}H", *self.words(address, count))

    def f32(self, address):
        return struct.unpack(">f", self.bytes(address, 2))[0]

    def u32(self, address):
        return struct.unpack(">I", self.bytes(address, 2))[0]

    def u16(self, address):
        return struct.unpack(">H", self.bytes(address, 1))[0]

    def i16(self, address):
        return struct.unpack(">h", self.bytes(address, 1))[0]

    def text(self, address, count):
        return self.bytes(address, count).decode("ascii").rstrip()

    def refusals(self, nothing_at, last, most=None):
        """Exception codes: 1 illegal function, 2 illegal address, 3 illegal count, 11 no such unit.
        `most` registers may be asked for at once, if that is fewer than the protocol has room for."""
        if self.is_line:
            # Nobody answers for another unit, and each wait takes its time.
            return {}
        wrong = {
            "nothing there": self.ask(nothing_at),
            "past the end": self.ask(last, 2),
            "other function": self.ask(last, function=7 - self.function),
            "a write": self.client.write_register(last, 1, device_id=self.unit),
            "other unit": self.ask(last, unit=99),
        }
        if most:
            wrong["too many at once"] = self.ask(0, most + 1)
        return {what: getattr(answer, "exception_code", None) for what, answer in wrong.items()}


def sdm630(host, port, unit):
    """Eastron SDM630 Modbus protocol document: function 4, each value an IEEE 754 single in two
    registers, the more significant first; the address is the 3xxxx number less 30001."""
    device = Device(host, port, unit, 4)
    numbers = {
        "pdu_voltage_l1_volts": 30001,
        "pdu_voltage_l2_volts": 30003,
        "pdu_voltage_l3_volts": 30005,
        "pdu_current_l1_amperes": 30007,
        "pdu_current_l2_amperes": 30009,
        "pdu_current_l3_amperes": 30011,
        "pdu_power_l1_watts": 30013,
        "pdu_power_l2_watts": 30015,
        "pdu_power_l3_watts": 30017,
        "pdu_power_watts": 30053,
        "pdu_apparent_power_va": 30057,
        "pdu_power_factor_ratio": 30063,
        "pdu_frequency_hz": 30071,
    }
    values = {signal: device.f32(number - 30001) for signal, number in numbers.items()}
    values["pdu_energy_joules"] = device.f32(30073 - 30001) * 3.6e6  # kWh imported
    readings = [[signal, value, abs(value) * FLOAT_ULP] for signal, value in values.items()]
    by_phase = sum(device.f32(30347 - 30001 + 2 * phase) for phase in range(3))  # kWh imported by phase
    readings.append(["pdu_energy_joules", by_phase * 3.6e6, 3 * by_phase * 3.6e6 * FLOAT_ULP])
    block = struct.unpack(">9f", device.bytes(0, 18))
    if list(block) != [values[signal] for signal in list(numbers)[:9]]:
        sys.exit(f"read at once the first nine values are others: {block}")
    return readings, {}, device.refusals(nothing_at=5000, last=381, most=80)


def dph(host, port, unit):
    """Tripp Lite MODBUSCARD owner's manual 201003113, page 8, whose map the Delta DPH card shares:
    function 4, 16 bits unsigned, 0xFFFF where the UPS has no such point."""
    device = Device(host, port, unit, 4)
    readings = []

    def put(signal, addresses, step, within=None):
        raw = [device.u16(address) for address in addresses]
        if 0xFFFF in raw:
            sys.exit(f"{signal} at {addresses} is not there")
        readings.append([signal, max(raw) * step, within or step / 2])

    put("ups_rated_power_watts", [1030], 10)
    put("ups_battery_runtime_seconds", [1058], 60, 60)  # whole minutes that are left
    put("ups_battery_charge_ratio", [1059], 0.01)
    put("ups_battery_charge_ratio", [1063], 0.01)
    put("ups_battery_voltage_volts", [1060], 0.1)
    put("ups_battery_current_amperes", [1061], 0.1)
    put("ups_battery_temperature_celsius", [1062], 1)
    put("ups_load_ratio", [1096, 1100, 1104], 0.01)  # the fullest line
    put("ups_output_frequency_hz", [1091], 0.1)
    for line in range(3):
        put("ups_input_frequency_hz", [1073 + 4 * line], 0.1)
        put("ups_input_voltage_volts", [1074 + 4 * line], 0.1)
        put("ups_output_voltage_volts", [1093 + 4 * line], 0.1)
        put(f"ups_output_power_l{line + 1}_watts", [1095 + 4 * line], 10)
    # Battery condition 0 good, 1 weak, 2 replace; state 0 float, 1 charging, 2 resting, 3 discharging.
    readings.append(["ups_battery_weak_flag", int(device.u16(1054) in (1, 2)), 0])
    readings.append(["ups_on_battery_flag", int(device.u16(1056) == 3), 0])
    if device.u16(1065) != 0xFFFF:
        sys.exit("this UPS has no negative battery string, and yet the register has a value")
    texts = {"model": device.text(0x0503, 11)}
    return readings, texts, device.refusals(nothing_at=5000, last=1130)


def rpu(host, port, unit):
    """Open Rack reservoir and pumping unit: facebook/openbmc rackmon `orv3_rpu.json`, and for the
    sign of the temperatures openbmc/phosphor-modbus; function 3, tenths, most significant first."""
    device = Device(host, port, unit, 3)
    silent = device.u16(0x9200) & 0b11111
    if silent:
        sys.exit(f"thermometers, gauges or flow meter are flagged: {silent:#07b}")
    tenth = 0.1
    readings = [
        ["cooling_flow_liters_per_minute", device.u16(0x9000) * tenth, 0.05],
        ["cooling_supply_temperature_celsius", device.i16(0x9001) * tenth, 0.05],
        ["cooling_supply_setpoint_celsius", device.u16(0x9401) * tenth, 0.05],
        ["cooling_return_temperature_celsius", device.i16(0x9002) * tenth, 0.05],
        ["cooling_supply_pressure_kilopascals", device.i16(0x9003) * tenth, 0.05],
        ["cooling_return_pressure_kilopascals", device.i16(0x9004) * tenth, 0.05],
        ["cooling_power_watts", device.u16(0x9006) * tenth, 0.05],
        ["cooling_power_watts", device.u16(0xA02D), 0.5],
        ["cooling_pump_speed_ratio", device.u16(0x9009) / 100, 0.005],
        ["cooling_pump1_rpm", device.u16(0x900A), 0.5],
        ["cooling_pump2_rpm", device.u16(0x900B), 0.5],
        ["cooling_leak_flag", int(device.u16(0x9202) & 0x0FF0 != 0), 0],  # bits 4 to 11
        ["_up_s", device.u32(0x19EC), 1],
    ]
    return readings, {"model": device.text(0x19CC, 8)}, device.refusals(nothing_at=0x8000, last=0xA02D)


def main():
    kind, host, port, unit = sys.argv[1:]
    read = {"eastron-sdm630": sdm630, "delta-dph": dph, "openrack-rpu": rpu}[kind]
    readings, texts, refusals = read(host, port, unit)
    if not all(math.isfinite(value) for _, value, _ in readings):
        sys.exit(f"not a number: {readings}")
    print(json.dumps({"readings": readings, "texts": texts, "refusals": refusals}))


if __name__ == "__main__":
    main()
