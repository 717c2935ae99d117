/* A driver library with two GPUs and only the oldest functions: no field values, no clocks, no
 * temperatures. Each limit that is set is appended to the file named by SPARSE_NVML_LOG. What is
 * not here must become "not supported" in the agent, never a crash. Written from nvml.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID = 2, LOST = 15, GPUS = 2, MIN_MW = 200000, MAX_MW = 700000 };

static unsigned limit_mw[GPUS] = {700000, 700000};

static int index_of(void *device) { return (int)((long)device - 1); }

int nvmlInit_v2(void) { return OK; }
int nvmlShutdown(void) { return OK; }
int nvmlSystemGetDriverVersion(char *text, unsigned length) {
    snprintf(text, length, "535.104.05");
    return OK;
}
int nvmlDeviceGetCount_v2(unsigned *count) {
    *count = GPUS;
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) {
    if (index >= GPUS) return INVALID;
    *device = (void *)(long)(index + 1);
    return OK;
}
int nvmlDeviceGetPowerUsage(void *device, unsigned *mw) {
    *mw = 300000 + 1000 * (unsigned)index_of(device);
    return OK;
}
int nvmlDeviceGetPowerManagementLimitConstraints(void *device, unsigned *min, unsigned *max) {
    (void)device;
    *min = MIN_MW;
    *max = MAX_MW;
    return OK;
}
int nvmlDeviceGetEnforcedPowerLimit(void *device, unsigned *mw) {
    *mw = limit_mw[index_of(device)];
    return OK;
}
int nvmlDeviceSetPowerManagementLimit(void *device, unsigned mw) {
    if (mw < MIN_MW || mw > MAX_MW) return INVALID;
    const char *path = getenv("SPARSE_NVML_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%d %u\n", index_of(device), mw / 1000);
        fclose(file);
    }
    limit_mw[index_of(device)] = mw;
    return OK;
}
