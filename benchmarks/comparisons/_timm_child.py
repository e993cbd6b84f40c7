"""A network of timm in a process of its own, where PyTorch is installed; see deep_features_engines.

python _timm_child.py MODEL SIZE {arrays,files} INPUT [ONNX_FILE]

INPUT is an .npy file of images, or a text file of paths. For each line on standard input, all
images go through the network, and the processor time is printed. With ONNX_FILE, the network is
written there first.
"""

import sys
import time
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image

MEAN, STD = np.float32([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])


def load_model(name, onnx_file, size):
    """Return a network with random weights; write it to a file."""
    torch.manual_seed(0)
    model = timm.create_model(name, pretrained=False, num_classes=0).eval()
    if onnx_file:
        image = torch.zeros(1, 3, size, size)
        torch.onnx.export(model, (image,), onnx_file, dynamo=True, external_data=False)
    return model.to(memory_format=torch.channels_last)


def read_files(paths, size):
    """Return images, as a loop over files with Pillow makes them."""
    images = (Image.open(path).convert("RGB").resize((size, size)) for path in paths)
    return np.stack([np.asarray(image) for image in images])


def run(model, arrays):
    """Return the rows of images of 8 bits, 32 at a time."""
    with torch.inference_mode():
        for start in range(0, len(arrays), 32):
            values = (arrays[start : start + 32] / np.float32(255) - MEAN) / STD
            # A view of channels-last arrays is what this memory format means.
            model(torch.from_numpy(values).permute(0, 3, 1, 2))


def main():
    name, size, kind, source, *onnx_file = sys.argv[1:]
    model = load_model(name, *(onnx_file or [None]), int(size))
    if kind == "arrays":
        arrays = np.load(source)
    else:
        paths = Path(source).read_text().splitlines()
    print("ready", flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        run(model, arrays if kind == "arrays" else read_files(paths, int(size)))
        print("done", time.process_time() - start, flush=True)


if __name__ == "__main__":
    main()
