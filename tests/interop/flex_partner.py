#!/usr/bin/env python3
"""A load-flexibility partner on paho-mqtt that signs and verifies with jwcrypto.

    flex_partner.py listen HOST PORT PUBLIC_PEM KID
    flex_partner.py send HOST PORT PRIVATE_PEM KID WISH

`listen` verifies every message of a DSX Flex agent, holds it against the facts of the contract below and
prints it as JSON, faults among them; {"listening": true} when its subscription stands. `send` publishes one
load target: WISH is JSON with "isv", "payload" and, to do it wrong on purpose, "envelope" (replaces
attributes), "header" (replaces parts of the JWS header), "hmac_with" (a file whose bytes sign as HS256),
"text" (sent as it is) or "bytes" (as many blanks are added behind it). Prints the text that was sent.
"""

import base64
import datetime
import hashlib
import hmac
import json
import re
import sys
import uuid

import jsonschema
from jwcrypto import jwk, jws
from paho.mqtt import client as mqtt

# What DSX Flex 1.7 says of these messages, in our own words.
UUID = {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"}
TIME = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"}
POWER = {
    "type": "object",
    "required": ["value", "unit"],
    "properties": {"value": {"type": "number", "minimum": 0}, "unit": {"enum": ["watt", "kilowatt", "megawatt"]}},
}
INTERVAL = {"type": "object", "properties": {"start_time": TIME, "end_time": TIME}}
RESOURCE = {"resource_id": {"type": "string"}, "resource_type": {"enum": ["node", "gpu", "chassis"]}}
ACTION = {"enum": ["power_cap", "throttle", "suspend"]}


def required(properties, optional=()):
    names = [name for name in properties if name not in optional]
    return {"type": "object", "required": names, "properties": properties}


ENVELOPE = required(
    {
        "specversion": {"const": "1.0.2"},
        "id": UUID,
        "source": {"pattern": "^//grid/v1/(isv|dsx-flex-agent|infra)/[^/]+$"},
        "type": {"type": "string"},
        "time": TIME,
        "datacontenttype": {"const": "application/json"},
        "subject": {"type": "string", "minLength": 1},
        "traceparent": {"pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$"},
        "data": {"type": "string", "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"},
        "correlationid": UUID,
    },
    ["correlationid"],
)
TARGET = required(
    {
        "active": {"type": "boolean"},
        "load_constraint": POWER,
        "interval": INTERVAL,
        "strategy": {"type": "object", "properties": {"best_effort": {"type": "boolean"}}},
        "correlation_id": UUID,
    }
)
EVENTS = ["target_set", "start_ramp_down", "end_ramp_down", "start_ramp_up", "end_ramp_up", "periodic"]
FEED = required(
    {
        "metadata": required({"power_minimum": POWER, "power_maximum": POWER, "default_constraint": POWER}),
        "targets": {"type": "array", "items": TARGET},
        "calculated_load": POWER,
        "in_flight": {"type": "boolean"},
        "event": {"enum": EVENTS},
        "compliant": {"type": "boolean"},
        "power_event_start_time": TIME,
    },
    ["power_event_start_time"],
)
ACTIONS = {"type": "array", "items": {"enum": ["SHUTDOWN_NODES", "SHUTDOWN_RACKS", "CUT_DATA_FEEDS", "TRIP_BREAKERS"]}}
HINT = required({**RESOURCE, "action": ACTION, "priority": {"type": "integer", "minimum": 1}, "target_power": POWER})
RESULT = required(
    {
        **RESOURCE,
        "requested_action": ACTION,
        "code": {"enum": ["applied", "failed", "skipped"]},
        "message": {"type": "string"},
        "applied_power": POWER,
    },
    ["message", "applied_power"],
)
# Type, then topic, QoS and payload.
MESSAGES = {
    "grid.powerstate.status.v1": (
        "grid/v1/dsx-flex-agent/{}/powerstate/status",
        1,
        required({"snapshot_time": TIME, "feeds": {"type": "object", "additionalProperties": FEED}}),
    ),
    "grid.powerbreach.alert.v1": (
        "grid/v1/dsx-flex-agent/{}/powerbreach",
        2,
        required(
            {
                "feed_tag": {"type": "string"},
                "status": {"enum": ["active", "escalated", "resolved"]},
                "severity": {"enum": ["warning", "critical"]},
                "breach": required({"breach_id": UUID, "detected_at": TIME, "resolved_at": TIME}, ["resolved_at"]),
                "target": required({"correlation_id": UUID, "load_constraint": POWER}),
                "measured_load": POWER,
                "infrastructure_actions": ACTIONS,
                "shed_hints": {"type": "array", "items": HINT},
            },
            ["shed_hints"],
        ),
    ),
    "grid.powerbreach.enforcement.v1": (
        "grid/v1/infra/{}/powerbreach/enforcement",
        2,
        required(
            {
                "breach_id": UUID,
                "feed_tag": {"type": "string"},
                "action": {"enum": ["applied", "reverted"]},
                "code": {"enum": ["success", "partial", "error"]},
                "results": {"type": "array", "items": RESULT},
                "timestamp": TIME,
            }
        ),
    ),
}


def say(value):
    print(json.dumps(value), flush=True)


def faults_of(value, schema, where):
    errors = jsonschema.Draft202012Validator(schema).iter_errors(value)
    return [f"{where}{error.json_path[1:]}: {error.message}" for error in errors]


def opened(message, key, kid):
    """A message as a partner reads it, with everything that is wrong with it."""
    envelope = json.loads(message.payload)
    faults = faults_of(envelope, ENVELOPE, "envelope")
    token = jws.JWS()
    token.deserialize(envelope["data"], key, alg=None)
    header = json.loads(token.objects["protected"])
    if header.get("kid") != kid or header["alg"] not in ("ES256", "RS256"):
        faults.append(f"JWS header {header}")
    data = json.loads(token.payload)
    topic, qos, schema = MESSAGES.get(envelope["type"], ("no such type", None, {}))
    if topic.format(envelope["source"].split("/")[-1]) != message.topic:
        faults.append(f"{envelope['type']} of {envelope['source']} on {message.topic}")
    if message.qos != qos:
        faults.append(f"QoS {message.qos} in place of {qos}")
    faults += faults_of(data, schema, "data")
    told = {"type": envelope["type"], "id": envelope["id"], "source": envelope["source"], "data": data, "faults": faults}
    return told | {"correlation": envelope.get("correlationid"), "trace": envelope["traceparent"].split("-")[1]}


def listen(host, port, public_pem, kid):
    key = jwk.JWK.from_pem(open(public_pem, "rb").read())
    client = mqtt.Client(client_id="partner-listens")

    def on_message(_client, _data, message):
        try:
            say(opened(message, key, kid))
        except Exception as error:  # what is wrong with a message is for the test to judge
            say({"type": "unreadable", "faults": [f"{type(error).__name__}: {error}"], "text": str(message.payload)})

    client.on_message = on_message
    client.on_connect = lambda *_: client.subscribe([("grid/v1/dsx-flex-agent/#", 2), ("grid/v1/infra/#", 2)])
    client.on_subscribe = lambda *_: say({"listening": True})
    client.connect(host, port, keepalive=10)
    client.loop_forever()


def url(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def signed(payload, wish, private_pem, kid):
    payload = json.dumps(payload).encode()
    key = jwk.JWK.from_pem(open(private_pem, "rb").read())
    header = {"alg": "ES256" if key["kty"] == "EC" else "RS256", "kid": kid, **wish.get("header", {})}
    if (path := wish.get("hmac_with")) is not None:
        first = f"{url(json.dumps({**header, 'alg': 'HS256'}).encode())}.{url(payload)}"
        return f"{first}.{url(hmac.new(open(path, 'rb').read(), first.encode(), hashlib.sha256).digest())}"
    if header["alg"] == "none":
        return f"{url(json.dumps(header).encode())}.{url(payload)}.{url(b'none')}"
    token = jws.JWS(payload)
    token.add_signature(key, header["alg"], json.dumps(header))
    return token.serialize(compact=True)


def send(host, port, private_pem, kid, wish):
    wish = json.loads(wish)
    isv = wish.get("isv", "acme")
    envelope = {
        "specversion": "1.0.2",
        "id": str(uuid.uuid4()),
        "source": f"//grid/v1/isv/{isv}",
        "type": "grid.loadtarget.set.v1",
        "time": datetime.datetime.now(datetime.timezone.utc).isoformat().replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "subject": "loadtarget",
        "correlationid": str(uuid.uuid4()),
        "traceparent": f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01",
    }
    envelope["data"] = signed(wish.get("payload", {}), wish, private_pem, kid)
    envelope.update(wish.get("envelope", {}))
    text = wish.get("text") or json.dumps(envelope)
    client = mqtt.Client(client_id=f"partner-{uuid.uuid4().hex[:8]}")
    client.connect(host, port)
    client.loop_start()
    client.publish(f"grid/v1/isv/{isv}/loadtarget/set", text.ljust(wish.get("bytes", 0)), qos=1).wait_for_publish(10)
    client.disconnect()
    say({"sent": text, "correlation": envelope["correlationid"], "trace": envelope["traceparent"].split("-")[1]})


if __name__ == "__main__":
    what, host, port, *rest = sys.argv[1:]
    assert re.fullmatch(r"\d+", port), "a port"
    {"listen": listen, "send": send}[what](host, int(port), *rest)
