"""
PectoralMuscleRemover: mammograms without the muscle
====================================================

On a mediolateral-oblique mammogram the pectoral muscle is often brightest, and has nothing to do
with the diagnosis. :class:`~featbus.PectoralMuscleRemover` masks it, or says why not.
"""

# %%
# What is found, and how sure it is
# ---------------------------------

import matplotlib.pyplot as plt
import numpy as np

from featbus import BreastRegion, PectoralMuscleRemover, make_mammograms

images = list(make_mammograms(3, image_shape=(384, 288), random_state=2).images)
remover = PectoralMuscleRemover()

figure, axes = plt.subplots(1, 3, figsize=(9, 4.4), layout="constrained")
for axis, image in zip(axes, images):
    muscle = remover.detect(image)
    row, column = muscle.boundary.T
    axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    axis.plot(column, row, color="tab:green", linewidth=2)
    axis.set_title(f"confidence {muscle.confidence:.2f}", fontsize="medium")
    axis.set(xticks=[], yticks=[])

# %%
# To abstain is a result
# ----------------------
# The lower half of a mammogram shows no muscle, a blank image shows nothing. Such images are left
# as they are; `detect` gives the reason.

for name, image in {"lower half": images[0][192:], "blank": np.zeros_like(images[0])}.items():
    muscle = remover.detect(image)
    print(f"{name}: found={muscle.found}, {muscle.reason}")

# %%
# In a pipeline
# -------------
# Each step restricts the region that the one before it left.

from sklearn.pipeline import make_pipeline

pipeline = make_pipeline(BreastRegion(orient="left"), PectoralMuscleRemover())
figure, axes = plt.subplots(1, 3, figsize=(9, 4.4), layout="constrained")
for axis, image in zip(axes, pipeline.fit_transform(images)):
    axis.imshow(image, cmap="gray", vmin=0, vmax=255)
    axis.set_facecolor("tab:blue")
    axis.set(xticks=[], yticks=[])
