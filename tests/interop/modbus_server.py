#!/usr/bin/env python3
"""A pymodbus server with three devices whose registers were worked out by hand.

    modbus_server.py            Modbus TCP
    modbus_server.py rtu        RTU on a serial line: two pseudo-terminals wired to each other
    modbus_server.py tls CA CERTIFICATE KEY
                                Modbus/TCP Security: TLS with a certificate asked of the client
    modbus_server.py examples FOLDER
                                Modbus TCP, and a unit for each NAME.toml: its raw words by table
    modbus_server.py many N     N servers like the first, each on its own port: {"ports": [...]}
    modbus_server.py at PORT... servers like these, on these ports

But for the examples, unit 1 is an Eastron SDM630, unit 2 a Delta DPH, unit 12 an Open Rack pumping unit. Registers are
raw words: no encoder stands between the numbers in the comments and the wire. What is not listed
does not exist, and a read that touches it is answered with exception 2. Listens on a free port of
127.0.0.1 and prints {"port": N}, or the client's end of the line as {"serial": PATH}; serves until it
is killed.
"""

import asyncio
import json
import os
import pathlib
import pty
import ssl
import sys
import threading
import tomllib
import tty

from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer, ModbusTlsServer
from pymodbus.simulator import DataType, SimData, SimDevice

# IEEE 754 singles: sign, exponent + 127, then the fraction without its leading one.
METER = {
    0: [0x4366, 0x8000],  # 230.5 = 1.80078125 * 2^7
    2: [0x4367, 0x0000],  # 231.0 = 1.8046875 * 2^7
    4: [0x4365, 0x4000],  # 229.25 = 1.791015625 * 2^7
    6: [0x4148, 0x0000],  # 12.5 = 1.5625 * 2^3
    8: [0x4120, 0x0000],  # 10.0 = 1.25 * 2^3
    10: [0x3F00, 0x0000],  # 0.5 = 1.0 * 2^-1
    12: [0x452F, 0x0000],  # 2800.0 = 1.3671875 * 2^11
    14: [0x450F, 0xC000],  # 2300.0 = 1.123046875 * 2^11
    16: [0xC2C8, 0x0000],  # -100.0 = -1.5625 * 2^6
    52: [0x459C, 0x4000],  # 5000.0 = 1.220703125 * 2^12
    56: [0x459D, 0xE000],  # 5052.0 = 1.2333984375 * 2^12
    62: [0x3F7C, 0x0000],  # 0.984375 = 1.96875 * 2^-1
    70: [0x4248, 0x0000],  # 50.0 = 1.5625 * 2^5
    72: [0x449A, 0x5000],  # 1234.5 kWh = 1.20556640625 * 2^10; 4444.2 MJ
}
UPS = {
    1030: [3000],  # 30 kW in tens of watts
    1054: [2],  # battery: replace
    1055: [0],
    1056: [3],  # discharging
    1058: [7],  # minutes
    1059: [83],  # %
    1060: [4321],  # 432.1 V
    1061: [0xFFFF],  # this UPS does not say
    1062: [27],  # degrees
    1073: [499, 2304],  # 49.9 Hz, 230.4 V
    1091: [501],  # 50.1 Hz
    1093: [2401],  # 240.1 V
    1095: [201, 41],  # 2010 W, 41 %
    1099: [202, 62],  # 2020 W, 62 %
    1103: [203, 53],  # 2030 W, 53 %
}
PUMPS = {
    0x9000: [635],  # 63.5 l/min
    0x9001: [0xFFF6],  # -1.0 degrees: -10 in two's complement
    0x9002: [451],  # 45.1 degrees, but its thermometer is flagged below
    0x9003: [1875],  # 187.5 kPa
    0x9004: [0xFFEC],  # -2.0 kPa, suction side
    0x9006: [0xFFFF],  # more than the register can say
    0x9009: [72],  # %
    0x900A: [3021],
    0x900B: [0],
    0x9200: [0b00001],  # inlet thermometer
    0x9202: [0x0020],  # a leak
    0x9401: [320],  # 32.0 degrees are to be supplied
}


def device(unit, registers):
    """A device with these registers, input and holding alike."""
    block = [SimData(address, values=words, datatype=DataType.REGISTERS) for address, words in registers.items()]
    return SimDevice(id=unit, simdata=block)


def example(unit, tables):
    """A device with four tables of its own, so that a wrong function code shows."""

    def block(table):
        kind, word = (DataType.BITS, bool) if table in ("coil", "discrete") else (DataType.REGISTERS, int)
        runs = {int(address, 0): words for address, words in tables.get(table, {}).items()} or {0xFFFF: [0]}
        return [SimData(a, values=[word(w) for w in words], datatype=kind) for a, words in sorted(runs.items())]

    return SimDevice(id=unit, simdata=tuple(block(t) for t in ("coil", "discrete", "holding", "input")))


def wire(from_fd, to_fd):
    """Carries bytes one way."""
    while data := os.read(from_fd, 1024):
        os.write(to_fd, data)


def line():
    """Two serial ports with a cable between them: ours and the client's."""
    (ours, ours_port), (theirs, theirs_port) = pty.openpty(), pty.openpty()
    for port in (ours, ours_port, theirs, theirs_port):
        tty.setraw(port)
    threading.Thread(target=wire, args=(ours, theirs), daemon=True).start()
    threading.Thread(target=wire, args=(theirs, ours), daemon=True).start()
    return os.ttyname(ours_port), os.ttyname(theirs_port)


async def main():
    files = sorted(pathlib.Path(sys.argv[2]).glob("*.toml")) if sys.argv[1:2] == ["examples"] else []
    devices = [example(unit, tomllib.loads(f.read_text())["registers"]) for unit, f in enumerate(files, 1)]
    devices = devices or [device(1, METER), device(2, UPS), device(12, PUMPS)]
    if sys.argv[1:2] in (["many"], ["at"]):
        ports = [0] * int(sys.argv[2]) if sys.argv[1] == "many" else map(int, sys.argv[2:])
        servers = [ModbusTcpServer(devices, address=("127.0.0.1", port)) for port in ports]
        for server in servers:
            await server.listen()
        print(json.dumps({"ports": [s.transport.sockets[0].getsockname()[1] for s in servers]}), flush=True)
        await asyncio.gather(*(server.serving for server in servers))
    elif sys.argv[1:2] != ["rtu"]:
        if sys.argv[1:2] == ["tls"]:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_verify_locations(sys.argv[2])
            context.load_cert_chain(sys.argv[3], sys.argv[4])
            context.verify_mode = ssl.CERT_REQUIRED
            server = ModbusTlsServer(devices, address=("127.0.0.1", 0), sslctx=context)
        else:
            server = ModbusTcpServer(devices, address=("127.0.0.1", 0))
        await server.listen()
        units = {f.stem: unit for unit, f in enumerate(files, 1)}
        print(json.dumps({"port": server.transport.sockets[0].getsockname()[1], "units": units}), flush=True)
        await server.serving
    else:
        ours, theirs = line()
        server = ModbusSerialServer(devices, framer=FramerType.RTU, port=ours, baudrate=19200)
        serving = asyncio.ensure_future(server.serve_forever())
        print(json.dumps({"serial": theirs}), flush=True)
        await serving


if __name__ == "__main__":
    asyncio.run(main())
