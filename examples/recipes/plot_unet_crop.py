"""
A U-Net, its crops, and the whole image
=======================================

:func:`~featbus.recipes.unet_crop` trains a U-Net on the masks of the training part, and shows a
network the whole image and the crop around the lesion.
"""

# %%
# Images
# ------
# Benign and malignant images of BUSI if it is there, else synthetic ones; two thirds of them, whole
# groups, to train on. The networks are tiny, at 96 x 96 pixels, and trained for a few epochs, to
# keep this page quick: :ref:`segmentation` has the scores of longer trainings.

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn import config_context
from sklearn.metrics import precision_recall_fscore_support, roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from featbus import explain, load_busi, make_breast_ultrasound, plot_segmentation
from featbus.evaluation import segmentation_scores
from featbus.recipes import make_recipe

network = {"backbone": "mobilenet_v2", "backbone_options": {"alpha": 0.35}, "weights": None}
if "FEATBUS_TEST_DATA" in os.environ:
    root = Path(os.environ["FEATBUS_TEST_DATA"])
    data = load_busi(root / "busi", groups=root / "busi" / "groups.csv")
    network["weights"] = root / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5"
else:
    data = make_breast_ultrasound(90, weights=[1, 1, 0], random_state=0)
chosen = np.concatenate([np.flatnonzero(data.target == kind)[:45] for kind in (0, 1)])
images, y, groups, masks = (
    np.asarray(part)[chosen] for part in (data.images, data.target, data.groups, data.masks)
)
train, test = next(StratifiedGroupKFold(3).split(images, y, groups))

# %%
# Training
# --------
# The masks are metadata. :func:`~featbus.evaluate` passes those of the training part by itself;
# here, scikit-learn's metadata routing does.

recipe = make_recipe("unet_crop", **network)
unet = "features__transformer__lesion__crop__segmenter"
recipe.set_params(
    **{f"{unet}__input_size": 96, f"{unet}__epochs": 7, f"{unet}__validation_share": 0}
)
with config_context(enable_metadata_routing=True):
    recipe.fit(images[train], y[train], masks=masks[train], groups=groups[train])

# %%
# Outlines and crops
# ------------------
# Of images that neither network has seen. The true outline is green, the one found orange.

fitted = recipe["features"].transformer_
cropper = dict(fitted.transformer_list)["lesion"]["crop"]
found = cropper.predict(images[test])
figure, axes = plt.subplots(2, 5, figsize=(10, 4.2), layout="constrained")
for column, index in enumerate(range(0, 30, 6)):
    outlines = {"true_mask": masks[test[index]], "predicted_mask": found[index]}
    plot_segmentation(images[test[index]], **outlines, ax=axes[0, column])
    (crop,) = cropper.transform(images[test[index : index + 1]])
    plot_segmentation(crop, ax=axes[1, column])
dice = segmentation_scores(masks[test], found)["dice"]
print(f"Dice: mean {dice.mean():.2f}, median {dice.median():.2f}")

# %%
# The outline behind a verdict:

explain(recipe, images[test[-1]], target_names=data.target_names)

# %%
# Beside a network on the whole image, and one without pretraining
# ----------------------------------------------------------------
# Macro averages of precision, recall and F1 on the test part. The paper compares VGG16,
# InceptionV3, MobileNet and a small network that is trained from the beginning: the same recipes
# with another `backbone`.

whole = make_recipe("unet_crop", **network)
whole.set_params(features__transformer__lesion="drop")
scratch = make_recipe("small_cnn").set_params(features__transformer__epochs=3)
lines = {}
for name, pipeline in {"image + crop": recipe, "image": whole, "small CNN": scratch}.items():
    if pipeline is not recipe:
        pipeline.fit(images[train], y[train])
    scores = precision_recall_fscore_support(
        y[test], pipeline.predict(images[test]), average="macro", zero_division=0
    )[:3]
    auc = roc_auc_score(y[test], pipeline.predict_proba(images[test])[:, 1])
    lines[name] = [*scores, auc]
pd.DataFrame(lines, index=["precision", "recall", "F1", "ROC AUC"]).T.round(2)
