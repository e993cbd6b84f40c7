"""
Your own images: from a folder to a report
==========================================

The walk of :ref:`own_images` in pictures: load a folder, look at it, audit it, evaluate two
pipelines, and see how well they do. The folder is made of synthetic images here; name your own
instead.
"""

# %%
# The folder
# ----------
# One subfolder per class. The file name begins with the patient: ``cancer/p07_1.png``.

from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featbus import (
    LBP,
    ImageLoader,
    IntensityStatistics,
    audit,
    evaluate,
    load_image_folder,
    make_breast_ultrasound,
)

drawn = make_breast_ultrasound(96, weights=[2, 1, 0], random_state=1)
temporary = TemporaryDirectory()
scans = Path(temporary.name)
for index, image in enumerate(drawn.images):
    folder = scans / ["cyst", "cancer"][drawn.target[index]]
    folder.mkdir(exist_ok=True)
    cv2.imwrite(str(folder / f"p{drawn.groups[index]:02}_{index % 2 + 1}.png"), image)

data = load_image_folder(scans, groups=lambda path: path.stem.split("_")[0])
data.frame.groupby("class").agg({"file": "count", "group": "nunique"})

# %%
# Look at it
# ----------
# A few images of each class. Are they what they should be? Does anything but the lesion tell the
# classes apart, such as the size, a logo or calipers?

rng = np.random.default_rng(0)
figure, axes = plt.subplots(2, 6, figsize=(9, 2.9), layout="constrained")
for kind, line in enumerate(axes):
    line[0].set_ylabel(data.target_names[kind])
    chosen = rng.choice(np.flatnonzero(data.target == kind), len(line), replace=False)
    for axis, index, image in zip(line, chosen, ImageLoader().transform(data.images[chosen])):
        axis.imshow(image, cmap="gray", vmin=0, vmax=255)
        axis.set(xticks=[], yticks=[])
        axis.set_title(Path(data.images[index]).name, fontsize=8)

# %%
# Audit it
# --------
# Copies across folds, contradicting labels, and shortcuts to the class.

report = audit(data.images, data.frame["class"], groups=data.groups)
print(report.verdict)

# %%
# Evaluate
# --------
# Folds keep the images of a patient together. Sensitivity is that of cancer: say so where the names
# of the classes leave a doubt.


def classify(extractor):
    classifier = LogisticRegression(class_weight="balanced", max_iter=1000)
    return make_pipeline(extractor, StandardScaler(), classifier)


pipelines = {"brightness": classify(IntensityStatistics()), "texture": classify(LBP(cells=(2, 2)))}
result = evaluate(
    pipelines,
    data.images,
    data.target,
    groups=data.groups,
    target_names=data.target_names,
    pos_label="cancer",
)
print(result)

# %%
# With 48 patients, of whom 16 have cancer, intervals are wide. Whoever reports the mean alone hides
# that.

# sphinx_gallery_thumbnail_number = 1
figure = plt.figure(result.plot("intervals"))

# %%
# Missed cancers are in the row of cancer and the column of cyst.

figure = plt.figure(result.plot("confusion_matrices"))

# %%
# All of this in one file, with the errors the pipelines are surest of.

result.to_html(scans / "report.html", images=data.images, audit=report)
temporary.cleanup()
