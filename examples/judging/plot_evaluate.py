"""
Which one is better: intervals and paired comparison
====================================================

:func:`~featbus.evaluate` tests pipelines on the same folds. Metrics have intervals, and so do the
differences between pipelines.
"""

# %%
# Images and pipelines
# --------------------
# Three images per patient, two thirds benign. Three pipelines use different features. The fourth
# chooses its parameters: the search splits each training part again, and keeps patients together
# there, too.

import matplotlib.pyplot as plt
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import HOG, LBP, IntensityStatistics, Resize, evaluate, make_breast_ultrasound

data = make_breast_ultrasound(
    210, n_images_per_patient=3, weights=[2, 1, 0], contrast=0.6, random_state=0
)


def pipeline(*extractors):
    classifier = SVC(class_weight="balanced")
    return make_pipeline(Resize((112, 112)), make_union(*extractors), StandardScaler(), classifier)


texture = LBP()
shape = HOG(pixels_per_cell=(16, 16))
everything = pipeline(shape, texture, IntensityStatistics())
pipelines = {
    "brightness": pipeline(IntensityStatistics()),
    "texture": pipeline(texture),
    "everything": everything,
    "everything, tuned": GridSearchCV(everything, {"svc__C": [0.3, 3, 30]}, scoring="roc_auc"),
}

# %%
# Evaluation
# ----------
# Five folds, repeated twice. Rows are computed once for all folds, and for both pipelines that use
# all features: these steps learn nothing.

result = evaluate(
    pipelines,
    data.images,
    data.target,
    groups=data.groups,
    n_repeats=2,
    target_names=data.target_names[:2],
)
print(result)

# %%
# Parameters chosen by the search, and how often:

print(result.best_params["params"].astype(str).value_counts())

# %%
# Means and differences, with intervals
# -------------------------------------
# On the left, each metric with its 95% interval. With seventy patients, intervals are wide; even if
# two overlap, one pipeline may be better. All were tested on the same patients, so part of the
# variation is common to all. It cancels out in the differences, on the right.

comparison = result.compare("roc_auc", baseline="texture")
metrics = {"roc_auc": "ROC AUC", "sensitivity": "sensitivity", "specificity": "specificity"}
table = result.to_frame()

figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 3.8), width_ratios=[3, 2], layout="constrained"
)
for line, name in enumerate(pipelines):
    for step, (metric, label) in enumerate(metrics.items()):
        mean, low, high = table.loc[name, [metric, f"{metric}_low", f"{metric}_high"]]
        position = line + 0.22 * (step - 1)
        left.plot([low, high], [position] * 2, color=f"C{step}")
        left.plot(mean, position, "o", color=f"C{step}", label=label if line == 0 else None)
left.set_yticks(range(len(pipelines)), pipelines)
left.set(xlabel="mean over the folds, 95% interval", ylim=(len(pipelines) - 0.5, -0.5))
figure.legend(loc="outside upper left", ncols=3, frameon=False)

for line, row in comparison.iterrows():
    right.plot([row["low"], row["high"]], [line] * 2, color="C0")
    right.plot(row["difference"], line, "o", color="C0")
    p_value = f"p = {row['p_value']:.2f}" if row["p_value"] > 0.001 else "p < 0.001"
    right.annotate(p_value, (row["difference"], line - 0.12), ha="center")
right.axvline(0, color="0.5", linestyle=":")
right.set_yticks(range(len(comparison)), comparison["first"])
right.set(xlabel="ROC AUC, difference to texture", ylim=(len(comparison) - 0.5, -0.5))

# %%
# Interval and p-value are those of the corrected resampled t-test: p is below 0.05 exactly if the
# interval excludes 0. Both are about one pair; ``p_holm`` accounts for the number of pairs.

print(comparison.round(3).to_string())

# %%
# Table for a paper
# -----------------
# Counts and percentages for each class, over the test parts of all folds and repeats.

print(result.published_table("everything").round(2).to_string())
