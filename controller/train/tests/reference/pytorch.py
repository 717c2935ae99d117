"""Makes numbers.json: what PyTorch computes on small inputs, against which tests/reference.rs holds the engine.

    pip install torch && python controller/train/tests/reference/pytorch.py

Written once with PyTorch's CPU code; run it again only when a case is added.
"""

import json
import math
import pathlib

import torch
from torch import nn

torch.set_num_threads(1)
generator = torch.Generator().manual_seed(20)


def rand(*shape):
    """Numbers of few digits, so that JSON holds them exactly."""
    return (torch.randn(*shape, generator=generator) * 256).round() / 256


def numbers(tensor):
    return tensor.detach().flatten().tolist()


def optimisers():
    """Ten steps on sum((p - target)^2 * curvature) with a rate that changes, by optimiser."""
    start, target, curvature = rand(6), rand(6), rand(6).abs() + 0.1
    cases = {
        "descent": lambda p, d: torch.optim.SGD(p, lr=1, weight_decay=d),
        "momentum": lambda p, d: torch.optim.SGD(p, lr=1, momentum=0.9, weight_decay=d),
        "nesterov": lambda p, d: torch.optim.SGD(p, lr=1, momentum=0.9, nesterov=True, weight_decay=d),
        "adagrad": lambda p, d: torch.optim.Adagrad(p, lr=1, weight_decay=d),
        "rms_prop": lambda p, d: torch.optim.RMSprop(p, lr=1, weight_decay=d),
        "rms_prop_momentum": lambda p, d: torch.optim.RMSprop(p, lr=1, momentum=0.9, weight_decay=d),
        "rms_prop_centred": lambda p, d: torch.optim.RMSprop(p, lr=1, momentum=0.5, centered=True, weight_decay=d),
        "adam": lambda p, d: torch.optim.Adam(p, lr=1, weight_decay=d),
        "adam_w": lambda p, d: torch.optim.AdamW(p, lr=1, weight_decay=d),
    }
    result = {"start": numbers(start), "target": numbers(target), "curvature": numbers(curvature), "paths": []}
    for name, make in cases.items():
        for decay in [0.0, 0.05]:
            p = start.clone().requires_grad_(True)
            optimiser = make([p], decay)
            path = []
            for step in range(10):
                optimiser.param_groups[0]["lr"] = 0.01 * (step + 1)
                optimiser.zero_grad()
                ((p - target) ** 2 * curvature).sum().backward()
                optimiser.step()
                path.append(numbers(p))
            result["paths"].append({"optimiser": name, "decay": decay, "path": path})
    return result


def schedules():
    """The rate of each of 5 epochs x 8 steps, peak 0.02."""
    epochs, steps, peak = 5, 8, 0.02
    result = []

    def run(name, warm_up, make, by_epoch):
        optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=peak)
        after = make(optimiser, warm_up)
        rates = []
        for epoch in range(epochs):
            for _ in range(steps):
                rates.append(optimiser.param_groups[0]["lr"])
                optimiser.step()
                if not by_epoch:
                    after.step()
            if by_epoch:
                after.step()
        result.append({"schedule": name, "warm_up": warm_up / (epochs * steps), "rates": rates})

    s = torch.optim.lr_scheduler
    run("constant", 0, lambda o, w: s.ConstantLR(o, 1.0), False)
    run("step", 0, lambda o, w: s.StepLR(o, 2, 0.3), True)
    run("exponential", 0, lambda o, w: s.ExponentialLR(o, 0.7), True)

    def cosine(o, w):
        fall = s.CosineAnnealingLR(o, epochs * steps - w, eta_min=peak * 0.01)
        if w == 0:
            return fall
        rise = s.LinearLR(o, start_factor=1 / (w + 1), end_factor=1.0, total_iters=w)
        return s.SequentialLR(o, [rise, fall], milestones=[w])

    run("cosine", 0, cosine, False)
    run("cosine", 10, cosine, False)
    return {"epochs": epochs, "steps": steps, "peak": peak, "cases": result}


def losses():
    """Value and gradient of each loss."""
    answers, targets = rand(5, 3) * 2, rand(5, 3)
    classes, yes = torch.tensor([2, 0, 1, 1, 2]), (rand(5, 3) > 0).float()
    quantiles = torch.tensor([0.1, 0.5, 0.99])
    result = []

    def case(name, loss, x, y):
        x = x.clone().requires_grad_(True)
        value = loss(x, y)
        value.backward()
        result.append(
            {
                "loss": name,
                "rows": x.shape[0],
                "answers": numbers(x),
                "targets": numbers(y.float()),
                "value": value.item(),
                "gradient": numbers(x.grad),
            }
        )

    def pinball(x, y):
        missed = y[:, :, None] - x.reshape(5, 3, 3)
        return torch.maximum(quantiles * missed, (quantiles - 1) * missed).mean()

    case("mse", nn.functional.mse_loss, answers, targets)
    case("mae", nn.functional.l1_loss, answers, targets)
    case("huber", lambda x, y: nn.functional.huber_loss(x, y, delta=0.7), answers, targets)
    case("cross_entropy", nn.functional.cross_entropy, answers * 4, classes)
    case("cross_entropy_smoothed", lambda x, y: nn.functional.cross_entropy(x, y, label_smoothing=0.1), answers, classes)
    case("bernoulli", nn.functional.binary_cross_entropy_with_logits, answers * 20, yes)
    case("pinball", pinball, rand(5, 9), targets)
    return result


def network():
    """Dense, layer norm, relu, dense: answers, gradients, and five clipped AdamW steps of it."""
    x, y = rand(7, 4), rand(7, 2)
    first, norm, second = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 2)
    with torch.no_grad():
        for p in [first.weight, first.bias, norm.weight, norm.bias, second.weight, second.bias]:
            p.copy_(rand(*p.shape))

    def forward():
        return second(torch.relu(norm(first(x))))

    # One row per input, as the engine has them.
    def list_of(pick):
        return [
            numbers(pick(first.weight).T),
            numbers(pick(first.bias)),
            numbers(pick(norm.weight)),
            numbers(pick(norm.bias)),
            numbers(pick(second.weight).T),
            numbers(pick(second.bias)),
        ]

    weights = list_of(lambda p: p)
    answers = forward()
    nn.functional.mse_loss(answers, y).backward()
    gradients = list_of(lambda p: p.grad)
    parameters = [*first.parameters(), *norm.parameters(), *second.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)
    trained, norms, values = [], [], []
    for _ in range(5):
        optimiser.zero_grad()
        loss = nn.functional.mse_loss(forward(), y)
        loss.backward()
        values.append(loss.item())
        norms.append(nn.utils.clip_grad_norm_(parameters, 0.5).item())
        optimiser.step()
        trained.append(list_of(lambda p: p))
    return {
        "x": numbers(x),
        "y": numbers(y),
        "weights": weights,
        "answers": numbers(answers),
        "gradients": gradients,
        "clip": 0.5,
        "norms": norms,
        "losses": values,
        "trained": trained,
    }


def convolution():
    """A convolution, bias, 2 x 2 pool and relu, and its gradients: images of two channels."""
    x = rand(2, 2, 7, 6).requires_grad_(True)
    convolution = nn.Conv2d(2, 3, 3)
    with torch.no_grad():
        for p in convolution.parameters():
            p.copy_(rand(*p.shape))
    answer = torch.relu(nn.functional.max_pool2d(convolution(x), 2))
    weighting = rand(*answer.shape)
    (answer * weighting).sum().backward()

    def last(t):
        return numbers(t.permute(0, 2, 3, 1))  # channels last

    def patches(t):
        return numbers(t.permute(2, 3, 1, 0))  # row, column, channel of the patch; then output

    return {
        "x": last(x),
        "weight": patches(convolution.weight),
        "bias": numbers(convolution.bias),
        "answer": last(answer),
        "weighting": last(weighting),
        "x_gradient": last(x.grad),
        "weight_gradient": patches(convolution.weight.grad),
        "bias_gradient": numbers(convolution.bias.grad),
    }


def plain(value):
    """Seven digits are what 32 bits hold."""
    if isinstance(value, float):
        assert math.isfinite(value)
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value


everything = {
    "pytorch": torch.__version__,
    "optimisers": optimisers(),
    "schedules": schedules(),
    "losses": losses(),
    "network": network(),
    "convolution": convolution(),
}
out = pathlib.Path(__file__).with_name("numbers.json")
out.write_text(json.dumps(plain(everything), separators=(",", ":")) + "\n")
print(f"{out}: {out.stat().st_size} bytes, PyTorch {torch.__version__}")
