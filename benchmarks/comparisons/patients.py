"""Patients instead of images, fitted models on other data, and operating points, measured.

python benchmarks/comparisons/patients.py {coverage,mammograms,halves} [--data DATA]

coverage: simulated patients with one to four images each. Prints how often the 95% intervals of
accuracy and ROC AUC contain the true score, by patient and of fitted models, and the sensitivity
that `at_sensitivity` reaches. The other parts need the folder DATA with busi, mini-mias and
weights. mammograms: films of mini-MIAS judged by film and by woman, and what the difference between
her two films adds. halves: `breast_ultrasound_features` trained on one half of the groups of BUSI
and tested on the other half, as it is and with another gain. Nothing was tuned.
"""

import argparse
import os
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featbus import (
    BreastRegion,
    DeepFeatures,
    ImageFunction,
    PectoralMuscleRemover,
    evaluate,
    load_busi,
    load_mini_mias,
)
from featbus.evaluation import at_sensitivity
from featbus.recipes import make_recipe

METRICS = ["accuracy", "sensitivity", "specificity", "roc_auc"]
warnings.simplefilter("ignore", UserWarning)


def draw(n_patients, rng, effect=1.0, odds=0.5):
    """Return rows of one to four images of each patient, their classes and patients."""
    groups = np.repeat(np.arange(n_patients), rng.integers(1, 5, n_patients))
    y = (rng.random(n_patients) < odds).astype(int)[groups]
    noise = rng.normal(size=(n_patients, 3))[groups] + rng.normal(size=(len(y), 3))
    return noise + effect * y[:, np.newaxis], y, groups


def pooled(model, X, y, groups):
    """Return accuracy and ROC AUC of groups, by the mean of their probabilities."""
    scores = pd.Series(model.predict_proba(X)[:, 1]).groupby(groups).mean()
    target = pd.Series(y).groupby(groups).first()
    return np.mean((scores > 0.5) == target), roc_auc_score(target, scores)


def measure_coverage(n_sets=300):
    for n_patients in (40, 120):
        for effect in (0.7, 2.0):
            rng = np.random.default_rng(n_patients)
            new, ends, truths = draw(10_000, rng, effect), [], []
            for _ in range(n_sets):
                X, y, groups = draw(n_patients, rng, effect)
                table = evaluate(LogisticRegression(), X, y, groups=groups, by="group").to_frame()
                ends.append(table.iloc[0][ENDS])
                truths.append(
                    pooled(
                        LogisticRegression().fit(*draw(n_patients * 4 // 5, rng, effect)[:2]), *new
                    )
                )
            report(
                f"by patient, {n_patients} patients, effect {effect}", ends, np.mean(truths, axis=0)
            )
            model, ends = LogisticRegression().fit(*draw(60, rng, effect)[:2]), []
            for _ in range(n_sets):
                X, y, groups = draw(n_patients, rng, effect)
                options = {"groups": groups, "by": "group", "cv": "prefit"}
                ends.append(evaluate(model, X, y, **options).to_frame().iloc[0][ENDS])
            report(
                f"fitted model, {n_patients} patients, effect {effect}", ends, pooled(model, *new)
            )
    for wanted in (0.8, 0.9, 0.95, 0.99):
        for effect in (0.7, 1.4):
            rng, reached = np.random.default_rng(1), []
            X_new, y_new, _ = draw(10_000, rng, effect, 1 / 3)
            for _ in range(30):
                X, y, _ = draw(160, rng, effect, 1 / 3)
                called = at_sensitivity(LogisticRegression(), wanted).fit(X, y).predict(X_new)
                reached.append([called[y_new == 1].mean(), 1 - called[y_new == 0].mean()])
            mean = np.mean(reached, axis=0)
            name = f"sensitivity wanted {wanted}, effect {effect}"
            print(f"{name}: {mean[0]:.3f}, specificity {mean[1]:.3f}")


ENDS = [f"{metric}_{end}" for metric in ("accuracy", "roc_auc") for end in ("low", "high")]


def report(name, ends, truth):
    low, high = np.array(ends, dtype=float).reshape(-1, 2, 2).transpose(2, 0, 1)
    found = ((low <= truth) & (np.asarray(truth) <= high)).mean(axis=0)
    print(f"{name}: accuracy {found[0]:.3f}, ROC AUC {found[1]:.3f}", flush=True)


def show(name, result):
    print(f"\n{name}: {result.protocol}")
    for pipeline, row in result.to_frame().iterrows():
        cells = [
            f"{m} {row[m]:.3f} ({row[f'{m}_low']:.3f}-{row[f'{m}_high']:.3f})" for m in METRICS
        ]
        print(f"  {pipeline:28} {'; '.join(cells)}", flush=True)


def measure_mammograms(data):
    mias = load_mini_mias(data / "mini-mias")
    both = pd.Series(mias.groups).groupby(mias.groups).transform("size").to_numpy() == 2
    images, y, groups = (np.asarray(part)[both] for part in (mias.images, mias.target, mias.groups))
    weights = data / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
    network = {
        "weights": weights,
        "backbone_options": {"alpha": 0.35},
        "layers": ["C3", "C4", "C5"],
    }
    features = make_pipeline(
        BreastRegion(), PectoralMuscleRemover(), DeepFeatures("mobilenet_v2", **network)
    )
    rows = features.fit_transform(images)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))
    options = {"n_repeats": 10, "target_names": mias.target_names}
    show("films", evaluate(model, rows, y, groups=groups, **options))
    judged = {"groups": groups, "by": "group", "label_rule": "any"} | options
    for pool in ("mean", "max"):
        show(f"women, {pool} of films", evaluate(model, rows, y, pool=pool, **judged))
    women, side = np.unique(groups), mias.frame["side"].to_numpy()[both]
    right, left = (
        rows[side == name][np.argsort(groups[side == name])] for name in ("right", "left")
    )
    target = pd.Series(y).groupby(groups).max().to_numpy()
    mean, difference = (right + left) / 2, np.abs(right - left)
    kinds = {"mean": mean, "difference": difference, "both": np.hstack([mean, difference])}
    for name, X in kinds.items():
        show(f"women, {name} of two films", evaluate(model, X, target, groups=women, **options))


def measure_halves(data):
    busi = load_busi(data / "busi", groups=data / "busi" / "groups.csv")
    chosen = busi.target < 2
    images, y, groups = (np.asarray(p)[chosen] for p in (busi.images, busi.target, busi.groups))
    networks = [
        {
            "backbone": "vgg16",
            "weights": data / "weights" / "vgg16_224_no_top.weights.h5",
        },
        {
            "backbone": "mobilenet_v2",
            "weights": data / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5",
            "backbone_options": {"alpha": 0.35},
        },
    ]
    recipe = make_recipe("breast_ultrasound_features", backbone=networks, memory="patients.sqlite")
    names, here = busi.target_names[:2], groups % 2 == 0
    options = {"target_names": names, "memory": "patients.sqlite"}
    for model_name, model in (
        ("recipe", recipe),
        ("sensitivity .95", at_sensitivity(recipe, 0.95)),
    ):
        for by in ("image", "group"):
            known = {"groups": groups[here], "by": by, "label_rule": "any"}
            show(
                f"{model_name}, {by}, cross-validation on one half",
                evaluate(model, images[here], y[here], **known, **options),
            )
        fitted = model.fit(images[here], y[here])
        for change in ("none", "gamma 2"):
            new = list(images[~here])
            if change != "none":
                new = ImageFunction(darken).fit_transform(new)
            for by in ("image", "group"):
                known = {"groups": groups[~here], "by": by, "label_rule": "any", "cv": "prefit"}
                result = evaluate(fitted, new, y[~here], **known, **options)
                show(f"{model_name}, {by}, the other half, change: {change}", result)
                print(result.calibration().round(2).to_string(index=False))


def darken(image):
    return np.rint(255 * (image / 255.0) ** 2).astype(np.uint8)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=["coverage", "mammograms", "halves"])
    parser.add_argument("--data", type=Path, default=os.environ.get("FEATBUS_TEST_DATA"))
    given = parser.parse_args()
    if given.part == "coverage":
        measure_coverage()
    else:
        {"mammograms": measure_mammograms, "halves": measure_halves}[given.part](given.data)
