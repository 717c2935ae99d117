#!/usr/bin/env python3
"""An outside MQTT client (paho-mqtt) that publishes one message and waits until the broker has it.

    mqtt_send.py HOST PORT TOPIC HEX
    mqtt_send.py HOST PORT TOPIC rebirth

`rebirth` is a Sparkplug node command that asks for a birth, encoded by pysparkplug.
"""

import json
import sys

import pysparkplug
from paho.mqtt import client as mqtt


def rebirth():
    now = pysparkplug.get_current_timestamp()
    ask = pysparkplug.Metric(timestamp=now, name="Node Control/Rebirth", datatype=pysparkplug.DataType.BOOLEAN, value=True)
    return pysparkplug.NCmd(timestamp=now, metrics=(ask,)).encode(include_dtypes=True)


def main():
    host, port, topic, what = sys.argv[1:]
    payload = rebirth() if what == "rebirth" else bytes.fromhex(what)
    client = mqtt.Client(client_id="outsider")
    client.connect(host, int(port))
    client.loop_start()
    sent = client.publish(topic, payload, qos=1)
    sent.wait_for_publish(timeout=30)
    client.disconnect()
    client.loop_stop()
    print(json.dumps({"sent": sent.is_published()}))


if __name__ == "__main__":
    main()
