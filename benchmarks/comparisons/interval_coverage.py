"""Coverage of the intervals of scores and differences, in simulated data sets.

Each cell is a way to make data sets: groups of 1 to 4 images whose features share a group effect,
in a fixed number of groups per class. `evaluate` tests two pipelines in five folds that see
different features of the same distribution, so they are equally good. Their true score is the mean
over classifiers trained on other data sets, as large as a training part, tested on 10,000 new
images of other groups.

Prints for each cell the percentage of intervals that contain the true score, their mean width, and
how often the test and the interval of the difference tell the two equal pipelines apart. Constants
in `featbus` were chosen by the cells of the part "choosing"; the documentation cites "reporting",
whose cells were not used to choose.

    python benchmarks/comparisons/interval_coverage.py [--part choosing] [--data-sets 200]
"""

import argparse
import warnings
from typing import NamedTuple

import numpy as np
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from featbus import evaluate
from featbus.evaluation._metrics import METRICS, FoldMetrics

N_COLUMNS = 4  # of each pipeline
N_TRUTHS = 100
N_NEW = 10_000
COMPARED = ["accuracy", "roc_auc"]


class Cell(NamedTuple):
    """A way to make data sets."""

    n_groups: int
    odds: tuple  # of the classes
    effect: float  # distance between classes, in standard deviations of a feature
    classifier: object
    shared: float = 0.5  # share of the variance between groups
    mixed: bool = False  # whether a group has images of several classes
    heavy: bool = False  # whether features have heavy tails
    n_repeats: int = 1


lda, logistic, knn = LinearDiscriminantAnalysis(), LogisticRegression(), KNeighborsClassifier(9)
CELLS = {
    "choosing": [
        Cell(40, (1, 1), 0.7, lda),
        Cell(40, (1, 1), 2.6, lda),
        Cell(40, (4, 1), 1.3, lda),
        Cell(40, (4, 1), 0.7, lda, mixed=True),
        Cell(40, (1, 1, 1), 2.2, lda),
        Cell(120, (1, 1), 0.7, lda),
        Cell(120, (1, 1), 2.6, lda, shared=0.8),
        Cell(120, (4, 1), 1.3, lda, n_repeats=5),
        Cell(40, (1, 1), 0.5, logistic),
        Cell(40, (1, 1), 1.0, knn, mixed=True, shared=0.3),
    ],
    "reporting": [
        Cell(40, (1, 1), 1.0, logistic),
        Cell(50, (1, 1), 1.3, knn, mixed=True),
        Cell(40, (1, 1), 2.0, logistic, heavy=True, n_repeats=5),
        Cell(40, (4, 1), 1.0, knn, shared=0.3),
        Cell(40, (4, 1), 1.7, logistic, heavy=True),
        Cell(40, (2, 1, 1), 1.7, knn),
        Cell(60, (2, 1), 2.6, logistic, shared=0.2, mixed=True),
        Cell(80, (3, 1), 1.7, knn, shared=0.7),
        Cell(120, (1, 1), 1.0, logistic, heavy=True, shared=0.7),
        Cell(120, (4, 1), 1.0, logistic),
        Cell(120, (1, 1, 1), 1.7, logistic, shared=0.2, mixed=True),
        Cell(120, (2, 1), 2.0, knn, heavy=True, n_repeats=5),
    ],
}


def make_data_set(cell, n_groups, rng, most=4):
    """Return the features of both pipelines, classes and groups."""
    n_classes = len(cell.odds)
    bounds = np.rint(np.cumsum((0, *cell.odds)) / sum(cell.odds) * n_groups).astype(int)
    of_group = rng.permutation(np.repeat(np.arange(n_classes), np.diff(bounds)))
    groups = np.repeat(np.arange(n_groups), rng.integers(1, most + 1, n_groups))
    y = of_group[groups]
    if cell.mixed:  # a third of the images have the class of another image
        y = np.where(rng.random(len(y)) < 1 / 3, rng.permutation(y), y)
    noise = np.sqrt(cell.shared) * rng.normal(size=(n_groups, 2 * N_COLUMNS))[groups]
    noise += np.sqrt(1 - cell.shared) * rng.normal(size=noise.shape)
    centers = cell.effect * np.eye(n_classes, N_COLUMNS) / np.sqrt(2)
    X = np.tile(centers, 2)[y] + noise
    return np.sign(X) * X**2 if cell.heavy else X, y, groups


def true_scores(cell, rng):
    """Return the expected metrics of classifiers trained on four fifths of the groups."""
    X_new, y_new, _ = make_data_set(cell, N_NEW, rng, most=1)
    once, found = np.ones((1, N_NEW)), []
    for _ in range(N_TRUTHS):
        X, y, _ = make_data_set(cell, cell.n_groups * 4 // 5, rng)
        classifier = clone(cell.classifier).fit(X[:, :N_COLUMNS], y)
        scores = classifier.predict_proba(X_new[:, :N_COLUMNS])
        positive = 1 if len(cell.odds) == 2 else None
        metrics = FoldMetrics(
            y_new, scores.argmax(axis=1), scores, positive=positive, probabilities=True
        )
        found.append(metrics(once)[0][0])
    return np.mean(found, axis=0)


def make_pipelines(classifier):
    """Return two pipelines that see different columns."""
    columns = np.arange(2 * N_COLUMNS).reshape(2, -1)
    return {
        name: make_pipeline(
            FunctionTransformer(np.take, kw_args={"indices": half, "axis": 1}), clone(classifier)
        )
        for name, half in zip(("first", "second"), columns)
    }


def simulate(cell, n_data_sets, rng):
    """Return ends of the intervals, and p-value and ends of each comparison, by data set."""
    ends, compared = [], []
    for number in range(n_data_sets):
        X, y, groups = make_data_set(cell, cell.n_groups, rng)
        result = evaluate(
            make_pipelines(cell.classifier),
            *(X, y),
            groups=groups,
            n_repeats=cell.n_repeats,
            random_state=number,
        )
        table = result.to_frame().loc[result.pipeline_names]
        ends.append([table[[f"{m}_{end}" for m in METRICS]] for end in ("low", "high")])
        differences = [result.compare(metric).iloc[0] for metric in COMPARED]
        compared.append([row[["p_value", "low", "high"]].tolist() for row in differences])
    return np.moveaxis(np.array(ends), 1, 0), np.moveaxis(np.array(compared, float), 2, 0)


def print_row(title, values, digits=0):
    print(f"  {title:10}" + "".join(f"{value:>8.{digits}f}" for value in values), flush=True)


def describe(cell):
    odds = ":".join(map(str, cell.odds))
    words = (
        f"{cell.n_groups} groups, {odds}, effect {cell.effect}, {type(cell.classifier).__name__}"
    )
    words += f", shared {cell.shared}" + (", mixed groups" if cell.mixed else "")
    words += ", heavy tails" if cell.heavy else ""
    return words + (f", {cell.n_repeats} repeats" if cell.n_repeats > 1 else "")


def main(part, n_data_sets):
    coverages, equal = [], []
    heads = [metric.replace("_accuracy", "")[:7] for metric in METRICS]
    for number, cell in enumerate(CELLS[part]):
        rng = np.random.default_rng([number, len(CELLS[part])])
        truth = true_scores(cell, rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # test parts that lack a class
            (low, high), (p, *difference) = simulate(cell, n_data_sets, rng)
        coverages.append(100 * ((low <= truth) & (truth <= high)).mean(axis=(0, 1)))
        excluded = (difference[0] > 0) | (difference[1] < 0)
        equal.append(100 * np.array([(p < 0.05).mean(axis=0), excluded.mean(axis=0)]))
        print(f"{describe(cell)}\n  {'':10}" + "".join(f"{head:>8}" for head in heads))
        print_row("true", truth, 3)
        print_row("coverage", coverages[-1])
        print_row("width", (high - low).mean(axis=(0, 1)), 3)
        for metric, rates in zip(COMPARED, equal[-1].T):
            print(f"  {metric} of equal pipelines: p < 0.05 in {rates[0]:.1f} %, ", end="")
            print(f"interval excludes 0 in {rates[1]:.1f} %")
    print(f"All {len(CELLS[part])} cells\n  {'':10}" + "".join(f"{head:>8}" for head in heads))
    print_row("mean", np.mean(coverages, axis=0), 1)
    print_row("smallest", np.min(coverages, axis=0), 1)
    rates = np.mean(equal, axis=0)
    for metric, (tested, excluded) in zip(COMPARED, rates.T):
        print(f"  {metric} of equal pipelines: p < 0.05 in {tested:.1f} %, ", end="")
        print(f"interval excludes 0 in {excluded:.1f} %")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", choices=CELLS, default="reporting")
    parser.add_argument("--data-sets", type=int, default=200)
    arguments = parser.parse_args()
    main(arguments.part, arguments.data_sets)
