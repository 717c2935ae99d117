#!/usr/bin/env python3
"""A host application on paho-mqtt that decodes Sparkplug frames with pysparkplug.

    sparkplug_host.py HOST PORT SITE

Listens to everything of a site and prints one JSON object per frame; {"listening": true} whenever
its subscription stands, again after the broker was away. Data frames are resolved by pysparkplug
with the last birth of their node. pysparkplug has no properties: these are read from its protobuf.
"""

import json
import sys

import pysparkplug
from paho.mqtt import client as mqtt
from pysparkplug import _protobuf as protobuf

births = {}


def say(value):
    print(json.dumps(value), flush=True)


def metric(decoded, raw):
    """A metric as pysparkplug understood it, and its properties by name."""
    properties = zip(raw.properties.keys, raw.properties.values)
    return {
        "name": decoded.name,
        "named": raw.HasField("name"),
        "alias": decoded.alias,
        "type": decoded.datatype.name,
        "value": decoded.value,
        "null": decoded.is_null,
        "historical": decoded.is_historical,
        "at": decoded.timestamp,
        "properties": {key: [value.type, getattr(value, value.WhichOneof("value"))] for key, value in properties},
    }


def frame(message):
    _, site, kind, node = message.topic.split("/")
    raw = protobuf.Payload.FromString(message.payload)
    told = {"kind": kind, "node": node, "site": site, "qos": message.qos, "retain": bool(message.retain)}
    if kind == "NBIRTH":
        births[node] = decoded = pysparkplug.NBirth.decode(message.payload)
    elif kind == "NDATA":
        if node not in births:
            return None
        decoded = pysparkplug.NData.decode(message.payload, birth=births[node])
    elif kind == "NDEATH":
        decoded = pysparkplug.NDeath.decode(message.payload)
        return told | {"bd_seq": decoded.bd_seq_metric.value, "name": decoded.bd_seq_metric.name, "has_seq": raw.HasField("seq")}
    else:
        return None
    metrics = [metric(of, pb) for of, pb in zip(decoded.metrics, raw.metrics, strict=True)]
    return told | {"seq": decoded.seq, "at": decoded.timestamp, "metrics": metrics}


def on_message(_client, _data, message):
    try:
        if told := frame(message):
            say(told)
    except Exception as error:  # what is wrong with a frame is for the test to judge
        say({"undecodable": f"{type(error).__name__}: {error}", "topic": message.topic, "hex": message.payload.hex()})


def main():
    host, port, site = sys.argv[1:]
    client = mqtt.Client(client_id="independent-host")
    client.on_message = on_message
    client.on_connect = lambda *_: client.subscribe(f"spBv1.0/{site}/#", qos=1)
    client.on_subscribe = lambda *_: say({"listening": True})
    client.reconnect_delay_set(min_delay=1, max_delay=1)
    client.connect(host, int(port), keepalive=10)
    client.loop_forever()


if __name__ == "__main__":
    main()
