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
from featbus.networks import build_maps

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
training = Training(network, stored, y, np.ones(96), False, tuned)
model = training._build()
pixels = np.concatenate(
    [training._inputs(stored[start : start + 16]) for start in range(0, 96, 16)]
)

import keras  # noqa: E402


def train(augmentation):
    """Return a function that trains for one epoch, as FineTunedFeatures does."""

    def run():
        training._augmentation = augmentation
        last = tuned.epochs - 1
        batches = training._iter_batches(0, last)
        model.fit(batches, initial_epoch=last, epochs=tuned.epochs, steps_per_epoch=6, verbose=0)

    return run


def fit(model):
    return lambda: model.fit(pixels, y, batch_size=16, verbose=0)


maps = build_maps(network)
rows = keras.ops.concatenate([keras.ops.mean(layer, axis=(1, 2)) for layer in maps.outputs], -1)
plain = keras.Model(maps.input, keras.layers.Dense(3)(rows))
plain.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))

sides = {
    "FineTunedFeatures": train(Augmentation()),
    "the same, no augmentation": train(False),
    "fit of the same model": fit(model),
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
