#!/usr/bin/env python3
"""What scikit-learn makes of PAD-UFES-20 on the given folds: of the table, of frozen features of a network that was pretrained on
ImageNet, and of both. Each label has a model of its own. Out of fold; a row of the output has the macro AUROC of the six
diagnoses and that of cancer, each as the mean over the folds and over all rows at once.

  python3 bench/peers/lesions_sklearn.py --weights efficientnet_lite0.safetensors

Needs scikit-learn and pandas; with --weights PyTorch, Pillow and safetensors as well (tools/fetch_weights.py makes the file).
"""

import argparse
import pathlib
import sys

import numpy
import pandas
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

LABELS = ["cancer", "BCC", "MEL", "SCC", "ACK", "SEK", "NEV"]
NUMBERS = ["age", "fitspatrick", "diameter_1", "diameter_2"]
WORDS = ["sex", "region", "itch", "grew", "hurt", "changed", "bleed", "elevation", "smoke", "drink", "pesticide",
         "skin_cancer_history", "cancer_history", "has_piped_water", "has_sewage_system", "background_father", "background_mother"]


def table_features(table):
    """Numbers as they are (NaN where missing), and a column of 0 and 1 for each word; UNK is missing."""
    columns = {name: pandas.to_numeric(table[name], errors="coerce") for name in NUMBERS}
    for name in WORDS:
        words = table[name].replace("UNK", "")
        columns.update({f"{name}={word}": (words == word).astype(float) for word in sorted(words.unique())})
    return pandas.DataFrame(columns).to_numpy()


def image_features(root, table, weights, size):
    """Features before the last layer, [rows, 1280], of the image and its mirror image, their mean."""
    import torch
    from PIL import Image
    from safetensors.torch import load_file

    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    import zoo_torch

    model = zoo_torch.build("efficientnet_lite0", 3, 1000).eval()
    model.load_state_dict(load_file(weights), strict=False)
    model.classifier = torch.nn.Identity()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    features = []
    with torch.inference_mode():
        for name in table["image"]:
            pixels = Image.open(root / name).convert("RGB").resize((size, size), Image.BILINEAR)
            image = ((torch.from_numpy(numpy.array(pixels)) / 255.0 - mean) / std).permute(2, 0, 1)
            features.append(model(torch.stack([image, image.flip(2)])).mean(0).numpy())
    return numpy.stack(features)


def standardized(train, test):
    """Zero mean and unit deviation by the training rows; 0 where missing, and a column that says so."""
    mean, deviation = numpy.nanmean(train, 0), numpy.nanstd(train, 0)
    deviation[deviation == 0] = 1

    def apply(x):
        missing = numpy.isnan(x[:, :len(NUMBERS)]).astype(float)
        return numpy.hstack([numpy.nan_to_num((x - mean) / deviation), missing])

    return apply(train), apply(test)


def out_of_fold(x, targets, folds, model, scale):
    result = numpy.zeros(targets.shape)
    for fold in numpy.unique(folds):
        train, test = x[folds != fold], x[folds == fold]
        if scale:
            train, test = standardized(train, test)
        for label in range(targets.shape[1]):
            fitted = model().fit(train, targets[folds != fold, label])
            result[folds == fold, label] = fitted.predict_proba(test)[:, 1]
    return result


def report(name, predicted, targets, folds):
    each = numpy.array([[roc_auc_score(targets[folds == fold, label], predicted[folds == fold, label])
                         for label in range(len(LABELS))] for fold in numpy.unique(folds)]).mean(0)
    whole = numpy.array([roc_auc_score(targets[:, label], predicted[:, label]) for label in range(len(LABELS))])
    print(f"{name:44} {each[1:].mean():.3f} {each[0]:.3f}   {whole[1:].mean():.3f} {whole[0]:.3f}   "
          + " ".join(f"{label} {value:.3f}" for label, value in zip(LABELS[1:], each[1:])), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path("../shared/data/pad_ufes20"))
    parser.add_argument("--weights", help="EfficientNet-Lite0 as safetensors")
    parser.add_argument("--size", type=int, default=224, help="pixels that images are resized to")
    arguments = parser.parse_args()
    table = pandas.read_csv(arguments.root / "table.csv", dtype=str, keep_default_na=False)
    folds = table["image"].map(pandas.read_csv(arguments.root / "folds.csv").set_index("image")["fold"]).to_numpy()
    targets = table[LABELS].astype(float).to_numpy()
    x = table_features(table)
    print(f"{'':44} mean over folds: six, cancer; all rows: six, cancer; by diagnosis")

    def logistic(c):
        return lambda: LogisticRegression(C=c, max_iter=5000)

    for c in (0.1, 1.0):
        report(f"table, logistic regression, C = {c}", out_of_fold(x, targets, folds, logistic(c), True), targets, folds)
    report("table, random forest of 500 trees",
           out_of_fold(x, targets, folds, lambda: RandomForestClassifier(500, min_samples_leaf=3, random_state=0), True),
           targets, folds)
    report("table, boosted trees",
           out_of_fold(x, targets, folds, lambda: HistGradientBoostingClassifier(max_iter=100, learning_rate=0.05,
                                                                                max_leaf_nodes=8), False), targets, folds)
    if not arguments.weights:
        return
    images = image_features(arguments.root, table, arguments.weights, arguments.size)
    for c in (0.001, 0.01):
        report(f"frozen features, logistic regression, C = {c}", out_of_fold(images, targets, folds, logistic(c), True),
               targets, folds)
        report(f"both, logistic regression, C = {c}",
               out_of_fold(numpy.hstack([x, images]), targets, folds, logistic(c), True), targets, folds)


if __name__ == "__main__":
    main()
