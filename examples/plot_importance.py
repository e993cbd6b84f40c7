"""
Importance: where a classifier looks
====================================

Columns of :class:`~featbus.HOG`, and of :class:`~featbus.LBP` with cells, know the pixels behind
them, and so the weights of a classifier can be painted back on an image with
:func:`~featbus.plot_importance`.

A linear SVM tells benign from malignant lesions by their gradients alone.
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
# What one sees
# -------------
#
# The weights themselves (left) are the same for every image. Multiplied by the scaled row of an
# image they say what speaks for malignant (red) and for benign (blue) in this one: the sum of all
# is the classifier's decision, less its intercept. The outline of the lesion is yellow.

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
