"""BI-RADS descriptors of lesions that are drawn."""

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline

from featbus import BIRADSFeatures, ROICropper, birads_regions, make_breast_ultrasound
from featbus.masks import with_mask

ROW, COLUMN = np.mgrid[:240, :320]
TISSUE, DARK = 120, 50


def ellipse(height=60, width=100, angle=0, center=(110, 160)):
    turned = np.exp(1j * np.radians(angle)) * (COLUMN - center[1] + 1j * (ROW - center[0]))
    return np.hypot(turned.real / width, turned.imag / height) < 0.5


def star(depth, n_spikes=9, radius=40):
    x, y = COLUMN - 160, ROW - 110
    return np.hypot(x, y) < radius * (1 + depth * np.cos(n_spikes * np.arctan2(y, x)))


def draw(inside, tissue=TISSUE, lesion=DARK, blur=0):
    image = np.where(inside, lesion, tissue).astype(np.float32)
    if blur:
        image = cv2.GaussianBlur(image, (0, 0), blur)
    return with_mask(np.rint(image).astype(np.uint8), inside)


def speckled(inside, seed=0):
    noise = cv2.GaussianBlur(np.random.default_rng(seed).gamma(4, 0.25, inside.shape), (0, 0), 1)
    # Fat, and a shadow at the right: no two neighborhoods are alike.
    profile = np.where(ROW < 50, 0.7, 1) * np.where((ROW > 160) & (COLUMN > 150), 0.5, 1)
    brightness = noise * np.where(inside, DARK, TISSUE) * profile
    return with_mask(np.uint8(np.clip(brightness, 0, 250)), inside)


def row_of(image, **parameters):
    extractor = BIRADSFeatures(dtype=np.float64, **parameters).set_output(transform="pandas")
    return extractor.transform([image]).iloc[0].rename(lambda name: name.removeprefix("birads_"))


def test_a_circle():
    row = row_of(draw(ellipse(80, 80)))
    assert row["orientation_depth_to_width"] == 1
    for name in ("shape_nrl_mean", "shape_axis_ratio", "shape_convexity", "shape_circularity"):
        assert row[name] == pytest.approx(1, abs=0.03), name
    assert row["shape_nrl_sd"] < 0.01
    assert row["shape_nrl_roughness"] < 0.005
    constant = ["shape_nrl_zero_crossings", "shape_undulations", "margin_spicules"]
    assert (row[constant] == 0).all()


@pytest.mark.parametrize("angle", [0, 30, 90, 150])
def test_an_ellipse(angle):
    row = row_of(draw(ellipse(60, 100, angle)))
    assert row["orientation_angle"] == pytest.approx(min(angle, 180 - angle), abs=0.5)
    turned = np.radians(angle)
    height, width = np.hypot(
        [100 * np.sin(turned), 100 * np.cos(turned)], [60 * np.cos(turned), 60 * np.sin(turned)]
    )
    assert row["orientation_depth_to_width"] == pytest.approx(height / width, rel=0.02)
    assert row["shape_axis_ratio"] == pytest.approx(0.6, rel=0.01)
    # Of an ellipse, the radii to points at equal distances along the outline.
    angles = np.linspace(0, 2 * np.pi, 100_000)
    radii, steps = (
        np.hypot(a * np.cos(angles), b * np.sin(angles)) for a, b in ((50, 30), (30, 50))
    )
    mean = np.average(radii, weights=steps) / 50
    sd = np.sqrt(np.average((radii / 50 - mean) ** 2, weights=steps))
    assert row["shape_nrl_mean"] == pytest.approx(mean, rel=0.01)
    assert row["shape_nrl_sd"] == pytest.approx(sd, rel=0.03)
    area_ratio = np.average(np.maximum(radii / 50 - mean, 0), weights=steps) / mean
    assert row["shape_nrl_area_ratio"] == pytest.approx(area_ratio, rel=0.03)
    assert row["shape_elliptic_normalized_circumference"] == pytest.approx(1, abs=0.01)
    assert row["shape_ellipse_deviation"] < 0.01
    assert row["shape_nrl_zero_crossings"] == 4
    assert row["shape_undulations"] == 2
    assert row["margin_spicules"] == 0


@pytest.mark.parametrize("n_spikes", [5, 9])
def test_a_star_has_its_spikes(n_spikes):
    row = row_of(draw(star(0.35, n_spikes)))
    assert row["margin_spicules"] == row["shape_undulations"] == n_spikes
    assert row["shape_nrl_zero_crossings"] == 2 * n_spikes


def test_deeper_spikes():
    rows = pd.DataFrame([row_of(draw(star(depth))) for depth in (0, 0.1, 0.2, 0.3)])
    up = ["shape_nrl_sd", "shape_nrl_area_ratio", "shape_nrl_roughness", "shape_ellipse_deviation"]
    down = ["shape_nrl_mean", "shape_convexity", "shape_solidity", "shape_circularity"]
    down += ["shape_elliptic_normalized_circumference"]
    steps = rows.diff().iloc[1:]
    assert (steps[[*up, "margin_angularity"]] > 0).all(axis=None)
    assert (steps[down] < 0).all(axis=None)


def test_known_contrasts():
    inside = ellipse()
    row, expected = row_of(draw(inside)), (DARK - TISSUE) / (DARK + TISSUE)
    for name in ("surroundings", "beside", "above"):
        assert row[f"echo_contrast_{name}"] == pytest.approx(expected)
    assert row["margin_abrupt_interface"] == pytest.approx(-expected)
    assert row["echo_mean"] == pytest.approx(DARK / 255)
    flat = ["echo_entropy", "echo_heterogeneity", "echo_bright_quarter", "posterior_contrast"]
    np.testing.assert_allclose(row[flat], 0, atol=1e-12)
    assert row["posterior_contrast_lesion"] == pytest.approx(-expected)
    assert row["margin_sharp_share"] == 1
    assert row["margin_radial_gradient"] > 0.9
    image = draw(inside)
    image.data[:40] = 80  # fat
    assert row_of(image)["echo_contrast_above"] > expected
    bright = row_of(draw(inside, lesion=200))
    assert bright["margin_abrupt_interface"] < 0 < bright["echo_contrast_surroundings"]


@pytest.mark.parametrize("below", [20, 60, 120, 180, 240])
def test_shadow_and_enhancement(below):
    inside = ellipse()
    image = draw(inside)
    beneath = np.maximum.accumulate(inside) & ~inside
    image.data[beneath] = below
    row, expected = row_of(image), (below - TISSUE) / (below + TISSUE)
    assert row["posterior_contrast"] == pytest.approx(expected, abs=0.01)
    assert row["posterior_minimum_side_difference"] == pytest.approx(expected, abs=0.01)
    # With another shadow at one side: the smaller difference.
    image.data[100:, :110] = 20
    row = row_of(image)
    assert row["posterior_minimum_side_difference"] == pytest.approx(
        min(expected, (below - 20) / (below + 20)), abs=0.01
    )
    assert row["posterior_contrast"] > expected + 0.05


def test_a_blurred_boundary():
    rows = pd.DataFrame([row_of(draw(ellipse(), blur=blur)) for blur in (0, 2, 4, 8, 16)])
    assert (rows[["margin_sharpness", "margin_abrupt_interface"]].diff().iloc[1:] < 0).all(
        axis=None
    )
    assert rows["margin_sharp_share"].is_monotonic_decreasing
    assert rows["margin_sharp_share"].iloc[-1] < 0.5


def test_heterogeneity_of_speckle():
    inside, rows = ellipse(), []
    for spread in (0, 5, 10, 20):
        image = draw(inside)
        image.data[::2, ::2] += np.uint8(spread)
        rows.append(row_of(image))
    steps = pd.DataFrame(rows)[["echo_heterogeneity", "echo_bright_quarter"]].diff().iloc[1:]
    assert (steps > 0).all(axis=None)


def test_translation_gain_flip_and_depth_of_pixels():
    inside = ellipse(50, 70, 20) | star(0.2, 5, 30)
    image, row = speckled(inside), row_of(speckled(inside))
    wide = with_mask(
        np.pad(image.data, ((0, 0), (40, 0)), "wrap"), np.pad(inside, ((0, 0), (40, 0)))
    )
    pd.testing.assert_series_equal(row_of(wide), row, rtol=1e-6, check_names=False)
    deep = with_mask(image.data * np.uint16(257), inside)
    pd.testing.assert_series_equal(row_of(deep), row, rtol=1e-5)
    darker = row_of(with_mask(image.data / 510, inside))
    assert darker.pop("echo_mean") == pytest.approx(row["echo_mean"] / 2)
    pd.testing.assert_series_equal(darker, row.drop("echo_mean"), rtol=1e-4)
    pd.testing.assert_series_equal(row_of(image[:, ::-1]), row, rtol=0.02, atol=0.01)


def test_resolution():
    small = ellipse(50, 80, 20) | star(0.2, 5, 30)
    image = speckled(small)
    large = [
        cv2.resize(part, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        for part in (image.data, small.astype(np.float32))
    ]
    row, twice = row_of(image), row_of(with_mask(large[0], large[1] >= 0.5))
    texture = row.index.str.startswith("texture")  # of speckle, whose grains are pixels
    pd.testing.assert_series_equal(twice[~texture], row[~texture], rtol=0.1, atol=0.03)


@pytest.mark.parametrize("center", [(239, 160), (0, 160), (110, 0), (110, 319), (239, 0), (0, 319)])
def test_lesions_at_the_border(center):
    row = row_of(draw(ellipse(center=center)))
    assert np.isfinite(row).all()
    if center[0] == 239:
        assert (row.filter(like="posterior") == 0).all()
    if center[0] == 0:
        assert row["echo_contrast_above"] == 0


def test_every_region_has_a_finite_row():
    rng = np.random.default_rng(0)
    regions = [rng.random((9, 12)) < share for share in (0.1, 0.4, 0.7, 0.95) for _ in range(10)]
    frame = np.ones((9, 12), bool)
    frame[4, 4] = False  # filled, it is the whole image
    dot = np.zeros((9, 12), bool)
    dot[3, 3] = True
    line = dot.copy()
    line[3] = True
    for inside in [frame, dot, line, line.T[:9, :9], *regions]:
        for pixels in (rng.integers(0, 256, inside.shape).astype(np.uint8), np.zeros_like(inside)):
            assert np.isfinite(row_of(with_mask(pixels, inside))).all()


def test_the_largest_part_without_its_holes():
    whole = ellipse()
    parts = whole & ~ellipse(10, 10) | ellipse(20, 20, center=(30, 30))
    image = draw(whole)
    pd.testing.assert_series_equal(row_of(with_mask(image.data, parts)), row_of(image))


def test_regions():
    inside = ellipse()
    regions = birads_regions(draw(inside), band_width=0.5)
    assert {region.shape for region in regions.values()} == {inside.shape}
    np.testing.assert_array_equal(regions["lesion"], inside)
    assert not (regions["inner_band"] & ~inside).any()
    width = 0.5 * np.sqrt(inside.sum() / np.pi)
    reached = cv2.distanceTransform((~inside).view(np.uint8), cv2.DIST_L2, 5)
    assert reached[regions["outer_band"]].max() == pytest.approx(width, abs=1.5)
    for name in ("posterior", "posterior_left", "posterior_right", "above", "beside"):
        assert regions[name].any()
        assert not (regions[name] & inside).any()
    for side in ("left", "right"):
        rows = regions["posterior"].any(axis=1)
        np.testing.assert_array_equal(regions[f"posterior_{side}"].any(axis=1), rows)
        assert not (regions["posterior"] & regions[f"posterior_{side}"]).any()
    with pytest.raises(ValueError, match="found no mask"):
        birads_regions(inside)
    with pytest.raises(ValueError, match="band_width is -1, expected"):
        birads_regions(draw(inside), band_width=-1)


def test_images_without_a_mask_or_with_nothing_around():
    image = draw(ellipse())
    with pytest.raises(ValueError, match="image 1: found no mask, or one of the whole"):
        BIRADSFeatures().transform([image, image.data])
    rows = BIRADSFeatures(on_missing="nan").transform([image, image.data])
    assert np.isfinite(rows[0]).all()
    assert np.isnan(rows[1]).all()
    hidden = np.ma.masked_invalid(np.where(ellipse(), 0.5, np.nan))
    with pytest.raises(ValueError, match=r"image 0: found \d+ NaN"):
        BIRADSFeatures().transform([hidden])


class FindsDark(BaseEstimator):
    """Outlines what is dark: nothing in an image that is bright all over."""

    def predict(self, images):
        return [np.ma.getdata(image) < 80 for image in images]


def test_a_segmenter_that_finds_nothing_gives_the_mean_of_the_others():
    images = [draw(ellipse()).data, draw(star(0.2)).data, np.full_like(ellipse(), 200, np.uint8)]
    cropper = ROICropper(FrozenEstimator(FindsDark()), as_mask=True)
    birads = BIRADSFeatures(on_missing="nan")
    assert np.isnan(make_pipeline(cropper, birads).fit_transform(images)[2]).all()
    rows = make_pipeline(cropper, birads, SimpleImputer()).fit(images[:2]).transform(images)
    np.testing.assert_allclose(rows[2], rows[:2].mean(axis=0), rtol=1e-5)


def test_classes_of_the_simulation():
    data = make_breast_ultrasound(40, weights=[1, 1, 0], random_state=0)
    images = [with_mask(*pair) for pair in zip(data.images, data.masks)]
    rows = BIRADSFeatures().set_output(transform="pandas").fit_transform(images)
    means = rows.groupby(data.target).mean()
    assert means["birads_posterior_contrast"][0] > 0 > means["birads_posterior_contrast"][1]
    ragged = ["birads_margin_angularity", "birads_orientation_depth_to_width"]
    assert (means.loc[1, ragged] > means.loc[0, ragged]).all()
