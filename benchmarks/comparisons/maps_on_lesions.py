"""Do maps of what a class rests on lie on the lesion? VGG16, MobileNetV2 and both, on BUSI.

python benchmarks/comparisons/maps_on_lesions.py DATA [--images 40] [--folder FOLDER]

DATA has the folders ``busi``, with ``groups.csv``, and ``weights``. The recipe
breast_ultrasound_features, benign or malignant, is fitted on one half of the groups of
near-duplicates; maps are those of as many benign as malignant images of the other half, drawn with
a fixed seed. `occlusion_map` is about the class that was predicted. "where" is a logistic
regression on the 7 x 7 cells of VGG16's last map: its weights times the scaled row, as
`importance_map` draws them. Of each map, the positive values are summed inside the mask of an
expert, as a share of all; a map that has nothing to do with the image reaches the mask's share of
the area. Intervals count images, not groups. FOLDER gets the pictures of
ten images.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featbus import DeepFeatures, load_busi
from featbus.evaluation import importance_map, occlusion_map
from featbus.io import read_image, read_mask
from featbus.recipes import breast_ultrasound_features


def make_models(weights):
    """Return the recipe with each network, and the model whose columns have places."""
    vgg = DeepFeatures(
        "vgg16",
        weights=weights / "vgg16_224_no_top.weights.h5",
        layers=["C3", "C4", "C5"],
        pooling=["avg", "max"],
    )
    mobilenet = {
        "backbone": "mobilenet_v2",
        "backbone_options": {"alpha": 0.35},
        "weights": weights / "mobilenet_v2_0.35_224_no_top.weights.h5",
    }
    networks = {"MobileNetV2": mobilenet, "VGG16": vgg, "both": [vgg, mobilenet]}
    models = {name: breast_ultrasound_features(backbone=each) for name, each in networks.items()}
    cells = DeepFeatures("vgg16", weights=vgg.weights, pooling="avg7x7")
    classifier = LogisticRegression(C=1e-4, max_iter=1000)
    models["where"] = make_pipeline(cells, StandardScaler(), classifier)
    return models


def draw_map(name, model, image):
    """Return the map of one image, positive where it speaks for the predicted class."""
    if name != "where":
        return occlusion_map(model, image)
    row = model[:-1].transform([image])[0]
    sign = 1 if model.predict([image])[0] == model.classes_[1] else -1
    return importance_map(model[0], sign * model[-1].coef_[0] * row, image)


def draw(path, image, inside, heat):
    """Save an image with the expert's outline and the map."""
    figure, axis = plt.subplots(figsize=(5, 4), layout="constrained")
    axis.imshow(image, cmap="gray")
    limit = np.abs(heat).max() or 1
    axis.imshow(heat, cmap="bwr", vmin=-limit, vmax=limit, alpha=0.35)
    axis.contour(inside, [0.5], colors="yellow")
    axis.set_axis_off()
    figure.savefig(path)
    plt.close(figure)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=40)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    busi = options.data / "busi"
    data = load_busi(busi, groups=busi / "groups.csv")
    lesions = np.flatnonzero(data.target < 2)
    y, groups = data.target[lesions], data.groups[lesions]
    splitter = StratifiedGroupKFold(2, shuffle=True, random_state=0)
    train, test = next(splitter.split(lesions, y, groups))
    rng = np.random.default_rng(0)
    each = options.images // 2
    chosen = [rng.choice(test[y[test] == label], each, replace=False) for label in (0, 1)]
    chosen = lesions[np.stack(chosen, axis=1).ravel()]
    images = {index: read_image(data.images[index]) for index in chosen}
    masks = {index: read_mask(data.masks[index], images[index].shape) for index in chosen}
    area = np.array([masks[index].mean() for index in chosen])
    print(f"{len(chosen)} images, share of the area inside the mask: mean {area.mean():.3f}")
    for name, model in make_models(options.data / "weights").items():
        model.fit(data.images[lesions[train]], y[train])
        shares, hits, right = [], [], []
        for number, index in enumerate(chosen):
            heat = draw_map(name, model, images[index])
            positive = np.clip(heat, 0, None)
            shares.append(positive[masks[index]].sum() / max(positive.sum(), 1e-12))
            top = heat == heat.max()
            hits.append(masks[index][top].any())
            right.append(model.predict([images[index]])[0] == data.target[index])
            if options.folder and number < 10:
                path = options.folder / f"{name} {Path(data.images[index]).stem}.png"
                draw(path, images[index], masks[index], heat)
        shares, right = np.array(shares), np.array(right)
        ratio, error = (shares - area).mean(), (shares - area).std(ddof=1) / len(area) ** 0.5
        print(
            f"{name:12} share of the map inside {shares.mean():.3f}, {ratio:+.3f} against the area "
            f"({ratio - 1.96 * error:+.3f} to {ratio + 1.96 * error:+.3f}), above it in "
            f"{np.mean(shares > area):.0%}, the strongest part touches the lesion in "
            f"{np.mean(hits):.0%}; {right.mean():.0%} of the images right",
            flush=True,
        )


if __name__ == "__main__":
    main()
