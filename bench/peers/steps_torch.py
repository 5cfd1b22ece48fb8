"""One DenseNet training step or inference pass in PyTorch on the CPU, timed: the peer of `train_step --json`.

  python3 bench/peers/densenet_torch.py --mode channels_last --size 224 --batch 16 --threads 2

Modes: eager (NCHW), channels_last, compiled (channels_last and torch.compile). A training step is forward, binary cross-entropy
with logits, backward and fused AdamW on random input that stays in memory. Prints one JSON line; one process measures one
mode, so that its peak memory is its own.
"""

import argparse
import json
import resource
import statistics
import time

import torch
from torch import nn

from medfusionnet_torch import SIZES, DenseNet

MODES = ("eager", "channels_last", "compiled")


def build(model, channels, labels):
    if model == "densenet121" and channels == 3:
        import torchvision  # the network as published; medfusionnet_torch.DenseNet equals it to the last bit
        return torchvision.models.densenet121(num_classes=labels)
    return DenseNet(model, channels, labels)


def make_step(options):
    """Returns a function that runs one step and waits for its result."""
    torch.manual_seed(0)
    model = build(options.model, options.channels, options.labels)
    image = torch.randn(options.batch, options.channels, options.size, options.size)
    target = (torch.rand(options.batch, options.labels) < 0.3).float()
    if options.mode != "eager":
        model = model.to(memory_format=torch.channels_last)
        image = image.contiguous(memory_format=torch.channels_last)
    run = torch.compile(model) if options.mode == "compiled" else model
    if options.inference:
        model.eval()

        @torch.inference_mode()
        def step():
            return run(image).sum().item()
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
        loss_function = nn.BCEWithLogitsLoss()

        def step():
            optimizer.zero_grad(set_to_none=True)
            loss = loss_function(run(image), target)
            loss.backward()
            optimizer.step()
            return loss.item()
    return step


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(SIZES), default="densenet121")
    parser.add_argument("--mode", choices=MODES, default="channels_last")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--labels", type=int, default=14)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="measured steps")
    parser.add_argument("--warmup", type=int, default=2, help="steps before those; the first one compiles")
    parser.add_argument("--inference", action="store_true")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    baseline = peak_rss_bytes()  # the libraries alone
    step = make_step(options)
    for _ in range(options.warmup):
        step()
    seconds = []
    for _ in range(options.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    print(json.dumps({
        "program": "torch " + torch.__version__, "mode": options.mode, "model": options.model, "size": options.size,
        "batch": options.batch, "threads": options.threads, "inference": options.inference, "steps": options.steps,
        "median_s": median, "min_s": min(seconds), "max_s": max(seconds), "images_per_s": options.batch / median,
        "peak_rss_bytes": peak_rss_bytes(), "baseline_rss_bytes": baseline,
    }))


if __name__ == "__main__":
    main()
