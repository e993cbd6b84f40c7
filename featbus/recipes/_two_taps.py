"""Ultrasound: two stages of a small network, and a light stage of their own after each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featbus.feature_extraction import DeepFeatures, FineTunedFeatures
from featbus.parameters import check_parameters
from featbus.recipes._parts import with_support_vectors

if TYPE_CHECKING:
    from typing import Any

    from sklearn.pipeline import Pipeline

    from featbus.bus._store import FeatureStore
    from featbus.typing import PathLike

_STAGES = ("C4", "C5")
_CHANNELS = 128  # of an auxiliary stage


def two_tap_mobilenet(
    *,
    trained: bool = False,
    backbone: Any = "mobilenet_v3_small",
    backbone_options: dict | None = None,
    weights: PathLike | None = "imagenet",
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
) -> Pipeline:
    """Make a pipeline for ultrasound: the maps C4 and C5 of MobileNetV3Small, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    trained : bool, default=False
        Whether stage C5 and a light stage after each of the two maps are trained in `fit`: a
        depthwise convolution, then a pointwise one that reduces the map to 128 channels, as in
        SSDLite [1]_. Otherwise the network stays as it is, and its maps are pooled.
    backbone : str, path or keras.Model, default="mobilenet_v3_small"
        The network, see `featbus.DeepFeatures`.
    backbone_options : dict or None, default=None
        Options of the network's architecture.
    weights : "imagenet", path or None, default="imagenet"
        Weights of the network.
    memory : str, os.PathLike, FeatureStore or None, default=None
        Where `featbus.FeatureBus` keeps the rows.
    n_jobs : int or None, default=None
        Number of batches of images at a time.
    random_state : int, default=0
        Seed of the training, and of random weights.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around one extractor, and ``classifier``, a
        calibrated support vector machine with balanced class weights.

    Raises
    ------
    ValueError
        If `trained` is no bool.

    See Also
    --------
    make_recipe : Recipes by name.
    featbus.FineTunedFeatures : How the network is trained.

    References
    ----------
    .. [1] Sandler M et al. MobileNetV2: inverted residuals and linear bottlenecks. CVPR 2018,
       doi:10.1109/CVPR.2018.00474, section 6.2.

    Examples
    --------
    >>> from featbus.recipes import two_tap_mobilenet
    >>> recipe = two_tap_mobilenet()
    >>> recipe["features"].transformer.layers
    ('C4', 'C5')
    """
    check_parameters({"trained": ["boolean"]}, {"trained": trained})
    network = {"layers": _STAGES, "weights": weights, "backbone_options": backbone_options}
    if trained:
        extractor = FineTunedFeatures(
            backbone,
            **network,
            auxiliary=_CHANNELS,
            learning_rate=1e-3,
            random_state=random_state,
        )
    else:
        extractor = DeepFeatures(backbone, **network, random_state=random_state)
    return with_support_vectors(extractor, memory, n_jobs)
