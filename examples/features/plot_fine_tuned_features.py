"""
FineTunedFeatures: features of a fine-tuned network
===================================================

:class:`~featbus.FineTunedFeatures` trains the last stage of a network further, on the images of the
training set, and then extracts its features.
"""

# %%
# A network
# ---------
# The smallest MobileNetV2 at 96 x 96 pixels keeps this example quick. This page is built offline:
# it reads the ImageNet weights from a file if the folder of the test data is there. If not, it uses
# an untrained network of three layers, and trains all of them.

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import DeepFeatures, FineTunedFeatures, make_breast_ultrasound


def small_network():
    import keras

    keras.utils.set_random_seed(0)
    inputs = maps = keras.Input((96, 96, 3))
    for width in (8, 16, 32):
        layer = keras.layers.Conv2D(width, 3, strides=2, padding="same", activation="relu")
        maps = layer(maps)
    return keras.Model(inputs, maps, name="small")


if "FEATBUS_TEST_DATA" in os.environ:
    weights = Path(os.environ["FEATBUS_TEST_DATA"], "weights")
    network = {
        "backbone": "mobilenet_v2",
        "backbone_options": {"alpha": 0.35},
        "weights": weights / "mobilenet_v2_0.35_224_no_top.weights.h5",
        "input_size": 96,
    }
    learning = {"unfreeze": "C5"}
else:
    network = {"backbone": small_network(), "preprocessing": "tf"}
    learning = {"unfreeze": "all", "learning_rate": 1e-3}

# %%
# Training
# --------
# The network is trained on half of the patients, twice from the same start. The learning rate falls
# to 0, and the weights after the last quarter of the epochs are averaged. Rows are the mean of
# those of both networks.

ultrasound = make_breast_ultrasound(120, image_shape=(96, 96), weights=[1, 1, 0], random_state=0)
images, y, groups = ultrasound.images, ultrasound.target, ultrasound.groups
train, test = next(StratifiedGroupKFold(2).split(images, y, groups))

tuned = FineTunedFeatures(**network, **learning, epochs=8, n_members=2)
tuned.fit(images[train], y[train])

epochs = np.arange(1, tuned.epochs + 1)
figure, axis = plt.subplots(figsize=(8, 3.2), layout="constrained")
for number, losses in enumerate(tuned.losses_, 1):
    axis.plot(epochs, losses, "o-", label=f"member {number}")
axis.axvspan(6.5, 8.5, color="0.9", label="averaged")
axis.set(xlabel="epoch", ylabel="cross-entropy of augmented images")
axis.legend()

# %%
# Before and after
# ----------------
# A classifier is trained on the features of the training images and tested on images that neither
# it nor the network has seen. Each point is a test image.

# sphinx_gallery_thumbnail_number = 2
frozen = DeepFeatures(**network)
figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained", sharey=True)
for axis, features, name in zip(axes, (frozen, tuned), ("frozen", "fine-tuned")):
    classifier = make_pipeline(StandardScaler(), SVC(C=10, class_weight="balanced"))
    classifier.fit(features.transform(images[train]), y[train])
    values = classifier.decision_function(features.transform(images[test]))
    side = np.random.default_rng(0).uniform(-0.3, 0.3, len(test))
    for kind, color in ((0, "C0"), (1, "C3")):
        of_kind = y[test] == kind
        axis.plot(kind + side[of_kind], values[of_kind], "o", color=color, alpha=0.7)
    axis.axhline(0, color="0.6", linewidth=1)
    axis.set(title=f"{name}: ROC AUC {roc_auc_score(y[test], values):.2f}")
    axis.set_xticks([0, 1], ultrasound.target_names[:2])
axes[0].set(ylabel="decision value")
