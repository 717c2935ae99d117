"""Runs the built fuzz targets one after the other, each from a corpus of real inputs. Started by tests/bench/fuzz."""

import glob
import json
import os
import re
import subprocess
import sys


def crc(frame):
    """CRC-16 of Modbus over Serial Line v1.02, 6.2.2, low byte first."""
    value = 0xFFFF
    for byte in frame:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ 0xA001 if value & 1 else value >> 1
    return frame + value.to_bytes(2, "little")


def read(*patterns):
    paths = [path for pattern in patterns for path in sorted(glob.glob(pattern))]
    if not paths:
        sys.exit(f"no file is {patterns}")
    return [open(path, "rb").read() for path in paths]


def frozen():
    lines = open("wire/tests/frozen.txt").read().splitlines()
    return [bytes.fromhex(line.rsplit(" ", 1)[1]) for line in lines if " " in line]


def modbus():
    """First a byte: RTU or not, kind of register, registers asked for less one; then the answer."""
    seeds = []
    for kind, function in enumerate([4, 3, 1, 2]):
        for count in [1, 3]:
            data = bytes(range(1, 2 * count + 1)) if function > 2 else bytes([0b101])
            answers = [bytes([1, function, len(data)]) + data, bytes([1, function | 0x80, 2])]
            for answer in answers:
                head = kind << 1 | (count - 1) << 3
                seeds.append(bytes([head, 0, 0, 0, 0, 0, len(answer)]) + answer)
                seeds.append(bytes([head | 1]) + crc(answer))
    return seeds


def messages():
    def value(number, quality=1):
        return json.dumps({"value": number, "timestamp": 1764000000000, "quality": quality})

    tag = "s/r/c"
    lines = [
        ("Metadata/System/HeartbeatTimestampBms/s/bms", '{"objectName":"b","objectId":"BMS","scope":"BMS/v1/PUB/#"}'),
        ("Metadata/System/HeartbeatTimestampIntegration/s/us", '{"objectId":"headroom-1","integration":"headroom-1"}'),
        ("Metadata/System/HeartbeatEchoIntegration/s/us", '{"objectId":"BMS","integration":"headroom-1"}'),
        ("Value/System/HeartbeatTimestampBms/s/bms", value(1764000000000)),
        (f"Metadata/CDU/LiquidTemperature/{tag}/Supply", '{"engUnit":"C","processArea":["Secondary","Supply"]}'),
        (f"Value/CDU/LiquidTemperature/{tag}/Supply", value(30.5)),
        (f"Metadata/CDU/LiquidFlow/{tag}", '{"engUnit":"GPM","isSetpoint":false}'),
        (f"Value/CDU/LiquidFlow/{tag}", value(1.5e2)),
        (f"Metadata/CDU/LeakDetect/{tag}", '{"stateText":[{"value":0,"text":"NoLeak"},{"value":1,"text":"Leak"}]}'),
        (f"Value/CDU/LeakDetect/{tag}", value(None, 0)),
        ("Value/System/HeartbeatTimestampBms/s/bms", value(1764000010000)),
    ]
    whole = [f"BMS/v1/PUB/{topic}\n{payload}\n" for topic, payload in lines]
    return ["".join(whole).encode(), "".join(whole[4:8]).encode(), "".join(whole[:4] + whole[6:8]).encode()]


SEEDS = {
    "profile": lambda: read("agent/profiles/*.toml"),
    "config": lambda: read("deploy/examples/agent.toml", "deploy/compose/agent.toml"),
    "modbus": modbus,
    "dsx": messages,
    "json": lambda: [
        b'/air/0/supply\n{"air": [{"supply": "68.5"}, {"supply": 70}], "t": 1764000000.25, "q": 192}',
        b"\n21.5",
        b'/v\n{"v": true, "t": 1, "q": "192"}',
    ],
    "uplink": frozen,
    "downlink": frozen,
}


def words(seeds):
    """What the inputs consist of, for libFuzzer to put in elsewhere."""
    found = {word for seed in seeds for word in re.findall(rb"[A-Za-z_][A-Za-z0-9_./-]{2,30}|\[\[?[a-z_.]+\]?\]", seed)}
    return "".join(f'"{word.decode()}"\n' for word in sorted(found))


def run(place, name, seconds):
    corpus, found, seeds = (os.path.join(place, kind, name) for kind in ["corpus", "found", "seeds"])
    for folder in [corpus, found, seeds]:
        os.makedirs(folder, exist_ok=True)
    inputs = SEEDS[name]()
    for number, seed in enumerate(inputs):
        with open(os.path.join(seeds, f"{number:03}"), "wb") as f:
            f.write(seed)
    options = []
    if name not in ["modbus", "uplink", "downlink"]:
        dictionary = os.path.join(place, f"{name}.dict")
        with open(dictionary, "w") as f:
            f.write(words(inputs))
        options = [f"-dict={dictionary}"]
    (program,) = glob.glob(os.path.join(place, "build", "*", "release", name))
    options += [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1", "-max_len=16384"]
    command = [program, *options, f"-artifact_prefix={found}/", corpus, seeds]
    told = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    executions = re.search(r"stat::number_of_executed_units: *(\d+)", told.stderr)
    coverage = re.findall(r"cov: (\d+)", told.stderr)
    if told.returncode:
        print(told.stderr[-4000:], file=sys.stderr)
    return {
        "seconds": seconds,
        "executions": int(executions[1]) if executions else None,
        "coverage": int(coverage[-1]) if coverage else None,
        "inputs_kept": len(os.listdir(corpus)),
        "exit_code": told.returncode,
        "found": sorted(os.path.join(found, entry) for entry in os.listdir(found)),
    }


def main():
    place, seconds, *names = sys.argv[1:]
    result = {}
    for name in names:
        result[name] = run(place, name, int(seconds))
        print(f"{name}: {result[name]}", file=sys.stderr)
    print(json.dumps(result))
    sys.exit(any(one["exit_code"] or one["found"] for one in result.values()))


main()
