"""The comparison of tests/bench/probe-vs-nvidia-smi: nvidia-smi, the agent's probe, nvidia-smi again. A field agrees when the probe says
what nvidia-smi said before or after, or something between the two (with the field's own tolerance: a GPU does not stand still)."""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile

MIB = 2**20
# Signal, nvidia-smi's field, factor from its unit to ours, tolerance in our unit: half of its last digit, or more where the value
# is an instant's (power, clocks, utilisation) that may leave the two readings' interval.
FIELDS = [
    ("gpu_power_watts", "power.draw.average", 1, 15),
    ("gpu_power_instant_watts", "power.draw.instant", 1, 60),
    ("gpu_limit_enforced_watts", "enforced.power.limit", 1, 0.005),
    ("gpu_limit_requested_watts", "power.limit", 1, 0.005),
    ("gpu_limit_min_watts", "power.min_limit", 1, 0.005),
    ("gpu_limit_max_watts", "power.max_limit", 1, 0.005),
    ("gpu_limit_default_watts", "power.default_limit", 1, 0.005),
    ("gpu_sm_clock_mhz", "clocks.sm", 1, 60),
    ("gpu_memory_clock_mhz", "clocks.mem", 1, 0),
    ("gpu_utilization_ratio", "utilization.gpu", 0.01, 0.1),
    ("gpu_memory_utilization_ratio", "utilization.memory", 0.01, 0.1),
    ("gpu_memory_used_bytes", "memory.used", MIB, MIB),
    ("gpu_memory_total_bytes", "memory.total", MIB, MIB),
    ("gpu_temperature_celsius", "temperature.gpu", 1, 1),
    ("gpu_temperature_margin_kelvins", "temperature.gpu.tlimit", 1, 1),
    ("gpu_memory_temperature_celsius", "temperature.memory", 1, 1),
    ("gpu_throttle_reasons_bits", "clocks_event_reasons.active", 1, 0),
    ("gpu_power_capped_seconds", "clocks_event_reasons_counters.sw_power_cap", 1e-6, 1e-3),
    ("gpu_thermal_throttled_seconds", "clocks_event_reasons_counters.sw_thermal_slowdown", 1e-6, 1e-3),
    ("gpu_sync_boost_throttled_seconds", "clocks_event_reasons_counters.sync_boost", 1e-6, 1e-3),
    ("gpu_power_brake_seconds", "clocks_event_reasons_counters.hw_power_brake_slowdown", 1e-6, 1e-3),
    ("gpu_ecc_corrected_count", "ecc.errors.corrected.volatile.total", 1, 0),
    ("gpu_ecc_uncorrected_count", "ecc.errors.uncorrected.volatile.total", 1, 0),
    ("gpu_ecc_uncorrected_lifetime_count", "ecc.errors.uncorrected.aggregate.total", 1, 0),
    ("gpu_remapped_rows_corrected_count", "remapped_rows.correctable", 1, 0),
    ("gpu_remapped_rows_uncorrected_count", "remapped_rows.uncorrectable", 1, 0),
    ("gpu_remap_pending_flag", "remapped_rows.pending", 1, 0),
    ("gpu_remap_failed_flag", "remapped_rows.failure", 1, 0),
    ("gpu_recovery_action_code", "gpu_recovery_action", 1, 0),
]
WORDS = {"no": 0, "yes": 1, "none": 0, "reset": 1, "reboot": 2, "drain p2p": 3, "drain and reset": 4}
NOTHING = ("n/a", "not supported", "unknown error", "insufficient permissions", "")


def smi(fields):
    """Rows, a GPU each, of `fields`; none if this nvidia-smi does not know one of them."""
    # Remapped rows have a query of their own, which lists the GPUs in the same order.
    what = "remapped-rows" if fields[0].startswith("remapped") else "gpu"
    done = subprocess.run(["nvidia-smi", f"--query-{what}={','.join(fields)}", "--format=csv,noheader,nounits"], capture_output=True, text=True)
    return list(csv.reader(done.stdout.splitlines(), skipinitialspace=True)) if done.returncode == 0 else None


def all_of_smi():
    """A dictionary of nvidia-smi's words for each GPU, and the fields that it does not know."""
    gpus, unknown = [], []
    names = [field for _, field, _, _ in FIELDS]
    for group in (["name"], [n for n in names if not n.startswith("remapped")], [n for n in names if n.startswith("remapped")]):
        rows = smi(group)
        for each, found in [(group, rows)] if rows else [([one], smi([one])) for one in group]:
            if found is None:
                unknown += each
                continue
            gpus = gpus or [{} for _ in found]
            for gpu, row in zip(gpus, found):
                gpu.update(zip(each, row))
    return gpus, unknown


def number(word, factor):
    """nvidia-smi's word in our unit, none where it has no value."""
    word = word.strip().strip("[]").lower()
    if word in NOTHING:
        return None
    if word in WORDS:
        return WORDS[word] * factor
    return int(word, 16) * factor if word.startswith("0x") else float(word) * factor


def verdict(ours, before, after, tolerance):
    if ours is None or before is None or after is None:
        return "neither has it" if ours is None and before is None else "only ours" if before is None else "only nvidia-smi"
    low, high = min(before, after) - tolerance, max(before, after) + tolerance
    return "agrees" if low <= ours <= high else "DIFFERS"


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--agent", required=True, help="the agent's program")
    args = args.parse_args()
    with tempfile.TemporaryDirectory(prefix="probe-vs-nvidia-smi-") as folder:
        config = os.path.join(folder, "agent.toml")
        with open(config, "w") as f:
            f.write("site='probe'\nrack='probe'\n[broker]\nurl='mqtt://127.0.0.1:1'\n[nvml]\nenabled=true\n")
        before, unknown = all_of_smi()
        done = subprocess.run([args.agent, "probe", "--config", config, "--format", "json"], capture_output=True, text=True)
        after, _ = all_of_smi()
    if not done.stdout.strip():
        sys.exit(f"the probe said nothing: {done.stderr}")
    probe = json.loads(done.stdout)
    driver = smi(["driver_version"])
    result = {"bench": "probe-vs-nvidia-smi", "driver": driver[0][0] if driver else None, "gpus": [g["name"] for g in before], "unknown_to_nvidia_smi": unknown}
    counts, rows = {}, []
    for index, (was, now) in enumerate(zip(before, after)):
        print(f"\nGPU {index}: {was['name']}, driver {result['driver']}\n\n| signal | probe | nvidia-smi before | after | |\n|---|---|---|---|---|")
        signals = probe["devices"].get(f"gpu-{index}", {}).get("signals", {})
        for signal, field, factor, tolerance in FIELDS:
            if field not in was:
                continue
            ours = signals.get(signal, {"value": None, "quality": "absent"})
            says = verdict(ours["value"], number(was[field], factor), number(now[field], factor), tolerance)
            counts[says] = counts.get(says, 0) + 1
            rows.append({"gpu": index, "signal": signal, "probe": ours["value"], "before": was[field], "after": now[field], "verdict": says})
            shown = ours["quality"] if ours["value"] is None else f"{ours['value']:.10g}"
            print(f"| `{signal}` | {shown} | {was[field]} | {now[field]} | {says} |")
        others = {name: s for name, s in signals.items() if name not in [f[0] for f in FIELDS]}
        for name, s in others.items():
            print(f"| `{name}` | {s['quality'] if s['value'] is None else s['value']} | | | no such field of nvidia-smi |")
    result.update(counts=counts, rows=rows)
    print(json.dumps(result))
    sys.exit(1 if counts.get("DIFFERS") or counts.get("only nvidia-smi") else 0)


main()
