#!/usr/bin/env python3
"""pysunspec2 (SunSpec Alliance) finds the models of a meter by itself and reads it.

    sunspec_scan.py tcp HOST PORT UNIT
    sunspec_scan.py rtu LINE BAUD UNIT

Prints one JSON object: `models` in the order found, `common` (manufacturer, model, serial number) and
`readings` as [signal, value, within]. Names, types and scale factors are those of pysunspec2's own copies
of the model definitions.
"""

import json
import sys

from sunspec2.modbus import client

# Point of models 203 and 213, and what it is.
POINTS = {
    "W": ("pdu_power_watts", 1.0),
    "WphA": ("pdu_power_l1_watts", 1.0),
    "WphB": ("pdu_power_l2_watts", 1.0),
    "WphC": ("pdu_power_l3_watts", 1.0),
    "VA": ("pdu_apparent_power_va", 1.0),
    "AphA": ("pdu_current_l1_amperes", 1.0),
    "AphB": ("pdu_current_l2_amperes", 1.0),
    "AphC": ("pdu_current_l3_amperes", 1.0),
    "PhVphA": ("pdu_voltage_l1_volts", 1.0),
    "PhVphB": ("pdu_voltage_l2_volts", 1.0),
    "PhVphC": ("pdu_voltage_l3_volts", 1.0),
    "Hz": ("pdu_frequency_hz", 1.0),
    "TotWhImp": ("pdu_energy_joules", 3600.0),
}


def main():
    how, where, number, unit = sys.argv[1:]
    if how == "tcp":
        device = client.SunSpecModbusClientDeviceTCP(int(unit), ipaddr=where, ipport=int(number))
    else:
        device = client.SunSpecModbusClientDeviceRTU(int(unit), name=where, baudrate=int(number), parity="N")
    device.scan()
    models = [name for name in device.models if isinstance(name, int)]
    meter = device.models[models[-1]][0]
    readings = []
    for name, (signal, factor) in POINTS.items():
        point = meter.points[name]
        # Integers name the point that holds their exponent; floats have none.
        scale = point.pdef.get("sf")
        step = 0.5 * 10.0 ** meter.points[scale].value if scale else abs(point.cvalue) * 2.0**-23
        readings.append([signal, point.cvalue * factor, step * factor])
    common = {name: device.common[0].points[name].cvalue for name in ["Mn", "Md", "SN"]}
    print(json.dumps({"models": models, "common": common, "readings": readings}))


if __name__ == "__main__":
    main()
