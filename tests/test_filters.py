"""Filters of radiomics, and the response maps that they return."""

import pickle

import numpy as np
import pytest
import pywt
from scipy import ndimage
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

import featbus
from featbus import (
    GLCM,
    DeepFeatures,
    FeatureBus,
    GaborFilter,
    ImageAugmenter,
    IntensityStatistics,
    LaplacianOfGaussian,
    LawsFilter,
    MeanFilter,
    Radiomics,
    Resize,
    SelectRobust,
    ShapeStatistics,
    SimoncelliFilter,
    VisualWords,
    WaveletFilter,
)
from featbus.base import FeatureExtractor
from featbus.images import ImageError, ResponseMap, check_image
from featbus.masks import inside_mask, with_mask
from featbus.parameters import InvalidParameterError

# Names of the boundaries in scipy.ndimage.
SCIPY = {"mirror": "reflect", "nearest": "nearest", "zero": "constant", "periodic": "wrap"}
FILTERS = [
    MeanFilter(),
    LaplacianOfGaussian(),
    LawsFilter(),
    GaborFilter(),
    WaveletFilter(),
    SimoncelliFilter(),
]


def noise(n_images=3, shape=(40, 33), seed=0):
    rng = np.random.default_rng(seed)
    return list(rng.integers(0, 256, (n_images, *shape), dtype=np.uint8))


def respond(step, image):
    (response,) = step.transform([image])
    assert type(response) is ResponseMap
    return np.asarray(response.data)


@pytest.mark.parametrize("boundary", SCIPY)
def test_mean_and_laws_are_those_of_scipy(boundary):
    (image,) = noise(1)
    pixels, mode = image / 255, SCIPY[boundary]
    expected = ndimage.uniform_filter(pixels, 7, mode=mode)
    found = respond(MeanFilter(size=7, boundary=boundary), image)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    # Kernels of scipy.ndimage.correlate are mirrored ones of a convolution.
    edge, level = np.array([1, 2, 0, -2, -1]) / 10**0.5, np.array([1, 4, 6, 4, 1]) / 70**0.5
    expected = ndimage.correlate1d(pixels, level, axis=1, mode=mode)
    expected = ndimage.correlate1d(expected, edge, axis=0, mode=mode)
    laws = LawsFilter(kernels="L5E5", invariant=False, energy=None, boundary=boundary)
    np.testing.assert_allclose(respond(laws, image), expected, atol=1e-12)


def test_laplacian_of_a_gaussian_is_that_of_scipy():
    """The kernel is a sampled one here, and derivatives of sampled Gaussians there."""
    (image,) = noise(1, (60, 60))
    found = respond(LaplacianOfGaussian(sigma=3), image)
    expected = ndimage.gaussian_laplace(image / 255, 3, mode="reflect")
    assert np.abs(found - expected).max() < 0.005 * np.ptp(expected)


def test_laplacian_is_strongest_at_discs_of_its_size():
    row, column = np.mgrid[-40:41, -40:41]
    disc = (np.hypot(row, column) > 8).astype(np.float64)
    centers = {
        sigma: sigma**2 * respond(LaplacianOfGaussian(sigma=sigma), disc)[40, 40]
        for sigma in (3, 8 / np.sqrt(2), 9)
    }
    assert max(centers, key=centers.get) == 8 / np.sqrt(2)
    assert centers[8 / np.sqrt(2)] > 0  # a dark disc


def test_spacing_scales_lengths():
    (image,) = noise(1)
    for in_mm, in_pixels in (
        (LaplacianOfGaussian(sigma=0.3, spacing=0.1), LaplacianOfGaussian(sigma=3)),
        (GaborFilter(sigma=0.3, wavelength=0.5, spacing=0.1), GaborFilter(sigma=3, wavelength=5)),
    ):
        np.testing.assert_allclose(respond(in_mm, image), respond(in_pixels, image), atol=1e-12)


def test_gabor_answers_to_a_wave_of_its_length_and_direction():
    row, column = np.mgrid[:96, :96]
    angle = np.pi / 3
    wave = 0.5 + 0.4 * np.sin(2 * np.pi * (column * np.cos(angle) + row * np.sin(angle)) / 8)

    def center(theta=angle, wavelength=8.0, **parameters):
        step = GaborFilter(sigma=6, wavelength=wavelength, theta=theta, **parameters)
        return respond(step, wave)[30:66, 30:66].mean()

    right = center(invariant=False)
    assert right > 10 * center(-angle, invariant=False)
    assert right > 10 * center(wavelength=4, invariant=False)
    # The mean over directions, of which two of twelve are right.
    assert center(np.pi / 6, invariant=True) == pytest.approx(right / 6, rel=0.15)


@pytest.mark.parametrize("step", [LawsFilter(), WaveletFilter(wavelet="db3", band="LH")])
def test_invariant_responses_turn_with_the_image(step):
    (image,) = noise(1)
    turned = np.ascontiguousarray(np.rot90(image))
    np.testing.assert_allclose(respond(step, turned), np.rot90(respond(step, image)), atol=1e-12)
    fixed = clone(step).set_params(invariant=False)
    assert np.abs(respond(fixed, turned) - np.rot90(respond(fixed, image))).max() > 0.01


@pytest.mark.parametrize("level", [1, 2])
def test_wavelets_are_those_of_pywavelets(level):
    """Its transform has another origin: responses are equal up to a shift."""
    (image,) = noise(1, (32, 32))
    details = pywt.swt2(image / 255, "db2", level, trim_approx=True)
    expected = dict(zip(("HL", "LH", "HH"), (details[1][1], details[1][0], details[1][2])))
    for band, response in expected.items():
        step = WaveletFilter(
            wavelet="db2", band=band, level=level, invariant=False, boundary="periodic"
        )
        found = respond(step, image)
        differences = [
            np.abs(np.roll(found, (down, across), (0, 1)) - response).max()
            for down in range(-6, 7)
            for across in range(-6, 7)
        ]
        assert min(differences) < 1e-12


def test_simoncelli_passes_a_band():
    column = np.arange(128)
    for level, wavelength in ((1, 4), (2, 8), (3, 16)):
        wave = np.tile(0.5 + 0.4 * np.sin(2 * np.pi * column / wavelength), (128, 1))
        found = [np.ptp(respond(SimoncelliFilter(level=other), wave)) for other in (1, 2, 3)]
        assert np.argmax(found) == level - 1
        assert found[level - 1] == pytest.approx(0.8, rel=0.1)
        assert respond(SimoncelliFilter(level=level), wave).mean() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("step", FILTERS, ids=lambda step: type(step).__name__)
def test_depth_color_and_mask(step):
    (image,) = noise(1)
    expected = respond(step, image)
    for other in (image.astype(np.uint16) * 257, image / 255, np.dstack([image] * 3)):
        np.testing.assert_allclose(respond(step, other), expected, atol=1e-12)
    inside = np.zeros(image.shape, bool)
    inside[10:30, 5:20] = True
    (masked,) = step.transform([with_mask(image, inside)])
    np.testing.assert_array_equal(np.ma.getmaskarray(masked), ~inside)
    # The surroundings count, as the IBSI has it, unless they are not known.
    np.testing.assert_array_equal(masked.data, expected)
    unknown = np.ma.MaskedArray(np.where(inside, image / 255, np.nan), ~inside)
    assert np.isfinite(respond(step, unknown)).all()
    # Only an unknown pixel is replaced, by the nearest one inside.
    damaged = np.ma.MaskedArray(image / 255, ~inside)
    damaged.data[0, 0] = np.nan
    neighbor = np.ma.MaskedArray(image / 255, ~inside)
    neighbor.data[0, 0] = image[10, 5] / 255
    np.testing.assert_allclose(respond(step, damaged), respond(step, neighbor), atol=1e-12)


@pytest.mark.parametrize("step", FILTERS, ids=lambda step: type(step).__name__)
def test_a_constant_image_and_one_pixel(step):
    for shape in ((1, 1), (1, 7), (30, 30)):
        response = respond(step, np.full(shape, 0.5))
        assert response.shape == shape
        assert np.isfinite(response).all()
        assert np.ptp(response) < 1e-9 or type(step) is SimoncelliFilter


def test_names_of_responses_are_unique():
    steps = [
        *FILTERS,
        MeanFilter(size=3),
        LaplacianOfGaussian(sigma=1),
        LawsFilter(energy=None),
        LawsFilter(invariant=False),
        GaborFilter(invariant=False),
        GaborFilter(gamma=2),
        WaveletFilter(level=2),
        WaveletFilter(band="LL"),
        SimoncelliFilter(level=2),
    ]
    assert len({step.get_response_name() for step in steps}) == len(steps)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (MeanFilter(size=4), "size"),
        (LawsFilter(kernels="L5E3"), "kernels"),
        (LaplacianOfGaussian(sigma=0), "sigma"),
        (GaborFilter(theta=-1.0), "theta is -1.0, expected an angle from 0.01 to pi"),
        (WaveletFilter(wavelet="sine"), "wavelet"),
        (MeanFilter(boundary="wrap"), "boundary"),
    ],
)
def test_wrong_parameters(step, message):
    with pytest.raises(ValueError, match=message):
        step.transform(["no/such/file.png"])


def test_a_response_map_is_an_image_in_its_own_units():
    values = np.random.default_rng(0).normal(0, 100, (20, 20))
    response = ResponseMap(values)
    assert check_image(response) is response or isinstance(check_image(response), ResponseMap)
    restored = pickle.loads(pickle.dumps(response))
    assert type(restored) is ResponseMap
    np.testing.assert_array_equal(restored, response)
    row = IntensityStatistics(dtype=np.float64).set_output(transform="pandas")
    frame = row.fit_transform([response])
    assert frame["intensity_minimum"][0] == values.min()
    assert frame["intensity_mean"][0] == pytest.approx(values.mean())
    image = response.to_image()
    assert (image.min(), image.max()) == (0, 1)
    np.testing.assert_allclose(np.corrcoef(image.ravel(), values.ravel())[0, 1], 1)
    for bad in (np.nan, np.inf):
        with pytest.raises(ImageError, match="image 0: found 1 NaN or infinite"):
            IntensityStatistics().transform([ResponseMap(np.where(values == values.max(), bad, 1))])
    hidden = ResponseMap(np.where(values > 0, np.nan, values), values > 0)
    assert np.isfinite(IntensityStatistics().transform([hidden])).all()


@pytest.mark.parametrize("mask", [np.ma.nomask, np.zeros((20, 20), bool)])
def test_a_response_without_masked_pixels_has_no_region(mask):
    response = ResponseMap(np.eye(20), mask)
    assert inside_mask(check_image(response)) is None
    with pytest.raises(ImageError, match="image 0: found no mask"):
        ShapeStatistics().transform([response])


def test_a_wrong_angle_is_no_error_of_an_image():
    steps = make_pipeline(GaborFilter(theta=0.0), GLCM())
    with pytest.raises(InvalidParameterError, match="theta is 0.0"):
        FeatureBus(steps, on_error="nan").fit(noise()).transform(noise())


@pytest.mark.parametrize("theta", [np.pi / 4, np.pi / 3, 2 * np.pi / 3, 0.7])
def test_gabor_averages_over_a_full_turn(theta):
    (image,) = noise(1)
    step = GaborFilter(sigma=2, wavelength=4, theta=theta)
    angles = np.arange(0, 2 * np.pi - 1e-6, theta)
    fixed = [clone(step).set_params(theta=float(angle), invariant=False) for angle in angles]
    expected = np.mean([respond(one, image) for one in fixed], axis=0)
    np.testing.assert_allclose(respond(step, image), expected, atol=1e-12)


def test_bins_of_a_response_are_in_its_units():
    values = np.random.default_rng(0).normal(0, 100, (20, 20))
    as_response = GLCM(bin_width=25, intensity_range=(-500, 500), dtype=np.float64)
    as_image = GLCM(bin_width=0.025, intensity_range=(0, 1), dtype=np.float64)
    np.testing.assert_allclose(
        as_response.transform([ResponseMap(values)]),
        as_image.transform([(values + 500) / 1000]),
        rtol=1e-9,
    )
    # A parameter is wrong, not an image: a row of NaN would hide it.
    with pytest.raises(InvalidParameterError, match="^bin_width is 25 and"):
        as_response.transform([(values + 500) / 1000])


def extractors():
    for name in dir(featbus):
        found = getattr(featbus, name)
        is_public = isinstance(found, type) and issubclass(found, FeatureExtractor)
        if is_public and name not in ("DeepFeatures", "FineTunedFeatures", "FeatureBus"):
            yield pytest.param(found, id=name)


@pytest.mark.parametrize("kind", list(extractors()))
def test_each_extractor_takes_responses(kind):
    inside = np.zeros((60, 60), bool)
    inside[8:50, 6:56] = True
    images = [with_mask(image, inside) for image in noise(3, (60, 60))]
    extractor = VisualWords(n_words=4) if kind is VisualWords else kind()
    pipeline = make_pipeline(LaplacianOfGaussian(), extractor)
    rows = pipeline.fit(images).transform(images)
    assert np.isfinite(rows).all()
    assert not np.array_equal(rows, clone(extractor).fit(images).transform(images)) or (
        kind is featbus.ShapeStatistics
    )


@pytest.mark.network
def test_a_network_takes_responses_scaled_to_the_range_of_images():
    images = noise(2, (48, 40))
    network = DeepFeatures("vgg16", layers="block2_pool", weights=None, input_size=32)
    responses = LaplacianOfGaussian().transform(images)
    rows = make_pipeline(LaplacianOfGaussian(), network).fit(images).transform(images)
    expected = network.transform([response.to_image() for response in responses])
    np.testing.assert_array_equal(rows, expected)


def test_steps_that_need_brightness_take_responses_scaled():
    (response,) = LaplacianOfGaussian().transform(noise(1))
    np.testing.assert_array_equal(
        Resize(16).transform([response]), Resize(16).transform([response.to_image()])
    )


def test_radiomics_of_filtered_images():
    images = noise(2)
    filters = [LaplacianOfGaussian(), WaveletFilter()]
    radiomics = Radiomics(families=["glcm", "intensity"], filters=filters, dtype=np.float64)
    rows = radiomics.set_output(transform="pandas").fit_transform(images)
    single = make_pipeline(LaplacianOfGaussian(), GLCM(dtype=np.float64))
    single = single.set_output(transform="pandas").fit(images).transform(images)
    for name in single:
        np.testing.assert_array_equal(rows[f"log_sigma_2_{name}"], single[name])
    assert "wavelet_haar_hh_1_invariant_intensity_mean" in rows


def test_the_store_and_a_search(tmp_path):
    images, y = noise(9), [0, 1, 1] * 3
    steps = make_pipeline(LaplacianOfGaussian(), GLCM())
    bus = FeatureBus(steps, memory=tmp_path / "features.sqlite")
    grid = {"featurebus__transformer__laplacianofgaussian__sigma": [1.0, 2.0]}
    search = GridSearchCV(make_pipeline(bus, SVC()), grid, cv=3).fit(images, y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    expected = clone(steps).set_params(laplacianofgaussian__sigma=1.0).fit_transform(images)
    found = clone(bus).set_params(transformer__laplacianofgaussian__sigma=1.0).fit_transform(images)
    np.testing.assert_array_equal(found, expected)


def test_copies_are_made_before_filters():
    responses = LaplacianOfGaussian().transform(noise(4))
    with pytest.raises(ImageError, match=r"image 2: found a ResponseMap, .* Put the filter after"):
        ImageAugmenter().fit_resample(responses, [0, 0, 1, 0])
    with pytest.raises(ImageError, match=r"image 0: found a ResponseMap, .* Put the filter after"):
        SelectRobust(IntensityStatistics()).fit(responses)


def test_radiomics_takes_a_response_as_it_is():
    (response,) = LaplacianOfGaussian().transform(noise(1))
    options = {"levels": 32, "bin_width": 0.01, "dtype": np.float64}
    rows = Radiomics(families=["glcm"], **options).transform([response])
    np.testing.assert_array_equal(rows, GLCM(**options).transform([response]))
