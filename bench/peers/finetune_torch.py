#!/usr/bin/env python3
"""Fine-tunes a published network in PyTorch on a table with images, on the given folds: the peer of

  medfusion cv CONFIG --init WEIGHTS --set model.name=NAME --set model.fusion=concat

It reads CONFIG (the file that the program reads, so epochs, batch size, rates, augmentation, labels and columns are the same),
trains each fold with AdamW, warm-up, cosine schedule and a moving average of the weights, and writes OUT/predictions.csv (id,
probability_LABEL) and a line per fold. Image alone with --image-only; else a hidden layer of 64 units reads the table and joins
the pooled features.

  python3 bench/peers/finetune_torch.py pad.toml --weights efficientnet_lite0.safetensors --network efficientnet_lite0 --out peer

Needs torch, safetensors, numpy, pandas, Pillow and scikit-learn. Differences: it trains on every row outside of the fold, where
the program keeps a tenth of them for thresholds; PyTorch's own random numbers and its affine
resampling; images are resized by Pillow (bilinear, antialiased).
"""

import argparse
import copy
import math
import pathlib
import tomllib

import numpy
import pandas
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

import zoo_torch

HIDDEN = 64


def encode(table, names, train, missing):
    """Numbers standardized by the training rows, a column per word, and 1 where a cell is missing: [rows, features] float32."""
    columns = []
    for name in names:
        cells = table[name].where(~table[name].isin(["", *missing]))
        numbers = pandas.to_numeric(cells, errors="coerce")
        absent = cells.isna().to_numpy()
        if numbers.notna().sum() == (~absent).sum():
            values = numbers.to_numpy(dtype=float)
            mean, deviation = numpy.nanmean(values[train]), numpy.nanstd(values[train]) or 1.0
            columns.append(numpy.nan_to_num((values - mean) / deviation))
        else:
            columns += [(cells == word).to_numpy(dtype=float) for word in sorted(cells[train].dropna().unique())]
        columns.append(absent.astype(float))
    return torch.tensor(numpy.stack(columns, 1), dtype=torch.float32)


def read_images(folder, names, size):
    """[rows, 3, size, size] in [0, 1]."""
    pixels = [numpy.asarray(Image.open(folder / name).convert("RGB").resize((size, size), Image.BILINEAR)) for name in names]
    return torch.from_numpy(numpy.stack(pixels)).permute(0, 3, 1, 2).float() / 255


def augment(x, options):
    """The changes of [augment], drawn for each image."""
    count = len(x)

    def draw(name, default):
        return (2 * torch.rand(count) - 1) * options.get(name, default)

    angle, scale = torch.deg2rad(draw("rotation", 5.0)), 1 + draw("scale", 0.1)
    flip = 1 - 2 * (torch.rand(count) < options.get("horizontal_flip", 0.0)).float()
    turn = 1 - 2 * (torch.rand(count) < options.get("vertical_flip", 0.0)).float()
    cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
    shift_x, shift_y = 2 * draw("shift", 0.05), 2 * draw("shift", 0.05)
    first = torch.stack([flip * cosine, flip * sine, -flip * (cosine * shift_x + sine * shift_y)], 1)
    second = torch.stack([-turn * sine, turn * cosine, turn * (sine * shift_x - cosine * shift_y)], 1)
    grid = F.affine_grid(torch.stack([first, second], 1), x.shape, align_corners=False)
    x = F.grid_sample(x, grid, padding_mode="border", align_corners=False).clamp(0, 1)
    by = lambda value: value[:, None, None, None]
    x = x ** by(torch.exp(draw("gamma", 0.15)))
    mean = x.mean((1, 2, 3), keepdim=True)
    return (by(1 + draw("contrast", 0.15)) * (x - mean) + mean + by(draw("brightness", 0.1))).clamp(0, 1)


class Fused(torch.nn.Module):
    """The backbone's pooled features, beside a hidden layer of the table where there is one, and a linear layer."""

    def __init__(self, network, labels, table_features):
        super().__init__()
        self.backbone = network
        head = [name for name, module in network.named_children() if isinstance(module, torch.nn.Linear)][-1]
        width = getattr(network, head).in_features
        setattr(network, head, torch.nn.Identity())
        self.hidden = torch.nn.Linear(table_features, HIDDEN) if table_features else None
        self.head = torch.nn.Linear(width + (HIDDEN if table_features else 0), labels)

    def forward(self, image, table):
        features = self.backbone(image)
        if self.hidden is not None:
            features = torch.cat([features, F.relu(self.hidden(table))], 1)
        return self.head(features)


def optimizer_of(model, train):
    decay, rate = train.get("weight_decay", 0.01), train.get("backbone_rate", 1.0)
    groups = []
    for parameters, factor in ((model.backbone.parameters(), rate), ((p for n, p in model.named_parameters()
                                                                      if not n.startswith("backbone.")), 1.0)):
        parameters = list(parameters)
        groups.append({"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay, "factor": factor})
        groups.append({"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0, "factor": factor})
    return torch.optim.AdamW(groups, lr=train.get("learning_rate", 1e-3))


def rate_at(step, per_epoch, train):
    warm, total = round(train.get("warmup_epochs", 1.0) * per_epoch), train["epochs"] * per_epoch
    peak, least = train.get("learning_rate", 1e-3), train.get("min_learning_rate", 1e-5)
    if step < warm:
        return peak * (step + 1) / warm
    return least + 0.5 * (peak - least) * (1 + math.cos(math.pi * (step - warm) / max(1, total - warm)))


def train_fold(model, images, table, targets, rows, config, normalize, channels_last):
    train, size = config["train"], config["train"]["batch_size"]
    per_epoch = math.ceil(len(rows) / size)
    optimizer, average = optimizer_of(model, train), copy.deepcopy(model)
    decay, step = train.get("ema_decay", 0.0), 0
    for epoch in range(train["epochs"]):
        model.train()
        order = rows[torch.randperm(len(rows))]
        for batch in order.split(size):
            rate = rate_at(step, per_epoch, train)
            for group in optimizer.param_groups:
                frozen = group["factor"] != 1.0 and epoch < train.get("freeze_epochs", 0)
                group["lr"] = 0.0 if frozen else rate * group["factor"]
            x = normalize(augment(images[batch], config.get("augment", {})))
            loss = F.binary_cross_entropy_with_logits(model(channels_last(x), table[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), train.get("clip_norm", 1.0))
            optimizer.step()
            step += 1
            kept = min(decay, (1 + step) / (10 + step))
            with torch.no_grad():
                for mean, value in zip(average.state_dict().values(), model.state_dict().values()):
                    mean.lerp_(value, 1 - kept) if mean.is_floating_point() else mean.copy_(value)
    return average.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=pathlib.Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--network", default="efficientnet_lite0", choices=sorted(zoo_torch.NETWORKS))
    parser.add_argument("--image-only", action="store_true")
    parser.add_argument("--root", type=pathlib.Path, help="replaces data.root")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--epochs", type=int, help="replaces train.epochs")
    parser.add_argument("--folds", type=int, nargs="*", help="only these")
    options = parser.parse_args()
    config = tomllib.loads(options.config.read_text())
    if options.epochs:
        config["train"]["epochs"] = options.epochs
    data = config["data"]
    root = options.root or pathlib.Path(data["root"])
    rows = pandas.read_csv(root / data["file"], dtype=str, keep_default_na=False)
    folds = rows[data["image_column"]].map(pandas.read_csv(root / data["folds"]).set_index(data["image_column"])["fold"]).to_numpy()
    labels = data["labels"]
    targets = torch.tensor(rows[labels].to_numpy(dtype=float), dtype=torch.float32)
    images = read_images(root, rows[data["image_column"]], data["image_size"])
    mean, std = (torch.tensor(data[key])[:, None, None] for key in ("mean", "std"))
    channels_last = lambda x: x.contiguous(memory_format=torch.channels_last)
    predicted = numpy.full((len(rows), len(labels)), numpy.nan)
    for fold in options.folds or sorted(set(folds)):
        torch.manual_seed(options.seed)
        training = torch.from_numpy(numpy.flatnonzero(folds != fold))
        test = numpy.flatnonzero(folds == fold)
        table = encode(rows, data["table"], training.numpy(), data.get("missing", []))
        network = zoo_torch.build(options.network, 3, 1000)
        network.load_state_dict(load_file(options.weights), strict=False)
        model = Fused(network, len(labels), 0 if options.image_only else table.shape[1])
        positive = targets[training].mean(0).clamp(1e-3, 1 - 1e-3)
        with torch.no_grad():
            model.head.bias.copy_(torch.log(positive / (1 - positive)))
        model = model.to(memory_format=torch.channels_last)
        average = train_fold(model, images, table, targets, training, config, lambda x: (x - mean) / std, channels_last)
        copies = config.get("augment", {}).get("test_copies", 0)
        with torch.inference_mode():
            for batch in torch.from_numpy(test).split(64):
                views = [images[batch]] + [augment(images[batch], config["augment"]) for _ in range(copies)]
                logits = sum(average(channels_last((x - mean) / std), table[batch]) for x in views) / len(views)
                predicted[batch.numpy()] = torch.sigmoid(logits).numpy()
        each = [roc_auc_score(targets[test, i], predicted[test, i]) for i in range(len(labels))]
        print(f"fold {fold}: macro AUROC {numpy.mean(each):.4f}  " + " ".join(f"{n} {v:.3f}" for n, v in zip(labels, each)), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    result = pandas.DataFrame(predicted, columns=["probability_" + label for label in labels])
    result.insert(0, "id", rows[data["image_column"]])
    result.dropna().to_csv(options.out / "predictions.csv", index=False)


if __name__ == "__main__":
    main()
