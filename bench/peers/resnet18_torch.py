"""ResNet-18 from scratch on 1,000 ChestX-ray14 images, patient-grouped folds: the baseline that `medfusion cv` is compared with.

  python3 bench/peers/resnet18_torch.py --data ../shared/data/nih1000 [--epochs 25 --seeds 0 1 2]

torchvision's resnet18 (no pretrained weights) on the images as they are (64x64, one gray channel), AdamW with warm-up over a
tenth of the steps and cosine decay, binary cross-entropy, shifts and small rotations as augmentation. For every fold the network
trains on the other four for the given number of epochs; its last weights predict the fold, which is used for nothing else.
Score: AUROC per label, averaged over the labels with at least 29 positives in all (those without both classes in a fold are left
out of that fold), then over folds. Needs torch, torchvision, scikit-learn, Pillow. Prints progress, then one JSON line.
"""

import argparse
import csv
import json
import math
import pathlib
import statistics

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.metrics import roc_auc_score
from torch import nn
from torchvision.models import resnet18

MIN_POSITIVES = 29


def load(folder):
    """images [N, 1, 64, 64] in [0, 1], targets [N, L] of the frequent labels, folds [N], label names."""
    with open(folder / "folds.csv", newline="") as file:
        fold_of = {row["Image Index"]: int(row["fold"]) for row in csv.DictReader(file)}
    images, findings, folds = [], [], []
    with open(folder / "Data_Entry_2017.csv", newline="") as file:
        for row in csv.DictReader(file):
            picture = Image.open(folder / "images" / row["Image Index"]).convert("RGB").convert("L")
            images.append(np.asarray(picture, dtype=np.float32) / 255)
            findings.append(set(row["Finding Labels"].split("|")))
            folds.append(fold_of[row["Image Index"]])
    names = sorted(set().union(*findings) - {"No Finding"})
    labels = [n for n in names if sum(n in f for f in findings) >= MIN_POSITIVES]
    targets = np.array([[label in f for label in labels] for f in findings], dtype=np.float32)
    return torch.from_numpy(np.stack(images))[:, None], torch.from_numpy(targets), np.array(folds), labels


def augment(x):
    """Shifts up to 6 %, rotations up to 5 degrees."""
    angle = (torch.rand(len(x)) * 2 - 1) * math.radians(5)
    shift = (torch.rand(len(x), 2) * 2 - 1) * 0.12  # the width is 2
    rows = [torch.stack([angle.cos(), -angle.sin(), shift[:, 0]], 1), torch.stack([angle.sin(), angle.cos(), shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


def train(images, targets, options):
    model = resnet18(num_classes=targets.shape[1])
    model.conv1 = nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    steps = len(images) // options.batch * options.epochs
    warmup = max(1, steps // 10)
    rate = lambda i: (i + 1) / warmup if i < warmup else 0.5 * (1 + math.cos(math.pi * (i - warmup) / (steps - warmup)))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    for _ in range(options.epochs):
        order = torch.randperm(len(images))
        for first in range(0, len(order) - options.batch + 1, options.batch):
            chosen = order[first:first + options.batch]
            x = augment(images[chosen]).contiguous(memory_format=torch.channels_last)
            loss = F.binary_cross_entropy_with_logits(model(x), targets[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def macro_auroc(targets, scores):
    defined = [j for j in range(targets.shape[1]) if 0 < targets[:, j].sum() < len(targets)]
    return float(np.mean([roc_auc_score(targets[:, j], scores[:, j]) for j in defined]))


def cross_validate(images, targets, folds, seed, options):
    result = []
    for fold in sorted(set(folds)):
        torch.manual_seed(1000 * seed + fold)
        inside, outside = torch.from_numpy(folds != fold), torch.from_numpy(folds == fold)
        mean, deviation = images[inside].mean(), images[inside].std()
        model = train((images[inside] - mean) / deviation, targets[inside], options)
        with torch.no_grad():
            scores = torch.sigmoid(model((images[outside] - mean) / deviation))
        result.append(macro_auroc(targets[outside].numpy(), scores.numpy()))
        print(f"seed {seed} fold {fold}: macro AUROC {result[-1]:.4f}", flush=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("../shared/data/nih1000"))
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    images, targets, folds, labels = load(options.data)
    per_seed = [cross_validate(images, targets, folds, seed, options) for seed in options.seeds]
    means = [statistics.mean(r) for r in per_seed]
    print(json.dumps({"labels": labels, "epochs": options.epochs, "macro_auroc": {
        "mean": statistics.mean(means), "std_over_seeds": statistics.stdev(means) if len(means) > 1 else None,
        "per_seed": means, "per_fold": per_seed}}))


if __name__ == "__main__":
    main()
