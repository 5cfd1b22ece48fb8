"""Compares `medfusion predict` with torchvision: one DenseNet-121, the same weights, the same PNG files.

  python3 bench/peers/densenet_predict_torch.py --program build/release/bin/medfusion [--seed 1] [--weights densenet121.safetensors]

Makes a torchvision densenet121 with random weights, biases and batch-norm statistics (or takes the published weights
where --weights names them), stores its state_dict under torchvision's names, makes a run of it with
`medfusion train tools/configs/densenet121.toml --init`, and predicts PNG files of several kinds and sizes. The other side
is torchvision and the pipeline of docs/image-pipeline.md. Prints the largest difference of a probability per image and fails
where one is above 1e-4. Needs torch, torchvision and safetensors.
"""

import argparse
import csv
import pathlib
import struct
import subprocess
import sys
import tempfile
import zlib

import torch
import torchvision
from safetensors.torch import load_file, save_file
from torchvision.transforms.v2 import functional as F

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
# name: height, width, channels, bits
IMAGES = {
    "gray.png": (240, 300, 1, 8),
    "gray16.png": (310, 257, 1, 16),
    "gray_alpha.png": (224, 224, 2, 8),
    "rgb.png": (224, 224, 3, 8),
    "rgb_small.png": (97, 131, 3, 8),
    "rgb16.png": (256, 256, 3, 16),
    "rgba.png": (500, 333, 4, 8),
}
COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def randomize(network, generator):
    """Batch-norm statistics as of a trained network: activations keep their scale, and each channel is its own."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.data.uniform_(0.6, 1.4, generator=generator)
            module.bias.data.normal_(0.0, 0.3, generator=generator)
            module.running_mean.normal_(0.0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    # Logits a few units apart, so that probabilities are far from 1/1000 each.
    network.classifier.weight.data.normal_(0.0, 0.1, generator=generator)
    network.classifier.bias.data.normal_(0.0, 1.0, generator=generator)


def write_png(path, height, width, channels, bits, generator):
    """Smooth shapes under noise."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    waves = torch.rand(channels, 4, generator=generator) * 12
    planes = [0.5 + 0.25 * torch.sin(a * x + b) * torch.cos(c * y + d) for a, b, c, d in waves.tolist()]
    values = torch.stack(planes, dim=2) + 0.08 * torch.randn(height, width, channels, generator=generator)
    limit = 2**bits - 1
    values = (values.clamp(0, 1) * limit).round().to(torch.int64)
    letter = "B" if bits == 8 else "H"
    data = b"".join(b"\0" + struct.pack(f">{width * channels}{letter}", *row.flatten().tolist()) for row in values)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, COLOR_TYPES[channels], 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b""))


def pipeline(path, size=224):
    """docs/image-pipeline.md for a network of three channels."""
    image = torchvision.io.decode_image(str(path), mode="UNCHANGED")
    image = F.to_dtype(image, torch.float32, scale=True)
    if image.shape[0] in (2, 4):
        image = image[:-1]
    image = F.resize(image, [size, size], antialias=True)
    if image.shape[0] == 1:
        image = image.expand(3, -1, -1)
    return F.normalize(image, MEAN, STD)


def run(program, *arguments):
    result = subprocess.run([program, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{program} {arguments[0]} exited with {result.returncode}: {result.stderr}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bin/medfusion", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--seed", default=1, type=int)
    parser.add_argument("--weights", type=pathlib.Path, help="a state_dict of torchvision's densenet121 as safetensors")
    parser.add_argument("--threads", default=2, type=int)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    generator = torch.Generator().manual_seed(options.seed)
    network = torchvision.models.densenet121(weights=None)
    if options.weights:
        network.load_state_dict(load_file(options.weights))
    else:
        randomize(network, generator)
    network.eval()

    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        paths = [folder / image for image in IMAGES]
        for path in paths:
            write_png(path, *IMAGES[path.name], generator)
        weights, trained, out = folder / "weights.safetensors", folder / "run", folder / "predictions.csv"
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, weights)
        run(options.program, "train", "tools/configs/densenet121.toml", "--set", "train.epochs=0", "--init", weights,
            "--out", trained, "--quiet")
        run(options.program, "predict", trained, "--images", *paths, "--out", out, "--quiet", "--threads", options.threads)
        with open(out, newline="") as file:
            rows = {row["id"]: torch.tensor([float(row[key]) for key in row if key.startswith("probability_")])
                    for row in csv.DictReader(file)}
        worst = 0.0
        for path in paths:
            with torch.inference_mode():
                expected = network(pipeline(path)[None]).softmax(dim=1)[0]
            ours = rows[path.name]
            if ours.shape != expected.shape:
                sys.exit(f"{path.name}: expected {len(expected)} probabilities, got {len(ours)}")
            difference = (ours - expected).abs().max().item()
            worst = max(worst, difference)
            agree = "same" if ours.argmax() == expected.argmax() else "ANOTHER"
            print(f"{path.name:16} largest probability {expected.max():.4f}, {agree} class, difference {difference:.1e}")
    print(f"largest difference {worst:.1e} (at most {TOLERANCE:.0e})")
    sys.exit(0 if worst <= TOLERANCE else 1)


if __name__ == "__main__":
    main()
