"""Runs an agent with a meter, a UPS and a pumping unit (pymodbus) and a DSX gateway into Mosquitto, and
holds each message against the schema that the contract gives for its topic. Started by tests/bench/dsx-contract."""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

import judge
import jsonschema
import yaml

contract = yaml.safe_load(open(sys.argv[1]))
agent = sys.argv[2]
SECONDS = 15
DEVICES = [("pdu-a", "eastron-sdm630", 1), ("ups-a", "delta-dph", 2), ("cooling", "openrack-rpu", 12)]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def channel_of(topic):
    """The channel whose address fits, and the point type."""
    kind, object_type, point_type = topic.split("/")[3:6]
    wanted = f"BMS/v1/PUB/{kind}/{object_type}/{{pointType}}/{{tagPath}}"
    for channel in contract["channels"].values():
        if channel["address"] == wanted:
            if point_type not in channel["parameters"]["pointType"]["enum"]:
                raise ValueError(f"{object_type} has no point type {point_type}")
            return kind, channel, point_type
    raise ValueError(f"no channel for {topic}")


def schemas_of(topic):
    """The payload schemas that a message on this topic may fit."""
    kind, channel, point_type = channel_of(topic)
    names = [m["$ref"].split("/")[-1] for m in channel["messages"].values()]
    payloads = [contract["components"]["messages"][name]["payload"] for name in names]
    if kind == "Value":
        return payloads
    found = []
    for payload in payloads:
        text = json.dumps(contract["components"]["schemas"][payload["$ref"].split("/")[-1]])
        for ref in re.findall(r"#/components/schemas/(\w+)", text):
            kinds = contract["components"]["schemas"][ref].get("properties", {}).get("pointType", {}).get("enum", [])
            if point_type in kinds:
                found.append(payload)
    if not found:
        raise ValueError(f"no schema for {topic}")
    return found


def fault(topic, payload):
    """What is wrong with a message, or nothing."""
    try:
        wrong = []
        for schema in schemas_of(topic):
            whole = {**schema, "components": contract["components"]}
            validator = jsonschema.Draft202012Validator(whole)
            errors = [e.message for e in validator.iter_errors(payload)]
            if not errors:
                return None
            wrong += errors
        return "; ".join(wrong)
    except ValueError as error:
        return str(error)


def main():
    folder = tempfile.mkdtemp(prefix="dsx-contract-")
    log = open(os.path.join(folder, "log"), "w")
    port = free_port()
    here = os.path.dirname(os.path.abspath(__file__))
    broker = subprocess.Popen(["mosquitto", "-p", str(port)], stdout=log, stderr=log)
    server = subprocess.Popen(
        [sys.executable, "-u", os.path.join(here, "../interop/modbus_server.py")], stdout=subprocess.PIPE, stderr=log
    )
    modbus = json.loads(server.stdout.readline())["port"]
    text = (
        f"site='hall-2'\nrack='rack-1'\n[broker]\nurl='mqtt://127.0.0.1:{port}'\n[nvml]\nenabled=false\n"
        "[dsx_gateway]\ntag_path='hall-2/row-1/rack-1'\n"
    )
    for device, profile, unit in DEVICES:
        text += f"[[modbus]]\ndevice='{device}'\nprofile='{profile}'\naddress='127.0.0.1:{modbus}'\nunit={unit}\n"
    config = os.path.join(folder, "agent.toml")
    with open(config, "w") as f:
        f.write(text)
    client, messages = judge.listen(port, "BMS/#", 1)
    program = subprocess.Popen([agent, "run", "--config", config], stdout=log, stderr=log)
    time.sleep(SECONDS)
    for process in (program, server, broker):
        process.terminate()
        process.wait(20)
    client.loop_stop()
    heard = [(m.topic, json.loads(m.payload)) for m in messages]
    faults = {}
    for topic, payload in heard:
        if (wrong := fault(topic, payload)) is not None:
            faults.setdefault(f"{topic}: {wrong}", payload)
    for words, payload in faults.items():
        print(words, json.dumps(payload), file=sys.stderr)
    topics = {topic for topic, _ in heard}
    print(json.dumps({"messages": len(heard), "topics": len(topics), "faults": len(faults)}))
    sys.exit(1 if faults or not topics else 0)


main()
