"""Times PyTorch on the cases of `medfusion kernels bench --peer`, which runs this script.

  python3 bench/peers/kernels_torch.py --cases FILE --device cpu|cuda [--threads N --seconds S --graph]

FILE holds one JSON object per line: key, operation, direction, precision, case, inputs {name: shape}, sets. The answer is one
line per case on standard output: {"key": ..., "seconds": {peer: median of one call}, "peak_bytes": {peer: bytes},
"reserved_bytes": {peer: bytes}}; bytes, on cuda alone, are the most that one set of tensors and a call on it take, and what the
allocator holds for them. Peers: scaled_dot_product_attention with
every backend that accepts the case, torch.cat, interpolate + add, batch_norm, layer_norm, matmul and a dense block, eager and
compiled where that can be had. A case without a peer gets none. A backward is timed by itself, its graph kept; `both` is a
forward that records and its backward. Calls take turns with `sets` sets of tensors, as ours do; --graph replays one captured
CUDA graph of a call on each.
"""

import argparse
import contextlib
import functools
import gc
import itertools
import json
import statistics
import sys
import time
import warnings

import torch
import torch.nn.functional as F

warnings.filterwarnings("ignore")


class Bench:
    def __init__(self, device, seconds, graph):
        self.device = device
        self.seconds = seconds
        self.graph = graph
        # A backward runs on the stream of its forward, which must be that of the capture.
        self.stream = torch.cuda.Stream() if graph else None

    def tensor(self, shape, dtype):
        generator = torch.Generator().manual_seed(20)
        return torch.randn(shape, generator=generator).to(self.device, dtype)

    def synchronize(self):
        if self.device == "cuda":
            torch.cuda.synchronize()

    def median(self, calls):
        """Seconds of one call, over batches of at least 2 ms that end with a synchronization; calls are made in turn."""
        per_run = 1
        if self.graph:
            run, per_run = self.captured(calls), len(calls)
        else:
            turn = itertools.cycle(calls)

            def run():
                next(turn)()

        def batch(runs):
            start = time.perf_counter()
            for _ in range(runs):
                run()
            self.synchronize()
            return (time.perf_counter() - start) / (runs * per_run)

        batch(max(1, len(calls) // per_run))
        runs = max(1, round(2e-3 / max(batch(1) * per_run, 1e-7)))
        times, start = [], time.perf_counter()
        while len(times) < 5 or time.perf_counter() - start < self.seconds:
            times.append(batch(runs))
        return statistics.median(times)

    def captured(self, calls):
        """The replay of a CUDA graph of all calls, which have run before."""
        for _ in range(3):
            for call in calls:
                call()
        self.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self.stream):
            for call in calls:
                call()
        return graph.replay

    def direction(self, forward, inputs, direction):
        """A call that runs forward, the backward of a graph that is kept, or both."""
        if direction == "forward":
            def run():
                with torch.no_grad():
                    return forward()
            return run
        for tensor in inputs:
            tensor.requires_grad_(True)
        y = forward()
        gradient = torch.randn_like(y)
        if direction == "both":
            return lambda: torch.autograd.grad(forward(), inputs, gradient)
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
    backends = {"flash": "FLASH_ATTENTION", "math": "MATH"}
    if bench.device == "cuda":
        backends |= {"efficient": "EFFICIENT_ATTENTION", "cudnn": "CUDNN_ATTENTION"}
    from torch.nn.attention import SDPBackend, sdpa_kernel
    for name, backend in backends.items():
        if not hasattr(SDPBackend, backend):
            continue
        # The choice is made around all calls: making it takes longer than a short call does.
        choice = functools.partial(sdpa_kernel, getattr(SDPBackend, backend))
        yield "sdpa " + name, lambda: F.scaled_dot_product_attention(q, k, v), [q, k, v], choice


def concat(bench, case, dtype):
    tensors = [bench.tensor(shape, dtype) for shape in case["inputs"].values()]
    yield "cat", lambda: torch.cat(tensors, -1), tensors


def resized_sum(small, lateral, mode):
    return F.interpolate(small, size=lateral.shape[2:], **mode) + lateral


@functools.cache
def compiled(function):
    return torch.compile(function)


def upsample_add(bench, case, dtype):
    shapes = list(case["inputs"].values())
    small, lateral = (bench.tensor(s, dtype).permute(0, 3, 1, 2) for s in sorted(shapes, key=lambda s: s[1])[:2])
    bilinear = "bilinear" in case["case"]
    mode = {"mode": "bilinear", "align_corners": "align" in case["case"]} if bilinear else {"mode": "nearest"}
    yield "interpolate + add", lambda: resized_sum(small, lateral, mode), [small, lateral]
    # One compiled function for all sets of tensors.
    yield "interpolate + add, compiled", lambda: compiled(resized_sum)(small, lateral, mode), [small, lateral]


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


def depthwise_convolution(bench, case, dtype):
    """Padding is half the kernel on all sides: TensorFlow's, which PyTorch has not, costs as much."""
    x = bench.tensor(case["inputs"]["x"], dtype).permute(0, 3, 1, 2)
    weight = bench.tensor(case["inputs"]["weight"], dtype).contiguous(memory_format=torch.channels_last)
    kernel, stride = (int(case["case"].split(f"{name}=")[1].split()[0]) for name in ("kernel", "stride"))
    bias = [bench.tensor(case["inputs"]["bias"], dtype)] if "bias" in case["inputs"] else []
    yield "conv2d", lambda: F.conv2d(x, weight, *bias, stride=stride, padding=kernel // 2, groups=x.shape[1]), [x, weight, *bias]


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


def dense_block(bench, case, dtype):
    """As torchvision writes it: channels last, all earlier channels concatenated before each layer. Norms in f32."""
    if "training" not in case["case"]:
        return
    shapes = case["inputs"]
    x = bench.tensor(shapes["x"], dtype).permute(0, 3, 1, 2)
    layers, inputs = [], [x]
    for i in range(sum(name.endswith(".conv1") for name in shapes)):
        def parameter(name, kind=torch.float32):
            tensor = bench.tensor(shapes[f"{i}.{name}"], kind) * 0.1
            if tensor.dim() == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            inputs.append(tensor)
            return tensor
        def running(name):
            size = shapes[f"{i}.{name}.weight"]
            return torch.zeros(size, device=x.device), torch.ones(size, device=x.device)
        layers.append((running("norm1"), parameter("norm1.weight"), parameter("norm1.bias"), parameter("conv1", dtype),
                       running("norm2"), parameter("norm2.weight"), parameter("norm2.bias"), parameter("conv2", dtype)))
    def forward():
        features = [x]
        for running1, weight1, bias1, conv1, running2, weight2, bias2, conv2 in layers:
            y = torch.cat(features, 1)
            y = F.conv2d(F.relu(F.batch_norm(y, *running1, weight1, bias1, training=True)), conv1)
            y = F.conv2d(F.relu(F.batch_norm(y, *running2, weight2, bias2, training=True)), conv2, padding=1)
            features.append(y)
        return torch.cat(features, 1)
    yield "dense block", forward, inputs
    yield "dense block, compiled", torch.compile(forward), inputs


PEERS = {f.__name__: f for f in (attention, concat, upsample_add, batch_norm, depthwise_convolution, layer_norm, matmul, dense_block)}


def choice_of(peer):
    return peer[3] if len(peer) > 3 else contextlib.nullcontext


def measured(bench, case, dtype):
    """Median seconds, peak and reserved bytes by peer, of a case whose peers are made once for each set of tensors."""
    seconds, peaks, reserved = {}, {}, {}
    with torch.cuda.stream(bench.stream):  # of None: where we are
        if bench.device == "cuda":
            measure_memory(bench, case, dtype, peaks, reserved)
        time_peers(bench, case, dtype, seconds)
    return seconds, peaks, reserved


def measure_memory(bench, case, dtype, peaks, reserved):
    gc.collect()
    torch.cuda.empty_cache()
    allocated, held = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    for peer in PEERS[case["operation"]](bench, case, dtype):
        try:
            with choice_of(peer)():
                call = bench.direction(peer[1], peer[2], case["direction"])
                for _ in range(3):  # compiles and chooses algorithms
                    call()
                bench.synchronize()
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                call()
                bench.synchronize()
                peaks[peer[0]] = torch.cuda.max_memory_allocated() - allocated
                reserved[peer[0]] = torch.cuda.max_memory_reserved() - held
        except (RuntimeError, ValueError):  # said when it is timed
            pass


def time_peers(bench, case, dtype, seconds):
    sets = [list(PEERS[case["operation"]](bench, case, dtype)) for _ in range(case.get("sets", 1))]
    for same in zip(*sets):  # one peer, on every set
        name = same[0][0]
        try:
            with choice_of(same[0])():
                calls = [bench.direction(each[1], each[2], case["direction"]) for each in same]
                seconds[name] = bench.median(calls)
        except (RuntimeError, ValueError) as error:  # a backend that does not take the case
            print(f"{case['key']}: {name}: {str(error).splitlines()[0]}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", required=True)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--graph", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(arguments.device, arguments.seconds, arguments.graph)
    answered = set()
    with open(arguments.cases) as file:
        for line in file:
            case = json.loads(line)
            if case["key"] in answered or case["operation"] not in PEERS:
                continue
            answered.add(case["key"])
            dtype = torch.bfloat16 if case["precision"] == "bf16" else torch.float32
            seconds, peaks, reserved = measured(bench, case, dtype)
            answer = {"key": case["key"], "seconds": seconds, "peak_bytes": peaks, "reserved_bytes": reserved}
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
