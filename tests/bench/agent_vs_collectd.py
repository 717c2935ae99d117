"""The agent and collectd in turns against the same pymodbus server: 200 registers each second from 20
units, into MQTT QoS 1 (Mosquitto) or into Prometheus format (scraped once a second), beside the floor: a
program that sends and receives the ungrouped requests and does nothing else. Prints one JSON line. Started by tests/bench/agent-vs-collectd, which sees to the programs."""

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

UNITS, SIGNALS = 20, 10
NAMES = [
    "pdu_power_watts", "pdu_power_l1_watts", "pdu_power_l2_watts", "pdu_power_l3_watts", "pdu_current_l1_amperes",
    "pdu_current_l2_amperes", "pdu_current_l3_amperes", "pdu_voltage_l1_volts", "pdu_voltage_l2_volts", "pdu_voltage_l3_volts",
]
SERVER = """
import asyncio, sys
from pymodbus.server import StartAsyncTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice
devices = [SimDevice(id=u, simdata=[SimData(0, values=[100 + u + i for i in range(64)], datatype=DataType.REGISTERS)]) for u in range(1, {units} + 1)]
asyncio.run(StartAsyncTcpServer(devices, address=("127.0.0.1", int(sys.argv[1]))))
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, what):
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"{what} does not listen on {port}")


def cpu_seconds(pid):
    """Time on a CPU of all threads. Both programs keep theirs, so none is lost from the sum."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat") as f:
            total += int(f.read().split()[0])
    return total / 1e9


def rss_mib(pid):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024


def agent_config(folder, modbus, sink, broker, serve, grouped, qos):
    profiles = os.path.join(folder, "profiles")
    os.makedirs(profiles, exist_ok=True)
    points = "".join(
        f"[[point]]\nsignal='{name}'\nregister='holding'\naddress={i}\ntype='u16'\n" for i, name in enumerate(NAMES)
    )
    # Ungrouped is one request for each register, as collectd does it.
    link = "" if grouped else "[link]\nmax_span=1\n"
    with open(os.path.join(profiles, "bench.toml"), "w") as f:
        f.write(
            "name='bench'\nclass='pdu'\ndescribes='ten registers'\nsource='none: a benchmark'\n"
            f"validated='nowhere'\n{link}[probe]\nregister='holding'\naddress=0\n{points}"
        )
    # Each into one sink: collectd loads no MQTT either when it serves Prometheus.
    uplink = f"[broker]\nurl='mqtt://127.0.0.1:{broker}'\nqos={qos}\n" if sink == "mqtt" else "uplink=false\n"
    text = (
        f"site='bench'\nrack='rack-1'\nprofiles_dir='{profiles}'\n{uplink}[nvml]\nenabled=false\n"
        f"[serve]\nlisten='127.0.0.1:{serve}'\n[spool]\nsnapshots=10\n"
    )
    for unit in range(1, UNITS + 1):
        text += f"[[modbus]]\ndevice='pdu-{unit}'\nprofile='bench'\naddress='127.0.0.1:{modbus}'\nunit={unit}\npoll_ms=1000\n"
    path = os.path.join(folder, "agent.toml")
    with open(path, "w") as f:
        f.write(text)
    return path


def collectd_config(folder, modbus, sink, broker, serve):
    data = "".join(
        f'<Data "r{i}">\nRegisterBase {i}\nRegisterType uint16\nRegisterCmd ReadHolding\nType gauge\nInstance "r{i}"\n</Data>\n'
        for i in range(SIGNALS)
    )
    collect = "".join(f'Collect "r{i}"\n' for i in range(SIGNALS))
    slaves = "".join(f'<Slave {u}>\nInstance "u{u}"\n{collect}</Slave>\n' for u in range(1, UNITS + 1))
    host = f'<Host "bench">\nAddress "127.0.0.1"\nPort "{modbus}"\nInterval 1\n{slaves}</Host>\n'
    if sink == "mqtt":
        out = f'LoadPlugin mqtt\n<Plugin mqtt>\n<Publish "b">\nHost "127.0.0.1"\nPort {broker}\nQoS 1\nPrefix "collectd"\n</Publish>\n</Plugin>\n'
    else:
        out = f'LoadPlugin write_prometheus\n<Plugin write_prometheus>\nHost "127.0.0.1"\nPort "{serve}"\n</Plugin>\n'
    path = os.path.join(folder, "collectd.conf")
    with open(path, "w") as f:
        f.write(
            f'Hostname "bench"\nFQDNLookup false\nBaseDir "{folder}"\nPIDFile "{folder}/collectd.pid"\nTypesDB "/usr/share/collectd/types.db"\n'
            f"Interval 1\nLoadPlugin modbus\n<Plugin modbus>\n{data}{host}</Plugin>\n{out}"
        )
    return path


def measure(name, command, seconds, scrape, log):
    process = subprocess.Popen(command, stdout=log, stderr=log)
    # Prometheus keeps its connection from scrape to scrape.
    scraper = http.client.HTTPConnection("127.0.0.1", scrape, timeout=5)
    try:
        if scrape:
            wait_for(scrape, name)
        time.sleep(5)
        before, began = cpu_seconds(process.pid), time.monotonic()
        size = 0
        while time.monotonic() - began < seconds:
            if scrape:
                scraper.request("GET", "/metrics")
                page = scraper.getresponse().read().decode()
                size = sum(line.startswith(("collectd_modbus", "headroom_pdu")) for line in page.splitlines())
            time.sleep(1)
        used, took = cpu_seconds(process.pid) - before, time.monotonic() - began
        if scrape and size != UNITS * SIGNALS:
            sys.exit(f"{name} shows {size} values of {UNITS * SIGNALS}")
        if process.poll() is not None:
            sys.exit(f"{name} ended by itself with {process.returncode}: see its log")
        return {"cpu_percent": round(100 * used / took, 3), "rss_mib": round(rss_mib(process.pid), 2)}
    finally:
        scraper.close()
        process.send_signal(signal.SIGTERM)
        process.wait(20)


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--agent", required=True, help="the agent's program")
    args.add_argument("--floor", required=True, help="the floor's program")
    args.add_argument("--seconds", type=int, default=30, help="how long each run is measured")
    args.add_argument("--rounds", type=int, default=3)
    args.add_argument("--sink", choices=["mqtt", "prometheus"], help="only into this one")
    args = args.parse_args()
    sinks = [args.sink] if args.sink else ["mqtt", "prometheus"]
    folder = tempfile.mkdtemp(prefix="agent-vs-collectd-")
    log = open(os.path.join(folder, "log"), "w")
    modbus, broker = free_port(), free_port()
    started = [
        subprocess.Popen([sys.executable, "-c", SERVER.replace("{units}", str(UNITS)), str(modbus)], stdout=log, stderr=log),
        subprocess.Popen(["mosquitto", "-p", str(broker)], stdout=log, stderr=log),
    ]
    runs = {}
    try:
        wait_for(modbus, "pymodbus")
        wait_for(broker, "mosquitto")
        for number in range(args.rounds):
            for sink in sinks:
                # Into MQTT both with QoS 1; with 0 as well, which is what the agent does of itself.
                extra = ["agent_ungrouped_qos0", "agent_grouped_qos0"] if sink == "mqtt" else []
                for who in ["collectd", "floor", "agent_ungrouped", "agent_grouped", *extra]:
                    serve = free_port()
                    if who == "floor":
                        command = [args.floor, f"127.0.0.1:{modbus}"]
                    elif who == "collectd":
                        command = ["collectd", "-f", "-C", collectd_config(folder, modbus, sink, broker, serve)]
                    else:
                        config = agent_config(folder, modbus, sink, broker, serve, "ungrouped" not in who, 0 if "qos0" in who else 1)
                        command = [args.agent, "run", "--config", config]
                    measured = measure(who, command, args.seconds, serve if sink == "prometheus" and who != "floor" else None, log)
                    runs.setdefault(f"{who}/{sink}", []).append(measured)
                    print(f"round {number + 1} of {args.rounds}: {who} into {sink}: {measured}", file=sys.stderr)
    finally:
        for process in started:
            process.terminate()
            process.wait(20)

    def median(key, what):
        return statistics.median(run[what] for run in runs[key])

    result = {"registers": UNITS * SIGNALS, "interval_s": 1, "rounds": args.rounds, "seconds": args.seconds}
    for sink in sinks:
        for how in ["ungrouped", "grouped"] + (["ungrouped_qos0", "grouped_qos0"] if sink == "mqtt" else []):
            ratio = median(f"agent_{how}/{sink}", "cpu_percent") / median(f"collectd/{sink}", "cpu_percent")
            result[f"cpu_ratio_{how}_{sink}"] = round(ratio, 3)
    ratios = [value for key, value in result.items() if key.startswith("cpu_ratio_")]
    result["cpu_ratio"] = max(ratios)
    for sink in sinks:
        floor = median(f"floor/{sink}", "cpu_percent")
        result[f"floor_ratio_{sink}"] = round(floor / median(f"collectd/{sink}", "cpu_percent"), 3)
    result["rss_mib"] = max(run["rss_mib"] for key, all_ in runs.items() if key.startswith("agent") for run in all_)
    result["collectd_rss_mib"] = max(run["rss_mib"] for key, all_ in runs.items() if key.startswith("collectd") for run in all_)
    result["raw"] = runs
    print(json.dumps(result))


main()
