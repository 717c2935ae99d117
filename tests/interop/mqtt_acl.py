#!/usr/bin/env python3
"""Who may say what to whom at a broker with the shipped ACL, asked with Eclipse Paho: ADDRESS PORT PASSWORD.

Everybody says everything; a broker acknowledges also what it refuses, so only what is heard counts."""

import queue
import sys

import paho.mqtt.client as mqtt

host, port, password = sys.argv[1], int(sys.argv[2]), sys.argv[3]
PATIENCE_S = 20
UP, DOWN = "spBv1.0/hall-2/NDATA/{}", "spBv1.0/hall-2/NCMD/{}"
STATE, COOLING = "spBv1.0/STATE/controller-1", "BMS/v1/PUB/Value/Rack/hall-2"
ALSO_UP = ["spBv1.0/hall-2/NBIRTH/rack-1", "spBv1.0/hall-2/NDEATH/rack-1"]
NO_RACKS = {UP.format(user) for user in ("bms", "scada", "controller")}
SPARKPLUG = {UP.format("rack-1"), UP.format("rack-2"), DOWN.format("rack-1"), DOWN.format("rack-2"), STATE, *ALSO_UP}
MAY_SAY = {
    "rack-1": {UP.format("rack-1"), *ALSO_UP},
    "rack-2": {UP.format("rack-2")},
    "bms": {COOLING},
    "controller": {DOWN.format("rack-1"), DOWN.format("rack-2"), STATE},
    "scada": set(),
}
COMMON = SPARKPLUG | {COOLING}
MAY_HEAR = {"rack-1": {COOLING, DOWN.format("rack-1"), STATE}, "controller": COMMON, "scada": COMMON}
END = "end"


class Peer:
    def __init__(self, user):
        self.said, self.subscribed, self.heard = queue.Queue(), queue.Queue(), queue.Queue()
        connected = queue.Queue()
        self.client = mqtt.Client(f"{user}-peer")
        self.client.username_pw_set(user, password)
        self.client.on_connect = lambda c, d, flags, code: connected.put(code)
        self.client.on_publish = lambda c, d, mid: self.said.put(mid)
        self.client.on_subscribe = lambda c, d, mid, granted: self.subscribed.put(granted)
        self.client.on_message = lambda c, d, m: self.heard.put((m.payload.decode(), m.topic))
        self.client.connect(host, port)
        self.client.loop_start()
        code = connected.get(timeout=PATIENCE_S)
        assert code == 0, f"{user}: {mqtt.connack_string(code)}"

    def say(self, topic, text):
        self.client.publish(topic, text, qos=1)
        self.said.get(timeout=PATIENCE_S)

    def hears(self):
        """Until STATE's last word, which everybody may hear and which is said after all others."""
        heard = []
        while not heard or heard[-1] != (END, STATE):
            heard.append(self.heard.get(timeout=PATIENCE_S))
        return set(heard[:-1])


peers = {user: Peer(user) for user in MAY_SAY}
for user in MAY_HEAR:
    peers[user].client.subscribe([("spBv1.0/#", 1), ("BMS/v1/PUB/#", 1)])
    peers[user].subscribed.get(timeout=PATIENCE_S)
for user, peer in peers.items():
    for topic in sorted(COMMON | NO_RACKS):
        peer.say(topic, user)
peers["controller"].say(STATE, END)
wrong = []
for user, topics in MAY_HEAR.items():
    right = {(said, topic) for said, may in MAY_SAY.items() for topic in may & topics}
    heard = peers[user].hears()
    wrong += [f"{user} hears {topic} from {said}" for said, topic in sorted(heard - right)]
    wrong += [f"{user} does not hear {topic} from {said}" for said, topic in sorted(right - heard)]
for peer in peers.values():
    peer.client.disconnect()
    peer.client.loop_stop()
sys.exit("\n".join(wrong) or 0)
