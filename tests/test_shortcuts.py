"""Shortcuts: what is measured, and how well it predicts the label."""

import warnings

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from featbus import make_breast_ultrasound
from featbus.io import SpacedImage
from featbus.io._pictures import read_quantization
from featbus.model_selection import _shortcuts, audit
from featbus.model_selection._audit import check_shortcuts
from featbus.model_selection._measures import find_borders, measure_image, measure_mask
from featbus.model_selection._shortcuts import CONTENT, SHORTCUTS, _macro_aucs, score_shortcuts

N_IMAGES = 60
GROUPS = np.arange(N_IMAGES) // 2
Y = GROUPS % 2


@pytest.fixture(scope="module")
def scans():
    return make_breast_ultrasound(N_IMAGES, image_shape=(96, 120), random_state=0).images


def measure(image):
    return measure_image(image, image)


@pytest.fixture(scope="module")
def clean(scans):
    return [measure(image) for image in scans]


def test_nothing_is_found_in_clean_images(clean):
    checks = [*check_shortcuts(score_shortcuts(pd.DataFrame(clean), Y, GROUPS))]
    assert {check.severity for check in checks} == {"ok"}
    assert any(check.finding.startswith("The same in all images") for check in checks)
    checks = check_shortcuts(score_shortcuts(pd.DataFrame(clean), Y, Y))
    assert {check.finding for check in checks} == {"Not tested: a class has a single group."}


def smooth(shape=(96, 128), seed=0):
    """Return a smooth image without flat parts, 60 to 180."""
    coarse = np.random.default_rng(seed).uniform(60, 180, (7, 9)).astype(np.float32)
    fine = cv2.resize(coarse, shape[::-1], interpolation=cv2.INTER_CUBIC)
    noise = np.random.default_rng(seed).normal(0, 1, shape)
    return np.clip(fine + noise, 40, 200).astype(np.uint8)


def test_image_measures(tmp_path):
    image = np.full((20, 40), 40, np.uint8)
    image[5, 10:30] = 250
    measures = measure(image)
    assert (measures["height"], measures["width"]) == (20, 40)
    assert (measures["aspect"], measures["bits"], measures["channels"]) == (2, 8, 1)
    assert not {"bytes", "format", "quantization"} & measures.keys()

    color = np.dstack([image] * 3).astype(np.uint16) * 257
    color[:10, :, 2] = 0
    path = tmp_path / "a.png"
    cv2.imwrite(str(path), color)
    for item in (path, SpacedImage(path, 0.1)):
        measures = measure_image(item, color)
        assert (measures["bits"], measures["channels"]) == (16, 3)
        assert measures["bytes"] == path.stat().st_size == 800 * measures["bytes_per_pixel"]
        assert measures["colored"] == 0.5
    assert measure(np.zeros((8, 8), bool))["bits"] == 1


def test_every_column_belongs_to_one_shortcut():
    columns = [column for names in (SHORTCUTS | CONTENT).values() for column in names]
    measures = measure(smooth()) | measure_mask(np.ones((96, 128), bool))
    of_files = {"format", "bytes", "bytes_per_pixel", "quantization"}
    assert set(columns) == measures.keys() | of_files
    assert len(columns) == len(set(columns))


@pytest.mark.parametrize("shape", [(1, 1), (2, 40), (40, 2), (15, 15)])
@pytest.mark.parametrize("level", [0, 128, 255])
def test_small_and_flat_images_are_measured(shape, level):
    measures = measure(np.full(shape, level, np.uint8))
    assert measures["mean"] == measures["black"] == measures["white"] == level
    assert measures["spread"] == measures["noise"] == measures["sharpness"] == 0
    assert measures["patches"] == measures["bright"] == measures["dark"] == measures["ink"] == 0


def test_exposure_and_contrast_of_known_levels():
    image = np.tile(np.array([[50, 150], [150, 50]], np.uint8), (30, 30))
    measures = measure(image)
    assert (measures["mean"], measures["black"], measures["white"]) == (100, 50, 150)
    assert (measures["spread"], measures["relative_spread"]) == (50, 0.5)


def test_noise_is_that_of_immerkaer():
    flat = np.random.default_rng(0).normal(128, 10, (200, 200)).astype(np.uint8)
    # All of the contrast is noise.
    assert measure(flat)["noise"] == pytest.approx(1, abs=0.02)
    assert measure(cv2.GaussianBlur(flat, None, 2))["noise"] < 0.2


def marked():
    """Return an image from 0 to 255 that has borders and marks."""
    image = box(0)(smooth())
    image[:4], image[-5:] = 0, 255
    return cv2.putText(image, "R 2", (10, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 255, 1)


def differing(first, second):
    return {name for name in first if not np.isclose(first[name], second[name], equal_nan=True)}


@pytest.mark.parametrize(
    "convert",
    [
        lambda image: image.astype(np.uint16) << 2,
        lambda image: image.astype(np.uint16) << 4,
        lambda image: image.astype(np.uint16) << 6,
        lambda image: (image / 255 * 0.03 + 0.5).astype(np.float32),
    ],
    ids=["10 bits", "12 bits", "14 bits", "signed 12 bits in 16"],
)
@pytest.mark.parametrize("n_channels", [1, 3])
def test_images_that_use_few_levels_of_their_type_are_stretched(convert, n_channels):
    image = marked()
    if n_channels == 3:
        image = np.dstack([image] * 3)
        image[60:70, 60:70, 2] = 0
    levels = {"bits", "mean", "black", "white", "spread", "relative_spread"}
    before = measure(image)
    assert before["top"] > 0 < before["patches"]
    assert differing(before, measure(convert(image))) <= levels


@pytest.mark.parametrize("convert", [lambda x: x.astype(np.uint16) * 257, lambda x: x / 255])
@pytest.mark.parametrize("darker", [1, 4])
def test_8_bits_in_another_type_are_measured_alike(convert, darker):
    image = marked() // darker
    assert differing(measure(image), measure(convert(image))) == {"bits"}


def test_contrast_does_not_change_sharpness_and_noise():
    image = np.clip(smooth() + np.random.default_rng(0).normal(0, 8, (96, 128)), 0, 255)
    image, half = image.astype(np.uint8), measure((image / 2).astype(np.uint8))
    for name in ("sharpness", "noise"):
        assert half[name] == pytest.approx(measure(image)[name], rel=0.1)


def test_borders():
    image = smooth((100, 200))
    assert find_borders(image) == (0, 0, 0, 0)
    image[:5] = 0
    image[-10:] = 2
    image[:, :20] = 0
    image[50] = 7
    assert find_borders(image) == (5, 10, 20, 0)
    measures = measure(image)
    assert [measures[name] for name in ("top", "bottom", "left", "right")] == [0.05, 0.1, 0.1, 0]
    assert measures["rows"] == 0.06  # the upper border and one inside
    assert measures["columns"] == 0
    assert measures["black"] > 2  # exposure is that of the inside


@pytest.mark.parametrize("level", [0, 10, 128, 245, 255])
def test_a_box_is_a_patch(level):
    image = smooth()
    assert measure(image)["patches"] == 0
    image[30:50, 40:70] = level
    if level == 128:
        image[28:52, 38:72] = np.where(image[28:52, 38:72] == 128, 128, 60)
    assert measure(image)["patches"] == 18 * 28 / image.size


@pytest.mark.parametrize(("level", "name"), [(255, "bright"), (0, "dark"), (128, "ink")])
def test_strokes(level, name):
    image = smooth() // 2
    image = image + 128 if level == 0 else image
    before = measure(image)[name]
    cv2.line(image, (20, 20), (60, 20), level, 1)
    cv2.line(image, (80, 40), (110, 70), level, 1)
    assert measure(image)[name] - before > 40 / image.size


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_compression_of_pixels_and_files(tmp_path, quality):
    image = smooth((240, 320))
    fine = np.random.default_rng(0).normal(0, 12, image.shape)
    image = np.clip(image + fine, 0, 255).astype(np.uint8)
    before = measure(image)
    assert before["step"] == 1
    assert abs(before["zeros"]) < 0.02
    assert before["blockiness"] == pytest.approx(1, abs=0.05)
    path = tmp_path / "image.jpg"
    cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    after = measure_image(path, pixels)
    # The luminance table of the standard, Annex K, and the scaling of the IJG.
    steps = np.array([11, 10, 12, 12, 14, 14, 13])
    expected = (steps * (200 - 2 * quality if quality >= 50 else 5000 / quality) + 50) // 100
    assert after["step"] == pytest.approx(expected.mean(), abs=0.5)
    assert after["zeros"] > 0.1
    if quality < 90:
        assert after["blockiness"] > before["blockiness"] + 0.05
    assert after["quantization"] == pytest.approx(57.6 * (200 - 2 * quality) / 100, rel=0.05)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xdb\x00\x04\x00\x01",
        b"\xff\xd8\xff\xdb\x00\x04\x10\x00\xff\xd9",  # half a step of 16 bits
    ],
)
def test_damaged_files_have_no_quantization(tmp_path, content):
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    assert np.isnan(read_quantization(path))
    assert np.isnan(read_quantization(tmp_path / "none.jpg"))


def test_mask_measures():
    square = np.zeros((20, 40), bool)
    square[5:15, 5:15] = True
    measures = measure_mask(square)
    assert measures["area"] == 100 / 800
    assert (measures["solidity"], measures["extent"], measures["eccentricity"]) == (1, 1, 0)
    assert (measures["center_y"], measures["center_x"]) == (0.5, 0.25)
    assert measure_mask(np.zeros((4, 4), bool)) == {"area": 0}
    assert measure_mask(None) == {}


def text(image):
    return cv2.putText(image.copy(), "R 2", (40, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.4, 128, 1)


def box(level):
    def plant(image):
        image = image.copy()
        image[40:52, 50:62] = level
        return image

    return plant


def caliper(image):
    return cv2.drawMarker(image.copy(), (60, 50), 128, cv2.MARKER_CROSS, 11)


def rows(image):
    image = image.copy()
    image[:3] = image[-3:] = 0
    return image


def jpeg(image):
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 75])[1]
    return cv2.imdecode(data, cv2.IMREAD_UNCHANGED)


def change(function):
    return lambda image: np.clip(function(image.astype(float)), 0, 255).astype(np.uint8)


@pytest.mark.usefixtures("few_permutations")
@pytest.mark.parametrize(
    ("expected", "plant"),
    [
        ("marks", text),
        ("marks", box(128)),
        ("marks", box(0)),
        ("marks", caliper),
        ("borders", rows),
        ("borders", lambda image: rows(image.T).T.copy()),
        ("compression", jpeg),
        ("exposure", change(lambda image: image * 1.4)),
        ("exposure", change(lambda image: 255 * (image / 255) ** 0.6)),
        ("contrast", change(lambda image: image.mean() + 1.6 * (image - image.mean()))),
        ("sharpness and noise", lambda image: cv2.GaussianBlur(image, None, 1)),
        ("image size", lambda image: image[:90]),
        ("aspect ratio", lambda image: image[:90]),
        ("bit depth and channels", lambda image: image.astype(np.uint16) * 257),
        ("bit depth and channels", lambda image: np.dstack([image] * 3)),
    ],
)
def test_each_planted_shortcut_is_found(scans, clean, expected, plant):
    rows = [measure(plant(scan)) if label else known for scan, known, label in zip(scans, clean, Y)]
    checks = check_shortcuts(score_shortcuts(pd.DataFrame(rows), Y, GROUPS))
    found = [check.check for check in checks if check.severity == "warning"]
    assert f"shortcut: {expected}" in found


@pytest.mark.usefixtures("few_permutations")
def test_the_position_of_a_mask_is_a_shortcut(scans):
    masks = np.zeros((N_IMAGES, 96, 120), bool)
    for mask, label, shift in zip(masks, Y, np.random.default_rng(0).integers(0, 20, N_IMAGES)):
        mask[20:40, 20 + 30 * label + shift :][:, :20] = True
    report = audit(scans, Y, groups=GROUPS, masks=list(masks))
    found = report.checks.set_index("check")["severity"]
    assert found["shortcut: mask position"] == "warning"
    assert found["shortcut: mask size"] == found["shortcut: mask shape"] == "ok"


@pytest.mark.usefixtures("few_permutations")
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_class_without_regions_is_no_shortcut(scans, n_classes):
    y = np.arange(N_IMAGES) % n_classes
    masks = np.zeros((N_IMAGES, 96, 120), bool)
    shifts = np.random.default_rng(0).integers(0, 20, (N_IMAGES, 2))
    for mask, (down, across) in zip(masks, shifts):
        mask[10 + down :, 10 + across :][:20, :20] = True
    masks[y == 0] = False
    names = ["normal", "benign", "malignant"][:n_classes]
    report = audit(scans, y, groups=GROUPS, masks=list(masks), target_names=names)
    found = report.checks.set_index("check")["severity"].filter(like="mask")
    assert found.to_dict() == dict.fromkeys(found.index, "ok")
    assert len(found) == 3
    assert report.shortcuts["shortcut"].iloc[-1] == "content by place"
    assert f"(normal {(y == 0).sum()}, benign" in report.protocol
    with pytest.raises(ValueError, match="inconsistent"):
        audit(scans, y, groups=GROUPS, target_names=["one"])


@pytest.mark.usefixtures("few_permutations")
def test_content_is_a_note(scans):
    """A bright half is what the images show; the other shortcuts are the same in both classes."""
    shade = np.linspace(0.6, 1, 120)
    images = [
        (image * (shade if label else shade[::-1])).astype(np.uint8)
        for image, label in zip(scans, Y)
    ]
    report = audit(images, Y, groups=GROUPS)
    assert report.checks.set_index("check").loc["content by place", "severity"] == "note"
    assert report.shortcuts["shortcut"].tolist()[-1] == "content by place"


def measures_of(**columns):
    return pd.DataFrame(columns, dtype=float)


def test_a_shortcut_and_its_baseline():
    rng = np.random.default_rng(0)
    y = np.arange(1000) % 2
    table = measures_of(height=rng.normal(y, 1), aspect=rng.normal(size=1000), bits=[8] * 1000)
    scores = score_shortcuts(table, y, np.arange(1000)).set_index("shortcut")
    assert scores.index.tolist() == ["image size", "aspect ratio", "bit depth and channels"]
    size, aspect = scores.loc["image size"], scores.loc["aspect ratio"]
    # For normal distributions one standard deviation apart, the area is 0.76.
    assert 0.7 < size["low"] < size["roc_auc"] < size["high"] < 0.82
    assert size["baseline_high"] < size["low"]
    assert aspect["low"] < 0.5 < aspect["high"]
    np.testing.assert_allclose(scores["baseline"].dropna(), 0.5, atol=0.02)
    assert scores.loc["bit depth and channels"].isna().all()


def test_more_shortcuts_have_a_higher_bound():
    rng = np.random.default_rng(0)
    y = np.arange(200) % 2
    names = [columns[0] for columns in SHORTCUTS.values()]
    table = measures_of(**{name: rng.normal(size=200) for name in names})
    alone = score_shortcuts(table[names[:1]], y, np.arange(200))["baseline_high"][0]
    together = score_shortcuts(table, y, np.arange(200))["baseline_high"][0]
    assert together > alone + 0.02


@pytest.mark.slow
def test_false_alarms_are_rare(monkeypatch):
    """100 audits of measures that say nothing."""
    # The intervals play no part, and the bound needs fewer permutations than the 97th percentile.
    monkeypatch.setattr(_shortcuts, "_RESAMPLES", 2)
    monkeypatch.setattr(_shortcuts, "_PERMUTATIONS", 200)
    rng = np.random.default_rng(0)
    columns = [column for names in SHORTCUTS.values() for column in names]
    y = np.arange(80) % 2
    alarms = 0
    for seed in range(100):
        table = pd.DataFrame(rng.normal(size=(80, len(columns))), columns=columns)
        scores = score_shortcuts(table, y, np.arange(80), random_state=seed)
        alarms += (scores["roc_auc"] > scores["baseline_high"]).any()
    assert alarms <= 5


def test_ties_say_nothing():
    """Images come class by class, and the next in order are no nearer than others."""
    y = np.repeat([0, 1], 100)
    scores = score_shortcuts(measures_of(height=[1] * 199 + [2]), y, np.arange(200))
    assert scores["roc_auc"][0] == pytest.approx(0.5, abs=0.1)


def test_groups_are_no_shortcut():
    """All images of a patient have one size and one class: by patient, size tells nothing."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 10)
    y = rng.permutation(np.arange(40) % 2)[groups]
    table = measures_of(height=rng.normal(size=40)[groups])
    by_patient = score_shortcuts(table, y, groups).iloc[0]
    assert by_patient["low"] < 0.5 < by_patient["high"]
    assert by_patient["roc_auc"] <= by_patient["baseline_high"]
    by_image = score_shortcuts(table, y, np.arange(400)).iloc[0]
    assert by_image["low"] > by_image["baseline_high"]


def test_area_under_the_curve_is_scikit_learns():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    test = np.arange(60)
    near = rng.integers(0, 60, (60, 7))
    weights = rng.integers(0, 3, (4, 60))
    weights[0] = 1
    found = _macro_aucs(y[np.newaxis], [near], [(test, test)], weights)
    others = np.array([y, y[::-1]])
    np.testing.assert_allclose(_macro_aucs(others, [near], [(test, test)])[0], found[0])
    shares = np.stack([(y[near] == label).mean(axis=1) for label in range(3)], axis=1)
    for auc, weight in zip(found, weights):
        expected = [
            roc_auc_score(y == label, shares[:, label], sample_weight=weight) for label in range(3)
        ]
        assert auc == pytest.approx(np.mean(expected))


def test_many_images_are_sampled_by_group(monkeypatch):
    monkeypatch.setattr("featbus.model_selection._shortcuts._MAX_IMAGES", 100)
    y = np.arange(400) % 2
    table = measures_of(height=y + 1.0)
    scores = score_shortcuts(table, y, np.arange(400) // 4)
    assert scores["roc_auc"][0] == 1


@pytest.mark.usefixtures("few_permutations")
@pytest.mark.parametrize("n_groups", [2, 4])
def test_few_groups_have_no_shortcuts(n_groups):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (16 * n_groups, 24, 24), np.uint8)
    groups = np.repeat(np.arange(2 * n_groups), 8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = audit(images, groups % 2, groups=groups, cv=n_groups)
    table = report.to_frame()
    found = table[table["check"].str.startswith("shortcut")]
    assert set(found["severity"]) == {"ok"}


@pytest.mark.parametrize("n_groups", [8, 12])
def test_a_bound_that_nothing_exceeds_is_no_proof(n_groups):
    rng, y = np.random.default_rng(0), np.arange(n_groups) % 2
    images = [rng.integers(0, 256, (60 + 30 * label, 90), dtype=np.uint8) for label in y]
    table = audit(images, y, groups=np.arange(n_groups), cv=3).to_frame()
    found = table[table["check"] == "shortcut: image size"].iloc[0]
    assert found["severity"] == "note"
    assert found["finding"].startswith("Alone it reaches ROC AUC 1.00")
    assert "few groups" in found["remedy"]
