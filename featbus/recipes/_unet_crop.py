"""Ultrasound: a U-Net finds the lesion, and a network sees the image and the crop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.base import clone
from sklearn.pipeline import FeatureUnion, Pipeline

from featbus.feature_extraction import DeepFeatures, FineTunedFeatures
from featbus.parameters import HasMethods, check_parameters
from featbus.recipes._parts import with_support_vectors
from featbus.segmentation import ROICropper, UNetSegmenter

if TYPE_CHECKING:
    from typing import Any

    from featbus.bus._store import FeatureStore
    from featbus.typing import PathLike


def unet_crop(
    *,
    segmenter: Any = None,
    backbone: str = "mobilenet",
    backbone_options: dict | None = None,
    weights: PathLike | None = "imagenet",
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
) -> Pipeline:
    """Make a pipeline for ultrasound: a network on image and U-Net crop, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    segmenter : estimator or None, default=None
        What finds the lesion, see `featbus.ROICropper`. None: a `featbus.UNetSegmenter` whose
        encoder is the backbone; it is trained in `fit`, on masks passed as metadata. A backbone
        that is no encoder, such as InceptionV3, needs a segmenter here.
    backbone : str, default="mobilenet"
        The network, see `featbus.DeepFeatures`; published with "mobilenet", "vgg16" and
        "inception_v3".
    backbone_options : dict or None, default=None
        Options of the network's architecture.
    weights : "imagenet", path or None, default="imagenet"
        Weights of the network, and those that the default segmenter's encoder starts from.
    memory : str, os.PathLike, FeatureStore or None, default=None
        Where `featbus.FeatureBus` keeps the rows. A segmenter that is trained in each fold leaves
        rows there that no other fold can use.
    n_jobs : int or None, default=None
        Number of batches of images at a time.
    random_state : int, default=0
        Seed of the segmenter's training, and of random weights.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around the union of ``whole``, the network,
        and ``lesion``, a pipeline of ``crop`` and ``deep``; and ``classifier``, a calibrated
        support vector machine.

    Raises
    ------
    ValueError
        If `segmenter` is invalid.

    See Also
    --------
    small_cnn : The network without pretraining that this one is compared with.
    make_recipe : Recipes by name.
    featbus.evaluate : Passes the masks of the training part to `fit`.
    featbus.evaluation.segmentation_scores : How good the outlines are.

    Examples
    --------
    >>> from featbus import ThresholdSegmenter
    >>> from featbus.recipes import unet_crop
    >>> recipe = unet_crop()  # fit(images, y, masks=masks), with metadata routing
    >>> recipe.get_params()["features__transformer__lesion__crop__segmenter"].encoder
    'mobilenet'
    >>> recipe = unet_crop(segmenter=ThresholdSegmenter())  # fit(images, y)
    """
    check_parameters({"segmenter": [HasMethods("predict"), None]}, {"segmenter": segmenter})
    deep = DeepFeatures(
        backbone, backbone_options=backbone_options, weights=weights, random_state=random_state
    )
    if segmenter is None:
        segmenter = UNetSegmenter(
            backbone,
            encoder_options=backbone_options,
            encoder_weights=weights,
            random_state=random_state,
        )
    lesion = Pipeline([("crop", ROICropper(segmenter)), ("deep", clone(deep))])
    union = FeatureUnion([("whole", deep), ("lesion", lesion)])
    return with_support_vectors(union, memory, n_jobs)


def small_cnn(
    *,
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
) -> Pipeline:
    """Make a pipeline for ultrasound: a small CNN without pretraining, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    memory : str, os.PathLike, FeatureStore or None, default=None
        Where `featbus.FeatureBus` keeps the rows, which no other fold can use: the network is
        trained in each of them.
    n_jobs : int or None, default=None
        Number of batches of images at a time.
    random_state : int, default=0
        Seed of the training.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around a `featbus.FineTunedFeatures` that
        trains all layers of the backbone "small_cnn" at 128 x 128 pixels, and ``classifier``, a
        calibrated support vector machine.

    See Also
    --------
    unet_crop : Networks with pretraining.
    make_recipe : Recipes by name.

    Notes
    -----
    A few hundred images are few for a network that starts from nothing: a baseline.

    Examples
    --------
    >>> from featbus.recipes import small_cnn
    >>> small_cnn()["features"].transformer.unfreeze
    'all'
    """
    extractor = FineTunedFeatures(
        "small_cnn",
        weights=None,
        input_size=128,
        unfreeze="all",
        learning_rate=1e-3,
        random_state=random_state,
    )
    return with_support_vectors(extractor, memory, n_jobs)
