"""The command line."""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import warnings

import cv2
import numpy as np
import pandas as pd
import pytest

import featbus
from featbus.bus import FeatureStore
from featbus.cli import main
from featbus.cli._parser import _bytes
from featbus.model_selection import AuditReport


@pytest.fixture
def calls(monkeypatch):
    """Replace `run_demo` and return the arguments that it gets."""
    calls = []
    monkeypatch.setattr("featbus.demo.run_demo", lambda **options: calls.append(options))
    return calls


def test_demo_without_arguments_leaves_the_defaults(calls):
    assert main(["demo"]) == 0
    assert calls == [{"backbone_options": {}}]


def test_demo_passes_every_argument_on(calls):
    arguments = (
        "demo --data images --groups groups.csv --backbone mobilenet_v2"
        " --backbone-option alpha=0.35 --backbone-option minimalistic=True"
        " --backbone-option mode=fast=1 --weights w.h5 --output out --jobs -1 --folds 3 --seed 7"
        " --positive cyst --strict --on-error skip"
        " --layers C4,top --pooling max --input-size 96"
    )
    assert main(arguments.split()) == 0
    assert calls == [
        {
            "pos_label": "cyst",
            "data": "images",
            "groups": "groups.csv",
            "backbone": "mobilenet_v2",
            "backbone_options": {"alpha": 0.35, "minimalistic": True, "mode": "fast=1"},
            "weights": "w.h5",
            "layers": ["C4", "top"],
            "pooling": ["max"],
            "input_size": 96,
            "output": "out",
            "n_jobs": -1,
            "cv": 3,
            "strict": True,
            "on_error": "skip",
            "random_state": 7,
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["demo", "--jobs", "two"], "invalid int value: 'two'"),
        (["demo", "--backbone-option", "alpha"], "expected KEY=VALUE, got 'alpha'"),
        (["demo", "--backbone-option", "=1"], "expected KEY=VALUE, got '=1'"),
    ],
)
def test_arguments_that_cannot_be_parsed(calls, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err
    assert not calls


@pytest.mark.parametrize("error", [ValueError, OSError, ImportError, FileNotFoundError])
def test_errors_of_the_user_are_one_line(monkeypatch, capsys, error):
    def fail(**options):
        raise error("the file is\n  no image")

    monkeypatch.setattr("featbus.demo.run_demo", fail)
    assert main(["demo"]) == 2
    assert capsys.readouterr().err == "featbus: error: the file is no image\n"


def test_errors_of_ours_keep_their_traceback(monkeypatch):
    def fail(**options):
        raise KeyError("bug")

    monkeypatch.setattr("featbus.demo.run_demo", fail)
    with pytest.raises(KeyError):
        main(["demo"])


def test_warnings_are_one_line(monkeypatch, capsys):
    monkeypatch.setattr(
        "featbus.demo.run_demo", lambda **options: warnings.warn("no groups\n given", stacklevel=1)
    )
    assert main(["demo"]) == 0
    assert capsys.readouterr().err == "featbus: warning: no groups given\n"


def test_a_missing_folder(tmp_path, capsys):
    missing = tmp_path / "nothing here"
    assert main(["demo", "--data", str(missing), "--output", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("featbus: error: Found no folder")
    assert "nothing here" in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def call(line):
    return main(line.split())


def spy(monkeypatch, name, result=None):
    """Replace a function of the workflow; return the list of its arguments."""
    calls = []
    monkeypatch.setattr(
        f"featbus.workflow.{name}", lambda **options: calls.append(options) or result
    )
    return calls


TABLE = pd.DataFrame({"path": ["a.png", "b.png"], "error": [None, None]})
FAILED = TABLE.assign(error=[None, "found no image"])


def test_extract_passes_every_argument_on(monkeypatch):
    calls = spy(monkeypatch, "extract_features", TABLE)
    arguments = (
        "extract scans --features hog,deep:mobilenet_v2 --backbone-option alpha=0.35 --weights w.h5"
        " --masks _mask --groups g.csv --memory f.sqlite --jobs 2 -o f.csv --strict"
    )
    assert main(arguments.split()) == 0
    assert call("extract a.png b.png --recipe fusion --option backbone=none -o f.npz") == 0
    assert calls == [
        {
            "data": "scans",
            "features": ["hog", "deep:mobilenet_v2"],
            "backbone_options": {"alpha": 0.35},
            "options": {},
            "weights": "w.h5",
            "masks": "_mask",
            "groups": "g.csv",
            "memory": "f.sqlite",
            "n_jobs": 2,
            "output": "f.csv",
            "strict": True,
            "verbose": True,
        },
        {
            "data": ["a.png", "b.png"],
            "features": "fusion",
            "backbone_options": {},
            "options": {"backbone": None},
            "output": "f.npz",
            "verbose": True,
        },
    ]


def test_train_and_evaluate_pass_every_argument_on(monkeypatch):
    trained, evaluated = (spy(monkeypatch, name) for name in ("train_model", "evaluate_recipe"))
    arguments = (
        "scans --recipe fusion --option classifier=knn --backbone-option alpha=0.35 --weights w.h5"
        " --masks m --groups g.csv --memory f.sqlite --jobs 2 --folds 3 --seed 7 --positive benign"
        " --strict --on-error skip"
    )
    assert main(["train", *arguments.split(), "-o", "m.skops", "--no-embed"]) == 0
    assert main(["evaluate", *arguments.split(), "--output", "r.html"]) == 0
    assert main(["evaluate", "scans", "--recipe", "fusion"]) == 0
    shared = {
        "data": "scans",
        "recipe": "fusion",
        "options": {"classifier": "knn"},
        "backbone_options": {"alpha": 0.35},
        "weights": "w.h5",
        "masks": "m",
        "groups": "g.csv",
        "memory": "f.sqlite",
        "n_jobs": 2,
        "cv": 3,
        "strict": True,
        "on_error": "skip",
        "random_state": 7,
        "pos_label": "benign",
        "verbose": True,
    }
    assert trained == [shared | {"output": "m.skops", "embed": False}]
    defaults = {"data": "scans", "recipe": "fusion", "options": {}, "backbone_options": {}}
    assert evaluated == [
        shared | {"output": "r.html"},
        defaults | {"output": "report.html", "verbose": True},
    ]


def test_predict_passes_every_argument_on(monkeypatch):
    calls = spy(monkeypatch, "predict_images", TABLE)
    assert call("predict m.skops new --jobs 2 -o p.csv --strict") == 0
    assert call("predict m.skops a.png b.png -o p.csv") == 0
    shared = {"model": "m.skops", "output": "p.csv", "verbose": True}
    assert calls == [
        shared | {"data": "new", "n_jobs": 2, "strict": True},
        shared | {"data": ["a.png", "b.png"]},
    ]


def test_images_without_a_result_are_an_exit_status(monkeypatch):
    spy(monkeypatch, "extract_features", FAILED)
    spy(monkeypatch, "predict_images", FAILED)
    assert call("extract scans -o f.csv") == 1
    assert call("predict m.skops scans -o p.csv") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("extract scans", "required: -o/--output"),
        ("extract -o f.csv", r"required: DIR|FILE"),
        ("extract scans --recipe a --features b -o f.csv", "not allowed with argument --recipe"),
        ("train scans -o m.skops", "required: --recipe"),
        ("predict m.skops -o p.csv", "required: DIR|FILE"),
    ],
)
def test_what_the_workflow_cannot_parse(capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        main(arguments.split())
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("extract none -o f.csv", "Found no folder 'none', expected a folder of images."),
        ("extract . -o f.xls", "output is 'f.xls', expected a file ending in .csv or .npz or"),
        ("extract . --features sift -o f.csv", "features is ['sift'], expected different names"),
        ("extract . -o none/f.csv", "There is no folder 'none' to write to. Make it."),
        ("audit . --output none/g.csv", "There is no folder 'none' to write to. Make it."),
        ("train none --recipe fusion -o m.skops", "Found no folder 'none'"),
        ("train . --recipe fusoin -o m.skops", "Did you mean 'fusion'?"),
        (
            "predict none.skops . -o p.csv",
            "Found no file 'none.skops', expected the model that `featbus train` wrote",
        ),
    ],
)
def test_errors_of_the_workflow_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.startswith("featbus: error: ")
    assert printed.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_interruption_is_an_exit_status(monkeypatch, capsys):
    def interrupt(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr("featbus.workflow.extract_features", interrupt)
    assert call("extract scans -o f.csv") == 130
    assert capsys.readouterr().err == "featbus: interrupted\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no such pipes")
def test_a_reader_that_does_not_wait_for_the_output():
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "featbus", "recipes"]
    run = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert (run.returncode, run.stderr) == (141, "")


STOPPED_COMMAND = """
import os, signal, sys, tempfile, time

import featbus.workflow
from featbus.cli import main


def wait(**options):
    with tempfile.TemporaryDirectory(dir=sys.argv[1]):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)


featbus.workflow.train_model = wait
before = signal.getsignal(signal.SIGTERM)
status = main("train scans --recipe fusion -o m.skops".split())
assert signal.getsignal(signal.SIGTERM) is before
sys.exit(status)
"""


# In a process of its own: where TensorFlow has been used, its stack for signals is too small for
# the registers of a processor with AMX.
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM to catch")
def test_sigterm_is_an_exit_status_and_removes_temporary_files(tmp_path):
    command = [sys.executable, "-c", STOPPED_COMMAND, str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (143, "featbus: stopped\n")
    assert not list(tmp_path.iterdir())


def test_names_that_are_not_unicode_are_printed(monkeypatch, capsys):
    monkeypatch.setattr("featbus.demo.run_demo", lambda **options: print("\udcff.png"))
    assert main(["demo"]) == 0
    assert capsys.readouterr().out == "\\udcff.png\n"


def test_spaces_between_features(monkeypatch):
    calls = spy(monkeypatch, "extract_features", TABLE)
    assert main(["extract", "scans", "--features", "hog, lbp", "-o", "f.csv"]) == 0
    assert calls[0]["features"] == ["hog", "lbp"]


def test_lists(capsys):
    assert main(["backbones"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["name", "input_size", "parameters"]
    assert {row.split()[0] for row in rows} >= {"mobilenet_v2", "vgg16"}
    assert main(["recipes"]) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert {row.split()[0] for row in rows} >= {"fusion", "mobilenet_intensity"}


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


def test_python_m_featbus():
    assert run("-m", "featbus", "--version").stdout == f"featbus {featbus.__version__}\n"
    assert "--backbone-option KEY=VALUE" in run("-m", "featbus", "demo", "--help").stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from featbus.cli._parser import make_parser as make; make().format_help();"
        " print(*sys.modules)"
    )
    modules = {name.partition(".")[0] for name in run("-c", code).stdout.split()}
    assert not modules & {
        "numpy",
        "sklearn",
        "cv2",
        "pandas",
        "tensorflow",
        "matplotlib",
        "xgboost",
    }


@pytest.fixture
def store(tmp_path):
    """Return the path of a store of 1,000 rows."""
    path = str(tmp_path / "features.sqlite")
    digests = [index.to_bytes(16, "big") for index in range(1000)]
    with FeatureStore(path) as store:
        store.write(b"key", "HOG()", digests, np.zeros((1000, 500), np.float32))
    return path


def test_cache_info(store, capsys):
    assert main(["cache", "info", store]) == 0
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["transformer", "n_rows", "n_features", "dtype", "bytes"]
    assert row.split() == ["HOG()", "1000", "500", "<f4", "2000000"]


def test_cache_prune(store, capsys):
    assert main(["cache", "prune", store, "--max-bytes", "1MB"]) == 0
    dropped = int(capsys.readouterr().out.split()[1])
    assert os.path.getsize(store) <= 1_000_000
    with FeatureStore(store) as left:
        assert left.info()["n_rows"].tolist() == [1000 - dropped]


def test_cache_clear(store, capsys):
    assert main(["cache", "clear", store]) == 0
    assert capsys.readouterr().out == "Dropped 1000 rows\n"
    with FeatureStore(store) as left:
        assert left.info().empty


def test_cache_makes_no_new_file(tmp_path, capsys):
    assert main(["cache", "clear", str(tmp_path / "none.sqlite")]) == 2
    assert "Found no feature store" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_sizes():
    sizes = ["12", "1kB", "1.5MB", "2G", "1TB"]
    assert [_bytes(size) for size in sizes] == [12, 1e3, 1.5e6, 2e9, 1e12]
    with pytest.raises(argparse.ArgumentTypeError, match="expected a size such as"):
        _bytes("much")


def test_verify(capsys):
    assert main(["verify"]) == 0
    assert "139 of 139" in capsys.readouterr().out


def test_a_missed_reference_value_is_an_exit_status(monkeypatch):
    frame = pd.DataFrame({"passed": [True, False]})
    monkeypatch.setattr("featbus.verify.verify", lambda: frame)
    assert main(["verify"]) == 1


def test_weights_fetch_passes_every_argument_on(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(
        "featbus.networks.fetch_weights", lambda **options: calls.append(options) or "dir/w.h5"
    )
    arguments = (
        "weights fetch mobilenet_v2 --option alpha=0.35 --option minimalistic=True"
        " --input-size 96 --source w.h5 --out dir"
    )
    assert main(arguments.split()) == 0
    arguments = "weights fetch mine --source m.onnx --preprocessing tf --license MIT --origin here"
    assert main([*arguments.split(), "--out", "dir"]) == 0
    assert capsys.readouterr().out == "In the bundle: dir/w.h5\n" * 2
    assert calls == [
        {
            "name": "mobilenet_v2",
            "options": {"alpha": 0.35, "minimalistic": True},
            "input_size": 96,
            "source": "w.h5",
            "out": "dir",
            **dict.fromkeys(["preprocessing", "license", "origin"]),
        },
        {
            "name": "mine",
            "options": {},
            "input_size": None,
            "source": "m.onnx",
            "preprocessing": "tf",
            "license": "MIT",
            "origin": "here",
            "out": "dir",
        },
    ]


def test_weights_list(tmp_path, monkeypatch, capsys):
    entry = {"network": "vgg16", "options": {}, "input_size": 224, "file": "abc.h5"}
    entry |= {"sha256": hashlib.sha256(b"abc").hexdigest(), "bytes": 3, "source": "file"}
    entry |= {"keras": "3.15.1", "date": "2026-01-31", "license": None, "preprocessing": None}
    (tmp_path / "weights.json").write_text(json.dumps({"files": [entry]}))
    (tmp_path / "abc.h5").write_bytes(b"abc")
    assert main(["weights", "list", str(tmp_path)]) == 0
    row = capsys.readouterr().out.splitlines()[1]
    assert row.split() == ["vgg16", "{}", "224", "3", "file", "abc.h5", "verified"]
    (tmp_path / "abc.h5").write_bytes(b"ab")
    monkeypatch.setenv("FEATBUS_WEIGHTS", str(tmp_path))
    assert main(["weights", "list"]) == 1
    assert capsys.readouterr().out.split()[-1] == "damaged"
    monkeypatch.delenv("FEATBUS_WEIGHTS")
    assert main(["weights", "list"]) == 2
    assert "FEATBUS_WEIGHTS" in capsys.readouterr().err


@pytest.fixture
def folder(tmp_path):
    """Write images in one folder per class, two of them of one picture; return it and groups."""
    rng = np.random.default_rng(0)
    root = tmp_path / "lesions"
    pictures = [cv2.resize(rng.integers(0, 256, (8, 8), np.uint8), (40, 40)) for _ in range(19)]
    files = []
    for index, picture in enumerate([*pictures, pictures[0]]):
        file = root / ("malignant" if index % 2 else "benign") / f"{index:02d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(file), picture)
        files.append(file.relative_to(root).as_posix())
    groups = tmp_path / "groups.csv"
    pd.DataFrame({"file": files, "group": [*range(19), 0]}).to_csv(groups, index=False)
    return str(root), str(groups)


def test_audit_of_a_leak_is_exit_status_1(folder, tmp_path, capsys):
    output = tmp_path / "suggested.csv"
    assert main(["audit", folder[0], "--folds", "3", "--output", str(output)]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith("lesions\nAudit failed: 2 leaks, ")
    assert "leak     exact copies across folds" in printed.out
    assert "'00.png' and '19.png' (benign and malignant)" in " ".join(printed.out.split())
    assert printed.err.startswith("featbus: warning: It is unknown which images belong together.")
    assert "Leak, exact copies across folds: 'benign/00.png', 'malignant/19.png'" in printed.out
    assert main(["audit", folder[0], "--groups", str(output), "--folds", "3"]) == 0


def test_audit_gets_the_masks_of_the_data_set(tmp_path, monkeypatch, capsys):
    kinds = ("benign", "malignant", "normal")
    for kind in kinds:
        (tmp_path / kind).mkdir()
        for number in (1, 2):
            for name in (f"{kind} ({number}).png", f"{kind} ({number})_mask.png"):
                (tmp_path / kind / name).touch()
    calls = []

    def audit(images, y, **options):
        calls.append((images, y, options))
        nothing = pd.DataFrame(columns=["severity", "check", "finding", "remedy"])
        return AuditReport(nothing, nothing, {}, np.array([]), np.array([]), "Audited.", True)

    monkeypatch.setattr("featbus.workflow._audit.audit", audit)
    arguments = ["--masks", "_mask", "--folds", "2", "--seed", "7"]
    assert main(["audit", str(tmp_path), *arguments]) == 0
    assert capsys.readouterr().out.startswith("BUSI\nAudit incomplete: no leak found, 0 warnings;")
    ((paths, names, options),) = calls
    stems = [f"{kind} ({number})" for kind in kinds for number in (1, 2)]
    assert [os.path.basename(path) for path in paths] == [f"{stem}.png" for stem in stems]
    assert names == list(np.repeat(kinds, 2))
    assert options.pop("groups").tolist() == [*range(6)]  # empty files resemble no others
    masks = [(str(tmp_path / stem.split()[0] / f"{stem}_mask.png"),) for stem in stems]
    assert options.pop("masks").tolist() == masks
    assert options == {"cv": 2, "n_jobs": None, "random_state": 7, "verbose": True}


def test_audit_passes_with_groups(folder, capsys):
    assert main(["audit", *folder[:1], "--groups", folder[1], "--seed", "3", "--jobs", "2"]) == 0
    printed = capsys.readouterr()
    assert "Audit passed: no leak found" in printed.out
    assert "20 images in 19 groups (benign: 10, malignant: 10); 5 splits" in printed.out
    assert not printed.err


def test_audit_of_a_missing_folder(tmp_path, capsys):
    assert main(["audit", str(tmp_path / "none")]) == 2
    assert "Found no folder" in capsys.readouterr().err
