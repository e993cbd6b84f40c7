"""Every estimator keeps the contracts: scikit-learn's own, and that of images."""

import pickle

import cv2
import numpy as np
import pandas as pd
import pytest
from _adapters import find_failed_checks, from_rows
from _spies import LesionOfBrightPart, ResampleArrays, ShapeOfBrightPart
from sklearn.base import TransformerMixin, clone
from sklearn.pipeline import make_pipeline
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import estimator_checks_generator

import featbus
from featbus import (
    CLAHE,
    GLCM,
    GLDZM,
    GLRLM,
    GLSZM,
    HOG,
    LBP,
    NGLDM,
    NGTDM,
    AdaptiveThreshold,
    BIRADSFeatures,
    BreastDensity,
    BreastRegion,
    ContrastStretch,
    DeepFeatures,
    Denoise,
    Despeckle,
    FeatureBus,
    FourierEnergy,
    FractalDimension,
    GaborFilter,
    GammaCorrection,
    HistogramEqualizer,
    ImageFunction,
    ImageLoader,
    IntensityStatistics,
    IntensityVolumeHistogram,
    LaplacianOfGaussian,
    LawsFilter,
    MeanFilter,
    Normalize,
    PectoralMuscleRemover,
    Radiomics,
    RemoveAnnotations,
    Resize,
    ROICropper,
    SimoncelliFilter,
    ThresholdSegmenter,
    VisualWords,
    WaveletFilter,
    ZernikeMoments,
    load,
    save,
)
from featbus.base import ImageTransformer
from featbus.images import ImageError
from featbus.masks import with_mask

# With random weights, the activations of networks with batch normalization fade away.
SMALL_NETWORK = {"backbone": "vgg16", "layers": "block2_pool", "weights": None}

WITHOUT_PARAMETERS = [
    *(CLAHE, HistogramEqualizer, ContrastStretch, GammaCorrection, RemoveAnnotations, MeanFilter),
    *(LaplacianOfGaussian, LawsFilter, WaveletFilter, SimoncelliFilter, BreastRegion),
    *(PectoralMuscleRemover, HOG, LBP, GLCM, GLRLM, GLSZM, GLDZM, NGTDM, NGLDM),
    *(IntensityStatistics, IntensityVolumeHistogram, BreastDensity, FractalDimension),
    *(FourierEnergy, ZernikeMoments),
]
# One entry an estimator: how the tests build it for images of 48 x 40 pixels and larger.
ESTIMATORS = [
    *(pytest.param(cls(), id=cls.__name__) for cls in WITHOUT_PARAMETERS),
    pytest.param(ImageLoader(color_mode="rgb"), id="ImageLoader"),
    pytest.param(Resize((24, 32)), id="Resize"),
    pytest.param(ResampleArrays((0.2, 0.15)), id="Resample"),
    pytest.param(Normalize((1, 99)), id="Normalize"),
    *(
        pytest.param(Denoise(method), id=f"Denoise-{method}")
        for method in ("median", "gaussian", "bilateral", "nlmeans", "tv")
    ),
    *(
        pytest.param(Despeckle(method, n_iterations=5), id=f"Despeckle-{method}")
        for method in ("lee", "kuan", "frost", "srad")
    ),
    pytest.param(AdaptiveThreshold(9), id="AdaptiveThreshold"),
    pytest.param(ImageFunction(np.fliplr), id="ImageFunction"),
    pytest.param(GaborFilter(sigma=2, wavelength=4), id="GaborFilter"),
    pytest.param(ROICropper(ThresholdSegmenter(), size=24), id="ROICropper"),
    pytest.param(Radiomics(levels=8), id="Radiomics"),
    pytest.param(ShapeOfBrightPart(), id="ShapeStatistics"),
    pytest.param(LesionOfBrightPart(), id="BIRADSFeatures"),
    pytest.param(VisualWords("sift", n_words=4, size=8, step=4), id="VisualWords-sift"),
    pytest.param(
        VisualWords(n_words=4, size=8, step=4), id="VisualWords-daisy", marks=pytest.mark.slow
    ),
    pytest.param(
        DeepFeatures(**SMALL_NETWORK, input_size=32), id="DeepFeatures", marks=pytest.mark.network
    ),
]
ESTIMATORS.append(pytest.param(FeatureBus(LBP()), id="FeatureBus"))
STATELESS = [entry for entry in ESTIMATORS if not get_tags(entry.values[0]).requires_fit]
EXTRACTORS = [entry for entry in ESTIMATORS if not isinstance(entry.values[0], ImageTransformer)]
# One of each class, for what all methods of a class share.
CLASSES = list({type(entry.values[0]): entry for entry in reversed(ESTIMATORS)}.values())


def shrunk_to_rows(estimator):
    """Return the estimator as a reader of 16 x 16 images made of rows."""
    parameters = estimator.get_params(deep=False)
    if isinstance(estimator, HOG):
        parameters |= {"pixels_per_cell": (4, 4)}
    if isinstance(estimator, CLAHE):  # each tile takes as long as 65,536 pixels
        parameters |= {"tile_grid_size": 2}
    return from_rows(type(estimator))(**parameters)


def noise(shape=(48, 40), dtype=np.uint8, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.random(shape).astype(dtype)
    top = 1 if dtype is np.bool_ else np.iinfo(dtype).max
    return rng.integers(0, top, shape, endpoint=True).astype(dtype)


def assert_same(first, second, rtol=1e-5, atol=1e-6):
    assert len(first) == len(second)
    for one, other in zip(first, second):
        np.testing.assert_array_equal(np.ma.getmaskarray(one), np.ma.getmaskarray(other))
        np.testing.assert_allclose(np.ma.getdata(one), np.ma.getdata(other), rtol=rtol, atol=atol)


def test_every_public_estimator_is_listed():
    public = {
        name
        for name in featbus.__all__
        if isinstance(getattr(featbus, name), type)
        and issubclass(getattr(featbus, name), TransformerMixin)
    }
    classes = [cls for entry in ESTIMATORS for cls in type(entry.values[0]).__mro__]
    # It learns classes: tests/test_fine_tuned.py holds it to scikit-learn's checks.
    elsewhere = {"FineTunedFeatures"}
    # It drops columns, all of them in noise: tests/test_robustness.py.
    elsewhere |= {"SelectRobust"}
    # They learn from masks, or find nothing in noise: their own tests, and ROICropper here.
    elsewhere |= {"ThresholdSegmenter", "UNetSegmenter"}
    assert public - elsewhere <= {cls.__name__ for cls in classes}


def test_scikit_learns_checks_are_not_skipped():
    """The adapter must open scikit-learn's checks: a few are skipped without it, nearly all."""
    names = [check.func.__name__ for _, check in estimator_checks_generator(shrunk_to_rows(LBP()))]
    assert len(names) > 35


@pytest.mark.parametrize("estimator", CLASSES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
def test_scikit_learns_checks(estimator):
    assert not find_failed_checks(shrunk_to_rows(estimator))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_kind_of_pixel(estimator):
    for dtype in (np.bool_, np.uint8, np.uint16, np.float32, np.float64):
        for channels in ((), (1,), (3,), (4,)):
            images = noise((48, 40, *channels), dtype)[np.newaxis]
            if channels == (4,):
                images[..., 3] = 1 if images.dtype.kind in "fb" else np.iinfo(dtype).max
            result = clone(estimator).fit_transform(images)
            assert len(result) == 1, (dtype, channels)
            assert np.isfinite(np.asarray(result, dtype=float)).all(), (dtype, channels)


def assert_same_rows(estimator, batch):
    estimator = clone(estimator)
    if "dtype" in estimator.get_params(deep=False):
        estimator.set_params(dtype=np.float64)
    rows = estimator.fit_transform(batch)
    assert_same(rows[1:], rows[np.zeros(len(rows) - 1, int)])


OTHER_SETTINGS = [
    pytest.param(HOG(orientations=14, signed=True, block_norm="L2"), id="HOG-signed"),
    pytest.param(LBP(n_points=(16, 24), radius=(2, 3)), id="LBP-radius"),
    pytest.param(LBP(method="var"), id="LBP-var"),
    pytest.param(GLCM(intensity_range=(0, 1)), id="GLCM-range"),
    pytest.param(GLRLM(bin_width=1 / 32, intensity_range=(0, 1)), id="GLRLM-width"),
    pytest.param(IntensityStatistics(bin_range="region"), id="IntensityStatistics-region"),
]


@pytest.mark.parametrize("estimator", EXTRACTORS + OTHER_SETTINGS)
@pytest.mark.parametrize("masked", [False, True])
def test_the_dtype_of_a_picture_does_not_matter(estimator, masked):
    """To the tolerance that docs/user_guide/images.rst states."""
    image = cv2.GaussianBlur(noise((96, 80)), (0, 0), 2)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    batch = [image, image * np.uint16(257), np.float32(image) / np.float32(255), image / 255]
    if masked:
        inside = np.zeros(image.shape, bool)
        inside[10:80, 12:70] = True
        batch = [with_mask(pixels, inside) for pixels in batch]
    assert_same_rows(estimator, batch)


@pytest.mark.parametrize("estimator", EXTRACTORS)
def test_bool_pixels_are_black_and_white(estimator):
    image = cv2.GaussianBlur(noise((96, 80)), (0, 0), 2) > 127
    assert_same_rows(estimator, [image.astype(np.uint8) * 255, image, image.astype(np.float64)])


@pytest.mark.parametrize("estimator", CLASSES)
def test_containers_do_not_matter(estimator):
    images = np.stack([noise(seed=seed) for seed in range(2)])
    objects = np.empty(2, dtype=object)
    objects[:] = list(images)
    expected = clone(estimator).fit_transform(images)
    for batch in (list(images), tuple(images), objects, pd.Series(list(images), index=[5, 6])):
        assert_same(clone(estimator).fit_transform(batch), expected)


@pytest.mark.parametrize("estimator", CLASSES)
def test_paths_equal_arrays(estimator, tmp_path):
    images = [noise(seed=seed) for seed in range(2)]
    paths = [tmp_path / f"benign ({index}).png" for index in range(2)]
    for path, image in zip(paths, images):
        cv2.imwrite(str(path), image)
    expected = clone(estimator).fit_transform(images)
    for batch in (paths, [str(path) for path in paths], pd.DataFrame({"path": paths})):
        assert_same(clone(estimator).fit_transform(batch), expected)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_images_of_different_sizes(estimator):
    images = [noise((48, 40)), noise((60, 50))]
    if isinstance(estimator, HOG):
        with pytest.raises(ValueError, match="image 1: .*put Resize before"):
            estimator.transform(images)
        return
    fitted = clone(estimator).fit(images)
    for result, image in zip(fitted.transform(images), images):
        assert_same([result], fitted.transform([image]))


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_row_does_not_depend_on_its_batch(estimator):
    images = np.stack([noise(seed=seed) for seed in range(4)])
    fitted = clone(estimator).fit(images)
    expected = fitted.transform(images)
    assert_same(fitted.transform(images[::-1])[::-1], expected)
    for index in range(4):
        assert_same(fitted.transform(images[index : index + 1]), expected[index : index + 1])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_masked_images(estimator):
    inside = np.zeros((48, 40), bool)
    inside[4:44, 6:36] = True
    image = with_mask(noise(), inside)
    once = clone(estimator).fit_transform([image, image])
    assert_same(once[:1], once[1:])
    if isinstance(estimator, ImageTransformer):
        assert all(map(np.ma.isMaskedArray, once))
    else:
        assert np.isfinite(once).all()
        if isinstance(estimator, BIRADSFeatures):
            return  # it looks at the surroundings of the region
        pixels = np.where(inside, noise(dtype=np.float32), np.nan)
        images = [with_mask(noise(dtype=np.float32), inside), np.ma.masked_invalid(pixels)]
        assert_same(*clone(estimator).fit(images).transform(images)[:, np.newaxis])


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_input_stays_as_it_is(estimator):
    images = np.stack([noise(dtype=np.float32, seed=seed) for seed in range(2)])
    images.setflags(write=False)
    before = images.copy()
    clone(estimator).fit_transform(images)
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("estimator", STATELESS)
def test_transform_works_unfitted(estimator):
    images = noise()[np.newaxis]
    assert_same(clone(estimator).transform(images), clone(estimator).fit(images).transform(images))


@pytest.mark.parametrize("estimator", CLASSES)
def test_save_and_load(estimator, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATBUS_CACHE", str(tmp_path / "cache"))
    images = noise()[np.newaxis]
    fitted = clone(estimator).fit(images)
    trusted = [np.fliplr, ResampleArrays, ShapeOfBrightPart, LesionOfBrightPart]
    save(fitted, tmp_path / "model.skops", trusted=trusted)
    loaded = load(tmp_path / "model.skops", trusted=trusted)
    assert_same(loaded.transform(images), fitted.transform(images))


@pytest.mark.parametrize("estimator", CLASSES)
def test_pickle_and_clone(estimator):
    images = noise()[np.newaxis]
    fitted = clone(estimator).fit(images)
    expected = fitted.transform(images)
    pickled = pickle.dumps(fitted)
    assert len(pickled) < 10_000
    assert_same(pickle.loads(pickled).transform(images), expected)
    assert_same(clone(fitted).fit_transform(images), expected)


BAD_IMAGES = [
    (np.full((48, 40), np.nan), "found 1920 NaN"),
    (noise() * 1.0, "found values from"),
    (noise().astype(int), "found dtype int64"),
    (np.zeros((0, 40)), "found no pixels"),
    (np.zeros(40), "found shape"),
    (np.dstack([noise()] * 2), "found shape .* 2 channels"),
    ("no/such/file.png", "there is no such file"),
]


@pytest.mark.parametrize("estimator", CLASSES)
def test_a_bad_image_is_named(estimator):
    fitted = clone(estimator).fit([noise()])
    for bad, message in BAD_IMAGES:
        with pytest.raises(ImageError, match=f"image 1.*: {message}") as caught:
            fitted.transform([noise(), bad])
        assert caught.value.index == 1
        assert caught.value.path == (bad if isinstance(bad, str) else None)


@pytest.mark.parametrize("estimator", EXTRACTORS)
def test_names_fit_the_columns(estimator):
    images = noise()[np.newaxis]
    fitted = clone(estimator).fit(images)
    names = fitted.get_feature_names_out()
    assert fitted.transform(images).shape == (1, len(names))
    assert len(set(names)) == len(names)
    assert all(isinstance(name, str) for name in names)
    table = pd.DataFrame({"image": list(images)}, index=["x"])
    frame = fitted.set_output(transform="pandas").transform(table)
    assert frame.columns.tolist() == names.tolist()
    assert frame.index.tolist() == ["x"]


@pytest.mark.parametrize(
    "estimator",
    [entry for entry in EXTRACTORS if "dtype" in entry.values[0].get_params(deep=False)],
)
def test_dtype_of_the_rows(estimator):
    images = noise()[np.newaxis]
    assert clone(estimator).fit_transform(images).dtype == np.float32
    wide = clone(estimator).set_params(dtype=np.float64).fit_transform(images)
    assert wide.dtype == np.float64
    with pytest.raises(ValueError, match="dtype is 'int8', expected"):
        clone(estimator).set_params(dtype="int8").fit_transform(images)


@pytest.mark.parametrize("estimator", EXTRACTORS)
def test_names_and_output_pass_through_a_pipeline(estimator):
    images = [noise((48, 40)), noise((60, 50))]
    pipeline = make_pipeline(ImageLoader(color_mode="gray"), Resize((48, 48)), clone(estimator))
    frame = pipeline.set_output(transform="pandas").fit_transform(images)
    assert frame.columns.tolist() == pipeline.get_feature_names_out().tolist()
    assert frame.shape[0] == 2
