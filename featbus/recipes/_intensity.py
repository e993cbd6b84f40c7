"""Ultrasound in three classes: a network, and how bright the image is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sklearn.pipeline import FeatureUnion

from featbus.feature_extraction import DeepFeatures, IntensityStatistics
from featbus.recipes._parts import with_support_vectors

if TYPE_CHECKING:
    from typing import Any

    from sklearn.pipeline import Pipeline

    from featbus.bus._store import FeatureStore
    from featbus.typing import PathLike


def mobilenet_intensity(
    *,
    backbone: Any = "mobilenet_v2",
    backbone_options: dict | None = None,
    weights: PathLike | None = "imagenet",
    memory: PathLike | FeatureStore | None = None,
    n_jobs: int | None = None,
    random_state: int = 0,
) -> Pipeline:
    """Make a pipeline for ultrasound: MobileNetV2 and intensity statistics, and an SVM.

    Read more in the :ref:`User Guide <recipes>`.

    Parameters
    ----------
    backbone : str, path or keras.Model, default="mobilenet_v2"
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
        Seed of random weights.

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
    BUSI's masks lie beside its images, with the names of the classes. Read as images, they give the
    class away: those of normal images are black. `featbus.load_busi` keeps them apart.

    Examples
    --------
    >>> from featbus.recipes import mobilenet_intensity
    >>> recipe = mobilenet_intensity()
    >>> recipe.get_params()["features__transformer__deep"].backbone
    'mobilenet_v2'
    """
    deep = DeepFeatures(
        backbone, backbone_options=backbone_options, weights=weights, random_state=random_state
    )
    union = FeatureUnion(
        [("deep", deep), ("intensity", IntensityStatistics())], verbose_feature_names_out=False
    )
    return with_support_vectors(union, memory, n_jobs)
