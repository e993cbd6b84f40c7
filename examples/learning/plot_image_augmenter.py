"""
ImageAugmenter: changed copies for training
===========================================

:class:`~featbus.ImageAugmenter` adds changed copies of images to the training part of a fold and
leaves test images unchanged.
"""

# %%
# Copies
# ------
# Copies are rotated by up to 5 degrees, shifted by up to a tenth of the width and the height,
# sheared, zoomed, brighter by up to 40 %, and half of them are mirrored. Masks are changed with
# their images; what comes from beyond the border is outside the mask.

import pathlib
import tempfile

import matplotlib.pyplot as plt
import numpy as np
from imblearn.pipeline import make_pipeline
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_score
from sklearn.pipeline import make_union
from sklearn.preprocessing import StandardScaler

from featbus import (
    HOG,
    LBP,
    FeatureBus,
    ImageAugmenter,
    IntensityStatistics,
    TestTimeAugmentation,
    make_breast_ultrasound,
)
from featbus.masks import inside_mask, with_mask

ultrasound = make_breast_ultrasound(6, random_state=3)
image = with_mask(ultrasound.images[0], ultrasound.masks[0])


def show(images, titles, shape, size):
    _, axes = plt.subplots(*shape, figsize=(9, size * shape[0]), layout="constrained")
    for axis, picture, title in zip(axes.flat, images, titles):
        axis.imshow(np.ma.getdata(picture), cmap="gray", vmin=0, vmax=255)
        axis.contour(inside_mask(picture), levels=[0.5], colors="gold", linewidths=1)
        axis.set(xticks=[], yticks=[], title=title)
    for axis in axes.flat[len(images) :]:
        axis.set_axis_off()


images, _ = ImageAugmenter(n_copies=7).fit_resample([image], ["benign"])
show(images, ["the image", *[f"copy {number}" for number in range(1, 8)]], (2, 4), 2.0)

# %%
# Flips and quarter turns
# -----------------------
# With ``dihedral``, copies are flipped and rotated by quarter turns instead, without interpolation.
# Five copies give all six orientations, in an order that differs between images.

images, _ = ImageAugmenter(n_copies=5, dihedral=6).fit_resample([image], ["benign"])
show(images, ["the image", *[f"copy {number}" for number in range(1, 6)]], (2, 3), 2.4)

# %%
# Only in the training part
# -------------------------
# A pipeline of imbalanced-learn makes copies in ``fit`` and never in ``predict``: no copy of a test
# image is used for training. A bus after the augmenter computes the features of each copy once for
# all folds. :class:`~featbus.TestTimeAugmentation` averages predictions over an image and its
# mirror image.

data = make_breast_ultrasound(
    96, image_shape=(96, 128), weights=[1, 1, 0], contrast=0.6, random_state=0
)
union = make_union(HOG(pixels_per_cell=(16, 16)), LBP(), IntensityStatistics())
memory = pathlib.Path(tempfile.mkdtemp()) / "features.sqlite"
features = [FeatureBus(union, memory=memory), StandardScaler()]
classifier = LogisticRegression(C=0.01, max_iter=1000)

pipelines = {
    "plain images": make_pipeline(*features, classifier),
    "three copies": make_pipeline(ImageAugmenter(n_copies=3), *features, classifier),
}
pipelines |= {f"{name}, two views": TestTimeAugmentation(p) for name, p in pipelines.items()}
folds = StratifiedGroupKFold(4)
scores = {
    name: cross_val_score(
        pipeline, data.images, data.target, groups=data.groups, cv=folds, scoring="roc_auc"
    )
    for name, pipeline in pipelines.items()
}

figure, axis = plt.subplots(figsize=(9, 2.6), layout="constrained")
for position, (name, areas) in enumerate(scores.items()):
    axis.plot(areas, np.full(len(areas), position), "o", color="C0", alpha=0.5)
    axis.plot(areas.mean(), position, "|", color="C1", markersize=24, markeredgewidth=3)
    print(f"{name:24} {areas.mean():.3f}")
axis.set_yticks(range(len(scores)), list(scores))
axis.set(xlabel="ROC AUC of the folds, and their mean", ylim=(len(scores) - 0.5, -0.5))
