"""One training step or inference pass of a network in PyTorch, timed: the peer of `train_step --json`.

  python3 bench/peers/steps_torch.py --mode channels_last --size 224 --batch 16 --threads 2
  python3 bench/peers/steps_torch.py --model medfusionnet-densenet121 --mode compiled --device cuda --precision bf16 --batch 64

Under `python3 -m torch.distributed.run --nproc-per-node N` each process takes its part of the batch, with
DistributedDataParallel over gloo; rank 0 prints.

Modes: eager (NCHW), channels_last, compiled (channels_last and torch.compile; on cuda max-autotune, which replays CUDA graphs).
A training step is forward, binary cross-entropy with logits, backward and fused AdamW on random input that stays in the memory
of the device. bf16 is autocast, tf32 allows it in products and convolutions, f32 in neither. MedFusionNet gets a table of 4
features and a text of 8 words beside the image. Prints one JSON line; one process measures one mode, so that its peak memory is
its own. On cuda peak_bytes is the most that tensors took at once after the warm-up, reserved_bytes the most that the allocator held
for them; its cache is emptied before.
"""

import argparse
import contextlib
import gc
import json
import os
import resource
import statistics
import time

import torch
from torch import nn

import zoo_torch
from medfusionnet_torch import SIZES, DenseNet, MedFusionNet

MODES = ("eager", "channels_last", "compiled")
FUSED = "medfusionnet-"
FEATURES, WORDS, VOCABULARY = 4, 8, 64  # as in bench/train_step.cpp


def ranks():
    return int(os.environ.get("WORLD_SIZE", "1"))


def build(model, channels, labels):
    if model.startswith(FUSED):
        return MedFusionNet(dict(size=model[len(FUSED):], in_channels=channels, labels=labels, table_features=FEATURES,
                                 vocabulary=VOCABULARY, text_length=WORDS))
    if model == "densenet121" and channels == 3:
        import torchvision  # the network as published; medfusionnet_torch.DenseNet equals it to the last bit
        return torchvision.models.densenet121(num_classes=labels)
    if model in zoo_torch.NETWORKS:
        return zoo_torch.build(model, channels, labels)
    return DenseNet(model.removeprefix("densenet-"), channels, labels)


def make_step(options):
    """Returns a function that runs one step and waits for its result."""
    torch.manual_seed(0)
    tf32 = options.precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = True
    device = options.device
    model = build(options.model, options.channels, options.labels).to(device)
    own = options.batch // ranks()
    image = torch.randn(own, options.channels, options.size, options.size, device=device)
    target = (torch.rand(own, options.labels, device=device) < 0.3).float()
    if options.mode != "eager":
        model = model.to(memory_format=torch.channels_last)
        image = image.contiguous(memory_format=torch.channels_last)
    inputs = [image]
    if options.model.startswith(FUSED):
        inputs.append(torch.randn(own, FEATURES, device=device))
        inputs.append(torch.randint(1, VOCABULARY, (own, WORDS), device=device))

    def precision():
        return torch.autocast(device, torch.bfloat16) if options.precision == "bf16" else contextlib.nullcontext()

    run = nn.parallel.DistributedDataParallel(model, gradient_as_bucket_view=True) if ranks() > 1 else model
    if options.mode == "compiled":
        with torch.no_grad(), precision():
            model(*inputs)  # constants that it keeps belong to no graph
        run = torch.compile(run, mode="max-autotune" if device == "cuda" else None)

    if options.inference:
        model.eval()

        @torch.inference_mode()
        def step():
            with precision():
                return run(*inputs).sum().item()
    else:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0.01, fused=True)
        loss_function = nn.BCEWithLogitsLoss()

        def step():
            optimizer.zero_grad(set_to_none=True)
            with precision():
                loss = loss_function(run(*inputs), target)
            loss.backward()
            optimizer.step()
            return loss.item()
    return step


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["densenet121", *("densenet-" + s for s in sorted(SIZES)), *(FUSED + s for s in sorted(SIZES)), *zoo_torch.NETWORKS]
    parser.add_argument("--model", choices=names, default="densenet121")
    parser.add_argument("--mode", choices=MODES, default="channels_last")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("f32", "tf32", "bf16"), default="f32")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--labels", type=int, default=14)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5, help="measured steps")
    parser.add_argument("--warmup", type=int, default=3, help="steps before memory is counted, the first ones compile; one more comes before the clock")
    parser.add_argument("--inference", action="store_true")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    if ranks() > 1:
        torch.distributed.init_process_group("gloo")
    baseline = peak_rss_bytes()  # the libraries alone
    step = make_step(options)
    for _ in range(options.warmup):
        step()
    if options.device == "cuda":  # what only the warm-up needed, for choosing algorithms, does not count
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    step()  # allocates again what was cached
    seconds = []
    for _ in range(options.steps):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    report = {
        "program": "torch " + torch.__version__, "mode": options.mode, "model": options.model, "size": options.size,
        "batch": options.batch, "threads": options.threads, "device": options.device, "precision": options.precision,
        "inference": options.inference, "steps": options.steps,
        "median_s": median, "min_s": min(seconds), "max_s": max(seconds), "images_per_s": options.batch / median,
        "peak_rss_bytes": peak_rss_bytes(), "baseline_rss_bytes": baseline,
    }
    if options.device == "cuda":
        report["peak_bytes"] = torch.cuda.max_memory_allocated()
        report["reserved_bytes"] = torch.cuda.max_memory_reserved()
    if int(os.environ.get("RANK", "0")) == 0:
        print(json.dumps(report), flush=True)
    if ranks() > 1:
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
