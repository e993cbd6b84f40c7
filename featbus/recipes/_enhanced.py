"""Ultrasound: enhance the image, find the lesion, crop to it, and describe the crop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.pipeline import Pipeline

from featbus.feature_extraction import DeepFeatures
from featbus.parameters import HasMethods, StrOptions, check_parameters
from featbus.preprocessing import CLAHE, Despeckle, HistogramEqualizer
from featbus.recipes._parts import with_support_vectors
from featbus.segmentation import ROICropper, ThresholdSegmenter

if TYPE_CHECKING:
    from typing import Any, Literal

    from featbus.bus._store import FeatureStore
    from featbus.typing import PathLike

_CONTRAST = {"clahe": CLAHE, "equalize": HistogramEqualizer}


def enhanced_crop(
    *,
    contrast: Literal["clahe", "equalize"] = "clahe",
    segmenter: Any = None,
    backbone: Any = "resnet101",
    backbone_options: dict | None = None,
    weights: PathLike | None = "imagenet",
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
) -> Pipeline:
    """Make a pipeline for ultrasound: enhance, segment, crop, ResNet101, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    contrast : {"clahe", "equalize"}, default="clahe"
        How the contrast is enhanced: `featbus.CLAHE` or `featbus.HistogramEqualizer`.
    segmenter : estimator or None, default=None
        What finds the lesion, see `featbus.ROICropper`. None: ``ThresholdSegmenter()``, which needs
        no training; its methods "adaptive" and "watershed" follow local thresholds and edges. A
        `featbus.UNetSegmenter` is trained in `fit`, on masks passed as metadata.
    backbone : str, path or keras.Model, default="resnet101"
        The network, see `featbus.DeepFeatures`.
    backbone_options : dict or None, default=None
        Options of the network's architecture.
    weights : "imagenet", path or None, default="imagenet"
        Weights of the network; a segmenter has its own.
    memory : str, os.PathLike, FeatureStore or None, default=None
        Where `featbus.FeatureBus` keeps the rows.
    n_jobs : int or None, default=None
        Number of batches of images at a time.
    random_state : int, default=0
        Seed of random weights.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around ``contrast``, ``despeckle``, ``crop``
        and ``deep``, and ``classifier``, a calibrated support vector machine.

    Raises
    ------
    ValueError
        If `contrast` or `segmenter` is invalid.

    See Also
    --------
    make_recipe : Recipes by name.
    featbus.evaluate : Passes the masks of the training part to `fit`.

    Examples
    --------
    >>> from featbus import ThresholdSegmenter
    >>> from featbus.recipes import enhanced_crop
    >>> recipe = enhanced_crop(segmenter=ThresholdSegmenter("watershed"))
    >>> list(recipe["features"].transformer.named_steps)
    ['contrast', 'despeckle', 'crop', 'deep']
    """
    check_parameters(
        {"contrast": [StrOptions(set(_CONTRAST))], "segmenter": [HasMethods("predict"), None]},
        {"contrast": contrast, "segmenter": segmenter},
    )
    deep = DeepFeatures(
        backbone, backbone_options=backbone_options, weights=weights, random_state=random_state
    )
    steps = [
        ("contrast", _CONTRAST[contrast]()),
        ("despeckle", Despeckle()),
        ("crop", ROICropper(ThresholdSegmenter() if segmenter is None else segmenter)),
        ("deep", deep),
    ]
    return with_support_vectors(Pipeline(steps), memory, n_jobs)
