"""Write ONNX files of small PyTorch networks with random weights, and what PyTorch computes.

``python _torch_networks.py FOLDER`` writes files for each network and exporter:
``NAME.onnx``; ``NAME.npz``, the images and the outputs of the modules in `TAPS`; ``NAME.json``, the
tensors of these modules. It is a process of its own, because PyTorch and TensorFlow cannot be
imported side by side everywhere.
"""

import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEIGHT, WIDTH = 64, 96


class Block(nn.Module):
    """Two convolutions beside a shortcut, as in ResNet-18."""

    def __init__(self, before, after, stride):
        super().__init__()
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False)
        self.first = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _ in range(2))

    def forward(self, maps):
        inner = torch.relu(self.norms[0](self.first(maps)))
        return torch.relu(self.norms[1](self.second(inner)) + self.shortcut(maps))


class ResNet(nn.Module):
    """A residual network with a classifier."""

    def __init__(self, widths=(8, 12, 16, 24)):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 8, 7, 2, padding=3, bias=False), nn.BatchNorm2d(8), nn.ReLU()
        )
        self.pool = nn.MaxPool2d(3, 2, padding=1)
        pairs = zip((8, *widths), widths, (1, 2, 2, 2))
        self.stages = nn.ModuleList(Block(*pair) for pair in pairs)
        self.average = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], 5)

    def forward(self, images):
        maps = self.pool(self.stem(images))
        for stage in self.stages:
            maps = stage(maps)
        return self.classifier(self.average(maps).flatten(1))


class Layer(nn.Module):
    """A layer of a vision transformer."""

    def __init__(self, width, n_heads):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.n_heads = n_heads

    def forward(self, tokens):
        n_images, n_tokens, width = tokens.shape
        qkv = self.qkv(self.norms[0](tokens)).reshape(n_images, n_tokens, 3, self.n_heads, -1)
        mixed = nn.functional.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4))
        tokens = tokens + self.out(mixed.transpose(1, 2).reshape(n_images, n_tokens, width))
        return tokens + self.mlp(self.norms[1](tokens))


class ViT(nn.Module):
    """A vision transformer; positions are interpolated to the size of the image."""

    def __init__(self, n_prefix, width=32, n_layers=3, patch=16):
        super().__init__()
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.prefix = nn.Parameter(torch.randn(1, n_prefix, width))
        self.positions = nn.Parameter(torch.randn(1, width, 4, 6))
        self.layers = nn.ModuleList(Layer(width, 4) for _ in range(n_layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, images):
        maps = self.patches(images)
        maps = maps + nn.functional.interpolate(self.positions, maps.shape[2:], mode="bilinear")
        tokens = maps.flatten(2).transpose(1, 2)
        if self.prefix.shape[1]:
            tokens = torch.cat([self.prefix.expand(len(tokens), -1, -1), tokens], 1)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens)


NETWORKS = {
    "resnet": (ResNet, {}),
    "vit": (ViT, {"n_prefix": 3}),  # a class token and two registers
    "vit_bare": (ViT, {"n_prefix": 0}),
}
TAPS = {
    "resnet": ("stem", "stages.0", "stages.1", "stages.2", "stages.3", "average"),
    "vit": ("layers.0", "layers.1", "norm"),
    "vit_bare": ("layers.1", "norm"),
}
# What is free, and the type of the numbers.
VARIANTS = {
    "fixed": ({}, torch.float32),
    "batch": ({0: "n"}, torch.float32),
    "size": ({0: "n", 2: "height", 3: "width"}, torch.float32),
    "half": ({}, torch.float16),
}


def make_network(name):
    """Return a network with random weights and statistics, and activations of ordinary size."""
    torch.manual_seed(0)
    kind, options = NETWORKS[name]
    network = kind(**options).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.3, 1.5)
    return network


def make_images(height, width):
    """Return images of 8 bits and their regions; what is outside is black."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((3, 3, 8, 12)))
    images = nn.functional.interpolate(coarse, (height, width), mode="bicubic").clip(0, 1)
    images = np.uint8(255 * images.permute(0, 2, 3, 1).numpy())
    regions = np.ones((3, height, width), bool)
    regions[1:] = False
    regions[1, 11:50, 21:75] = True
    regions[2, 3:9, 5:13] = True  # less than a patch
    return images * regions[..., None], regions


def compute(network, name, images):
    """Return the output of each of the modules in `TAPS`, as PyTorch computes it."""
    dtype = next(network.parameters()).dtype
    pixels = (images / 255 - np.array(MEAN)) / np.array(STD)
    outputs, hooks = {}, []
    for tap in TAPS[name]:
        keep = lambda module, inputs, output, tap=tap: outputs.update({tap: output.float().numpy()})  # noqa: E731
        hooks.append(network.get_submodule(tap).register_forward_hook(keep))
    with torch.no_grad():
        network(torch.from_numpy(pixels).permute(0, 3, 1, 2).to(dtype))
    for hook in hooks:
        hook.remove()
    return outputs


def export(network, free, path, exporter):
    """Write an ONNX file."""
    image = torch.zeros(1, 3, HEIGHT, WIDTH, dtype=next(network.parameters()).dtype)
    if exporter == "torchscript":
        names = {"input_names": ["images"], "output_names": ["output"]}
        torch.onnx.export(
            network, (image,), path, dynamo=False, dynamic_axes={"images": free}, **names
        )
        return
    # A dimension of 1 would be taken as fixed.
    image = image.expand(2 if free else 1, -1, -1, -1)
    shapes = (dict.fromkeys(free, torch.export.Dim.DYNAMIC),) if free else None
    options = {"dynamo": True, "external_data": False, "verbose": False}
    torch.onnx.export(network, (image,), path, dynamic_shapes=shapes, **options)


def find_tensor(graph, module):
    """Return the name of the tensor that a module returns: the output of its last node."""
    return [node.output[0] for node in graph.node if _is_inside(node, module)][-1]


def _is_inside(node, module):
    properties = {entry.key: entry.value for entry in node.metadata_props}
    scopes = properties.get("pkg.torch.onnx.name_scopes")
    return f"'{module}'" in scopes if scopes else node.name.startswith(f"/{module}/")


def write(name, variant, exporter, folder):
    """Write a network and its maps: of the exported size, and of another one if it is free."""
    free, dtype = VARIANTS[variant]
    network = make_network(name).to(dtype)
    path = Path(folder, f"{name}_{variant}_{exporter}.onnx")
    export(network, free, str(path), exporter)
    graph = onnx.load(path, load_external_data=False).graph
    size = (96, 128) if variant == "size" else (HEIGHT, WIDTH)
    images, regions = make_images(*size)
    maps = compute(network, name, images)
    tensors = {tap: find_tensor(graph, tap) for tap in TAPS[name]}
    path.with_suffix(".json").write_text(json.dumps(tensors))
    np.savez(path.with_suffix(".npz"), images=images, regions=regions, **maps)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for choice in product(NETWORKS, VARIANTS, ("dynamo", "torchscript")):
        write(*choice, sys.argv[1])
