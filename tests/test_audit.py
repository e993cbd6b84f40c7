"""The audit."""

import json
from html import escape

import cv2
import numpy as np
import pandas as pd
import pytest
from _data import data_dir
from imblearn.ensemble import BalancedBaggingClassifier
from imblearn.over_sampling import SMOTE
from imblearn.pipeline import make_pipeline as make_imblearn_pipeline
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import GridSearchCV, KFold, PredefinedSplit, StratifiedKFold
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from featbus import evaluate
from featbus.datasets import load_busi, load_mini_mias, make_breast_ultrasound
from featbus.feature_extraction import LBP
from featbus.images import ImageError
from featbus.masks import with_mask
from featbus.model_selection import AuditReport, audit

COPIES = ["exact copies across folds", "near-duplicates across folds"]
CHANGED = "mirrored, turned or inverted copies across folds"
GROUPS = "groups across folds"
N_IMAGES = 40
Y = np.arange(N_IMAGES) % 2


@pytest.fixture(autouse=True)
def quick(request):
    """Test shortcuts by few permutations, except in the slow tests of real images."""
    if request.node.get_closest_marker("slow") is None:
        request.getfixturevalue("few_permutations")


@pytest.fixture(scope="module")
def scans():
    """Return unlike images of two patients' views each."""
    return make_breast_ultrasound(N_IMAGES, image_shape=(64, 80), random_state=0).images


@pytest.fixture(scope="module")
def clean(scans):
    return audit(scans, Y, groups=np.arange(N_IMAGES) // 2)


def severity(report):
    return dict(zip(report.checks["check"], report.checks["severity"]))


def row(report, check):
    return report.checks.set_index("check").loc[check]


def with_copy(scans, copy):
    """Return the images with one more, and folds that keep it apart from the first."""
    fold = np.r_[np.arange(N_IMAGES) // 2 % 4, 1]
    folds = [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(4)]
    return {"images": [*scans, copy], "y": np.r_[Y, Y[0]], "cv": folds}


def test_nothing_is_found_in_clean_data(clean):
    assert isinstance(clean, AuditReport)
    assert clean.passed
    found = severity(clean)
    assert [found[check] for check in (*COPIES, CHANGED, GROUPS)] == ["ok"] * 4
    assert found["labels of duplicates"] == "ok"
    assert found["shortcut: image size"] == "ok"
    assert found["pipeline"] == "note"
    assert clean.near_duplicates.tolist() == list(range(N_IMAGES))
    assert clean.suggested_groups.tolist() == (np.arange(N_IMAGES) // 2).tolist()
    assert clean.protocol == "40 samples in 20 groups (0 20, 1 20); splits: 5."


def test_exact_copies(scans):
    report = audit(**with_copy(scans, scans[0].copy()))
    assert not report.passed
    for check in COPIES:
        assert row(report, check)["severity"] == "leak"
        assert row(report, check)["count"] == 2
        assert report.images[check].tolist() == [0, 40]
        assert "such as image 0." in row(report, check)["finding"]
    assert severity(report)["labels of duplicates"] == "ok"
    assert report.suggested_groups[40] == report.suggested_groups[0]
    assert len(set(report.suggested_groups)) == N_IMAGES


def test_near_duplicates(scans):
    brighter = np.clip(scans[0] * 1.1, 0, 255).astype(np.uint8)
    report = audit(**with_copy(scans, brighter))
    assert [severity(report)[check] for check in COPIES] == ["ok", "leak"]
    assert report.images[COPIES[1]].tolist() == [0, 40]
    assert report.near_duplicates.tolist() == [*range(N_IMAGES), 0]


CHANGES = [
    lambda image: image[:, ::-1],
    lambda image: image[::-1],
    np.rot90,
    np.transpose,
    lambda image: 255 - image,
    lambda image: 255 - image[:, ::-1],
]


def test_changed_copies(scans):
    """Each of the first six images has a copy in the next fold."""
    copies = [change(scan) for change, scan in zip(CHANGES, scans)]
    fold = np.arange(N_IMAGES) // 2 % 4
    cv = PredefinedSplit([*fold, *(fold[:6] + 1) % 4])
    report = audit([*scans, *copies], [*Y, *Y[:6]], cv=cv)
    assert [severity(report)[check] for check in (*COPIES, CHANGED)] == ["ok", "ok", "leak"]
    assert report.images[CHANGED].tolist() == [*range(6), *range(40, 46)]
    assert report.suggested_groups.tolist() == [*range(40), *range(6)]


def test_copies_of_an_image_that_is_in_no_part(scans):
    """The mirror image in the training part shows what the brighter one in the test part does."""
    images = [*scans, cv2.convertScaleAbs(scans[0], alpha=1.2), scans[0][:, ::-1]]
    folds = [([*range(2, 20), 41], [1, *range(20, 41)])]
    report = audit(images, [*Y, Y[0], Y[0]], cv=folds)
    assert [severity(report)[check] for check in (*COPIES, CHANGED)] == ["ok", "ok", "leak"]
    assert report.images[CHANGED].tolist() == [40]


def test_the_same_image_on_both_sides_is_an_exact_copy(scans):
    everything = np.arange(N_IMAGES)
    report = audit(scans, Y, cv=[(everything, everything[:6]), (everything[6:], everything[:6])])
    check = row(report, COPIES[0])
    assert (check["severity"], check["count"]) == ("leak", 6)


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_groups_across_folds(scans):
    groups = np.arange(N_IMAGES) // 2
    report = audit(scans, Y, groups=groups, cv=KFold(5, shuffle=True, random_state=0))
    assert severity(report)[GROUPS] == "leak"
    assert report.protocol.endswith("splits: 5.")
    assert severity(audit(scans, Y, groups=groups, cv=KFold(5)))[GROUPS] == "ok"


@pytest.mark.parametrize(
    ("groups", "finding"),
    [
        (None, "Groups unknown: every image counted as its own patient."),
        (np.arange(N_IMAGES), "Every group has a single image."),
    ],
)
def test_no_groups_are_a_warning(scans, groups, finding):
    report = audit(scans, Y, groups=groups)
    assert severity(report)[GROUPS] == "warning"
    assert row(report, GROUPS).finding == finding
    assert report.outcome == ("incomplete" if groups is None else "passed")
    assert ("unknown" in report.verdict) == (groups is None)


def test_files_of_one_name_are_told_apart_by_their_folders(scans, tmp_path):
    paths = []
    for index, image in enumerate(scans[:20]):
        paths.append(tmp_path / f"p{index}" / "scan.png")
        paths[-1].parent.mkdir()
        cv2.imwrite(str(paths[-1]), scans[0] if index == 1 else image)
    finding = row(audit(paths, Y[:20], cv=[(np.arange(1, 20), [0])]), COPIES[0]).finding
    assert finding.endswith(" p0/scan.png.")


def test_conflicting_labels(scans):
    options = with_copy(scans, scans[0])
    options["y"] = np.array(["benign", "<i>"])[np.r_[Y, 1]]
    report = audit(**options)
    check = row(report, "labels of duplicates")
    assert (check["severity"], check["count"]) == ("warning", 2)
    assert "such as image 0." in check["finding"]
    html = report._repr_html_()
    assert "&lt;i&gt; 21" in html  # the protocol
    assert "<i>" not in html


SAMPLERS, FITTED = "samplers in the training fold", "steps fitted before the folds"


@pytest.mark.parametrize(
    ("pipeline", "expected"),
    [
        (make_imblearn_pipeline(LBP(), StandardScaler(), SMOTE(), SVC()), "ok"),
        (GridSearchCV(make_imblearn_pipeline(SMOTE(), SVC()), {"svc__C": [1, 2]}), "ok"),
        (make_pipeline(LBP(), BalancedBaggingClassifier(sampler=SMOTE())), "ok"),
        (make_pipeline(LBP(), SMOTE(), SVC()), "leak"),
        (GridSearchCV(make_pipeline(SMOTE(), SVC()), {}), "leak"),
        (make_pipeline(make_union(LBP(), SMOTE()), SVC()), "leak"),
        ([SMOTE(), make_pipeline(LBP(), SVC())], "leak"),
    ],
)
def test_samplers(scans, pipeline, expected):
    report = audit(scans[:8], Y[:8], groups=np.arange(8), cv=2, pipeline=pipeline)
    assert severity(report)[SAMPLERS] == expected
    assert report.passed == (expected == "ok")
    assert severity(report)[FITTED] == "ok"
    assert "pipeline" not in severity(report)


def test_masks_are_a_shortcut(scans, clean, tmp_path):
    """Class 1 is outlined as a bar, class 0 as a square."""
    bar, square = np.zeros((2, 64, 80), bool)
    bar[10:14, 10:70] = square[10:30, 10:30] = True
    groups = np.arange(N_IMAGES) // 2
    y = groups % 2
    masks = [bar if label else square for label in y]
    check = "shortcut: mask shape"
    files = []
    for name, mask in [("square", square), ("bar", bar)]:
        files.append(str(tmp_path / f"{name}.png"))
        cv2.imwrite(files[-1], 255 * mask.astype(np.uint8))
    masked = [with_mask(*pair) for pair in zip(scans, masks)]
    given = audit(scans, y, groups=groups, masks=masks)
    read = audit(scans, y, groups=groups, masks=[(files[label],) for label in y], n_jobs=2)
    mixed = [mask if index % 3 else None for index, mask in enumerate(masks)]
    either = audit(masked, y, groups=groups, masks=mixed)
    for report in (given, read, either):
        pd.testing.assert_frame_equal(report.shortcuts, given.shortcuts)
        assert severity(report)[check] == "warning"
        row = report.checks.set_index("check").loc[check]
        assert row["finding"].endswith("It matters only where the pipeline uses masks.")
        assert report.passed
        assert report.shortcuts.set_index("shortcut").loc["mask shape", "roc_auc"] == 1
    assert check not in severity(clean)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        audit(scans, y, masks=masks[:-1])


def test_masks_that_do_not_fit_are_errors_of_their_image(scans, tmp_path):
    masks = [None] * N_IMAGES
    masks[7] = np.ones((64, 81), bool)
    with pytest.raises(ImageError, match=r"image 7: .*\(64, 81\)"):
        audit(scans, Y, masks=masks)
    masks[7] = (tmp_path / "none.png",)
    with pytest.raises(ImageError, match=r"image 7: .*none.png.*: there is no such file"):
        audit(scans, Y, masks=masks)


def test_shortcuts_of_files(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for index in range(40):
        image = rng.integers(0, 256, (40, 40), np.uint8)
        side = 48 if index // 2 % 2 else 40
        paths.append(str(tmp_path / f"{index}.{'png' if side == 40 else 'tif'}"))
        cv2.imwrite(paths[-1], cv2.resize(image, (side, side)))
    groups = np.arange(40) // 2
    report = audit(paths, groups % 2, groups=groups, n_jobs=2)
    found = severity(report)
    assert found["shortcut: image size"] == found["shortcut: file size"] == "warning"
    assert found["shortcut: file format"] == "warning"
    assert found["shortcut: aspect ratio"] == found["shortcut: bit depth and channels"] == "ok"
    assert report.passed


@pytest.mark.parametrize("groups", [None, np.array(list("dcbaefghij"))[np.arange(N_IMAGES) // 4]])
@pytest.mark.filterwarnings("ignore:Groups unknown")
def test_folds_are_those_of_evaluate(scans, groups):
    """Each image has a copy: those in another fold are found."""
    model = make_pipeline(LBP(), DummyClassifier())
    predictions = evaluate(model, scans, Y, groups=groups, cv=4, random_state=3).predictions
    fold = predictions.sort_values("index")["fold"].to_numpy()
    twice = [*scans[:20], *scans[:20]]
    found = audit(twice, Y, groups=groups, cv=4, random_state=3).images[COPIES[0]]
    assert found.tolist() == np.flatnonzero(fold != np.roll(fold, 20)).tolist()
    assert 0 < len(found) < N_IMAGES


def test_seeded(scans):
    first, again, other = (
        audit(scans[:16], Y[:16], cv=StratifiedKFold(3), random_state=seed) for seed in (1, 1, 2)
    )
    pd.testing.assert_frame_equal(first.shortcuts, again.shortcuts)
    assert not first.shortcuts.equals(other.shortcuts)


@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_a_sample_has_whole_groups(scans):
    """Positions, groups and folds are those of all images; what was not read is like no other."""
    groups = np.arange(N_IMAGES) % 20 // 2  # an image, its neighbor, and the copies of both
    options = {"images": [*scans[:20], *scans[:20]], "y": Y, "cv": KFold(2)}
    whole = audit(groups=groups, **options)
    part, again = (audit(groups=groups, max_images=23, **options) for _ in range(2))
    assert part.protocol.endswith(" Pixels: 20 of 40 images, whole groups, sampled with seed 0.")
    assert part.verdict.endswith("; only 20 of 40 images were read")
    assert not whole.groups_note
    found = part.images[COPIES[0]]
    assert found.tolist() == again.images[COPIES[0]].tolist()
    assert len(found) == np.isin(groups, groups[found]).sum() == 20
    assert part.images[GROUPS].tolist() == whole.images[GROUPS].tolist()
    assert part.suggested_groups.tolist() == whole.suggested_groups.tolist() == groups.tolist()
    assert len(set(part.near_duplicates)) == 30
    other = audit(max_images=3, random_state=1, **options)
    missed = " Pixels: 3 of 40 images, single images, which misses copies, sampled with seed 1."
    assert other.protocol.endswith(missed)


def test_a_sample_names_images_by_their_position(scans):
    images = [*scans[:-4], *np.full((4, 8, 8), 3.0)]
    with pytest.raises(ImageError, match="4 of 36 images cannot be used:\nimage 36: ") as error:
        audit(images, Y, groups=np.arange(N_IMAGES) // 4, max_images=36)
    assert [each.index for each in error.value.errors] == [36, 37, 38, 39]


def test_report_in_other_forms(scans, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    report = audit(**with_copy(scans, scans[0]))
    text, html, data = repr(report), report._repr_html_(), report.to_dict()
    unknown = "groups unknown: every image counted as its own patient"
    verdict = f"leaks: 2, warnings: 1; {unknown}"
    assert text.startswith(f"Audit failed: {verdict}\n41 samples (")
    assert "leak     exact copies across folds\n         2 image(s)" in text
    assert max(map(len, text.splitlines())) <= 100
    assert html.count("<tr") == len(report.checks) + 1
    assert unknown in html
    for check in report.checks.itertuples():
        assert escape(check.finding) in html
        assert escape(check.remedy) in html
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["passed"] is False
    assert data["verdict"] == report.verdict == verdict
    frame = report.to_frame()
    assert frame.columns.tolist() == ["check", "severity", "finding", "count", "remedy"]
    frame["check"] = ""
    assert report.checks["check"].all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": Y[:-1]}, "inconsistent numbers of samples"),
        ({"masks": [None]}, "inconsistent numbers of samples"),
        ({"cv": []}, "cv has no splits"),
        ({"cv": "x"}, "cv is 'x'"),
        ({"n_jobs": "x"}, "n_jobs is 'x'"),
        ({"cv": 21}, "cv is 21, .* '0' has 20"),
        ({"groups": Y}, "cv is 5, .* '0' has 1 "),
        ({"pipeline": ["HOG"]}, "pipeline is"),
        ({"max_images": 0}, "max_images is 0"),
        ({"images": [*np.zeros((39, 8, 8)), np.full((8, 8), 3.0)]}, "image 39: .*from 3 to 3"),
    ],
)
def test_what_is_refused(scans, options, message):
    options = {"images": scans, "y": Y, **options}
    with pytest.raises(ValueError, match=message):
        audit(**options)


@pytest.mark.slow
@pytest.mark.usefixtures("few_permutations")
def test_busi():
    """Split at random it leaks, by the published groups it does not; outlines give it away."""
    root = data_dir("busi")
    busi = load_busi(root, groups=root / "groups.csv")
    names = np.array(busi.target_names)[busi.target]
    alone = audit(busi.images, names, masks=busi.masks, n_jobs=2)
    assert severity(alone)[COPIES[1]] == "leak"
    assert row(alone, COPIES[1])["count"] > 150
    shortcuts = alone.shortcuts.set_index("shortcut")
    assert shortcuts.loc["mask shape", "low"] > 0.97
    assert 0.57 < shortcuts.loc["image size", "roc_auc"] < 0.72
    assert severity(alone)["shortcut: image size"] == "warning"

    copied = np.bincount(alone.suggested_groups)[alone.suggested_groups] > 1  # no other can leak
    assert copied.sum() > 150
    for groups in (busi.groups, alone.suggested_groups):
        grouped = audit(busi.images[copied], names[copied], groups=groups[copied], n_jobs=2)
        assert grouped.passed
        assert row(grouped, COPIES[1])["count"] == 0
        assert row(grouped, "labels of duplicates")["count"] == 13


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The groups parameter is ignored")
def test_mini_mias():
    """The films of both breasts of a woman belong together; standard views only look alike."""
    mias = load_mini_mias(data_dir("mini-mias"))
    shuffled = StratifiedKFold(5, shuffle=True, random_state=0)
    report = audit(mias.images, mias.target, groups=mias.groups, cv=shuffled)
    assert severity(report)[GROUPS] == "leak"
    assert row(report, GROUPS)["count"] > 50
    assert severity(report)[COPIES[1]] == "ok"
    assert len(set(report.suggested_groups)) == 45
    assert audit(mias.images, mias.target, groups=mias.groups).passed
