"""ONNX files that PyTorch exported: their rows against PyTorch's, and the lines of the guide."""

import ast
import json
import re
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from _pooling import pool_pixels

from featbus import DeepFeatures, list_layers, make_breast_ultrasound
from featbus.masks import with_mask

pytestmark = pytest.mark.slow

PREPROCESSING = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "scale": 1 / 255}
POOLING = ["avg", "max3x2", "gem1x2", "std2x3", "flatten"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with networks and what PyTorch computes, made in another process."""
    if find_spec("torch") is None or find_spec("onnxscript") is None:
        pytest.skip("needs `pip install torch onnxscript`")
    folder = tmp_path_factory.mktemp("torch")
    script = Path(__file__).with_name("_torch_networks.py")
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("variant", ["fixed", "batch", "size", "half"])
@pytest.mark.parametrize("network", ["resnet", "vit", "vit_bare"])
def test_rows_are_those_of_pytorch(folder, network, variant, exporter, engine):
    path = folder / f"{network}_{variant}_{exporter}.onnx"
    arrays = dict(np.load(path.with_suffix(".npz")))
    tensors = json.loads(path.with_suffix(".json").read_text())
    images, regions = arrays.pop("images"), arrays.pop("regions")
    size = height, width = images.shape[1:3]
    n_prefix = {"vit": 3}.get(network, 0)
    expected = {}
    for module in tensors:
        if network == "resnet":
            maps = np.moveaxis(arrays[module], 1, -1)
        else:
            maps = arrays[module][:, n_prefix:].reshape(3, height // 16, width // 16, -1)
        expected[module] = [
            np.concatenate([pool_pixels(cells, region, name) for name in POOLING])
            for cells, region in zip(maps, regions)
        ]
    masked = [
        image if region.all() else with_mask(image, region)
        for image, region in zip(images, regions)
    ]
    # Numbers of half precision have three digits, and engines differ in where they round.
    tolerance = 2e-2 if variant == "half" else 1e-4

    def compare(layers, rows, pooling=POOLING):
        options = {"preprocessing": PREPROCESSING, "input_size": size, "engine": engine}
        deep = DeepFeatures(path, layers=layers, pooling=pooling, **options)
        rows = np.hstack(rows)
        np.testing.assert_allclose(deep.transform(masked), rows, rtol=tolerance, atol=tolerance)

    compare(list(tensors.values()), list(expected.values()))
    if n_prefix:
        compare(list(tensors.values()), [arrays[module][:, 0] for module in tensors], "cls")


GUIDE = Path(__file__).resolve().parents[1] / "docs" / "user_guide" / "onnx_export.rst"
# Instead of a download, networks of the same shape with random weights.
STAND_INS = {
    "timm": """
import timm
timm.create_model = lambda *args, make=timm.create_model, **options: make(
    *args, **options | {"pretrained": False}
)
""",
    "transformers": """
import transformers
config = transformers.Dinov2Config(
    hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14
)
transformers.AutoModel.from_pretrained = lambda name: transformers.Dinov2Model(config)
processor = transformers.BitImageProcessor(
    size={"shortest_edge": 256}, crop_size={"height": 224, "width": 224},
    image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225],
)
transformers.AutoImageProcessor.from_pretrained = lambda name: processor
""",
    "open_clip": """
import open_clip
# As open_clip_config.json has it, with a smaller text tower.
vision = {"timm_model_name": "vit_base_patch16_224", "timm_model_pretrained": False,
          "timm_pool": "", "timm_proj": "linear", "image_size": 224}
text = {"context_length": 8, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
open_clip.create_model_from_pretrained = lambda name: (open_clip.CLIP(512, vision, text), None)
""",
    "torchvision": """
import torchvision
torchvision.models.densenet121 = lambda weights, make=torchvision.models.densenet121: make()
""",
    "keras": """
import keras
shape = {"include_top": False, "input_shape": (256, 256, 3)}
keras.applications.ResNet50(weights=None, **shape).save("RadImageNet-ResNet50-notop.h5")
""",
}
# Of each pair of blocks: the package that exports, what else it takes, and the columns.
EXPORTS = {
    "resnet50.onnx": ("timm", "onnxscript", 2 * (512 + 1024 + 2048)),
    "dinov3_small.onnx": ("timm", "onnxscript", 2 * 384),
    "dinov2_small.onnx": ("transformers", "onnxscript", 2 * 384),
    "biomedclip.onnx": ("open_clip", "onnxscript", 512),
    "densenet121.onnx": ("torchvision", "onnxscript", 2 * (256 + 512 + 1024)),
    "radimagenet_resnet50.keras": ("keras", "tensorflow", 512 + 1024 + 2048),
}


@pytest.mark.parametrize("file", EXPORTS)
def test_the_lines_of_the_guide(file, tmp_path, monkeypatch):
    package, other, n_columns = EXPORTS[file]
    for needed in (package, other):
        if find_spec(needed) is None:
            pytest.skip(f"needs `pip install {needed}`")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"code-block:: python\n\n((?:   .*\n|\n)+)", GUIDE.read_text("utf-8"))
    blocks = [textwrap.dedent(block) for block in blocks]
    features = next(block for block in blocks if f'DeepFeatures("{file}"' in block)
    export = next(block for block in blocks if file in block and block != features)
    # In another process: not every TensorFlow can be imported beside PyTorch.
    subprocess.run([sys.executable, "-c", STAND_INS[package] + export], check=True)
    names = {"DeepFeatures": DeepFeatures, "list_layers": list_layers}
    for block in blocks[: blocks.index(features)]:
        if block.startswith(
            "colors"
        ):  # which the block of the file may use; the rest needs its file
            first = ast.parse(block).body[:1]
            exec(compile(ast.Module(first, type_ignores=[]), str(GUIDE), "exec"), names)
    exec(features, names)
    rows = names["deep"].fit_transform(make_breast_ultrasound(2, random_state=0).images)
    assert rows.shape == (2, n_columns)
    assert np.isfinite(rows).all()
    assert rows.std() > 0
