#!/usr/bin/env python3
"""Reads and caps simulated GPUs through clients of other projects.

    HEADROOM_NVML_STATE=STATEFILE LD_LIBRARY_PATH=LIBDIR gpu_clients.py CLIENT read
    HEADROOM_NVML_STATE=STATEFILE LD_LIBRARY_PATH=LIBDIR gpu_clients.py CLIENT cap INDEX MILLIWATTS

CLIENT is `pynvml` (NVIDIA's nvidia-ml-py), `nvitop` or `gpustat`, which only reads. `read` prints a
JSON list with one object per GPU in the client's own units; `cap` prints the limit asked for and the
one in force afterwards, mW.
"""

import json
import subprocess
import sys


def pynvml_read():
    import pynvml as n

    n.nvmlInit()
    gpus = [n.nvmlDeviceGetHandleByIndex(index) for index in range(n.nvmlDeviceGetCount())]
    return [
        {
            "uuid": n.nvmlDeviceGetUUID(gpu),
            "power_mw": n.nvmlDeviceGetPowerUsage(gpu),
            "energy_mj": n.nvmlDeviceGetTotalEnergyConsumption(gpu),
            "limit_mw": n.nvmlDeviceGetEnforcedPowerLimit(gpu),
            "celsius": n.nvmlDeviceGetTemperature(gpu, n.NVML_TEMPERATURE_GPU),
            "sm_mhz": n.nvmlDeviceGetClockInfo(gpu, n.NVML_CLOCK_SM),
            "busy_percent": n.nvmlDeviceGetUtilizationRates(gpu).gpu,
            "memory_bytes": n.nvmlDeviceGetMemoryInfo(gpu, n.nvmlMemory_v2).used,
        }
        for gpu in gpus
    ]


def pynvml_cap(index, milliwatts):
    import pynvml as n

    n.nvmlInit()
    gpu = n.nvmlDeviceGetHandleByIndex(index)
    n.nvmlDeviceSetPowerManagementLimit(gpu, milliwatts)
    return n.nvmlDeviceGetPowerManagementLimit(gpu), n.nvmlDeviceGetEnforcedPowerLimit(gpu)


def nvitop_read():
    import nvitop

    return [
        {
            "uuid": gpu.uuid(),
            "power_mw": gpu.power_usage(),
            "limit_mw": gpu.power_limit(),
            "celsius": gpu.temperature(),
            "sm_mhz": gpu.sm_clock(),
            "busy_percent": gpu.gpu_utilization(),
            "memory_bytes": gpu.memory_used(),
        }
        for gpu in nvitop.Device.all()
    ]


def nvitop_cap(index, milliwatts):
    from nvitop import Device, libnvml

    gpu = Device(index)
    # nvitop's wrapper raises on errors only when told not to hide them.
    libnvml.nvmlQuery("nvmlDeviceSetPowerManagementLimit", gpu.handle, milliwatts, ignore_errors=False)
    return gpu.power_limit(), libnvml.nvmlQuery("nvmlDeviceGetEnforcedPowerLimit", gpu.handle, ignore_errors=False)


def gpustat_read():
    told = subprocess.run([sys.executable, "-m", "gpustat", "--json"], capture_output=True, text=True, timeout=60, check=True)
    return [
        {
            "uuid": gpu["uuid"],
            "power_w": gpu["power.draw"],
            "limit_w": gpu["enforced.power.limit"],
            "celsius": gpu["temperature.gpu"],
            "busy_percent": gpu["utilization.gpu"],
            "memory_mib": gpu["memory.used"],
        }
        for gpu in json.loads(told.stdout)["gpus"]
    ]


def main():
    client, what, *rest = sys.argv[1:]
    if what == "read":
        print(json.dumps({"pynvml": pynvml_read, "nvitop": nvitop_read, "gpustat": gpustat_read}[client]()))
    else:
        index, milliwatts = map(int, rest)
        asked, enforced = {"pynvml": pynvml_cap, "nvitop": nvitop_cap}[client](index, milliwatts)
        print(json.dumps({"asked_mw": asked, "enforced_mw": enforced}))


if __name__ == "__main__":
    main()
