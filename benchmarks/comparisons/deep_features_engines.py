"""DeepFeatures from image files on every engine, against keras.Model.predict on arrays in memory.

python benchmarks/comparisons/deep_features_engines.py [NETWORK ...] [--images 64] [--repeats 7]

The files are PNG of 640 x 480 pixels; decoding and resizing count. `predict` gets preprocessed
arrays of the network's input size. timm and embetter take part where they are installed.
"""

import argparse
import os
import tempfile
import time
import timeit
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from _interleaved import compare

from featbus import DeepFeatures, Resize, make_breast_ultrasound
from featbus.io import read_image
from featbus.networks import BACKBONES, NAMED, KerasApplication

DEFAULT = ("mobilenet", "mobilenet_v2", "mobilenet_v3_small", "resnet50", "inception_v3", "vgg16")
ENGINES = ("keras", "openvino")
# What timm calls them.
TIMM = {
    "mobilenet": "mobilenetv1_100",
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenet_v3_small": "tf_mobilenetv3_small_100",
    "resnet50": "resnet50",
    "inception_v3": "inception_v3",
    "vgg16": "vgg16",
    "densenet121": "densenet121",
    "efficientnet_b0": "tf_efficientnet_b0",
}


def calibrate(base, preprocess):
    """Set the statistics of batch normalization to those of one batch, of coarse and fine noise.

    Random weights let activations decay to numbers that are slow to compute with.
    """
    size, rng = base.input_shape[1:3], np.random.default_rng(0)
    images = [cv2.resize(rng.random((side, side, 3)), size) for side in (2, 4, 8, 16, 32, 64)]
    for layer in base.layers:
        if hasattr(layer, "moving_mean"):
            layer.momentum = 0
    base(preprocess(np.float32(255 * np.stack(images))), training=True)


def write_files(folder, n_images):
    """Write ultrasound images, and return their paths."""
    images = make_breast_ultrasound(n_images, image_shape=(480, 640), random_state=0).images
    paths = [folder / f"{index}.png" for index in range(n_images)]
    for path, image in zip(paths, images):
        cv2.imwrite(str(path), image)
    return paths


def predict_side(base, name, size, paths):
    """Return a function that predicts from arrays that are there, preprocessed."""
    import keras

    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    model = keras.Model(base.input, pooled)
    pixels = np.stack(Resize(size).transform([str(path) for path in paths])).astype(np.float32)
    arrays = NAMED[BACKBONES[name].preprocessing](np.stack([pixels] * 3, axis=-1))
    return arrays, lambda: model.predict(arrays, batch_size=32, verbose=0)


def timm_side(name, arrays):
    """Return a function that runs timm's network of this name on the same arrays, or None."""
    if not find_spec("timm") or name not in TIMM:
        return None
    import timm
    import torch

    model = timm.create_model(TIMM[name], pretrained=False, num_classes=0).eval()
    model = model.to(memory_format=torch.channels_last)
    # A view of channels-last arrays is what this memory format means.
    tensor = torch.from_numpy(arrays).permute(0, 3, 1, 2)

    def run():
        with torch.inference_mode():
            return torch.cat([model(part) for part in tensor.split(32)]).numpy()

    return run


def embetter_side(paths):
    """Return a function that runs embetter's image encoder on the files, or None."""
    if not find_spec("embetter") or not find_spec("timm"):
        return None
    from embetter.vision import ImageLoader, TimmEncoder

    encoder = TimmEncoder("mobilenetv2_100")
    loader = ImageLoader(convert="RGB")
    return lambda: encoder.transform(loader.transform(paths))


def gigaflops(base):
    """Return the billions of multiplications and additions of plain convolutions, an image."""
    import keras

    convolutions = [layer for layer in base.layers if isinstance(layer, keras.layers.Conv2D)]
    return 2e-9 * sum(
        np.prod(layer.output.shape[1:]) * np.prod(layer.kernel.shape[:3]) for layer in convolutions
    )


def sgemm(side=2048, repeats=5):
    """Return the GFLOP/s of a product of matrices in single precision, the best of some."""
    a, b = np.random.default_rng(0).random((2, side, side), dtype=np.float32)
    best = np.inf
    for _ in range(repeats):
        start = time.perf_counter()
        np.dot(a, b)
        best = min(best, time.perf_counter() - start)
    return 2e-9 * side**3 / best


def compare_network(name, paths, folder, repeats):
    size = (BACKBONES[name].input_size,) * 2
    base = KerasApplication(name, size).build()
    calibrate(base, NAMED[BACKBONES[name].preprocessing])
    weights = folder / f"{name}.weights.h5"
    base.save_weights(weights)
    arrays, predict = predict_side(base, name, size, paths)
    sides = {"keras.Model.predict, arrays": predict}
    expected = predict()
    for engine in ENGINES:
        if not find_spec(engine):
            print(f"{engine} is not installed: left out")
            continue
        deep = DeepFeatures(name, weights=weights, engine=engine).fit(paths)
        rows = deep.transform(paths)
        error = np.abs(rows - expected).max() / np.abs(expected).max()
        print(f"{name}, {engine}: differs from predict by {error:.1e} of the largest value")
        sides[f"DeepFeatures {engine}, files"] = lambda deep=deep: deep.transform(paths)
    others = {"timm, arrays": timm_side(name, arrays)}
    if name == "mobilenet_v2":
        others["embetter, files"] = embetter_side(paths)
    for side, run in others.items():
        if run is None:
            print(f"{side}: not installed, left out")
        else:
            sides[side] = run
    print(f"\n{name}, {size[0]} x {size[1]} pixels, {len(paths)} images")
    packages = ["featbus", "tensorflow", *filter(find_spec, ENGINES)]
    times = compare(sides, repeats, packages=packages)
    for side, seconds in times.items():
        speed = np.median(times["keras.Model.predict, arrays"] / seconds)
        print(f"{side:32} {speed:5.2f} times as fast as predict")
    work = gigaflops(base) * len(paths)
    achieved = [f"{side} {work / np.median(seconds):.0f}" for side, seconds in times.items()]
    print(f"GFLOP/s of plain convolutions: {', '.join(achieved)}; sgemm now {sgemm():.0f}")
    decoding = min(timeit.repeat(lambda: [read_image(path) for path in paths], number=1, repeat=3))
    print(f"decoding the files alone, in one thread: {1e3 * decoding:.0f} ms\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=DEFAULT, metavar="NETWORK")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FEATBUS_CACHE"] = str(folder / "cache")
        paths = write_files(folder, arguments.images)
        for network in arguments.networks:
            compare_network(network, paths, folder, arguments.repeats)


if __name__ == "__main__":
    main()
