"""The figures of an evaluation by their definitions, for recompute_report.py. Nothing but the standard library."""

import bisect
import csv
import json
import math
import sys
from statistics import NormalDist, mean, stdev

Z = NormalDist().inv_cdf(0.975)
THRESHOLD_MEASURES = ["f1", "gmean", "sensitivity", "specificity", "ppv", "npv", "accuracy", "balanced_accuracy"]


class Label:
    """The columns of one label. Lists have one entry per row whose target is known."""

    def __init__(self, name, rows, number_of):
        self.number_of = number_of
        known = [row for row in rows if row["target_" + name] != ""]
        self.name, self.unknown, self.all = name, len(rows) - len(known), rows
        self.y = [int(float(row["target_" + name])) for row in known]
        self.p = [float(row["probability_" + name]) for row in known]
        rank = "logit_" + name if "logit_" + name in rows[0] else "probability_" + name
        self.rank = [float(row[rank]) for row in known]
        self.raw = [float(row["raw_" + name]) for row in known] if "raw_" + name in rows[0] else None
        decisions = [row.get("predicted_" + name, "") for row in rows]
        self.decided = [int(row["predicted_" + name]) for row in known] if "" not in decisions else None
        levels = [row.get("risk_" + name, "") for row in rows]
        self.levels = [row["risk_" + name] for row in known] if "" not in levels else None
        self.patient = [number_of[row["patient"]] for row in known]
        self.ids = [row["id"] for row in known]
        self.order = sorted(range(len(known)), key=lambda i: self.rank[i])

    def reorder(self, place_of):
        """The rows in the order of their ids in place_of."""
        self.__init__(self.name, sorted(self.all, key=lambda row: place_of[row["id"]]), self.number_of)


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def labels_of(rows):
    """{name: Label}, the rows and the number of patients."""
    number_of = {patient: i for i, patient in enumerate(sorted({row["patient"] for row in rows}))}
    names = [key[len("probability_"):] for key in rows[0] if key.startswith("probability_")]
    return {name: Label(name, rows, number_of) for name in names}, rows, len(number_of)


def read_labels(path):
    return labels_of(read_rows(path))


def read_json(path):
    return json.loads(path.read_text(encoding="utf-8"))


def ratio(above, below):
    return above / below if below else None


def auroc(label, weights=None):
    """Share of pairs in the right order; a sample counts as often as its patient was drawn."""
    pairs = negatives = positives = 0
    tied = [0, 0]
    for place, i in enumerate(label.order):
        tied[label.y[i]] += 1 if weights is None else weights[label.patient[i]]
        if place + 1 < len(label.order) and label.rank[label.order[place + 1]] == label.rank[i]:
            continue
        pairs += tied[1] * (2 * negatives + tied[0])
        negatives, positives, tied = negatives + tied[0], positives + tied[1], [0, 0]
    return ratio(pairs, 2 * positives * negatives)


def thresholds_of(label):
    """(true positives, false positives, probability) from each distinct rank on, from the highest."""
    result, found, false = [], 0, 0
    order = label.order[::-1]
    for place, i in enumerate(order):
        found, false = found + label.y[i], false + 1 - label.y[i]
        if place + 1 == len(order) or label.rank[order[place + 1]] != label.rank[i]:
            result.append((found, false, label.p[i]))
    return result


def average_precision(label):
    positives = sum(label.y)
    if positives in (0, len(label.y)):
        return None
    total, before = 0.0, 0
    for found, false, _ in thresholds_of(label):
        total += (found - before) * found / (found + false)
        before = found
    return total / positives


def confusion(label, weights=None):
    counts = {(d, y): 0 for d in (0, 1) for y in (0, 1)}
    for d, y, patient in zip(label.decided, label.y, label.patient):
        counts[d, y] += 1 if weights is None else weights[patient]
    return counts[1, 1], counts[1, 0], counts[0, 0], counts[0, 1]  # TP, FP, TN, FN


def of_threshold(tp, fp, tn, fn):
    sensitivity, specificity = ratio(tp, tp + fn), ratio(tn, tn + fp)
    both = sensitivity is not None and specificity is not None
    return {"sensitivity": sensitivity, "specificity": specificity, "ppv": ratio(tp, tp + fp), "npv": ratio(tn, tn + fn),
            "accuracy": ratio(tp + tn, tp + fp + tn + fn), "f1": ratio(2 * tp, 2 * tp + fp + fn),
            "balanced_accuracy": (sensitivity + specificity) / 2 if both else None,
            "gmean": math.sqrt(sensitivity * specificity) if both else None}


def brier(p, y):
    return mean((a - b) ** 2 for a, b in zip(p, y)) if y else None


def log_loss(p, y):
    epsilon = sys.float_info.epsilon
    inside = [min(max(a, epsilon), 1 - epsilon) for a in p]
    return mean(-math.log(a if b else 1 - a) for a, b in zip(inside, y)) if y else None


def bin_of(p, bins):
    return min(int(p * bins), bins - 1)


def bins_equal_width(p, y, bins):
    held = {}
    for a, b in zip(p, y):
        held.setdefault(bin_of(a, bins), []).append((a, b))
    return [held[k] for k in sorted(held)]


def bins_equal_mass(p, y, bins):
    """Equal probabilities stay together; bin k ends with those that bring the count to n (k + 1) / bins."""
    pairs, held, place = sorted(zip(p, y)), {}, 0
    while place < len(pairs):
        end = place
        while end < len(pairs) and pairs[end][0] == pairs[place][0]:
            end += 1
        held.setdefault(((place + 1) * bins - 1) // len(pairs), []).extend(pairs[place:end])
        place = end
    return [held[k] for k in sorted(held)]


def calibration_error(bins):
    count = sum(map(len, bins))
    return ratio(sum(abs(sum(a for a, _ in each) - sum(b for _, b in each)) for each in bins), count)


def wilson(successes, total):
    share, z2 = successes / total, Z * Z
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = Z * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total)) / (1 + z2 / total)
    return share, max(0.0, centre - half), min(1.0, centre + half)


def placements(label):
    """For each positive the share of negatives below it, for each negative that of positives above; ties half."""
    split = [sorted(r for r, y in zip(label.rank, label.y) if y == side) for side in (0, 1)]
    result = []
    for r, y in zip(label.rank, label.y):
        others = split[1 - y]
        share = (bisect.bisect_left(others, r) + bisect.bisect_right(others, r)) / 2 / len(others)
        result.append(share if y else 1 - share)
    return result


def delong_error(deviations, y, centre):
    total = 0.0
    for side in (0, 1):
        own = [d - centre for d, b in zip(deviations, y) if b == side]
        total += sum(d * d for d in own) / len(own) / (len(own) - 1)
    return math.sqrt(total)


def recalibration(p, y, patient, with_slope):
    """Estimate and half width of the intercept with slope 1, or of the slope with a free intercept, by Newton."""
    x = [math.log(a / (1 - a)) for a in (min(max(a, 1e-7), 1 - 1e-7) for a in p)]
    centre = mean(x) if with_slope else 0.0  # does not change the slope, and the sums below keep their digits
    scale = (stdev(x) or 1.0) if with_slope else 1.0  # nearly equal probabilities have slopes of thousands
    x = [(a - centre) / scale for a in x]
    intercept, slope = 0.0, 0.0 if with_slope else 1.0
    for _ in range(200):
        q = [1 / (1 + math.exp(-(intercept + slope * a))) for a in x]
        w = [a * (1 - a) for a in q]
        g0, g1 = sum(b - a for a, b in zip(q, y)), sum((b - a) * c for a, b, c in zip(q, y, x))
        h00, h01, h11 = sum(w), sum(a * c for a, c in zip(w, x)), sum(a * c * c for a, c in zip(w, x))
        if not with_slope:
            g1, h01, h11 = 0.0, 0.0, 1.0
        determinant = h00 * h11 - h01 * h01
        steps = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
        short = 1.0 / max(1.0, *map(abs, steps))  # a long step may overshoot
        intercept, slope = intercept + short * steps[0], slope + short * steps[1]
        if max(map(abs, steps)) < 1e-13:
            break
    scores = {}
    for a, b, c, who in zip(q, y, x, patient):
        before = scores.get(who, (0.0, 0.0))
        scores[who] = before[0] + b - a, before[1] + ((b - a) * c if with_slope else 0.0)
    row = (-h01 / determinant, h00 / determinant) if with_slope else (h11 / determinant, -h01 / determinant)
    variance = sum((row[0] * u + row[1] * v) ** 2 for u, v in scores.values()) * len(scores) / (len(scores) - 1)
    return (slope if with_slope else intercept) / scale, Z * math.sqrt(variance) / scale


def net_benefit(label, threshold):
    worth = {1: 1.0, 0: -threshold / (1 - threshold)}
    return (sum(worth[y] for p, y in zip(label.p, label.y) if p >= threshold) / len(label.y),
            sum(worth[y] for y in label.y) / len(label.y))


def draw_weights(patients, generator):
    weights = [0] * patients
    for _ in range(patients):
        weights[generator.randrange(patients)] += 1
    return weights


def measure_of(label, measure, weights=None):
    if measure == "auroc":
        return auroc(label, weights)
    if measure == "brier":
        if weights is None:
            return brier(label.p, label.y)
        total = sum(weights[i] for i in label.patient)
        return ratio(sum(weights[i] * (p - y) ** 2 for p, y, i in zip(label.p, label.y, label.patient)), total)
    return None if label.decided is None else of_threshold(*confusion(label, weights))[measure]


def measures_of(label):
    share = sum(label.y) / len(label.y) if label.y else 0.0
    values = {"auroc": auroc(label), "auprc": average_precision(label), "brier": brier(label.p, label.y),
              "log_loss": log_loss(label.p, label.y)}
    values["brier_scaled"] = 1 - values["brier"] / (share * (1 - share)) if 0 < share < 1 else None
    decided = of_threshold(*confusion(label)) if label.decided is not None else {}
    return values | {measure: decided.get(measure) for measure in THRESHOLD_MEASURES}


def all_measures(label, bins=15):
    return measures_of(label) | {"ece": calibration_error(bins_equal_width(label.p, label.y, bins))}


def peers_of(label):
    """What numpy and scikit-learn make of a label with both classes: measures, and net benefits by threshold."""
    import numpy
    from sklearn import metrics

    y, p, rank = (numpy.array(values) for values in (label.y, label.p, label.rank))
    measures = {"auroc": metrics.roc_auc_score(y, rank), "auprc": metrics.average_precision_score(y, rank),
                "brier": metrics.brier_score_loss(y, p), "log_loss": metrics.log_loss(y, p)}
    thresholds = numpy.arange(1, 100) / 100
    acted = p[None, :] >= thresholds[:, None]
    odds = thresholds / (1 - thresholds)
    return measures, dict(zip(thresholds, (acted @ y - odds * (acted @ (1 - y))) / len(y)))
