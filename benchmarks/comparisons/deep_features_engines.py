"""DeepFeatures on every engine against keras.Model.predict and PyTorch: arrays, then files.

python benchmarks/comparisons/deep_features_engines.py [NETWORK ...] [--images 64] [--repeats 7]
    [--torch PYTHON] [--processor] [--batch_sizes]

Two tables for each network. Arrays: all sides have the same images in memory, 8 bits, RGB, in the
network's size, and preprocess them. Files: all sides have the same PNG files of 640 x 480 pixels,
and read, resize and preprocess them; `predict` behind a loop with Pillow, and behind tf.data.
Weights are random, with calibrated batch normalization.

PYTHON is an interpreter that has PyTorch and timm, by default this one. They run in a process of
its own, which also exports the network that ONNX Runtime runs. With --processor, times are those of
the processor, all threads together, which other programs disturb less; OMP_NUM_THREADS=1 gives all
sides one thread.

Last, where the time goes: files can be as fast as decoding and arrays, one after another. With
--batch_sizes, also how the time of arrays depends on the parameter `batch_size`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from _interleaved import compare
from sklearn.base import clone

from featbus import DeepFeatures, Resize, make_breast_ultrasound
from featbus.base import thread_limit
from featbus.io import read_image
from featbus.networks import BACKBONES, NAMED, KerasApplication

DEFAULT = ("mobilenet_v2", "mobilenet_v3_small", "resnet50", "inception_v3", "vgg16")
CHILD = Path(__file__).with_name("_timm_child.py")
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


def calibrate(base, preprocessing):
    """Set the statistics of batch normalization to those of one batch, of coarse and fine noise.

    Random weights let activations decay to numbers that are slow to compute with.
    """
    size, rng = base.input_shape[1:3], np.random.default_rng(0)
    images = [cv2.resize(rng.random((side, side, 3)), size) for side in (2, 4, 8, 16, 32, 64)]
    for layer in base.layers:
        if hasattr(layer, "moving_mean"):
            layer.momentum = 0
    base(preprocessing(np.float32(255 * np.stack(images))), training=True)


def write_files(folder, n_images):
    """Write ultrasound images, and return their paths."""
    images = make_breast_ultrasound(n_images, image_shape=(480, 640), random_state=0).images
    paths = [str(folder / f"{index}.png") for index in range(n_images)]
    for path, image in zip(paths, images):
        cv2.imwrite(path, image)
    return paths


def predict_sides(base, preprocessing, arrays, paths):
    """Return what predicts from arrays, and what predicts from files."""
    import keras
    import tensorflow as tf
    from PIL import Image

    model = keras.Model(base.input, keras.layers.GlobalAveragePooling2D()(base.output))
    size = base.input_shape[1:3]

    def predict(images):
        return model.predict(preprocessing(images), batch_size=32, verbose=0)

    def pillow():
        images = (Image.open(path).convert("RGB").resize(size[::-1]) for path in paths)
        return predict(np.stack([np.asarray(image) for image in images]))

    # The same values as `preprocessing`, by operations of TensorFlow.
    mean, std = (
        np.float32(v) / np.float32(preprocessing.scale)
        for v in (preprocessing.mean, preprocessing.std)
    )

    def read(path):
        image = tf.image.resize(tf.io.decode_png(tf.io.read_file(path), channels=3), size)
        return ((image[..., ::-1] if preprocessing.channels == "bgr" else image) - mean) / std

    def tf_data():
        dataset = tf.data.Dataset.from_tensor_slices(paths).map(read, tf.data.AUTOTUNE)
        return model.predict(dataset.batch(32).prefetch(tf.data.AUTOTUNE), verbose=0)

    return (
        {"keras predict": lambda: predict(arrays)},
        {"Pillow, keras predict": pillow, "tf.data, keras predict": tf_data},
    )


def featbus_sides(name, weights, onnx_file):
    """Return the extractors that run here, by name."""
    sides = {"featbus keras": DeepFeatures(name, weights=weights)}
    if not find_spec("openvino"):
        print("OpenVINO is not installed: left out")
    else:
        sides["featbus openvino"] = DeepFeatures(name, weights=weights, engine="openvino")
        half = DeepFeatures(name, weights=weights, engine="openvino", precision="bf16")
        try:
            half.fit([np.zeros((9, 9), np.uint8)])
        except ValueError as error:
            print(f"bf16 is left out: {error}")
        else:
            sides["featbus openvino bf16"] = half
    if not onnx_file.exists() or not find_spec("onnxruntime"):
        print("ONNX Runtime, or PyTorch that exports a network for it, is missing: left out")
    else:
        size = BACKBONES[name].input_size
        sides["featbus onnxruntime"] = DeepFeatures(
            str(onnx_file), preprocessing="torch", input_size=size, layers=_last_map(onnx_file)
        )
    return sides


def _last_map(path):
    """Return the name of what the network returns."""
    import onnx

    return onnx.load(path).graph.output[0].name


class Child:
    """A network of timm in another process; a call sends all images through it."""

    def __init__(self, python, *arguments):
        command = [python, CHILD, *map(str, arguments)]
        pipe, silent = subprocess.PIPE, subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=silent, text=True)
        self._wait("ready")

    def _wait(self, word):
        while not (line := self._process.stdout.readline()).startswith(word):
            if not line:
                raise RuntimeError(f"{CHILD.name} ended with {self._process.wait()}")
        return line

    def __call__(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._wait("done").split()[1])

    def close(self):
        self._process.stdin.close()
        self._process.wait()


def timm_sides(python, name, size, arrays, paths, folder, onnx_file):
    """Return a process for arrays and one for files; nothing where timm is not installed."""
    done = subprocess.run([python, "-c", "import timm, torch"], capture_output=True, check=False)
    if done.returncode or name not in TIMM:
        print("PyTorch or timm is not installed: left out")
        return {}, {}
    np.save(folder / "arrays.npy", arrays)
    (folder / "paths.txt").write_text("\n".join(paths))
    arguments = (python, TIMM[name], size)
    return (
        {"timm": Child(*arguments, "arrays", folder / "arrays.npy", onnx_file)},
        {"Pillow, timm": Child(*arguments, "files", folder / "paths.txt")},
    )


def gigaflops(base):
    """Return the billions of multiplications and additions of plain convolutions, an image."""
    import keras

    convolutions = [layer for layer in base.layers if isinstance(layer, keras.layers.Conv2D)]
    return 2e-9 * sum(
        np.prod(layer.output.shape[1:]) * np.prod(layer.kernel.shape[:3]) for layer in convolutions
    )


def decode_all(paths):
    """Decode files in as many threads as may be used."""
    with ThreadPoolExecutor(thread_limit()) as executor:
        list(executor.map(read_image, paths))


def compare_sides(title, sides, options):
    """Print a table, and how many times as fast each side is as those of Keras."""
    print(f"\n{title}")
    packages = ["featbus", "tensorflow", *filter(find_spec, ("openvino", "onnxruntime"))]
    threads = f"{thread_limit()} of featbus"
    times = compare(sides, options.repeats, packages=packages, threads=threads, clock=options.clock)
    for first in [name for name in sides if "predict" in name]:
        ratios = {name: np.median(times[first] / times[name]) for name in sides if name != first}
        print(f"times as fast as {first}: " + ", ".join(f"{n} {r:.2f}" for n, r in ratios.items()))
    return times


def compare_network(name, paths, folder, options):
    """Print both tables of a network, and where the time goes."""
    side, preprocessing = BACKBONES[name].input_size, NAMED[BACKBONES[name].preprocessing]
    base = KerasApplication(name, (side, side)).build()
    calibrate(base, preprocessing)
    weights, onnx_file = folder / f"{name}.weights.h5", folder / f"{name}.onnx"
    base.save_weights(weights)
    gray = Resize(side).transform(paths)
    arrays = np.stack([gray] * 3, axis=-1)
    print(f"\n{name}, {side} x {side} pixels, {gigaflops(base):.2f} GFLOP, {len(paths)} images")
    others = timm_sides(options.torch, name, side, arrays, paths, folder, onnx_file)
    deep = featbus_sides(name, weights, onnx_file)
    first = predict_sides(base, preprocessing, arrays, paths)
    expected = first[0]["keras predict"]()
    for title, extractor in deep.items():
        if "onnx" not in title:
            error = (
                np.abs(extractor.fit_transform(arrays) - expected).max() / np.abs(expected).max()
            )
            print(f"{title}: differs from predict by {error:.1e} of the largest value")
    for title, X, keras, timm in zip(("Arrays", "Files"), (arrays, paths), first, others):
        ours = {n: lambda d=d, X=X: d.transform(X) for n, d in deep.items()}
        compare_sides(f"{name}: {title}", keras | ours | timm, options)
    if options.batch_sizes:
        sizes = {
            f"{title}, batch_size={size}": clone(d).set_params(batch_size=size).fit(arrays)
            for size in (32, 1, 4, 8, 16, 64)
            for title, d in deep.items()
        }
        sides = {n: lambda d=d: d.transform(arrays) for n, d in sizes.items()}
        compare_sides(f"{name}: batch sizes", sides, options)
    for child in (*others[0].values(), *others[1].values()):
        child.close()
    if "featbus openvino" in deep:
        explain(name, deep["featbus openvino"], arrays, paths, options)


def explain(name, deep, arrays, paths, options):
    """Print how close files come to decoding and arrays, one after another."""
    sides = {
        "files": lambda: deep.transform(paths),
        "decoding alone": lambda: decode_all(paths),
        "arrays": lambda: deep.transform(arrays[..., 0]),
    }
    print(f"\n{name}: where the time of files goes, openvino")
    files, decoding, network = compare(sides, options.repeats, clock=options.clock).values()
    print(f"files reach {np.median((decoding + network) / files):.2f} of decoding and arrays")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("networks", nargs="*", default=DEFAULT, metavar="NETWORK")
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--torch", default=sys.executable, metavar="PYTHON")
    parser.add_argument("--processor", dest="clock", action="store_const", const=time.process_time)
    parser.add_argument("--batch_sizes", action="store_true")
    parser.set_defaults(clock=time.perf_counter)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["FEATBUS_CACHE"] = str(folder / "cache")
        paths = write_files(folder, options.images)
        for network in options.networks:
            compare_network(network, paths, folder, options)


if __name__ == "__main__":
    main()
