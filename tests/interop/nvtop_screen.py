#!/usr/bin/env python3
"""nvtop (Debian's) on simulated GPUs, in a terminal of its own whose screen is read back.

    HEADROOM_NVML_STATE=STATEFILE LD_LIBRARY_PATH=LIBDIR nvtop_screen.py GPUS

Prints one JSON object once the power of GPUS GPUs is on the screen: `gpus`, each with its index, `watts`,
`limit_watts` and `celsius`, and the `screen` as it stood. Ends with an error when they do not come.
"""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
import time

import pyte

# One GPU beside the other would not fit.
COLUMNS, LINES = 100, 120


def main():
    wanted = int(sys.argv[1])
    screen = pyte.Screen(COLUMNS, LINES)
    stream = pyte.ByteStream(screen)
    child, terminal = pty.fork()
    if child == 0:
        os.environ["TERM"] = "xterm"
        # No plots: their lines would stand where values do.
        os.execvp("nvtop", ["nvtop", "--no-plot", "--no-color", "--delay", "5"])
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    end = time.monotonic() + 60
    try:
        while time.monotonic() < end:
            if select.select([terminal], [], [], 0.2)[0]:
                try:
                    stream.feed(os.read(terminal, 65536))
                except OSError:
                    sys.exit("nvtop ended by itself:\n" + "\n".join(screen.display))
            text = "\n".join(line.rstrip() for line in screen.display)
            gpus = [
                {"index": int(index), "celsius": int(celsius), "watts": int(watts), "limit_watts": int(limit)}
                for index, celsius, watts, limit in re.findall(
                    r"Device\s+(\d+).*?TEMP\s+(\d+)\D+?C.*?POW\s+(\d+)\s*/\s*(\d+)\s*W", text, re.DOTALL
                )
            ]
            if len(gpus) == wanted:
                print(json.dumps({"gpus": gpus, "screen": text}))
                return
        sys.exit(f"nvtop shows {len(gpus)} GPUs of {wanted}:\n{text}")
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
