"""Seconds per epoch of FineTunedFeatures and of keras.Model.fit: same network, images and batches.

python benchmarks/comparisons/fine_tuning.py [ROUNDS] [INPUT_SIZE]

Needs the folder of the test data, ``FEATBUS_TEST_DATA``, with ``busi`` and ``weights``. All layers
of MobileNetV2 (alpha 0.35) are trained with 96 images, which lie in memory, in batches of 16.
``fit`` gets the very model that FineTunedFeatures trains, with batch normalization in inference
mode, or one compiled as Keras does by default, with XLA and batch statistics. Neither augments.
Turn by turn; the medians over rounds, and of the ratios within rounds.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

from featbus import FineTunedFeatures, load_busi
from featbus.augmentation import Augmentation
from featbus.feature_extraction._training import Training
from featbus.networks import build_models

n_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
size = int(sys.argv[2]) if len(sys.argv) > 2 else 224
data = Path(os.environ["FEATBUS_TEST_DATA"])
busi = load_busi(data / "busi", groups=data / "busi" / "groups.csv")
chosen = np.random.default_rng(0).permutation(len(busi.target))[:96]
images, y = np.asarray(busi.images, dtype=object)[chosen], busi.target[chosen].astype(int)
tuned = FineTunedFeatures(
    "mobilenet_v2",
    layers=("C3", "C4", "C5"),
    pooling=("avg", "max"),
    weights=data / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5",
    input_size=size,
    backbone_options={"alpha": 0.35},
    unfreeze="all",
)
network = tuned._base_network()
stored = list(tuned._iter_stored(tuned._check_batch(images, reset=True), network.source))
learner = Learner(network, "all", stored, 16)
learner.add_classifier(y, np.ones(96), 1e-4, 1000)
pixels = np.concatenate([learner._inputs(stored[start : start + 16]) for start in range(0, 96, 16)])

import keras  # noqa: E402


def fit(model):
    return lambda: model.fit(pixels, y, batch_size=16, verbose=0)


_, rows = build_models(tuned._base_network(), False)
plain = keras.Model(rows.input, keras.layers.Dense(3)(rows.output))
plain.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

rng = np.random.default_rng(0)
sides = {
    "FineTunedFeatures": lambda: learner.learn(rng, Augmentation()),
    "the same, no augmentation": lambda: learner.learn(rng, False),
    "fit of the same model": fit(learner._model),
    "fit, as compiled by default": fit(plain),
}
seconds = {name: [] for name in sides}
for number in range(n_rounds + 1):
    for name, run in sides.items():
        start = time.perf_counter()
        run()
        if number:  # the first round compiles
            seconds[name].append(time.perf_counter() - start)
print(f"96 images of {size} x {size} pixels, {n_rounds} rounds, seconds per epoch:")
first = np.array(seconds["FineTunedFeatures"])
for name, values in seconds.items():
    ratio = np.median(np.array(values) / first)
    print(f"{name:28} {np.median(values):6.2f} s   {ratio:.2f} x FineTunedFeatures")
