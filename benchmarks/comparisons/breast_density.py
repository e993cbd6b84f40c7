"""Percent density of mammograms against tissue classes and manual masks of dense tissue.

python benchmarks/comparisons/breast_density.py FOLDER [tuning|reporting|all]

FOLDER holds mini-mias and ddsm-pectoral. A woman or case belongs to the half that its name's hash
says. Masks are those of BreastRegion and PectoralMuscleRemover. For each threshold, prints

- mini-MIAS: median and quartiles of the percent density of the films of each tissue class; of the
  means of both films of a woman, the correlations (Spearman's and Kendall's) with her class, and
  the area under the ROC curve of fatty against dense-glandular;
- DDSM: the correlation (Pearson's) with the percent density of the manual masks of adipose and
  fibroglandular tissue, the mean difference, its standard deviation, and the mean Dice coefficient
  of the dense tissue.

In parentheses: 95 % percentile intervals of 2,000 resamplings of women or cases, by class where
there are classes. The tuning half (the default) has all thresholds that were tried; the others have
those of BreastDensity only.
"""

import hashlib
import sys
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import kendalltau, pearsonr, spearmanr
from skimage.filters import threshold_li, threshold_otsu, threshold_triangle
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline

from featbus import BreastDensity, BreastRegion, PectoralMuscleRemover, load_mini_mias
from featbus.io import read_image

ADIPOSE, DENSE = 128, 192
THRESHOLDS = {"median": BreastDensity(dtype=np.float64)}
THRESHOLDS["otsu"] = BreastDensity(threshold="otsu", dtype=np.float64)
TRIED = {
    **{
        f"{factor} medians": lambda v, factor=factor: factor * np.median(v) for factor in (1.1, 1.3)
    },
    **{f"mean and {k} sd": lambda v, k=k: v.mean() + k * v.std() for k in (0.5, 1, 1.5)},
    **{f"brightness {level}": lambda v, level=level: level for level in (0.5, 0.6, 0.7)},
    "otsu of float": threshold_otsu,
    "triangle": threshold_triangle,
    "li": threshold_li,
}


def in_half(key, half):
    even = int(hashlib.sha256(key.encode()).hexdigest(), 16) % 2 == 0
    return half == "all" or even == (half == "tuning")


def measure(images, rule):
    """Return the percent density and the threshold of each image."""
    if isinstance(rule, BreastDensity):
        rows = rule.transform(images)
        return rows[:, 0], rows[:, -1]
    values = [image.compressed() / 255 for image in images]
    levels = np.array([rule(value) for value in values])
    return np.array([100 * np.mean(v > level) for v, level in zip(values, levels)]), levels


def with_interval(statistic, values, classes, n=2000):
    """Return a statistic with an interval over resampled rows of values, within classes."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(classes == label) for label in np.unique(classes)]
    found = []
    for _ in range(n):
        drawn = np.concatenate([rng.choice(part, len(part)) for part in members])
        found.append(statistic(*values[drawn].T))
    low, high = np.percentile(found, [2.5, 97.5])
    return f"{statistic(*values.T):.2f} ({low:.2f} to {high:.2f})"


def auc(density, tissue):
    extreme = tissue != 1
    return roc_auc_score(tissue[extreme] == 2, density[extreme])


def of_classes(densities, data, kept):
    for label, name in enumerate(data.target_names):
        films = densities[data.target[kept] == label]
        low, median, high = np.percentile(films, [25, 50, 75])
        print(f"    {name:16} {len(films):3} films: {median:.0f} ({low:.0f} to {high:.0f}) %")
    groups = np.asarray(data.groups)[kept]
    women, position = np.unique(groups, return_inverse=True)
    counts = np.bincount(position)
    density, tissue = (
        np.bincount(position, part) / counts for part in (densities, data.target[kept])
    )
    pairs = np.column_stack([density, tissue])
    print(f"    {len(women)} women, {np.bincount(tissue.astype(int))} by class")
    for name, statistic in {
        "Spearman": lambda *pair: spearmanr(*pair)[0],
        "Kendall": lambda *pair: kendalltau(*pair)[0],
        "AUC, fatty or dense": auc,
    }.items():
        print(f"    {name:20} {with_interval(statistic, pairs, tissue)}")


def of_masks(images, truths, densities, levels):
    true = np.array([100 * np.sum(t == DENSE) / np.isin(t, (ADIPOSE, DENSE)).sum() for t in truths])
    dice = []
    for image, truth, level in zip(images, truths, levels):
        found = (image / 255 > level).filled(False)
        dice.append(2 * np.sum(found & (truth == DENSE)) / (found.sum() + np.sum(truth == DENSE)))
    pairs, one_class = np.column_stack([densities, true]), np.zeros(len(true))
    correlation = with_interval(lambda *pair: pearsonr(*pair)[0], pairs, one_class)
    difference = with_interval(lambda *pair: np.mean(pair[0] - pair[1]), pairs, one_class)
    print(f"    DDSM, {len(true)} cases, mean density of the masks {true.mean():.0f} %")
    print(f"    Pearson {correlation}; difference {difference} points, ", end="")
    print(f"standard deviation {np.std(densities - true, ddof=1):.0f}; Dice {np.mean(dice):.2f}")


def main():
    folder, half = Path(sys.argv[1]), [*sys.argv, "tuning"][2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about variants of the table
        data = load_mini_mias(folder / "mini-mias", target="tissue")
    kept = np.array([in_half(str(group), half) for group in data.groups])
    steps = make_pipeline(BreastRegion(), PectoralMuscleRemover())
    films = [steps.transform([path])[0] for path in data.images[kept]]
    paths = sorted(folder.glob("ddsm-pectoral/*_MLO.png"))
    paths = [path for path in paths if in_half(path.name.split(".")[0], half)]
    cases = [steps.transform([path])[0] for path in paths]
    truths = [read_image(path.with_name(f"{path.stem}_LI.png")) for path in paths]
    for name, rule in (THRESHOLDS | (TRIED if half == "tuning" else {})).items():
        print(f"{half}, {name}")
        of_classes(measure(films, rule)[0], data, kept)
        of_masks(cases, truths, *measure(cases, rule))


if __name__ == "__main__":
    main()
