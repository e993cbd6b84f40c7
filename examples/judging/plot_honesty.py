"""
What leaks are worth
====================

With the same images, features and classifier, scores range from mediocre to almost perfect: only
the protocol changes. :func:`~featbus.compare_protocols` evaluates one support vector machine with
the protocols found in publications, the honest one first.

This page uses BUSI and mini-MIAS if ``FEATBUS_TEST_DATA`` names a folder that contains them,
otherwise synthetic images.
"""

# %%
# Images and features
# -------------------
# Several images of BUSI show the same lesion; ``groups`` says which. mini-MIAS has both breasts of
# each woman. The synthetic mammograms have findings that leave no trace in the image.

import os
from pathlib import Path

import matplotlib.pyplot as plt
from sklearn.pipeline import make_pipeline, make_union

from featbus import (
    HOG,
    LBP,
    IntensityStatistics,
    Resize,
    compare_protocols,
    load_busi,
    load_mini_mias,
    make_breast_ultrasound,
    make_mammograms,
)

root = Path(os.environ.get("FEATBUS_TEST_DATA") or "nowhere")
if root.exists():
    ultrasound = load_busi(root / "busi", groups=root / "busi" / "groups.csv")
    mammograms = load_mini_mias(root / "mini-mias")
else:
    ultrasound = make_breast_ultrasound(100, weights=[3, 2, 1], random_state=0)
    mammograms = make_mammograms(80, weights=[2, 1], contrast=0, random_state=0)
print(f"{len(ultrasound.images)} ultrasound images, {len(mammograms.images)} mammograms")

shapes = HOG(pixels_per_cell=(32, 32), cells_per_block=(2, 2))
features = make_pipeline(Resize(128), make_union(IntensityStatistics(), LBP(), shapes))

# %%
# Ultrasound: benign, malignant, normal
# -------------------------------------
# Only in the first row the test part shows lesions that the classifier has never seen. In the
# others it has seen another image of the lesion, a copy of the image, or a mixture made of it.


def compare(data):
    """Compare protocols on a data set."""
    names = data.target_names
    return compare_protocols(
        features, data.images, data.target, groups=data.groups, target_names=names
    )


result = compare(ultrasound)
print(result.summary())
result.to_frame().filter(regex="^(accuracy|roc_auc)").round(2)

# %%
# The top row is the honest score, its interval the band below.

figure = plt.figure(result.plot())

# %%
# Mammograms: normal or not
# -------------------------
# Split by woman, these features find nothing: the ROC AUC is no better than chance. Copies and
# SMOTE before the split make them look like a detector.

result = compare(mammograms)
print(result.summary())
result.to_frame().filter(regex="^(accuracy|roc_auc)").round(2)

# %%

figure = plt.figure(result.plot("roc_auc"))

# %%
# ``featbus honesty DIR`` does the same for a folder, see :ref:`honesty`.
