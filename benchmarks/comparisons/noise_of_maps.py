"""How much does hiding a part change the result of a model that has learned nothing?

python benchmarks/comparisons/noise_of_maps.py DATA [--images 70] [--permutations 5]

DATA has the folders ``busi``, with ``groups.csv``, and ``weights``. The recipe mobilenet_intensity,
with calibrated probabilities, and a logistic regression on the same rows, whose probabilities are
not, are fitted on one half of the groups of near-duplicates, benign or malignant: once with the
true classes, and several times with classes that are permuted. Maps (`occlusion_map`, about the
class that was predicted) are those of images of the other half, so that no image was seen in
training. The maps of the even groups choose thresholds, those of the odd groups count how many maps
exceed them. A map is measured by its largest absolute change; by this, as a multiple of the change
when the image is mirrored; and as a multiple of the median change of its 36 parts.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featbus import load_busi
from featbus.evaluation import occlusion_map
from featbus.io import read_image
from featbus.recipes import mobilenet_intensity

MEASURES = ["largest", "by mirror", "by median"]


class Recorder:
    """A model that keeps the images that `occlusion_map` makes."""

    def predict_proba(self, images):
        self.images = images
        return np.full((len(images), 2), 0.5)


def make_copies(image):
    """Return the image, its 36 copies with a part hidden, and its mirror image."""
    recorder = Recorder()
    occlusion_map(recorder, image)
    return [*recorder.images, np.ascontiguousarray(image[:, ::-1])]


def measure(probabilities):
    """Return the measures of maps, of shape (n_images, 3), about the predicted class."""
    own = probabilities[:, :1]
    changes = np.abs(probabilities[:, 1:] - own)
    parts, mirror = changes[:, :-1], changes[:, -1]
    largest = parts.max(axis=1)
    rest = np.maximum([mirror, np.median(parts, axis=1)], 1e-9)
    return np.column_stack([largest, *(largest / rest)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=70, help="of each half")
    parser.add_argument("--permutations", type=int, default=5)
    options = parser.parse_args()
    busi = options.data / "busi"
    data = load_busi(busi, groups=busi / "groups.csv")
    is_odd = data.groups % 2 == 1
    recipe = mobilenet_intensity(
        backbone_options={"alpha": 0.35},
        weights=options.data / "weights" / "mobilenet_v2_0.35_224_no_top.weights.h5",
    )
    bus = recipe[0]
    lesions = np.flatnonzero(data.target < 2)
    rows = dict(zip(lesions, bus.fit_transform(data.images[lesions])))
    rng = np.random.default_rng(0)
    linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
    classifiers = {"calibrated SVM": recipe[-1], "logistic regression": linear}
    found = []
    for test_odd in (False, True):
        train = lesions[is_odd[lesions] != test_odd]
        test = lesions[is_odd[lesions] == test_odd]
        chosen = rng.choice(test, min(options.images, len(test)), replace=False)
        copies = [make_copies(read_image(data.images[index])) for index in chosen]
        features = np.array([bus.transform(each) for each in copies])
        for number in range(options.permutations + 1):
            y = data.target[train] if number == 0 else rng.permutation(data.target[train])
            for name, classifier in classifiers.items():
                model = clone(classifier).fit([rows[index] for index in train], y)
                scores = model.predict_proba([rows[index] for index in test])[:, 1]
                auc = roc_auc_score(data.target[test], scores)
                flat = model.predict_proba(features.reshape(-1, features.shape[-1]))[:, 1]
                probabilities = flat.reshape(features.shape[:2])
                values = pd.DataFrame(measure(probabilities), columns=MEASURES)
                classes = "true" if number == 0 else "permuted"
                place = {"odd": test_odd, "classifier": name, "classes": classes, "auc": auc}
                found.append(values.assign(**place))
    found = pd.concat(found, ignore_index=True)
    print(found.groupby(["odd", "classifier", "classes"])["auc"].agg(["min", "max"]).round(2))
    kinds = ["classifier", "classes"]
    print("largest change, quantiles in the even groups")
    even, odd = found[~found["odd"]], found[found["odd"]]
    print(even.groupby(kinds)["largest"].quantile([0.05, 0.5, 0.9, 0.95, 0.99]).unstack().round(3))
    for measured in MEASURES:
        noise = even[even["classes"] == "permuted"].groupby("classifier")[measured]
        for name, limit in noise.quantile(0.95).items():
            part = odd[odd["classifier"] == name]
            drawn = (part[measured] > limit).groupby(part["classes"]).mean()
            print(f"{name:20} {measured:10} above {limit:.3f}: {drawn.round(3).to_dict()}")
    halves = ["odd", *kinds]
    for limit in (0.02, 0.05, 0.1):
        drawn = (found["largest"] > limit).groupby([found[name] for name in halves]).mean()
        print(f"largest above {limit}:\n{drawn.round(3).unstack()}")


if __name__ == "__main__":
    main()
