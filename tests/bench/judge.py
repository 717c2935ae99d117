"""A client of the bus that keeps what it hears, for what holds messages against a contract."""

import time

from paho.mqtt import client as mqtt


def listen(port, topics, qos):
    """Connects to a broker of this machine that may still be starting; the client and its growing list of messages."""
    heard = []
    client = mqtt.Client(client_id="judge")
    client.on_message = lambda _client, _data, message: heard.append(message)
    end = time.monotonic() + 30
    while True:
        try:
            client.connect("127.0.0.1", port)
            break
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.05)
    client.subscribe(topics, qos=qos)
    client.loop_start()
    return client, heard
