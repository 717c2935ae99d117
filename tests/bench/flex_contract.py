"""Runs a controller whose agents are absent, so that a load target is missed, escalated, and over when it is
lifted: every message of DSX Flex is seen once at least. Holds each against the schema that the contract
gives for its topic, and its signature against jwcrypto. Started by tests/bench/flex-contract."""

import datetime
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import uuid

import judge
import jsonschema
import yaml
from jwcrypto import jwk, jws

contract = yaml.safe_load(open(sys.argv[1]))
controller = sys.argv[2]
WANTED = {"PowerStateStatusEvent", "PowerBreachAlertEvent", "PowerBreachEnforcementEvent", "LoadTargetSetEvent"}
EVENTS = {"target_set", "start_ramp_down", "start_ramp_up", "end_ramp_up", "periodic"}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def channel_of(topic):
    """The channel whose address fits the topic."""
    words = topic.split("/")
    for channel in contract["channels"].values():
        address = channel["address"].split("/")
        if len(address) == len(words) and all(a.startswith("{") or a == w for a, w in zip(address, words)):
            return channel
    raise ValueError(f"no channel for {topic}")


def check(value, schema):
    whole = {**schema, "components": contract["components"]}
    checker = jsonschema.FormatChecker()
    checker.checks("uuid", ValueError)(lambda v: str(uuid.UUID(v)) == v)
    checker.checks("date-time", ValueError)(lambda v: bool(datetime.datetime.fromisoformat(v)))
    errors = jsonschema.Draft202012Validator(whole, format_checker=checker).iter_errors(value)
    return [f"{e.json_path}: {e.message}" for e in errors]


def judged(message, keys):
    """The name of the event's schema, its payload, and what is wrong."""
    channel = channel_of(message.topic)
    (reference,) = [m["$ref"].split("/")[-1] for m in channel["messages"].values()]
    name = contract["components"]["messages"][reference]["payload"]["$ref"].split("/")[-1]
    schemas = contract["components"]["schemas"]
    envelope = json.loads(message.payload)
    faults = check(envelope, {"$ref": f"#/components/schemas/{name}"})
    if message.qos != channel["bindings"]["mqtt"]["qos"]:
        faults.append(f"QoS {message.qos}")
    token = jws.JWS()
    token.deserialize(envelope["data"])
    key = keys[json.loads(token.objects["protected"])["kid"]]
    token.verify(key)
    data = json.loads(token.payload)
    plain = schemas[name]["allOf"][1]["properties"]["data"]["oneOf"][1]
    return name, data, faults + check(data, plain)


def signed_target(key, limit):
    constraint = None if limit is None else {"value": limit, "unit": "kilowatt"}
    payload = {"targets": [{"interval": {}, "feed_tags": ["main"], "load_constraint": constraint}]}
    token = jws.JWS(json.dumps(payload).encode())
    token.add_signature(key, "ES256", json.dumps({"alg": "ES256", "kid": "acme-1"}))
    return json.dumps(
        {
            "specversion": "1.0.2",
            "id": str(uuid.uuid4()),
            "source": "//grid/v1/isv/acme",
            "type": "grid.loadtarget.set.v1",
            "time": datetime.datetime.now(datetime.timezone.utc).isoformat(),
            "datacontenttype": "application/json",
            "subject": "loadtarget",
            "correlationid": str(uuid.uuid4()),
            "traceparent": f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01",
            "data": token.serialize(compact=True),
        }
    )


def main():
    folder = tempfile.mkdtemp(prefix="flex-contract-")
    path = lambda name: os.path.join(folder, name)
    for name in ("ours", "acme"):
        make = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path(f"{name}.key")]
        subprocess.run(make, check=True, capture_output=True)
        show = ["openssl", "pkey", "-in", path(f"{name}.key"), "-pubout", "-out", path(f"{name}.pem")]
        subprocess.run(show, check=True, capture_output=True)
    acme = jwk.JWK.from_pem(open(path("acme.key"), "rb").read())
    keys = {"site-1": jwk.JWK.from_pem(open(path("ours.pem"), "rb").read()), "acme-1": acme}
    port = free_port()
    text = subprocess.run([controller, "default-config"], check=True, capture_output=True, text=True).stdout
    text = text.replace("mqtt://127.0.0.1:1883", f"mqtt://127.0.0.1:{port}").replace("127.0.0.1:7878", "127.0.0.1:0")
    text = text.replace('dir = "record"', f'dir = "{path("record")}"')
    text += (
        f'\n[flex]\nidentifier = "site-1"\nkey_id = "site-1"\nkey_file = "{path("ours.key")}"\nbreach_after_s = 2\n'
        'escalate_after_s = 4\ninfrastructure_actions = ["SHUTDOWN_NODES", "SHUTDOWN_RACKS"]\n'
        '[[flex.feed]]\ntag = "main"\nnodes = ["ups-a", "ups-b"]\n'
        f'[[flex.isv]]\nidentifier = "acme"\nkeys = [{{ kid = "acme-1", file = "{path("acme.pem")}" }}]\n'
    )
    with open(path("controller.toml"), "w") as f:
        f.write(text)
    log = open(path("log"), "w")
    broker = subprocess.Popen(["mosquitto", "-p", str(port)], stdout=log, stderr=log)
    program = subprocess.Popen([controller, "run", "--config", path("controller.toml")], stdout=log, stderr=log)
    client, heard = judge.listen(port, "grid/#", 2)

    faults, seen, events, told = {}, {}, set(), []

    def read():
        while len(told) < len(heard):
            message = heard[len(told)]
            told.append(message)
            try:
                name, data, wrong = judged(message, keys)
                seen[name] = seen.get(name, 0) + 1
                events.update(feed["event"] for feed in data.get("feeds", {}).values())
                events.update(word for word in [data.get("status"), data.get("action")] if word)
            except Exception as error:
                wrong = [f"{type(error).__name__}: {error}"]
            for fault in wrong:
                faults.setdefault(f"{message.topic}: {fault}", message.payload.decode(errors="replace"))
        return events

    def until(words):
        end = time.monotonic() + 60
        while not words <= read() and time.monotonic() < end:
            time.sleep(0.1)

    until({"periodic"})
    client.publish("grid/v1/isv/acme/loadtarget/set", signed_target(acme, 5.0), qos=1)
    until({"target_set", "start_ramp_down", "active", "applied", "escalated"})
    client.publish("grid/v1/isv/acme/loadtarget/set", signed_target(acme, None), qos=1)
    until({"resolved", "reverted", "start_ramp_up", "end_ramp_up"})
    for process in (program, broker):
        process.terminate()
        process.wait(20)
    client.loop_stop()
    read()
    for words, payload in faults.items():
        print(words, payload, file=sys.stderr)
    missing = sorted((WANTED - set(seen)) | (EVENTS - events))
    if missing:
        print(f"not seen: {', '.join(missing)}; the log is {path('log')}", file=sys.stderr)
    print(json.dumps({"messages": len(told), **seen, "events": sorted(events), "faults": len(faults), "missing": missing}))
    sys.exit(1 if faults or missing else 0)


main()
