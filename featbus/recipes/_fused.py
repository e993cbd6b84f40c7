"""Hand-crafted features and those of a network, in one row."""

from __future__ import annotations

from numbers import Integral

from sklearn.pipeline import FeatureUnion, Pipeline

from featbus.bus import FeatureBus
from featbus.feature_extraction import (
    GLCM,
    GLRLM,
    GLSZM,
    HOG,
    LBP,
    DeepFeatures,
    IntensityStatistics,
)
from featbus.parameters import Interval, PairOf, as_pair, check_parameters
from featbus.preprocessing import Resize

# The frozen network: what benchmarks/comparisons/breast_ultrasound_recipe.py chose on BUSI.
LAYERS = ("C3", "C4", "C5")
POOLING = ("avg", "max")
INPUT_SIZE = 320  # pixels

# HOG divides each image into 7 x 7 cells, whatever its size: 1,296 columns, not tens of thousands.
_CELLS = 7
_SIZE = PairOf(Interval(Integral, _CELLS, None, closed="left"))


def fused_features(
    *, deep: DeepFeatures | None = None, size: int | tuple[int, ...] = 224
) -> Pipeline:
    """Combine hand-crafted features, and those of a network, in one row per image.

    Read more in the :ref:`User Guide <composites>`.

    Parameters
    ----------
    deep : DeepFeatures, default=None
        Another extractor, usually a pretrained network; None leaves it out.
    size : int or tuple of int, default=224
        Size in pixels to which all images are stretched: ``(height, width)``, or one number for
        squares. At least 7.

    Returns
    -------
    Pipeline
        The steps ``resize`` and ``features``, a `sklearn.pipeline.FeatureUnion` of ``hog``,
        ``lbp`` at three scales, ``glcm`` at three distances, ``glrlm``, ``glszm``, ``intensity``
        and, with `deep`, ``deep``.

    Raises
    ------
    ValueError
        If `size` is invalid.

    See Also
    --------
    classifier_pipelines : Classifiers for these features.

    Examples
    --------
    >>> from featbus import make_breast_ultrasound
    >>> from featbus.recipes import fused_features
    >>> images = make_breast_ultrasound(4, random_state=0).images
    >>> fused_features().fit_transform(images).shape
    (4, 1485)
    """
    check_parameters({"size": [_SIZE]}, {"size": size})
    height, width = as_pair(size)
    extractors = [
        ("hog", HOG(pixels_per_cell=(height // _CELLS, width // _CELLS), cells_per_block=(2, 2))),
        ("lbp", LBP(n_points=(8, 16, 24), radius=(1, 2, 3))),
        ("glcm", GLCM(distances=(1, 2, 4))),
        ("glrlm", GLRLM()),
        ("glszm", GLSZM()),
        ("intensity", IntensityStatistics()),
    ]
    if deep is not None:
        extractors.append(("deep", deep))
    union = FeatureUnion(extractors, verbose_feature_names_out=False)
    return Pipeline([("resize", Resize(size)), ("features", union)])


def fused_bus(backbone, *, input_size, memory, n_jobs, **network):
    """Return the feature bus of a recipe around `fused_features`.

    Parameters
    ----------
    backbone : str, path, keras.Model or None
        The network; None leaves it out.
    input_size : int or tuple of int
        Size in pixels to which all images are stretched.
    memory, n_jobs : object
        Parameters of `featbus.FeatureBus`.
    **network : dict
        Further parameters of `featbus.DeepFeatures`.

    Returns
    -------
    FeatureBus
        Unfitted.
    """
    check_parameters({"input_size": [_SIZE]}, {"input_size": input_size})
    deep = None
    if backbone is not None:
        deep = DeepFeatures(backbone, input_size=input_size, **network)
    return FeatureBus(fused_features(deep=deep, size=input_size), memory=memory, n_jobs=n_jobs)
