"""The PyTorch side and the comparison of tests/bench/train-vs-pytorch.

Both sides gather random rows of the same numbers by index, go forward and back, clip the gradients to length 1 and make an AdamW step, and
both read the loss each step. PyTorch runs as it is usually run (eager) with its fused AdamW, the fastest of its three on a CPU; one step takes
milliseconds, of which Python's own share is some ten microseconds per operator. In each round the two run one after the other for the same
time, so that other load on the machine meets both.
"""

import argparse
import json
import statistics
import subprocess
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


def pytorch(network, batch, seconds):
    """Samples per second."""
    shape = network
    torch.manual_seed(1)
    x, y = torch.randn(ROWS, shape["features"]), torch.randn(ROWS, shape["horizons"])
    quantiles = torch.tensor(shape["quantiles"])
    model = Network(shape["features"], shape["width"], shape["blocks"], shape["horizons"])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-3, fused=True)
    parameters = sum(p.numel() for p in model.parameters())
    begin, seen, started = time.perf_counter() + SETTLE_S, 0, False
    while True:
        order = torch.randperm(ROWS)
        for start in range(0, ROWS, batch):
            rows = order[start : start + batch]
            missed = y[rows].unsqueeze(2) - model(x[rows])
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
            if now - begin >= seconds:
                return seen / (now - begin), parameters


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--train", required=True)
    options.add_argument("--rounds", type=int, default=7)
    options.add_argument("--seconds", type=float, default=4.0)
    options.add_argument("--batch", type=int, default=512)
    options.add_argument("--threads", type=int, default=2)
    o = options.parse_args()
    torch.set_num_threads(o.threads)
    rounds = []
    for i in range(o.rounds):
        command = [o.train, "bench", "speed", "--batch", str(o.batch), "--seconds", str(o.seconds)]
        command += ["--device", f"cpu:{o.threads}"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        ours = json.loads(done.stdout.splitlines()[-1])
        theirs, parameters = pytorch(ours["network"], o.batch, o.seconds)
        assert parameters == ours["parameters"], f"not the same network: {parameters} and {ours['parameters']}"
        rounds.append((ours["samples_per_s"], theirs))
        print(f"round {i + 1}: ours {rounds[-1][0]:.0f}, PyTorch {theirs:.0f} samples/s, ratio {rounds[-1][0] / theirs:.2f}")
    result = {
        "bench": "train-vs-pytorch",
        "ratio": round(statistics.median(a / b for a, b in rounds), 3),
        "ratios": [round(a / b, 3) for a, b in rounds],
        "samples_per_s": round(statistics.median(a for a, _ in rounds)),
        "pytorch_samples_per_s": round(statistics.median(b for _, b in rounds)),
        "batch": o.batch,
        "threads": o.threads,
        "parameters": parameters,
        "pytorch": torch.__version__,
    }
    print(json.dumps(result))


main()
