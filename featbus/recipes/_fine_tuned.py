"""Breast ultrasound: a network trained further beside frozen features, and logistic regression."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from featbus.bus import FeatureBus, FeatureStore
from featbus.feature_extraction import FineTunedFeatures
from featbus.recipes._fused import INPUT_SIZE, LAYERS, POOLING, fused_bus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from featbus.typing import PathLike


def fine_tuned_ultrasound(
    *,
    backbone: Any = "mobilenet_v2",
    layers: str | Sequence[str] = LAYERS,
    pooling: str | Sequence[str] = POOLING,
    input_size: int | tuple[int, ...] = 160,
    epochs: int = 20,
    n_members: int = 1,
    backbone_options: dict | None = None,
    weights: PathLike | None = "imagenet",
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
) -> Pipeline:
    """Make a pipeline for breast ultrasound: a fine-tuned network beside frozen features.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    backbone : str, path or keras.Model, default="mobilenet_v2"
        The network. One copy stays frozen, all layers of the other are trained.
    layers : str or sequence of str, default=("C3", "C4", "C5")
        Where features are taken, see `featbus.DeepFeatures`.
    pooling : str or sequence of str, default=("avg", "max")
        How feature maps become numbers, see `featbus.DeepFeatures`.
    input_size : int or tuple of int, default=160
        Size in pixels that images are stretched to for the network that is trained. The frozen
        features see 320 x 320 pixels.
    epochs : int, default=20
        Number of epochs.
    n_members : int, default=1
        Number of networks to train, whose rows are averaged.
    backbone_options : dict or None, default=None
        Options of the network's architecture.
    weights : "imagenet", path or None, default="imagenet"
        Weights of the network to start from.
    memory : str, os.PathLike, FeatureStore or None, default=None
        Where `featbus.FeatureBus` keeps the rows, the frozen ones once for all folds. The trained
        networks are kept in a folder beside it, whose name ends in ``.networks``, and a training
        that was interrupted continues; ``set_params(features__memory=...)`` does not move them.
    n_jobs : int or None, default=None
        Number of batches of images at a time.
    random_state : int, default=0
        Seed of the training, and of random weights.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around a `sklearn.pipeline.FeatureUnion` of
        ``frozen``, the features of `breast_ultrasound_features`, and ``tuned``, a
        `featbus.FineTunedFeatures`; and ``classifier``, a logistic regression on standardized rows.

    See Also
    --------
    make_recipe : Recipes by name.
    breast_ultrasound_features : The frozen features alone.

    Notes
    -----
    A network is trained in each fold. Its rows are the mean of those of an image and of its mirror
    image.

    Examples
    --------
    >>> from featbus.recipes import fine_tuned_ultrasound
    >>> recipe = fine_tuned_ultrasound(backbone_options={"alpha": 0.35}, memory="rows.sqlite")
    >>> recipe.get_params()["features__transformer__tuned__checkpoint"]
    'rows.sqlite.networks'
    """
    network = {
        "layers": layers,
        "pooling": pooling,
        "weights": weights,
        "backbone_options": backbone_options,
        "random_state": random_state,
    }
    frozen = fused_bus(backbone, input_size=INPUT_SIZE, memory=memory, n_jobs=n_jobs, **network)
    tuned = FineTunedFeatures(
        backbone,
        input_size=input_size,
        unfreeze="all",
        epochs=epochs,
        n_members=n_members,
        learning_rate=1e-3,
        flip=True,
        checkpoint=_folder_beside(memory),
        **network,
    )
    union = FeatureUnion([("frozen", frozen), ("tuned", tuned)])
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=1000))
    bus = FeatureBus(union, memory=memory, n_jobs=n_jobs)
    return Pipeline([("features", bus), ("classifier", classifier)])


def _folder_beside(memory):
    """Return the folder of the trained networks, None if nothing is kept."""
    path = memory.path if isinstance(memory, FeatureStore) else memory
    # `fit` refuses what is no path.
    return f"{os.fspath(path)}.networks" if isinstance(path, (str, os.PathLike)) else None
