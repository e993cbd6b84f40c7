"""What fine-tuning is worth on breast ultrasound, beside frozen features and together with them.

python benchmarks/comparisons/fine_tuned_ultrasound.py BUSI_DIR --weights FILE --folder DIR
    [--seeds N] [--epochs N] [--members N] [--input-size N] [--learning-rate X] [--choose]

FILE has the ImageNet weights of MobileNetV2 (alpha 0.35) without its classifier; DIR keeps trained
networks and rows: stopped and started again, the script continues. ``groups.csv`` in BUSI_DIR says
which images are near-duplicates.

Systems: "frozen" is the recipe breast_ultrasound_features with this network alone, at 320 pixels,
as in the recipe fine_tuned_ultrasound (HOG, LBP, texture and intensity statistics, a vote).
"fine-tuned" is the network of the recipe fine_tuned_ultrasound, "not trained" the same without
training: input size, mirror images and classifier are equal. Both of them also side by side with
the frozen rows: "tuned + frozen" is the recipe. Last, the mean of the probabilities of "fine-tuned"
and "frozen".

The groups are split into two halves. With ``--choose``, three grouped folds of the first half say
what a setting is worth: this is where settings are chosen. Without, each network is trained on the
training part of five grouped folds of all images, the same for all seeds, and the scores are those
of the second half, on which no setting of the training was chosen, and of all images. Layers,
poolings, the settings of "frozen" and the C of the logistic regression were chosen on all of these
images, for frozen networks. The networks learn three classes; the classifiers tell apart three
classes, or benign and malignant lesions, and learn from rows of images that the network was trained
on, which is a handicap, not a leak. The ROC AUC pools the folds. "spread" is the standard deviation
over the seeds of the training. Intervals of 95 % are of differences to "frozen" and to its
counterpart without training, means over the seeds, by a bootstrap over groups.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.base import clone
from sklearn.metrics import accuracy_score, f1_score, roc_auc_score

from featbus import load_busi
from featbus.groups import resample_groups, stratified_folds
from featbus.recipes import make_recipe

METRICS = ["accuracy", "macro F1", "ROC AUC"]
TASKS = {"Three classes": 3, "Benign or malignant": 2}
FROZEN = "frozen"
UNTRAINED = {"fine-tuned": "not trained", "tuned + frozen": "not trained + frozen"}
N_RESAMPLES = 500


def score(y, probabilities, weight=None):
    """Return accuracy, macro F1 and the area under the curve, one class against the rest."""
    found = probabilities.argmax(axis=1)
    if probabilities.shape[1] == 2:
        area = roc_auc_score(y, probabilities[:, 1], sample_weight=weight)
    else:
        area = roc_auc_score(y, probabilities, multi_class="ovr", sample_weight=weight)
    accuracy = accuracy_score(y, found, sample_weight=weight)
    return [accuracy, f1_score(y, found, average="macro", sample_weight=weight), area]


class Comparison:
    """The probabilities of all systems for each image, from the fold that did not train on it."""

    def __init__(self, data, options, chosen):
        self._images = np.asarray(data.images, dtype=object)[chosen]
        self._options = options
        self.y, self.groups = data.target[chosen], np.asarray(data.groups)[chosen]

    def _recipe(self, name, **parameters):
        return make_recipe(
            name,
            weights=self._options.weights,
            backbone_options={"alpha": 0.35},
            memory=Path(self._options.folder) / "rows.sqlite",
            **parameters,
        )

    def run(self, seeds, n_folds):
        """Yield the number of a seed, and probabilities by task and system."""
        options = {"backbone": "mobilenet_v2", "input_size": 320}
        vote = self._recipe("breast_ultrasound_features", **options)
        frozen = vote["features"].fit_transform(self._images)
        classifier, plain = self._tune(None, np.arange(len(self.y)))
        fixed = {
            FROZEN: (frozen, vote["classifier"]),
            "not trained": (plain, classifier),
            "not trained + frozen": (np.hstack([frozen, plain]), classifier),
        }
        folds = stratified_folds(self.y, self.groups, n_folds, 0)
        known = {}
        for train, test in folds:
            for name, system in fixed.items():
                self._predict(known, name, *system, train, test)
        for seed in seeds:
            found = dict(known)
            for train, test in folds:
                classifier, rows = self._tune(seed, train)
                both = np.hstack([frozen, rows])
                self._predict(found, "fine-tuned", rows, classifier, train, test)
                self._predict(found, "tuned + frozen", both, classifier, train, test)
            for task in TASKS:
                both = found[task, FROZEN] + found[task, "fine-tuned"]
                found[task, "mean of both"] = both / 2
            yield seed, found

    def _tune(self, seed, train):
        """Return the recipe's classifier, and rows of all images by its network.

        The network is fitted on a training part; it stays as it is without a seed.
        """
        options = self._options
        recipe = self._recipe("fine_tuned_ultrasound", random_state=seed or 0)
        features = recipe["features"]
        features.set_params(transformer=dict(features.transformer.transformer_list)["tuned"])
        settings = {
            "epochs": options.epochs,
            "n_members": options.members,
            "input_size": options.input_size,
            "learning_rate": options.learning_rate,
        }
        chosen = {name: value for name, value in settings.items() if value is not None}
        if seed is None:
            chosen |= {"unfreeze": None, "n_members": 1}
        features.transformer.set_params(**chosen, verbose=True)
        features.fit(self._images[train], self.y[train])
        return recipe["classifier"], features.transform(self._images)

    def _predict(self, found, name, rows, classifier, train, test):
        for task, n_classes in TASKS.items():
            train_part, test_part = (part[self.y[part] < n_classes] for part in (train, test))
            fitted = clone(classifier).fit(rows[train_part], self.y[train_part])
            empty = np.full((len(self.y), n_classes), np.nan)
            values = found.setdefault((task, name), empty)
            values[test_part] = fitted.predict_proba(rows[test_part])

    def scores(self, probabilities, part, weight=None):
        """Return the scores of some images; those without probabilities are of no class."""
        part = part[~np.isnan(probabilities[part, 0])]
        weight = None if weight is None else weight[part]
        return score(self.y[part], probabilities[part], weight)

    def report(self, runs, part, title):
        """Print scores, mean and spread over seeds, and differences to systems without training."""
        for task in TASKS:
            names = [name for of, name in runs[0] if of == task]
            scores = self._all_scores(runs, task, names, part)
            samples = [
                self._all_scores(runs, task, names, part, weight) for weight in self._weights()
            ]
            print(f"\n{task}, {title}: {', '.join(METRICS)}; spread")
            for name in names:
                mean = scores[name].mean(axis=0).round(3).tolist()
                is_trained = len(scores[name]) > 1
                spread = scores[name].std(axis=0, ddof=1).round(3).tolist() if is_trained else ""
                print(f"  {name:21} {mean}  {spread}")
                for other in (FROZEN, UNTRAINED.get(name)):
                    if other not in (None, name):
                        print(f"    minus {other:21} {_interval(scores, samples, name, other)}")
            if len(runs) > 1:
                together = np.mean([found[task, "fine-tuned"] for found in runs], axis=0)
                mean = np.round(self.scores(together, part), 3).tolist()
                print(f"  fine-tuned, probabilities averaged over {len(runs)} seeds: {mean}")

    def _all_scores(self, runs, task, names, part, weight=None):
        """Return the scores of each system: a row per seed, one row for those without training."""
        found = {}
        for name in names:
            different = runs if runs[0][task, name] is not runs[-1][task, name] else runs[:1]
            found[name] = np.array(
                [self.scores(run[task, name], part, weight) for run in different]
            )
        return found

    def _weights(self):
        """Yield how often each image is drawn, when groups are drawn with replacement."""
        _, codes = np.unique(self.groups, return_inverse=True)
        rng = np.random.RandomState(0)
        for counts in resample_groups(codes.max() + 1, N_RESAMPLES, rng):
            yield counts[codes]


def _interval(scores, samples, name, other):
    """Return the differences of two systems with their limits, as text."""
    pairs = [values[name].mean(axis=0) - values[other].mean(axis=0) for values in samples]
    low, high = np.percentile(pairs, [2.5, 97.5], axis=0)
    mean = scores[name].mean(axis=0) - scores[other].mean(axis=0)
    return "  ".join(f"{m:+.3f} ({a:+.3f} to {b:+.3f})" for m, a, b in zip(mean, low, high))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("busi")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--members", type=int)
    parser.add_argument("--input-size", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--choose", action="store_true")
    options = parser.parse_args()
    Path(options.folder).mkdir(parents=True, exist_ok=True)
    data = load_busi(options.busi, groups=Path(options.busi) / "groups.csv")
    first, second = stratified_folds(data.target, np.asarray(data.groups), 2, 0)[0]
    everything = np.arange(len(data.target))
    comparison = Comparison(data, options, first if options.choose else everything)
    parts = {"first half": np.arange(len(first))}
    if not options.choose:
        parts = {"second half": second, "all images": everything}
    runs = []
    for seed, found in comparison.run(range(options.seeds), 3 if options.choose else 5):
        runs.append(found)
        part = next(iter(parts.values()))
        scores = comparison.scores(found["Three classes", "fine-tuned"], part)
        print(f"seed {seed}: fine-tuned, three classes: {np.round(scores, 3).tolist()}", flush=True)
    for title, part in parts.items():
        comparison.report(runs, part, title)


if __name__ == "__main__":
    main()
