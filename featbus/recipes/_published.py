"""Published systems as pipelines: preprocessing, a network, and a support vector machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imblearn.pipeline import make_pipeline
from sklearn.base import clone
from sklearn.pipeline import FeatureUnion, Pipeline

from featbus.feature_extraction import DeepFeatures, FineTunedFeatures, IntensityStatistics
from featbus.parameters import HasMethods, StrOptions, check_parameters
from featbus.preprocessing import (
    CLAHE,
    BreastRegion,
    Despeckle,
    HistogramEqualizer,
    PectoralMuscleRemover,
    Resize,
)
from featbus.recipes._parts import Shared, calibrated, scaled_svm
from featbus.sampling import ImageAugmenter
from featbus.segmentation import ROICropper, ThresholdSegmenter, UNetSegmenter

if TYPE_CHECKING:
    from typing import Any, Literal

    from featbus.bus._store import FeatureStore
    from featbus.typing import PathLike

_CONTRAST = {"clahe": CLAHE, "equalize": HistogramEqualizer}
_CONSTRAINTS = {
    "trained": ["boolean"],
    "contrast": [StrOptions(set(_CONTRAST))],
    "segmenter": [HasMethods("predict"), None],
}


def mammogram_svm(*, backbone: Any = "vgg16", **shared: Any) -> Pipeline:
    """Make a pipeline for mammograms: breast without muscle, VGG16 or InceptionV3, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    backbone : str, path or keras.Model, default="vgg16"
        The network, see `featbus.DeepFeatures`; published with "vgg16" and "inception_v3".
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

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
    Pass `memory`: calibration fits the pipeline six times, mostly on the same copies.

    The muscle can only be found on a breast that stands upright, so the copies are made after it is
    removed. Calibration splits the images before they are copied.

    Examples
    --------
    >>> from featbus.recipes import mammogram_svm
    >>> recipe = mammogram_svm(backbone="inception_v3", memory="features.sqlite")
    >>> list(recipe.named_steps)
    ['breast', 'muscle', 'resize', 'classifier']
    """
    shared = Shared(**shared)
    copies = ImageAugmenter(n_copies=5, dihedral=6, random_state=shared.random_state)
    bus = shared.bus(DeepFeatures(backbone, **shared.network()))
    classifier = make_pipeline(copies, bus, *scaled_svm())
    return Pipeline(
        [
            ("breast", BreastRegion(orient="left")),
            ("muscle", PectoralMuscleRemover()),
            ("resize", Resize(224)),
            ("classifier", calibrated(classifier)),
        ]
    )


def two_tap_mobilenet(
    *, trained: bool = False, backbone: Any = "mobilenet_v3_small", **shared: Any
) -> Pipeline:
    """Make a pipeline for ultrasound: C4 and C5 of MobileNetV3Small, frozen or trained, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    trained : bool, default=False
        Whether stage C5 and a light stage after each of the two maps are trained in `fit`: a
        depthwise convolution, then a pointwise one that reduces the map to 128 channels, as in
        SSDLite [1]_. Otherwise the network stays as it is, and its maps are pooled.
    backbone : str, path or keras.Model, default="mobilenet_v3_small"
        The network, see `featbus.DeepFeatures`.
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around one extractor, and ``classifier``, a
        calibrated support vector machine with balanced class weights.

    Raises
    ------
    ValueError
        If `trained` is not a bool.

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
    check_parameters(_CONSTRAINTS, {"trained": trained})
    shared = Shared(**shared)
    network = shared.network(layers=("C4", "C5"))
    if not trained:
        return shared.with_svm(DeepFeatures(backbone, **network))
    extractor = FineTunedFeatures(backbone, auxiliary=128, learning_rate=1e-3, **network)
    return shared.with_svm(extractor)


def mobilenet_intensity(*, backbone: Any = "mobilenet_v2", **shared: Any) -> Pipeline:
    """Make a pipeline for ultrasound: MobileNetV2 and intensity statistics, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    backbone : str, path or keras.Model, default="mobilenet_v2"
        The network, see `featbus.DeepFeatures`.
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

    Returns
    -------
    Pipeline
        The steps ``features``, a `featbus.FeatureBus` around the union of ``deep`` and
        ``intensity``, and ``classifier``, a calibrated support vector machine.

    See Also
    --------
    make_recipe : Recipes by name.
    featbus.intensity_summary : How bright the images of each class are.

    Notes
    -----
    BUSI's masks are in the same folders as its images. Read as images, they reveal the class: the
    masks of normal images are black. `featbus.load_busi` keeps them apart.

    Examples
    --------
    >>> from featbus.recipes import mobilenet_intensity
    >>> recipe = mobilenet_intensity()
    >>> recipe.get_params()["features__transformer__deep"].backbone
    'mobilenet_v2'
    """
    shared = Shared(**shared)
    deep = DeepFeatures(backbone, **shared.network())
    extractors = [("deep", deep), ("intensity", IntensityStatistics())]
    return shared.with_svm(FeatureUnion(extractors, verbose_feature_names_out=False))


def enhanced_crop(
    *,
    contrast: Literal["clahe", "equalize"] = "clahe",
    segmenter: Any = None,
    backbone: Any = "resnet101",
    **shared: Any,
) -> Pipeline:
    """Make a pipeline for ultrasound: enhance, despeckle, segment, crop, ResNet101, and an SVM.

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
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

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
    check_parameters(_CONSTRAINTS, {"contrast": contrast, "segmenter": segmenter})
    shared = Shared(**shared)
    steps = [
        ("contrast", _CONTRAST[contrast]()),
        ("despeckle", Despeckle()),
        ("crop", ROICropper(ThresholdSegmenter() if segmenter is None else segmenter)),
        ("deep", DeepFeatures(backbone, **shared.network())),
    ]
    return shared.with_svm(Pipeline(steps))


def unet_crop(*, segmenter: Any = None, backbone: str = "mobilenet", **shared: Any) -> Pipeline:
    """Make a pipeline for ultrasound: MobileNet on the image and a U-Net's crop, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    segmenter : estimator or None, default=None
        What finds the lesion, see `featbus.ROICropper`. None: a `featbus.UNetSegmenter` whose
        encoder is the backbone; it is trained in `fit`, on masks passed as metadata. A backbone
        that cannot be an encoder, such as InceptionV3, needs a segmenter here.
    backbone : str, default="mobilenet"
        The network, see `featbus.DeepFeatures`; published with "mobilenet", "vgg16" and
        "inception_v3".
    **shared : dict
        `backbone_options`, `weights`, `memory`, `n_jobs` and `random_state`, see `make_recipe`.

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

    Notes
    -----
    The default segmenter's encoder starts from `weights`, too. It is trained in each fold, and rows
    of one fold cannot be used in another: `memory` keeps them all.

    Examples
    --------
    >>> from featbus import ThresholdSegmenter
    >>> from featbus.recipes import unet_crop
    >>> recipe = unet_crop()  # fit(images, y, masks=masks), with metadata routing
    >>> recipe.get_params()["features__transformer__lesion__crop__segmenter"].encoder
    'mobilenet'
    >>> recipe = unet_crop(segmenter=ThresholdSegmenter())  # fit(images, y)
    """
    check_parameters(_CONSTRAINTS, {"segmenter": segmenter})
    shared = Shared(**shared)
    deep = DeepFeatures(backbone, **shared.network())
    if segmenter is None:
        encoder = {"encoder_options": shared.backbone_options, "encoder_weights": shared.weights}
        segmenter = UNetSegmenter(backbone, **encoder, random_state=shared.random_state)
    lesion = Pipeline([("crop", ROICropper(segmenter)), ("deep", clone(deep))])
    return shared.with_svm(FeatureUnion([("whole", deep), ("lesion", lesion)]))


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
    shared = Shared(weights=None, memory=memory, n_jobs=n_jobs, random_state=random_state)
    options = shared.network(input_size=128, unfreeze="all", learning_rate=1e-3)
    return shared.with_svm(FineTunedFeatures("small_cnn", **options))
