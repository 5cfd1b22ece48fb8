"""Recomputes the figures of an evaluation, a cross-validation, a comparison and their reports from predictions.csv.

    python3 bench/peers/recompute_report.py RUN                      # a run after eval (and report)
    python3 bench/peers/recompute_report.py CV                       # a folder that cv wrote
    medfusion compare A B --json > compare.json
    python3 bench/peers/recompute_report.py A B --comparison compare.json [--report comparison.html]

Each figure is computed again by its definition, with the standard library alone, and held against evaluation.json,
metrics.json, cv.json or compare.json, and against the numbers in the tables of report.html as they are printed there.
Figures that follow from the rows alone must agree to 1e-9 (fits by iteration: 1e-6). Intervals by resampling must hold
their value, and their ends must lie within 30 % of the width (and 0.005) of those of an own bootstrap. Prints one line
for each kind of figure with the number checked and the largest difference, then every disagreement. Exit code 1: a
figure disagrees. What cannot be recomputed from predictions.csv (subgroups, controls fitted to the training part) is
named at the end.
"""

import argparse
import html.parser
import math
import pathlib
import random
import re
import sys
from statistics import mean, stdev

from recompute_measures import (Z, all_measures, auroc, bins_equal_mass, bins_equal_width, brier, calibration_error,
                                confusion, delong_error, draw_weights, labels_of, log_loss, measure_of, net_benefit,
                                peers_of, placements, read_json, read_labels, read_rows, recalibration, thresholds_of, wilson)

EXACT, FITTED = 1e-9, 1e-6
RESAMPLED = ["auroc", "brier", "sensitivity", "specificity"]  # whose intervals an own bootstrap checks


class Findings:
    """Counts what was held against what, by kind of figure."""

    def __init__(self):
        self.kinds = {}
        self.wrong = []

    def hold(self, kind, where, stated, own, tolerance=EXACT):
        entry = self.kinds.setdefault(kind, [0, 0.0, 0])
        entry[0] += 1
        absent = [value is None or value != value for value in (stated, own)]
        if any(absent):
            agrees, difference = all(absent), 0.0
        elif isinstance(own, (int, float)) and isinstance(stated, (int, float)):
            difference = abs(stated - own)
            agrees = difference <= tolerance * max(1.0, abs(own))
        else:
            agrees, difference = stated == own, 0.0
        entry[1] = max(entry[1], difference)
        if not agrees:
            entry[2] += 1
            self.wrong.append(f"{kind}, {where}: stated {stated}, computed {own}")

    def print(self):
        width = max(len(kind) for kind in self.kinds)
        print(f"{'figure':<{width}}  {'checked':>7}  {'largest difference':>18}  wrong")
        for kind, (count, largest, wrong) in self.kinds.items():
            print(f"{kind:<{width}}  {count:>7}  {largest:>18.2g}  {wrong:>5}")
        for line in self.wrong:
            print("DISAGREES:", line)


def hold_interval(findings, where, stated, draws):
    """Containment, and the ends against those of own draws."""
    low, high, value = stated["low"], stated["high"], stated["value"]
    if low is None or value is None:
        return
    findings.hold("intervals hold their value", where, low <= value <= high, True)
    draws = sorted(draw for draw in draws if draw is not None)
    if len(draws) < 100:
        return
    own = draws[int(0.025 * len(draws))], draws[int(0.975 * len(draws))]
    tolerance = 0.3 * (own[1] - own[0]) + 0.005
    for end, mine in zip((low, high), own):
        findings.hold("intervals near an own bootstrap", where, abs(end - mine) <= tolerance or (end, mine), True)


def hold_bins(findings, where, stated, own):
    findings.hold("calibration bins", where, len(stated), len(own))
    for one, held in zip(stated, own):
        share, low, high = wilson(sum(b for _, b in held), len(held))
        for key, value in (("count", len(held)), ("mean_probability", mean(a for a, _ in held)), ("observed", share),
                           ("low", low), ("high", high)):
            findings.hold("calibration bins", f"{where} {key}", one[key], value)


def hold_calibration(findings, where, stated, p, label):
    y, bins = label.y, stated["bins"]
    share = sum(y) / len(y) if y else 0.0
    hold = lambda kind, key, own, tolerance=EXACT: findings.hold(kind, f"{where} {key}", stated[key], own, tolerance)
    hold("calibration: Brier and log loss", "brier", brier(p, y))
    hold("calibration: Brier and log loss", "log_loss", log_loss(p, y))
    hold("calibration: Brier and log loss", "brier_scaled",
         1 - brier(p, y) / (share * (1 - share)) if 0 < share < 1 else None)
    width, mass = bins_equal_width(p, y, bins), bins_equal_mass(p, y, bins)
    hold("calibration: ECE", "ece", calibration_error(width))
    hold("calibration: ECE", "ece_equal_mass", calibration_error(mass))
    hold_bins(findings, where + " equal width", stated["equal_width"], width)
    hold_bins(findings, where + " equal mass", stated["equal_mass"], mass)
    for key in ("intercept", "slope"):
        if stated[key]["value"] is None:
            separated = not 0 < sum(y) < len(y) or max(a for a, b in zip(p, y) if not b) < min(
                a for a, b in zip(p, y) if b)
            findings.hold("calibration: no fit without a reason", f"{where} {key}", separated,
                          stated[key].get("undefined", "").startswith("not estimable"))
            continue
        value, half = recalibration(p, y, label.patient, key == "slope")
        for end, own in (("value", value), ("low", value - half), ("high", value + half)):
            findings.hold("calibration: intercept and slope", f"{where} {key} {end}", stated[key][end], own, FITTED)
    generator, draws = random.Random(1), []
    for _ in range(200):
        drawn = [1 if generator.random() < a else 0 for a in p]
        draws.append(calibration_error(bins_equal_width(p, drawn, bins)))
    if stated["ece_when_calibrated"] is not None and stdev(draws) > 0:
        error = stdev(draws) * math.sqrt(1 / 200 + 1 / 50)  # the program takes 50 draws
        findings.hold("calibration: ECE if calibrated (5 standard errors)", where,
                      abs(stated["ece_when_calibrated"] - mean(draws)) <= 5 * error, True)


def hold_curves(findings, where, stated, label):
    positives, negatives = sum(label.y), len(label.y) - sum(label.y)
    both = positives > 0 and negatives > 0
    points = thresholds_of(label) if both else []
    roc = {(0.0, 0.0, None)} | {(fp / negatives, tp / positives, p) for tp, fp, p in points}
    for point in stated["roc"]:
        findings.hold("ROC curve", where, tuple(point) in roc or point, True)
    findings.hold("ROC curve", where + " ends", [point[:2] for point in stated["roc"][:1] + stated["roc"][-1:]],
                  [[0.0, 0.0], [1.0, 1.0]] if both else [])
    precision_recall = {(tp / positives, tp / (tp + fp), p) for tp, fp, p in points}
    for point in stated["precision_recall"]:
        findings.hold("precision-recall curve", where, tuple(point) in precision_recall or point, True)
    for threshold, model, everyone, nobody, low, high in stated["decision"]:
        if low is not None:
            findings.hold("intervals hold their value", f"{where} net benefit", low <= model <= high, True)
        benefit = net_benefit(label, threshold)
        findings.hold("decision curve", f"{where} at {threshold}", model, benefit[0])
        findings.hold("decision curve", f"{where} all at {threshold}", everyone, benefit[1])
        findings.hold("decision curve", f"{where} none at {threshold}", nobody, 0.0)


def hold_decisions(findings, stated, label):
    where, name = label.name, label.name
    threshold = stated["threshold"]
    if threshold is not None:
        for row in label.all:
            findings.hold("decisions and levels", f"{where} of {row['id']}", row["predicted_" + name],
                          "1" if float(row["probability_" + name]) >= threshold else "0")
    cutoffs = stated["risk"]["cutoffs"]
    if cutoffs and label.levels is not None:
        low, high = (cutoffs[key] if cutoffs[key] is not None else fallback for key, fallback in
                     (("low", -math.inf), ("high", math.inf)))
        for row in label.all:
            p = float(row["probability_" + name])
            findings.hold("decisions and levels", f"{where} of {row['id']}", row["risk_" + name],
                          "high" if p >= high else "low" if p < low else "intermediate")
    for entry in stated["risk"]["levels"]:
        held = [(p, y) for p, y, level in zip(label.p, label.y, label.levels) if level == entry["level"]]
        findings.hold("risk levels", where, entry["count"], len(held))
        findings.hold("risk levels", where, entry["positives"], sum(y for _, y in held))
        if held:
            values = (mean(p for p, _ in held), *wilson(sum(y for _, y in held), len(held)))
            for key, own in zip(("mean_probability", "observed", "low", "high"), values):
                findings.hold("risk levels", f"{where} {entry['level']} {key}", entry[key], own)
    for key, decision, level in (("positive_at_low", "1", "low"), ("negative_at_high", "0", "high")):
        if key in stated["risk"]:
            findings.hold("risk levels", f"{where} {key}", stated["risk"][key],
                          sum(row["predicted_" + name] == decision and row["risk_" + name] == level
                              for row in label.all))


def hold_peers(findings, stated, label):
    if not 0 < sum(label.y) < len(label.y):
        return
    measures, benefits = peers_of(label)
    for measure, value in measures.items():
        findings.hold("scikit-learn", f"{label.name} {measure}", stated["measures"][measure]["value"], float(value))
    for point in stated["decision"]:
        findings.hold("numpy: decision curve", f"{label.name} at {point[0]}", point[1], float(benefits[point[0]]))


def hold_label(findings, stated, label):
    where, y = label.name, label.y
    for key, own in (("positives", sum(y)), ("negatives", len(y) - sum(y)), ("unknown", label.unknown)):
        findings.hold("counts", f"{where} {key}", stated[key], own)
    own = all_measures(label, stated["calibration"]["bins"])
    for measure, value in own.items():
        findings.hold("measures", f"{where} {measure}", stated["measures"][measure]["value"], value)
    if stated["confusion"]:
        tp, fp, tn, fn = confusion(label)
        findings.hold("counts", f"{where} confusion", list(stated["confusion"].values()), [tp, fp, tn, fn])
    if stated["delong"]["auroc"] is not None:
        area = auroc(label)
        error = delong_error(placements(label), y, area)
        for key, value in (("auroc", area), ("standard_error", error), ("low", max(0.0, area - Z * error)),
                           ("high", min(1.0, area + Z * error))):
            findings.hold("DeLong", f"{where} {key}", stated["delong"][key], value)
    hold_calibration(findings, where, stated["calibration"], label.p, label)
    if "calibration_raw" in stated:
        hold_calibration(findings, where + " before calibration", stated["calibration_raw"], label.raw, label)
    hold_curves(findings, where, stated, label)
    hold_decisions(findings, stated, label)
    return own


def hold_evaluation(findings, folder, resamples):
    stated = read_json(folder / "evaluation.json")
    labels, rows, patients = read_labels(folder / "predictions.csv")
    findings.hold("counts", "samples", stated["samples"], len(rows))
    findings.hold("counts", "patients", stated["patients"], patients)
    findings.hold("counts", "labels", list(stated["labels"]), list(labels))
    own = {name: hold_label(findings, stated["labels"][name], label) for name, label in labels.items()}
    macro = {}
    for measure, entry in stated["macro"].items():
        values = [each[measure] for each in own.values() if each[measure] is not None]
        macro[measure] = mean(values) if values else None
        findings.hold("macro averages", measure, entry["value"], macro[measure])
        findings.hold("macro averages", measure + " labels", entry["labels"], len(values))
    if stated["resamples"] > 0:
        generator = random.Random(2)
        drawn = [draw_weights(patients, generator) for _ in range(resamples)]
        for measure in RESAMPLED:
            for name, label in labels.items():
                entry = stated["labels"][name]["measures"][measure]
                if entry["value"] not in (None, 0.0, 1.0):
                    hold_interval(findings, f"{name} {measure}", entry, [measure_of(label, measure, w) for w in drawn])
    for name, entry in [("macro", stated["macro"])] + [(n, e["measures"]) for n, e in stated["labels"].items()]:
        for measure, each in entry.items():
            hold_interval(findings, f"{name} {measure}", each, [])
    if (folder / "metrics.json").exists() and not (folder / "cv.json").exists():
        metrics = read_json(folder / "metrics.json")
        for name, entry in [("macro", metrics["macro"])] + list(metrics["labels"].items()):
            values = macro if name == "macro" else own[name]
            for measure in ("auroc", "auprc", "f1", "gmean", "sensitivity", "specificity", "accuracy"):
                findings.hold("metrics.json", f"{name} {measure}", entry[measure], values[measure])
    return {"macro": macro} | own


def fold_aurocs(folder, seeds):
    """{(seed, fold): {label: AUROC or None}} of the out-of-fold predictions."""
    result = {}
    for seed in seeds:
        own = folder / f"seed{seed}" if len(seeds) > 1 else folder
        folds = own / "folds.csv" if (own / "folds.csv").exists() else folder / "folds.csv"
        fold_of = {row["id"]: int(row["fold"]) for row in read_rows(folds)}
        rows = read_rows(own / "predictions.csv")
        for fold in sorted({fold_of[row["id"]] for row in rows}):
            labels, _, _ = labels_of([row for row in rows if fold_of[row["id"]] == fold])
            result[seed, fold] = {name: auroc(label) for name, label in labels.items()}
    return result


def defined_mean(values):
    values = [value for value in values if value is not None]
    return mean(values) if values else None


def hold_cross_validation(findings, folder):
    stated = read_json(folder / "cv.json")
    own = fold_aurocs(folder, stated["seeds"])
    macro = {key: defined_mean(values.values()) for key, values in own.items()}
    folds, seeds = sorted({fold for _, fold in own}), stated["seeds"]
    per_fold = [mean(macro[seed, fold] for seed in seeds) for fold in folds]
    per_seed = [mean(macro[seed, fold] for fold in folds) for seed in seeds]
    spread = lambda values: stdev(values) if len(values) > 1 else None
    figures = stated["macro_auroc"]
    findings.hold("cross-validation", "folds", stated["folds"], len(folds))
    for key, value in (("mean", mean(per_fold)), ("std", spread(per_fold)), ("seed_std", spread(per_seed))):
        findings.hold("cross-validation", key, figures[key], value)
    for key, values in (("per_fold", per_fold), ("per_seed", per_seed)):
        for i, value in enumerate(values):
            findings.hold("cross-validation", f"{key} {i}", figures[key][i], value)
    for name, entry in stated["labels"].items():
        values = [each[name] for each in own.values() if each[name] is not None]
        findings.hold("cross-validation", name, entry["auroc"], defined_mean(values))
        findings.hold("cross-validation", name + " defined in", entry["defined_in"], len(values))
    return {"mean": mean(per_fold), "std": spread(per_fold)}


def hold_difference(findings, where, entry, first, second):
    """Value, sign of the interval and of its p-value, and the interval's place."""
    findings.hold("differences", where, entry["value"], None if None in (first, second) else first - second)
    hold_interval(findings, where, entry, [])
    findings.hold("an interval and its p agree", where, entry["low"] is None, entry["p_value"] is None)
    if entry["low"] is not None:
        findings.hold("an interval and its p agree", where, entry["low"] > 0 or entry["high"] < 0,
                      entry["p_value"] < 0.05)


def hold_holm(findings, where, tests):
    tests = sorted((test for test in tests if test.get("p_value") is not None), key=lambda test: test["p_value"])
    largest = 0.0
    for rank, test in enumerate(tests):
        largest = max(largest, (len(tests) - rank) * test["p_value"])
        findings.hold("p-values by Holm", where, test["p_holm"], min(1.0, largest))


def hold_paired_delong(findings, where, stated, first, second):
    a, b, y = placements(first), placements(second), first.y
    difference = auroc(first) - auroc(second)
    error = delong_error([u - v for u, v in zip(a, b)], y, difference)
    z = difference / error if error > 0 else 0.0
    p = math.erfc(abs(z) / math.sqrt(2)) if error > 0 else float(difference == 0)
    for key, value in (("difference", difference), ("standard_error", error), ("z", z), ("p_value", p),
                       ("low", max(-1.0, difference - Z * error)), ("high", min(1.0, difference + Z * error))):
        findings.hold("DeLong, paired", f"{where} {key}", stated[key], value)
    findings.hold("an interval and its p agree", where + " DeLong", stated["low"] > 0 or stated["high"] < 0,
                  stated["p_value"] < 0.05)


def hold_comparison(findings, stated, folders, resamples):
    read = [read_labels(folder / "predictions.csv") for folder in folders]
    (one, rows, patients), (two, _, _) = read
    place_of = {i: place for place, i in enumerate(row["id"] for row in rows)}
    for label in two.values():
        label.reorder(place_of)
    findings.hold("counts", "samples", stated["samples"], len(rows))
    findings.hold("counts", "patients", stated["patients"], patients)
    generator = random.Random(3)
    drawn = [draw_weights(patients, generator) for _ in range(resamples)]
    values = {name: (all_measures(one[name]), all_measures(two[name])) for name in one}
    for name, entry in stated["labels"].items():
        if entry["delong"].get("difference") is not None:
            hold_paired_delong(findings, name, entry["delong"], one[name], two[name])
        for measure, pair in entry["measures"].items():
            first, second = (each[measure] for each in values[name])
            findings.hold("measures", f"{name} {measure} of the first", pair["first"]["value"], first)
            findings.hold("measures", f"{name} {measure} of the second", pair["second"]["value"], second)
            hold_difference(findings, f"{name} {measure}", pair["difference"], first, second)
            if measure in RESAMPLED and stated["resamples"] and None not in (first, second):
                draws = [tuple(measure_of(each[name], measure, w) for each in (one, two)) for w in drawn]
                hold_interval(findings, f"difference of {name} {measure}", pair["difference"],
                              [None if None in draw else draw[0] - draw[1] for draw in draws])
    for measure, pair in stated["macro"].items():
        both = [pair_of for pair_of in ([each[measure] for each in values[name]] for name in one) if None not in pair_of]
        first, second = (mean(each[side] for each in both) if both else None for side in (0, 1))
        findings.hold("macro averages", measure, pair["first"]["value"], first)
        findings.hold("macro averages", measure, pair["second"]["value"], second)
        hold_difference(findings, "macro " + measure, pair["difference"], first, second)
        hold_holm(findings, measure, [e["measures"][measure]["difference"] for e in stated["labels"].values()])
    hold_holm(findings, "DeLong", [entry["delong"] for entry in stated["labels"].values()])
    cv = stated.get("cross_validation", {})
    if "macro_auroc" in cv:
        own = [fold_aurocs(folder, cv["seeds"]) for folder in folders]
        sides = []
        for a, b in (own, own[::-1]):
            of_fold = {key: defined_mean(a[key][n] for n in a[key] if b[key][n] is not None) for key in a}
            sides.append(mean(mean(v for (s, _), v in of_fold.items() if s == seed) for seed in cv["seeds"]))
        for side, value in zip(("first", "second"), sides):
            findings.hold("cross-validation", "mean over folds of the " + side, cv["macro_auroc"][side]["value"], value)
        hold_difference(findings, "mean over folds", cv["macro_auroc"]["difference"], *sides)


COLUMNS = {"AUROC": "auroc", "AUPRC": "auprc", "sensitivity": "sensitivity", "specificity": "specificity", "PPV": "ppv",
           "NPV": "npv", "F1": "f1", "G-mean": "gmean", "accuracy": "accuracy", "balanced accuracy": "balanced_accuracy",
           "Brier": "brier", "Brier, scaled": "brier_scaled", "ECE": "ece"}


class Page(html.parser.HTMLParser):
    """Tables as lists of rows of texts, and tiles as (number, caption)."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.tiles, self.cell, self.tile = [], [], None, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr" and self.tables:
            self.tables[-1].append([])
        elif tag in ("td", "th") and self.tables and self.tables[-1]:
            self.cell = []
        elif tag == "div" and ("class", "tile") in attributes:
            self.tile = []

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self.cell is not None:
            self.tables[-1][-1].append("".join(self.cell).strip())
            self.cell = None
        elif tag == "div" and self.tile:
            self.tiles.append((self.tile[0], " ".join(self.tile[1:])))
            self.tile = None

    def handle_data(self, data):
        for texts in (self.cell, self.tile):
            if texts is not None:
                texts.append(data)


def hold_printed(findings, where, cell, values):
    """The numbers of a cell, each against a value as far as its digits go."""
    texts = re.findall(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", cell)
    for text, value in zip(texts, values):
        if value is None:
            continue
        mantissa, _, exponent = text.partition("e")
        unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
        findings.hold("numbers printed in the report", f"{where}: {text}", abs(float(text) - value) <= 0.5001 * unit
                      or value, True)
    if not texts and values[0] is not None:
        findings.hold("numbers printed in the report", where, cell, values[0])


def hold_report(findings, page, own, stated):
    """The tables of labels and the tiles; `own` and `stated` have an entry for each label and for "macro"."""
    for table in page.tables:
        head = table[0] if table else []
        if not head or head[0] != "label" or {"group", "feature", "level", "threshold"} & set(head):
            continue
        for row in table[1:]:
            for column, cell in zip(head, row):
                measure = COLUMNS.get(column)
                if measure is None or row[0] not in own or not cell:
                    continue
                interval = stated[row[0]][measure]
                hold_printed(findings, f"{row[0]} {column}", cell,
                             [own[row[0]][measure], interval["low"], interval["high"]])
    for number, caption in page.tiles:
        for column, measure in COLUMNS.items():
            if re.match(rf"macro {re.escape(column)}(?![\w,])", caption):
                hold_printed(findings, "tile " + caption, number, [own["macro"][measure]])


def hold_comparison_report(findings, page, stated):
    """Differences and p-values of a pair; the values themselves were recomputed before."""
    for table in page.tables:
        head = table[0] if table else []
        if len(head) < 5 or head[3] != "difference" or head[0] not in ("AUROC", "macro"):
            continue
        for row in table[1:]:
            if head[0] == "macro":
                pair = stated["macro"][row[0]]
            else:
                pair = stated["labels"][row[0]]["measures"]["auroc"] if row[0] in stated["labels"] else None
            if pair is None:
                continue
            for cell, side in zip(row[1:3], ("first", "second")):
                hold_printed(findings, f"{head[0]} {row[0]} {side}", cell, [pair[side]["value"]])
            difference = pair["difference"]
            hold_printed(findings, f"{head[0]} {row[0]} difference", row[3],
                         [difference["value"], difference["low"], difference["high"]])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=pathlib.Path, help="a run, a folder of cv, or the two of a comparison")
    parser.add_argument("--comparison", type=pathlib.Path, help="what medfusion compare --json wrote of two folders")
    parser.add_argument("--report", type=pathlib.Path, help="the report (default: report.html in a single folder)")
    parser.add_argument("--resamples", type=int, default=200, help="of the own bootstrap; fewer than 100: none")
    parser.add_argument("--peers", action="store_true", help="hold a single folder against numpy and scikit-learn too")
    options = parser.parse_args()
    if len(options.folders) != (2 if options.comparison else 1):
        parser.error("expected one folder, or two folders and --comparison")
    findings = Findings()
    report = options.report or options.folders[0] / "report.html"
    if options.comparison:
        stated = read_json(options.comparison)
        hold_comparison(findings, stated, options.folders, options.resamples)
        if options.report:
            hold_comparison_report(findings, Page(report.read_text(encoding="utf-8")), stated)
    else:
        folder = options.folders[0]
        own = hold_evaluation(findings, folder, options.resamples)
        evaluation = read_json(folder / "evaluation.json")
        if options.peers:
            for name, label in read_labels(folder / "predictions.csv")[0].items():
                hold_peers(findings, evaluation["labels"][name], label)
        stated = {name: entry["measures"] for name, entry in evaluation["labels"].items()}
        means = hold_cross_validation(findings, folder) if (folder / "cv.json").exists() else {}
        if report.exists():
            page = Page(report.read_text(encoding="utf-8"))
            hold_report(findings, page, own, stated | {"macro": evaluation["macro"]})
            for number, caption in page.tiles:
                if means and caption.startswith("macro AUROC, mean over folds"):
                    hold_printed(findings, "tile " + caption, number, [means["mean"]])
                    hold_printed(findings, "tile " + caption, caption.partition("standard deviation")[2], [means["std"]])
    findings.print()
    print("Not recomputed: subgroups and the controls, which need the data; widths of intervals but by an own bootstrap.")
    return 1 if findings.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
