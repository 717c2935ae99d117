#!/usr/bin/env python3
"""NVIDIA's own Python binding (nvidia-ml-py) against a simulated row of GPUs.

    HEADROOM_NVML_STATE=STATEFILE LD_LIBRARY_PATH=LIBDIR python3 nvml_clients.py

Reads every value of every GPU, caps each and reads the cap back, sends wrong arguments. One line per
check, then `N passed, N failed`. Exit code 0 when all passed, 1 when not, 2 when it could not begin.
Leaves every limit as it found it. A simulator must be running, and nobody else may be setting limits.
"""

import ctypes
import os
import re
import sys
import time

try:
    import pynvml as n
except ImportError:
    sys.exit("needs nvidia-ml-py: pip install nvidia-ml-py==13.*")

SETTLE_S = 10.0  # the driver settles within about a second, the reading is a mean of one more
TOLERANCE_MW = 35_000  # 5 % of 700 W: excursions and rounding
FIELDS = [3, 4, 6, 74, 75, 82, 83, 94, 142, 143, 144, 145, *range(185, 197), 230, 269, 270, 271]
THRESHOLDS = ["SHUTDOWN", "SLOWDOWN", "MEM_MAX", "GPU_MAX"]

passed = failed = 0


def check(what, probe, good=lambda value: value is not None):
    """One line: what was asked, whether the answer is good, and the answer."""
    global passed, failed
    try:
        value = probe()
        fine = bool(good(value))
    except Exception as error:  # any exception is a failed check, told in its line
        value, fine = f"{type(error).__name__}: {error}", False
    passed, failed = passed + fine, failed + (not fine)
    print(f"{'ok  ' if fine else 'FAIL'} {what}: {value}", flush=True)
    return value if fine else None


def refused(error, call, *arguments):
    """Whether a call raises just this NVML error."""
    try:
        call(*arguments)
    except n.NVMLError as raised:
        return raised.value == error
    return False


def between(low, high):
    return lambda value: low <= value <= high


def field(gpu, number):
    value = n.nvmlDeviceGetFieldValues(gpu, [number])[0]
    if value.nvmlReturn != n.NVML_SUCCESS:
        raise n.NVMLError(value.nvmlReturn)
    member = {0: "dVal", 1: "uiVal", 2: "ulVal", 3: "ullVal", 4: "sllVal", 5: "siVal", 6: "usVal"}[value.valueType]
    return getattr(value.value, member)


def system():
    check("driver version >= 580.82", n.nvmlSystemGetDriverVersion, lambda v: [int(x) for x in v.split(".")[:2]] >= [580, 82])
    check("NVML version", n.nvmlSystemGetNVMLVersion, lambda v: v.startswith("13."))
    check("CUDA version", n.nvmlSystemGetCudaDriverVersion_v2, between(13000, 13999))
    with open(n.__file__, encoding="utf-8") as source:
        names = sorted(set(re.findall(r'_nvmlGetFunctionPointer\("(\w+)"\)', source.read())))
    missing = lambda: [name for name in names if not hasattr(n.nvmlLib, name)]
    check(f"missing among the {len(names)} functions that nvidia-ml-py can call", missing, lambda found: found == [])
    return check("GPUs", n.nvmlDeviceGetCount, lambda count: 1 <= count <= 16) or 0


def identity(tag, index, gpu):
    check(f"{tag} name", lambda: n.nvmlDeviceGetName(gpu), lambda v: "H100" in v)
    uuid = check(f"{tag} UUID", lambda: n.nvmlDeviceGetUUID(gpu), re.compile(r"GPU(-[0-9a-f]+){5}").fullmatch)
    serial = check(f"{tag} serial", lambda: n.nvmlDeviceGetSerial(gpu), str.isdigit)
    pci = check(f"{tag} PCI", lambda: n.nvmlDeviceGetPciInfo_v3(gpu).busId, lambda v: len(v) == 16)
    found = [(n.nvmlDeviceGetHandleByUUID, uuid), (n.nvmlDeviceGetHandleBySerial, serial), (n.nvmlDeviceGetHandleByPciBusId, pci)]
    for call, key in found:
        if key is not None:
            check(f"{tag} {call.__name__}", lambda c=call, k=key: n.nvmlDeviceGetIndex(c(k)), lambda v: v == index)
    check(f"{tag} minor number", lambda: n.nvmlDeviceGetMinorNumber(gpu), lambda v: v == index)
    check(f"{tag} board id", lambda: n.nvmlDeviceGetBoardId(gpu), lambda v: v > 0)
    check(f"{tag} brand", lambda: n.nvmlDeviceGetBrand(gpu), lambda v: v == n.NVML_BRAND_NVIDIA)
    check(f"{tag} architecture", lambda: n.nvmlDeviceGetArchitecture(gpu), lambda v: v == n.NVML_DEVICE_ARCH_HOPPER)
    check(f"{tag} compute capability", lambda: n.nvmlDeviceGetCudaComputeCapability(gpu), lambda v: tuple(v) == (9, 0))
    check(f"{tag} persistence mode", lambda: n.nvmlDeviceGetPersistenceMode(gpu), between(0, 1))
    check(f"{tag} fan is not supported", lambda: refused(n.NVML_ERROR_NOT_SUPPORTED, n.nvmlDeviceGetFanSpeed, gpu), bool)


def values(tag, gpu):
    check(f"{tag} power mW", lambda: n.nvmlDeviceGetPowerUsage(gpu), between(20_000, 900_000))
    energy = check(f"{tag} energy mJ", lambda: n.nvmlDeviceGetTotalEnergyConsumption(gpu), lambda v: v >= 0)
    check(f"{tag} temperature", lambda: n.nvmlDeviceGetTemperatureV(gpu, n.NVML_TEMPERATURE_GPU), between(10, 110))
    check(f"{tag} temperature, old call", lambda: n.nvmlDeviceGetTemperature(gpu, n.NVML_TEMPERATURE_GPU), between(10, 110))
    check(f"{tag} margin", lambda: n.nvmlDeviceGetMarginTemperature(gpu), between(-20, 80))
    for name in THRESHOLDS:
        number = getattr(n, f"NVML_TEMPERATURE_THRESHOLD_{name}")
        check(f"{tag} threshold {name.lower()}", lambda k=number: n.nvmlDeviceGetTemperatureThreshold(gpu, k), between(60, 120))
    for kind, name in enumerate(["graphics", "SM", "memory", "video"]):
        top = check(f"{tag} highest {name} clock", lambda k=kind: n.nvmlDeviceGetMaxClockInfo(gpu, k), between(1000, 4000)) or 0
        check(f"{tag} {name} clock", lambda k=kind: n.nvmlDeviceGetClockInfo(gpu, k), between(0, top))
    for old, call in enumerate([n.nvmlDeviceGetCurrentClocksEventReasons, n.nvmlDeviceGetCurrentClocksThrottleReasons]):
        check(f"{tag} clock event reasons{' (old name)' * old}", lambda c=call: c(gpu), between(0, 0x1FF))
    check(f"{tag} utilisation", lambda: n.nvmlDeviceGetUtilizationRates(gpu).gpu, between(0, 100))
    check(f"{tag} performance state", lambda: n.nvmlDeviceGetPerformanceState(gpu), between(0, 15))
    check(f"{tag} memory v1", lambda: n.nvmlDeviceGetMemoryInfo(gpu), lambda m: m.total == m.free + m.used > 0)
    check(
        f"{tag} memory v2",
        lambda: n.nvmlDeviceGetMemoryInfo(gpu, n.nvmlMemory_v2),
        lambda m: m.total == m.free + m.used + m.reserved == 81559 << 20,
    )
    for kind, kind_name in enumerate(["corrected", "uncorrected"]):
        for counter, counter_name in enumerate(["volatile", "aggregate"]):
            what = f"{tag} ECC {kind_name} {counter_name}"
            check(what, lambda k=kind, c=counter: n.nvmlDeviceGetTotalEccErrors(gpu, k, c), lambda v: v >= 0)
    check(f"{tag} remapped rows", lambda: n.nvmlDeviceGetRemappedRows(gpu), lambda v: len(v) == 4)
    processes = check(f"{tag} compute processes", lambda: [p.pid for p in n.nvmlDeviceGetComputeRunningProcesses(gpu)])
    check(f"{tag} graphics processes", lambda: n.nvmlDeviceGetGraphicsRunningProcesses(gpu), lambda v: v == [])
    if processes:
        check(f"{tag} process utilisation", lambda: [s.smUtil for s in n.nvmlDeviceGetProcessUtilization(gpu, 0)])
    check(f"{tag} PCIe sent KB/s", lambda: n.nvmlDeviceGetPcieThroughput(gpu, 0), lambda v: v >= 0)
    for number in FIELDS:
        check(f"{tag} field {number}", lambda k=number: field(gpu, k))
    check(f"{tag} field 9999 is not supported", lambda: refused(n.NVML_ERROR_NOT_SUPPORTED, field, gpu, 9999), bool)
    if energy is not None:
        check(f"{tag} energy grows", lambda: wait_for(lambda: n.nvmlDeviceGetTotalEnergyConsumption(gpu) > energy), bool)


def wait_for(condition):
    deadline = time.monotonic() + SETTLE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def capped(tag, gpu):
    low, high = check(f"{tag} limit constraints", lambda: n.nvmlDeviceGetPowerManagementLimitConstraints(gpu), lambda v: v[0] < v[1]) or (0, 0)
    check(f"{tag} default limit", lambda: n.nvmlDeviceGetPowerManagementDefaultLimit(gpu), between(low, high))
    before = check(f"{tag} limit", lambda: n.nvmlDeviceGetPowerManagementLimit(gpu), between(low, high))
    if before is None:
        return
    cap = low + (high - low) // 5
    try:
        check(f"{tag} set {cap} mW", lambda: n.nvmlDeviceSetPowerManagementLimit(gpu, cap) or "done")
        check(f"{tag} enforced at once", lambda: n.nvmlDeviceGetEnforcedPowerLimit(gpu), lambda v: v == cap)
        check(f"{tag} requested", lambda: n.nvmlDeviceGetPowerManagementLimit(gpu), lambda v: v == cap)
        check(f"{tag} fields 190 and 192", lambda: [field(gpu, 190), field(gpu, 192)], lambda v: v == [cap, cap])
        below = lambda: n.nvmlDeviceGetPowerUsage(gpu) <= cap + TOLERANCE_MW
        check(f"{tag} power falls to the limit", lambda: wait_for(below), bool)
        for wrong in [0, low - 1, high + 1]:
            call = lambda w=wrong: refused(n.NVML_ERROR_INVALID_ARGUMENT, n.nvmlDeviceSetPowerManagementLimit, gpu, w)
            check(f"{tag} refuses {wrong} mW", call, bool)
        check(f"{tag} keeps {cap} mW", lambda: n.nvmlDeviceGetEnforcedPowerLimit(gpu), lambda v: v == cap)
        check(f"{tag} lock clocks", lambda: n.nvmlDeviceSetGpuLockedClocks(gpu, 210, 1200) or "done")
        check(f"{tag} SM clock obeys", lambda: wait_for(lambda: n.nvmlDeviceGetClockInfo(gpu, 1) <= 1200), bool)
    finally:
        check(f"{tag} release clocks", lambda: n.nvmlDeviceResetGpuLockedClocks(gpu) or "done")
        check(f"{tag} set {before} mW back", lambda: n.nvmlDeviceSetPowerManagementLimit(gpu, before) or "done")


def events(gpus):
    events = check("event set", n.nvmlEventSetCreate)
    for index, gpu in enumerate(gpus):
        check(f"gpu {index} listens for Xids", lambda g=gpu: n.nvmlDeviceRegisterEvents(g, n.nvmlEventTypeXidCriticalError, events) or "done")
    check("no event within 50 ms", lambda: refused(n.NVML_ERROR_TIMEOUT, n.nvmlEventSetWait_v2, events, 50), bool)
    check("free event set", lambda: n.nvmlEventSetFree(events) or "done")


def careless(gpu):
    library, wrong = n.nvmlLib, ctypes.c_void_p(0x1234)
    number = ctypes.c_uint()
    cases = {
        "null handle": lambda: library.nvmlDeviceGetPowerUsage(None, ctypes.byref(number)),
        "wild handle": lambda: library.nvmlDeviceGetPowerUsage(wrong, ctypes.byref(number)),
        "null result": lambda: library.nvmlDeviceGetPowerUsage(gpu, None),
        "null fields": lambda: library.nvmlDeviceGetFieldValues(gpu, 3, None),
        "null UUID": lambda: library.nvmlDeviceGetHandleByUUID(None, ctypes.byref(number)),
        "wild event set": lambda: library.nvmlEventSetFree(wrong),
        "index out of range": lambda: library.nvmlDeviceGetHandleByIndex_v2(99, ctypes.byref(ctypes.c_void_p())),
    }
    for what, call in cases.items():
        check(f"{what} is an invalid argument", call, lambda code: code == n.NVML_ERROR_INVALID_ARGUMENT)


def main():
    if "HEADROOM_NVML_STATE" not in os.environ:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        n.nvmlInit()
    except n.NVMLError as error:
        print(f"cannot begin: {error}; is the simulator running, does LD_LIBRARY_PATH name its library?", file=sys.stderr)
        return 2
    gpus = [n.nvmlDeviceGetHandleByIndex(index) for index in range(system())]
    for index, gpu in enumerate(gpus):
        tag = f"gpu {index}"
        identity(tag, index, gpu)
        values(tag, gpu)
        capped(tag, gpu)
    if gpus:
        events(gpus)
        careless(gpus[0])
    n.nvmlShutdown()
    uninitialised = lambda: n.nvmlLib.nvmlDeviceGetCount_v2(ctypes.byref(ctypes.c_uint()))
    check("after shutdown it is uninitialised", uninitialised, lambda code: code == n.NVML_ERROR_UNINITIALIZED)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not gpus else 0


if __name__ == "__main__":
    sys.exit(main())
