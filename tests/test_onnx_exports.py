"""Networks as other libraries export them: the lines of the guide, and what is peculiar."""

import re
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from featbus import DeepFeatures, list_layers, make_breast_ultrasound

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

from _onnx import SIZE, TORCH, Graph, save_convnet

IMAGES = make_breast_ultrasound(2, random_state=0).images


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path / "cache"))


def test_the_memory_of_the_parent_is_not_that_of_the_trial(tmp_path, monkeypatch):
    # What Linux counts as the peak of a child begins with that of its parent.
    monkeypatch.setattr("featbus.networks._onnx_trial._MEMORY", 600 << 20)
    path = tmp_path / "network.onnx"
    save_convnet(path)
    ballast = np.ones(80_000_000)
    assert DeepFeatures(path, preprocessing=TORCH, input_size=SIZE).transform(IMAGES).any()
    assert ballast.nbytes > 600 << 20


def test_a_class_token_that_is_made_of_the_patches(tmp_path):
    graph = Graph()
    maps = graph.conv("image", 3, 8, kernel=4, stride=4, name="maps")
    patches = graph.add("Transpose", [graph.reshape(maps, 0, 8, 64)], perm=[0, 2, 1])
    average = graph.reshape(graph.add("GlobalAveragePool", [maps]), 0, 1, 8)
    tokens = graph.add("Concat", [average, patches], "tokens", axis=1)
    path = tmp_path / "network.onnx"
    graph.save(path, (1, 3, SIZE, SIZE), tokens)
    table = list_layers(path).set_index("name")
    assert table.loc["tokens", ["height", "width", "prefix_tokens"]].tolist() == [8, 8, 1]
    rows = DeepFeatures(path, preprocessing=TORCH, pooling=["cls", "avg"]).transform(IMAGES)
    np.testing.assert_allclose(rows[:, :8], rows[:, 8:], rtol=1e-4, atol=1e-5)


def test_stages_of_residual_blocks_that_shrink_in_their_second_convolution(tmp_path):
    # As in PyTorch's ResNet50: the first convolution of a stage has the stride of the one before.
    graph = Graph()
    maps = graph.add("Relu", [graph.conv("image", 3, 8)], "stem")
    for stage, width in enumerate((16, 24), 2):
        inner = graph.add("Relu", [graph.conv(maps, 8 * (stage - 1), 4, stride=1)])
        inner = graph.add("Relu", [graph.conv(inner, 4, 4)])
        both = [
            graph.conv(inner, 4, width, kernel=1, stride=1),
            graph.conv(maps, 8 * (stage - 1), width),
        ]
        maps = graph.add("Relu", [graph.add("Add", both)], f"stage_{stage}")
    path = tmp_path / "network.onnx"
    graph.save(path, (1, 3, SIZE, SIZE), maps)
    table = list_layers(path).set_index("stage")["name"]
    assert table[["C1", "C2", "top, C3"]].tolist() == ["stem", "stage_2", "stage_3"]


GUIDE = Path(__file__).resolve().parents[1] / "docs" / "user_guide" / "onnx.rst"
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


def read_blocks():
    """Return the Python blocks of the guide page, without their indentation."""
    blocks = re.findall(r"code-block:: python\n\n((?:   .*\n|\n)+)", GUIDE.read_text("utf-8"))
    return [textwrap.dedent(block) for block in blocks]


@pytest.mark.slow
@pytest.mark.parametrize("file", EXPORTS)
def test_the_lines_of_the_guide(file, tmp_path, monkeypatch):
    package, other, n_columns = EXPORTS[file]
    for needed in (package, other):
        if find_spec(needed) is None:
            pytest.skip(f"needs `pip install {needed}`")
    monkeypatch.chdir(tmp_path)
    blocks = read_blocks()
    (export,) = [
        block
        for block in blocks
        if file in block and "DeepFeatures" not in block and "load_model" not in block
    ]
    # In another process: not every TensorFlow can be imported beside PyTorch.
    subprocess.run([sys.executable, "-c", STAND_INS[package] + export], check=True)
    names = {"DeepFeatures": DeepFeatures}
    for block in blocks:
        if block.startswith(("colors", "deep")):  # colors may be those of a block before
            exec(block, names)
        if f'DeepFeatures("{file}"' in block:
            break
    rows = names["deep"].fit_transform(IMAGES)
    assert rows.shape == (2, n_columns)
    assert np.isfinite(rows).all()
    assert rows.std() > 0
