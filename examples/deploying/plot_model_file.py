"""
Model file: the same predictions elsewhere
==========================================

:func:`~featbus.save` writes a fitted pipeline, its networks and its model card into one file,
without pickle. :func:`~featbus.load` reads it where neither the weights nor the folders of the
first machine are. Here, another process in another folder stands in for the other machine.

The network has random weights, so that the example needs no download.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, make_pipeline
from sklearn.preprocessing import StandardScaler

from featbus import HOG, DeepFeatures, FeatureBus, Resize, make_breast_ultrasound, save
from featbus.persistence import read_card, write_card_html

data = make_breast_ultrasound(120, weights=[1, 1, 0], contrast=0.75, random_state=0)
train, test = slice(0, 60), slice(60, 120)
network = DeepFeatures(
    "mobilenet", weights=None, input_size=96, backbone_options={"alpha": 0.25}, layers="C3"
)
features = FeatureUnion([("deep", network), ("hog", HOG(pixels_per_cell=(32, 32)))])
pipeline = make_pipeline(
    FeatureBus(make_pipeline(Resize(128), features)),
    StandardScaler(),
    LogisticRegression(C=1e-2),
)
pipeline.fit(data.images[train], data.target[train])
before = pipeline.predict_proba(data.images[test])[:, 1]
accuracy = np.mean((before > 0.5) == data.target[test])

# %%
# Save, and load elsewhere
# ------------------------
# The card says what the model is. ``save`` adds versions, steps, and the networks' digests.

card = {
    "recipe": "HOG and MobileNet, logistic regression",
    "data set": {"images": 60, "patients": 60, "source": "synthetic"},
    "scores": {"accuracy on 60 other images": round(float(accuracy), 3)},
    "positive class": "malignant",
}
elsewhere = """
import numpy as np
from featbus import load
images = np.load("images.npy")
np.save("probabilities.npy", load("model.skops").predict_proba(images)[:, 1])
"""
with TemporaryDirectory() as folder:
    path = Path(folder, "model.skops")
    save(pipeline, path, classes=data.target_names[:2], card=card)
    np.save(Path(folder, "images.npy"), data.images[test])
    environment = os.environ | {"FEATBUS_CACHE": folder}
    subprocess.run([sys.executable, "-c", elsewhere], cwd=folder, env=environment, check=True)
    after = np.load(Path(folder, "probabilities.npy"))
    found = read_card(path)
    write_card_html(path, Path(folder, "card.html"))
    with zipfile.ZipFile(path) as archive:
        sizes = {member.filename: member.file_size for member in archive.infolist()}

print("largest difference:", abs(after - before).max())
for name in ("recipe", "steps", "networks", "versions", "note"):
    print(f"{name}: {found[name]}")

# %%
# The probabilities are the same. Most of the file is the network.

kinds = {"network": "networks/", "arrays": ".npy", "estimators": "schema.json"}
kinds |= {"card": "featbus.json"}
kilobytes = [
    sum(size for name, size in sizes.items() if kind in name or name in kind) / 1000
    for kind in kinds.values()
]

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
left.plot([0, 1], [0, 1], color="0.7", linewidth=1, zorder=0)
for label, name in enumerate(data.target_names[:2]):
    chosen = data.target[test] == label
    left.scatter(before[chosen], after[chosen], s=22, alpha=0.75, label=name)
left.set(
    xlabel="probability where it was trained",
    ylabel="probability elsewhere",
    title="60 other images, malignant or not",
)
left.set_aspect("equal")
left.legend(frameon=False)
bars = right.barh(list(kinds), kilobytes, color="#1f6f8b")
right.bar_label(bars, fmt="%.1f kB", padding=3)
right.set(title=f"The file: {sum(kilobytes):.0f} kB", xlim=(0, 1.25 * max(kilobytes)), xticks=[])
right.invert_yaxis()
right.spines[["top", "right", "bottom"]].set_visible(False)
