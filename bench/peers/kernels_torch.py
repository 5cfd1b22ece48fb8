"""Times PyTorch on the cases of `medfusion kernels bench --peer`, which runs this script.

  python3 bench/peers/kernels_torch.py --cases FILE --device cpu|cuda [--threads N --seconds S]

FILE holds one JSON object per line: key, operation, direction, precision, case, inputs {name: shape}. The answer is one line
per case on standard output: {"key": ..., "seconds": {peer: median of one call}}. Peers: scaled_dot_product_attention with
every backend that accepts the case, torch.cat, interpolate + add, batch_norm, layer_norm and matmul, eager and compiled where
that can be had. A case without a peer gets none. A backward is timed by itself, its graph kept.
"""

import argparse
import json
import statistics
import sys
import time
import warnings

import torch
import torch.nn.functional as F

warnings.filterwarnings("ignore")


class Bench:
    def __init__(self, device, seconds):
        self.device = device
        self.seconds = seconds

    def tensor(self, shape, dtype):
        generator = torch.Generator().manual_seed(20)
        return torch.randn(shape, generator=generator).to(self.device, dtype)

    def synchronize(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def median(self, call):
        """Seconds of one call, over batches of at least 2 ms that end with a synchronization."""
        def batch(calls):
            start = time.perf_counter()
            for _ in range(calls):
                call()
            self.synchronize()
            return (time.perf_counter() - start) / calls

        batch(1)
        calls = max(1, round(2e-3 / max(batch(1), 1e-7)))
        times, start = [], time.perf_counter()
        while len(times) < 5 or time.perf_counter() - start < self.seconds:
            times.append(batch(calls))
        return statistics.median(times)

    def direction(self, forward, inputs, backward):
        """A call that runs forward, or the backward of a graph that is kept."""
        if not backward:
            def run():
                with torch.no_grad():
                    return forward()
            return run
        for tensor in inputs:
            tensor.requires_grad_(True)
        y = forward()
        gradient = torch.randn_like(y)
        return lambda: torch.autograd.grad(y, inputs, gradient, retain_graph=True)


def numbers(case):
    """The name=value pairs of a case's name."""
    result = {}
    for word in case.replace(",", " ").split():
        name, _, value = word.partition("=")
        if value.lstrip("-").isdigit():
            result[name] = int(value)
    return result


def attention(bench, case, dtype):
    shapes = case["inputs"]
    names = [n for n in ("q", "k", "v") if n in shapes]
    if any("mask" in n for n in shapes):
        return
    heads = numbers(case["case"]).get("heads", 1)
    q, k, v = (bench.tensor(shapes[n], dtype).unflatten(2, (heads, -1)).transpose(1, 2).contiguous() for n in names)
    backends = {"flash": "FLASH_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION", "math": "MATH"}
    from torch.nn.attention import SDPBackend, sdpa_kernel
    for name, backend in backends.items():
        if not hasattr(SDPBackend, backend):
            continue
        def forward(kind=getattr(SDPBackend, backend)):
            with sdpa_kernel(kind):
                return F.scaled_dot_product_attention(q, k, v)
        yield "sdpa " + name, forward, [q, k, v]


def concat(bench, case, dtype):
    tensors = [bench.tensor(shape, dtype) for shape in case["inputs"].values()]
    yield "cat", lambda: torch.cat(tensors, -1), tensors


def upsample_add(bench, case, dtype):
    shapes = list(case["inputs"].values())
    small, lateral = (bench.tensor(s, dtype).permute(0, 3, 1, 2) for s in sorted(shapes, key=lambda s: s[1])[:2])
    bilinear = "bilinear" in case["case"]
    mode = {"mode": "bilinear", "align_corners": "align" in case["case"]} if bilinear else {"mode": "nearest"}
    def forward():
        return F.interpolate(small, size=lateral.shape[2:], **mode) + lateral
    yield "interpolate + add", forward, [small, lateral]
    yield "interpolate + add, compiled", torch.compile(forward), [small, lateral]


def batch_norm(bench, case, dtype):
    x = bench.tensor(case["inputs"]["x"], dtype)
    channels = x.shape[-1]
    x = x.permute(0, x.dim() - 1, *range(1, x.dim() - 1)) if x.dim() > 2 else x
    weight, bias = (torch.ones(channels, device=x.device) for _ in range(2))
    mean, var = torch.zeros(channels, device=x.device), torch.ones(channels, device=x.device)
    relu = "relu" in case["case"]
    def forward():
        y = F.batch_norm(x, mean, var, weight, bias, training=True)
        return F.relu(y) if relu else y
    yield "batch_norm", forward, [x, weight, bias]


def layer_norm(bench, case, dtype):
    x = bench.tensor(case["inputs"]["x"], dtype)
    weight, bias = (torch.ones(x.shape[-1], device=x.device, dtype=dtype) for _ in range(2))
    yield "layer_norm", lambda: F.layer_norm(x, x.shape[-1:], weight, bias), [x, weight, bias]


def matmul(bench, case, dtype):
    shapes = case["inputs"]
    if not {"a", "b"} <= shapes.keys():
        return
    a, b = bench.tensor(shapes["a"], dtype), bench.tensor(shapes["b"], dtype)
    yield "matmul", lambda: a @ b, [a, b]


PEERS = {f.__name__: f for f in (attention, concat, upsample_add, batch_norm, layer_norm, matmul)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments.device, arguments.seconds)
    answered = set()
    with open(arguments.cases) as file:
        for line in file:
            case = json.loads(line)
            if case["key"] in answered or case["operation"] not in PEERS:
                continue
            answered.add(case["key"])
            dtype = torch.bfloat16 if case["precision"] == "bf16" else torch.float32
            seconds = {}
            for name, forward, inputs in PEERS[case["operation"]](bench, case, dtype):
                try:
                    seconds[name] = bench.median(bench.direction(forward, inputs, case["direction"] == "backward"))
                except (RuntimeError, ValueError) as error:  # a backend that does not take the case
                    print(f"{case['key']}: {name}: {str(error).splitlines()[0]}", file=sys.stderr)
            print(json.dumps({"key": case["key"], "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
