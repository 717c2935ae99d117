"""The PyTorch side and the comparison of tests/bench/train-vs-pytorch, on the CPU or on a GPU.

Both sides gather random rows of the same numbers by index, go forward and back, clip the gradients to length 1 and make an AdamW step, and
both read the loss each step. PyTorch runs as it is usually run (eager) with its fused AdamW, the fastest of its three on a CPU; one step takes
milliseconds, of which Python's own share is some ten microseconds per operator. In each round the two run one after the other for the same
time, so that other load on the machine meets both. On a GPU PyTorch holds all rows in the GPU's memory, which is the best case for it, while
ours sends each batch from the host; `cpu_ratio` there is our own samples per second over those of our own on the CPU, all cores.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time

import torch
from torch import nn

ROWS = 16384
SETTLE_S = 0.5


class Network(nn.Module):
    """As controller/train/src/network.rs."""

    def __init__(self, features, width, blocks, horizons):
        super().__init__()
        self.horizons = horizons
        self.input = nn.Linear(features, width)
        self.first = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.second = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))
        self.head = nn.Linear(width, 3 * horizons)
        self.skip = nn.Linear(features, 3 * horizons)

    def forward(self, x):
        h = torch.relu(self.input(x))
        for first, second in zip(self.first, self.second):
            h = h + second(torch.relu(first(h)))
        raw = self.head(h) + self.skip(x)
        median, upper, highest = raw.split(self.horizons, 1)
        upper = median + nn.functional.softplus(upper)
        highest = upper + nn.functional.softplus(highest)
        return torch.stack([median, upper, highest], 2)


def pytorch(shape, o):
    """Samples per second."""
    device = "cuda" if o.device == "cuda" else "cpu"
    torch.manual_seed(1)
    x, y = torch.randn(ROWS, shape["features"], device=device), torch.randn(ROWS, shape["horizons"], device=device)
    quantiles = torch.tensor(shape["quantiles"], device=device)
    model = Network(shape["features"], shape["width"], shape["blocks"], shape["horizons"]).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-3, fused=True)
    parameters = sum(p.numel() for p in model.parameters())
    begin, seen, started = time.perf_counter() + SETTLE_S, 0, False
    while True:
        order = torch.randperm(ROWS, device=device)
        for start in range(0, ROWS, o.batch):
            rows = order[start : start + o.batch]
            with torch.autocast(device, dtype=torch.bfloat16, enabled=o.mixed_precision):
                answers = model(x[rows])
            missed = y[rows].unsqueeze(2) - answers.float()
            loss = torch.maximum(quantiles * missed, (quantiles - 1) * missed).mean()
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            loss.item()
            now = time.perf_counter()
            if now < begin:
                continue
            if not started:
                started, begin = True, now
                continue
            seen += len(rows)
            if now - begin >= o.seconds:
                return seen / (now - begin), parameters


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--train", required=True)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--seconds", type=float, default=4.0)
    options.add_argument("--batch", type=int, default=512)
    options.add_argument("--width", type=int, default=128, help="hidden units; the shipped forecaster has 128")
    options.add_argument("--blocks", type=int, default=2, help="residual blocks; the shipped forecaster has 2")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    options.add_argument("--mixed-precision", action="store_true", help="products of matrices in bfloat16, on both sides")
    o = options.parse_args()
    torch.set_num_threads(o.threads)

    def ours(device, mixed):
        command = [o.train, "bench", "speed", "--batch", str(o.batch), "--seconds", str(o.seconds), "--device", device]
        command += ["--width", str(o.width), "--blocks", str(o.blocks)]
        done = subprocess.run(command + ["--mixed-precision"] * mixed, stdout=subprocess.PIPE, text=True)
        if done.returncode != 0:
            sys.exit(f"{' '.join(command)} failed")
        return json.loads(done.stdout.splitlines()[-1])

    device = "cuda:0" if o.device == "cuda" else f"cpu:{o.threads}"
    rounds = []
    for i in range(o.rounds):
        mine = ours(device, o.mixed_precision)
        theirs, parameters = pytorch(mine["network"], o)
        if parameters != mine["parameters"]:
            sys.exit(f"not the same network: {parameters} and {mine['parameters']} parameters")
        rounds.append((mine["samples_per_s"], theirs))
        print(f"round {i + 1}: ours {rounds[-1][0]:.0f}, PyTorch {theirs:.0f} samples/s, ratio {rounds[-1][0] / theirs:.2f}")
    result = {
        "bench": "train-vs-pytorch",
        "ratio": round(statistics.median(a / b for a, b in rounds), 3),
        "ratios": [round(a / b, 3) for a, b in rounds],
        "samples_per_s": round(statistics.median(a for a, _ in rounds)),
        "pytorch_samples_per_s": round(statistics.median(b for _, b in rounds)),
        "batch": o.batch,
        "threads": o.threads,
        "device": torch.cuda.get_device_name() if o.device == "cuda" else "cpu",
        "mixed_precision": o.mixed_precision,
        "parameters": parameters,
        "pytorch": torch.__version__,
    }
    if o.device == "cuda":
        on_cpu = [ours("cpu", False)["samples_per_s"] for _ in range(o.rounds)]
        result["cpu_samples_per_s"] = round(statistics.median(on_cpu))
        result["cpu_ratio"] = round(result["samples_per_s"] / result["cpu_samples_per_s"], 3)
    print(json.dumps(result))


main()
