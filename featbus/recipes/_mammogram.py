"""Mammograms: the breast without its muscle, copies in the training part, a network and an SVM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imblearn.pipeline import make_pipeline
from sklearn.pipeline import Pipeline

from featbus.bus import FeatureBus
from featbus.feature_extraction import DeepFeatures
from featbus.preprocessing import BreastRegion, PectoralMuscleRemover, Resize
from featbus.recipes._parts import calibrated, support_vectors
from featbus.sampling import ImageAugmenter

if TYPE_CHECKING:
    from typing import Any

    from featbus.bus._store import FeatureStore
    from featbus.typing import PathLike


def mammogram_svm(
    *,
    backbone: Any = "vgg16",
    backbone_options: dict | None = None,
    weights: PathLike | None = "imagenet",
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
) -> Pipeline:
    """Make a pipeline for mammograms: VGG16 or InceptionV3 on the breast alone, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    backbone : str, path or keras.Model, default="vgg16"
        The network, see `featbus.DeepFeatures`; published with "vgg16" and "inception_v3".
    backbone_options : dict or None, default=None
        Options of the network's architecture.
    weights : "imagenet", path or None, default="imagenet"
        Weights of the network.
    memory : str, os.PathLike, FeatureStore or None, default=None
        Where `featbus.FeatureBus` keeps the rows. Use it: calibration fits the pipeline six times,
        mostly on the same copies.
    n_jobs : int or None, default=None
        Number of batches of images at a time.
    random_state : int, default=0
        Seed of the order of the copies and of random weights.

    Returns
    -------
    Pipeline
        The steps ``breast``, ``muscle``, ``resize`` (224 x 224 pixels) and ``classifier``: a
        calibrated pipeline of ``imageaugmenter`` (the six orientations by flips and quarter turns,
        of training images only), ``featurebus``, ``standardscaler`` and ``svc``.

    See Also
    --------
    make_recipe : Recipes by name.

    Notes
    -----
    The muscle can only be found on a breast that stands upright, so the copies are made after it is
    removed. Calibration splits the images before they are copied.

    Examples
    --------
    >>> from featbus.recipes import mammogram_svm
    >>> recipe = mammogram_svm(backbone="inception_v3", memory="features.sqlite")
    >>> list(recipe.named_steps)
    ['breast', 'muscle', 'resize', 'classifier']
    """
    deep = DeepFeatures(
        backbone, backbone_options=backbone_options, weights=weights, random_state=random_state
    )
    classifier = make_pipeline(
        ImageAugmenter(n_copies=5, dihedral=6, random_state=random_state),
        FeatureBus(deep, memory=memory, n_jobs=n_jobs),
        *support_vectors(),
    )
    return Pipeline(
        [
            ("breast", BreastRegion(orient="left")),
            ("muscle", PectoralMuscleRemover()),
            ("resize", Resize(224)),
            ("classifier", calibrated(classifier)),
        ]
    )
