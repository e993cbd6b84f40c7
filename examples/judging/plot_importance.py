"""
Importance: where a classifier looks
====================================

The pixels behind each column of :class:`~featbus.HOG`, and of :class:`~featbus.LBP` with cells, are
known. :func:`~featbus.plot_importance` paints the weights of a classifier back on an image,
through resizing, letterboxing and other image steps.

Here, a linear SVM classifies benign and malignant lesions by their gradients alone.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from featbus import HOG, Resize, make_breast_ultrasound, plot_importance

data = make_breast_ultrasound(120, weights=[1, 1, 0], contrast=2, random_state=0)
pipeline = make_pipeline(
    Resize((96, 128)),
    HOG(pixels_per_cell=(8, 8), cells_per_block=(2, 2)),
    StandardScaler(),
    LinearSVC(C=1e-4),
)
pipeline.fit(data.images, data.target)
extractor = pipeline[1]
names = extractor.get_feature_names_out()
strongest = names[np.abs(pipeline[-1].coef_[0]).argmax()]
print(strongest, extractor.where(strongest, (96, 128)))

# %%
# Weights and contributions
# -------------------------
#
# The weights (left) are the same for every image. Multiplied by the scaled row of an image (right),
# they show the evidence for malignant (red) and benign (blue) in this image: they sum to the
# decision value minus the intercept. The outline of the lesion is yellow.

weights = pipeline[-1].coef_[0]
chosen = [np.flatnonzero(data.target == kind)[1] for kind in (0, 1)]
figure, axes = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
for (left, right), index in zip(axes, chosen):
    image, mask = data.images[index], data.masks[index]
    row = pipeline[:-1].transform([image])[0]
    plot_importance(pipeline[:-1], weights, image, ax=left)
    plot_importance(pipeline[:-1], weights * row, image, ax=right)
    for axis in (left, right):
        axis.contour(mask, [0.5], colors="yellow", linewidths=0.8)
    left.set_title(f"{data.target_names[data.target[index]]}: weights")
    decision = pipeline.decision_function([image])[0]
    right.set_title(f"weights x row: decision {decision:+.2f}")
plt.show()
