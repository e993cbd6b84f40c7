"""The command line."""

import argparse
import os
import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest

import featbus
from featbus.bus import FeatureStore
from featbus.cli import _bytes, main


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
    )
    assert main(arguments.split()) == 0
    assert calls == [
        {
            "data": "images",
            "groups": "groups.csv",
            "backbone": "mobilenet_v2",
            "backbone_options": {"alpha": 0.35, "minimalistic": True, "mode": "fast=1"},
            "weights": "w.h5",
            "output": "out",
            "n_jobs": -1,
            "cv": 3,
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


def run(*arguments):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)


def test_python_m_featbus():
    assert run("-m", "featbus", "--version").stdout == f"featbus {featbus.__version__}\n"
    assert "--backbone-option KEY=VALUE" in run("-m", "featbus", "demo", "--help").stdout


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from featbus.cli import _parser; _parser().format_help(); print(*sys.modules)"
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
