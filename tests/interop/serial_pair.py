#!/usr/bin/env python3
"""Two serial ports (pseudo-terminals) with a cable between them, until it is killed: {"ends": [PATH, PATH]}."""

import json
import threading

from modbus_server import line

print(json.dumps({"ends": line()}), flush=True)
threading.Event().wait()
