"""scikit-learn beside `medfusion cv` on the cervical table: the same folds, seeds and columns.

    medfusion cv tools/configs/cervical.toml --seeds 5 --redraw --out runs/cervical-cv
    python bench/peers/cervical_sklearn.py runs/cervical-cv

Logistic regression, random forest, histogram boosting and an MLP, each fitted per label to all rows of the training
folds (they need no validation part, so they see the rows that the network keeps for its thresholds, too); imputation
and scaling are fitted inside. Prints the macro AUROC of each, as the mean over labels, folds and seeds, and the paired
interval of the network's lead: patients (duplicated rows count as one) are drawn with replacement, for all models alike.
Writes peer_NAME.csv beside each predictions.csv.
"""

import argparse
import csv
import os
import tomllib
import warnings

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

MISSING = {"", "?", "NA", "N/A", "NaN", "nan"}


def imputed(*steps):
    return make_pipeline(SimpleImputer(strategy="median", add_indicator=True), *steps)


PEERS = {
    "logistic": lambda seed: imputed(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=1000)),
    "forest": lambda seed: imputed(RandomForestClassifier(300, min_samples_leaf=5, class_weight="balanced_subsample",
                                                          random_state=seed)),
    "boosting": lambda seed: HistGradientBoostingClassifier(learning_rate=0.05, max_iter=100, max_leaf_nodes=8,
                                                            l2_regularization=1.0, class_weight="balanced",
                                                            random_state=seed),
    "mlp": lambda seed: imputed(StandardScaler(), MLPClassifier((32,), alpha=1.0, max_iter=100, random_state=seed)),
}


def read_csv(path):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))
    return rows[0], rows[1:]


def read_table(config, root):
    data = config["data"]
    header, rows = read_csv(os.path.join(root, data["file"]))
    cells = np.array([[np.nan if c.strip() in MISSING else float(c) for c in row] for row in rows])
    # As the program reads it: all columns that are not excluded, without those that hold one value only.
    inputs = [i for i, name in enumerate(header) if name not in data["exclude"] and name not in data["labels"]
              and len(np.unique(cells[~np.isnan(cells[:, i]), i])) > 1]
    targets = cells[:, [header.index(label) for label in data["labels"]]].astype(int)
    ids = [f"row-{i + 1}" for i in range(len(rows))]
    return ids, cells[:, inputs], targets


def predictions_of(path, ids, labels):
    header, rows = read_csv(path)
    row_of = {row[header.index("id")]: row for row in rows}
    names = [("raw_" if "raw_" + label in header else "probability_") + label for label in labels]
    return np.array([[float(row_of[i][header.index(name)]) for name in names] for i in ids])


def fit_peer(make, features, targets, folds, seed):
    scores = np.empty(targets.shape)
    for fold in np.unique(folds):
        train, test = folds != fold, folds == fold
        for label in range(targets.shape[1]):
            model = make(seed).fit(features[train], targets[train, label])
            scores[test, label] = model.predict_proba(features[test])[:, 1]
    return scores


def weighted_aurocs(scores, targets, weights):
    """AUROC with each row counted weights[b, row] times: [resamples]; NaN without both classes."""
    positive, negative = targets == 1, targets == 0
    right = (scores[positive][:, None] > scores[negative][None, :]) + 0.5 * (
        scores[positive][:, None] == scores[negative][None, :])
    wp, wn = weights[:, positive], weights[:, negative]
    with np.errstate(invalid="ignore"):
        return ((wp @ right) * wn).sum(1) / (wp.sum(1) * wn.sum(1))


def mean_auroc(runs, targets, weights, label=None):
    """Mean over labels, folds and seeds where it is defined: [resamples]."""
    labels = range(targets.shape[1]) if label is None else [label]
    by_label = []
    for l in labels:
        values = [weighted_aurocs(scores[folds == f, l], targets[folds == f, l], weights[:, folds == f])
                  for scores, folds in runs for f in np.unique(folds)]
        by_label.append(np.nanmean(values, axis=0))
    return np.mean(by_label, axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cv", help="folder that medfusion cv wrote")
    parser.add_argument("--resamples", type=int, default=1000)
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")

    seeds = sorted((d for d in os.listdir(arguments.cv) if d.startswith("seed") and d[4:].isdigit()),
                   key=lambda name: int(name[4:]))
    folders = [os.path.join(arguments.cv, d) for d in seeds] or [arguments.cv]
    with open(os.path.join(folders[0], "fold0", "config.toml"), "rb") as file:
        config = tomllib.load(file)
    root = config["data"]["root"]
    if os.environ.get("MEDFUSION_DATA") and root.startswith("../shared/data"):
        root = os.environ["MEDFUSION_DATA"] + root[len("../shared/data"):]
    labels = config["data"]["labels"]
    ids, features, targets = read_table(config, root)
    patients = np.unique(np.nan_to_num(features, nan=-1e9), axis=0, return_inverse=True)[1].ravel()

    runs = {name: [] for name in ["medfusion", *PEERS]}
    for number, folder in enumerate(folders):
        own = os.path.join(folder, "folds.csv")
        _, rows = read_csv(own if os.path.exists(own) else os.path.join(arguments.cv, "folds.csv"))
        fold_of = {row[0]: int(row[1]) for row in rows}
        folds = np.array([fold_of[i] for i in ids])
        runs["medfusion"].append((predictions_of(os.path.join(folder, "predictions.csv"), ids, labels), folds))
        seed = int(os.path.basename(folder)[4:]) if seeds else config["seed"]
        for name, make in PEERS.items():
            scores = fit_peer(make, features, targets, folds, seed)
            runs[name].append((scores, folds))
            with open(os.path.join(folder, f"peer_{name}.csv"), "w", newline="") as file:
                out = csv.writer(file)
                out.writerow(["id"] + ["probability_" + label for label in labels])
                out.writerows([i, *(f"{s:.6f}" for s in row)] for i, row in zip(ids, scores))

    rng = np.random.default_rng(1)
    count = patients.max() + 1
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=arguments.resamples)
    weights = np.vstack([np.ones(count), drawn])[:, patients]  # the first counts each row once
    check = np.mean([roc_auc_score(targets[folds == f, 0], s[folds == f, 0])
                     for s, folds in runs["medfusion"] for f in np.unique(folds)])
    assert abs(check - mean_auroc(runs["medfusion"], targets, weights[:1], 0)[0]) < 1e-9

    macro = {name: mean_auroc(r, targets, weights) for name, r in runs.items()}
    print(f"{len(folders)} seeds, {len(ids)} rows, {count} distinct, {features.shape[1]} columns")
    print("AUROC".ljust(12) + "".join(label.rjust(12) for label in labels) + "       macro   95 % interval")
    for name, r in runs.items():
        own = [mean_auroc(r, targets, weights[:1], l)[0] for l in range(len(labels))]
        low, high = np.percentile(macro[name][1:], [2.5, 97.5])
        print(name.ljust(12) + "".join(f"{value:12.4f}" for value in own)
              + f"{macro[name][0]:12.4f}   [{low:.4f}, {high:.4f}]")
    print("medfusion's lead in macro AUROC, paired:")
    for name in PEERS:
        difference = macro["medfusion"] - macro[name]
        low, high = np.percentile(difference[1:], [2.5, 97.5])
        print(f"  over {name.ljust(10)} {difference[0]:+.4f}   [{low:+.4f}, {high:+.4f}]")
    best = max(PEERS, key=lambda name: macro[name][0])
    print(f"best of the four: {best}; medfusion is {'ahead' if macro['medfusion'][0] >= macro[best][0] else 'BEHIND'}")


if __name__ == "__main__":
    main()
