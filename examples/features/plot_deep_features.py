"""
DeepFeatures: features of a frozen network
==========================================

:class:`~featbus.DeepFeatures` sends each image through a convolutional network that was trained on
natural images, and averages its feature maps: a row of some hundred to thousand numbers that
describe what is in the image.
"""

# %%
# A network
# ---------
# The smallest MobileNetV2, at 96 x 96 pixels, keeps this example quick. By default featbus asks
# Keras for the ImageNet weights, which it downloads once. This page is built offline: it uses a
# weights file if the folder of the test data is there, and random weights if not.

import os
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from sklearn.decomposition import PCA

from featbus import DeepFeatures, Resize, make_breast_ultrasound

data = os.environ.get("FEATBUS_TEST_DATA")
weights = Path(data, "weights", "mobilenet_v2_0.35_224_no_top.weights.h5") if data else None

deep = DeepFeatures(
    "mobilenet_v2", weights=weights, input_size=96, backbone_options={"alpha": 0.35}
)
ultrasound = make_breast_ultrasound(48, n_images_per_patient=2, random_state=0)
rows = deep.fit_transform(ultrasound.images)
print(rows.shape)

# %%
# A map of the images
# -------------------
# The two directions in which the rows differ most make a map: images that look alike to the
# network lie near each other. A line joins the two images of a patient. Short lines are a warning:
# split at random, a classifier is tested on an image whose twin it was trained on.

places = PCA(2, random_state=0).fit_transform(rows)
palette = ["C0", "C3", "C2"]

figure, axis = plt.subplots(figsize=(9, 6.5), layout="constrained")
for first, second in places.reshape(-1, 2, 2):
    axis.plot(*zip(first, second), color="0.6", linewidth=1, zorder=1)
small = Resize((36, 48)).transform(ultrasound.images)
for place, image, kind in zip(places, small, ultrasound.target):
    thumbnail = OffsetImage(image, cmap="gray")
    frame = {"edgecolor": palette[kind], "linewidth": 2.5, "boxstyle": "square,pad=0"}
    axis.add_artist(AnnotationBbox(thumbnail, place, bboxprops=frame, pad=0))
for name, color in zip(ultrasound.target_names, palette):
    axis.plot([], [], "s", color=color, label=name)
axis.margins(0.08)
axis.scatter(*places.T, alpha=0)
axis.set(xlabel="first component", ylabel="second component", xticks=[], yticks=[])
axis.legend()

# %%
# Shallow and deep
# ----------------
# ``layers`` chooses where features are taken: early stages respond to edges and texture, late ones
# to whole structures. Several layers need one pass, and each column's name gives its layer, pooling
# and channel.

several = deep.set_params(layers=["C2", "C3", "C4", "top"], pooling=["avg", "max"])
several.set_output(transform="pandas")
table = several.fit_transform(ultrasound.images[:3])
print(table.shape)
table.iloc[:, [0, 1, 500, 1000, -1]].round(3)

# %%
# The lesion alone
# ----------------
# In a masked image, only the cells of a feature map inside the region are pooled. Which cells these
# are, and how much of each is inside, depends on the layer: the deeper, the coarser.

from featbus.masks import with_mask
from featbus.networks import region_weights

index = 8
image, inside = ultrasound.images[index], ultrasound.masks[index]
lesion = several.fit_transform([with_mask(image, inside)])
print(lesion.shape)

region = Resize((96, 96)).transform([inside.astype("float32")])
sides = [24, 12, 6]  # of the stages C2, C3 and C4 at 96 x 96 pixels
weights = region_weights(region, [(side, side, 1) for side in sides])

figure, axes = plt.subplots(1, 4, figsize=(9, 2.8), layout="constrained")
axes[0].imshow(image, cmap="gray", aspect="auto")
axes[0].contour(inside, [0.5], colors="C3")
axes[0].set_title("image and region")
for axis, stage, weight in zip(axes[1:], ["C2", "C3", "C4"], weights):
    axis.imshow(weight[0, ..., 0], cmap="Reds", vmin=0, vmax=1, aspect="auto")
    axis.set_title(f"weights in {stage}")
for axis in axes:
    axis.set(xticks=[], yticks=[])
