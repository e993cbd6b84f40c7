"""Checklists for publications, and the table of a paper."""

from importlib.resources import files

import pandas as pd
import pytest
from _data import make_rows
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

from featbus import evaluate
from featbus.evaluation._checklists import STATE

NUMBERS = {"CLAIM": 44, "TRIPOD+AI": 52, "METRICS": 30}


class Audit:
    outcome = "failed"
    verdict = "leaks: 1"


@pytest.fixture(scope="module")
def full():
    """Return an evaluation that shows all there is evidence for."""
    X, y, groups = make_rows()
    search = GridSearchCV(LogisticRegression(), {"C": [0.1, 1]}, cv=2)
    options = {"groups": groups, "cv": 3, "n_repeats": 2, "target_names": ["benign", "malignant"]}
    options["subgroups"] = {"site": groups % 2}
    return evaluate({"SVM": SVC(), "logistic": search}, X, y, **options)


@pytest.fixture(scope="module")
def plain():
    X, y, _ = make_rows()
    pipelines = {"a_b & {C} 50% $x$ #1 ~^\\\\": SVC()}
    with pytest.warns(UserWarning, match="Groups unknown"):
        return evaluate(pipelines, X, y, cv=3, target_names=["p_q", "r"], pos_label=0)


@pytest.mark.parametrize("name", NUMBERS)
def test_items_have_the_numbers_of_the_list(full, name, tmp_path):
    table = full.to_checklist(name, tmp_path / "list.csv", audit=Audit())
    assert table.columns.tolist() == ["item", "topic", "evidence", "where"]
    assert len(table) == table["item"].nunique() == NUMBERS[name]
    assert int(table["item"].iloc[-1].rstrip("abc")) == {"TRIPOD+AI": 27}.get(name, len(table))
    assert_same = pd.testing.assert_frame_equal
    assert_same(pd.read_csv(tmp_path / "list.csv", dtype=str, keep_default_na=False), table)
    # Each item has the evidence that the list names, or the authors must state it.
    items = pd.read_csv(files("featbus.evaluation") / "checklists.csv", keep_default_na=False)
    keys = items.loc[items["checklist"] == name, "evidence"].replace("external rest", "")
    assert ((table["evidence"] == STATE) == (keys == "").to_numpy()).all()
    assert ((table["where"] == "") == (keys == "").to_numpy()).all()
    is_partial = keys.str.endswith("rest").to_numpy()
    assert (table["evidence"].str.endswith("state the rest") == is_partial).all()


def test_a_fitted_model_is_an_external_test():
    X, y, groups = make_rows()
    model = LogisticRegression().fit(X, y)
    result = evaluate(model, X, y, groups=groups, cv="prefit", by="group")
    for name, external, internal in (("CLAIM", "33", "32"), ("METRICS", "27", "26")):
        table = result.to_checklist(name).set_index("item")["evidence"]
        assert "fitted before, on other data" in table[external]
        assert table[internal] == STATE
    assert result.to_checklist("CLAIM").set_index("item").loc["20", "evidence"] == STATE
    n_groups = len(set(groups))
    assert f"{n_groups} groups of {len(y)} images" in result.summary
    assert "fitted before" in result.summary


def test_evidence_is_what_the_run_shows(full, plain):
    claim, tripod, metrics = (
        full.to_checklist(name, audit=Audit()).set_index("item") for name in NUMBERS
    )
    score = full.to_frame().loc["logistic", ["roc_auc", "roc_auc_low", "roc_auc_high"]]
    text = "ROC AUC {:.2f} ({:.2f} to {:.2f})".format(*score)
    assert text in claim.loc["37", "evidence"]
    assert "groups kept together" in claim.loc["19", "evidence"]
    assert f"scikit-learn {full.versions['scikit-learn']}" in claim.loc["23", "evidence"]
    assert "90 images of 30 groups (benign 30, malignant 60)" in tripod.loc["20a", "evidence"]
    assert "2 repeats" in claim.loc["30", "evidence"]
    assert "within each training part" in claim.loc["26", "evidence"]
    assert "audit failed: leaks: 1" in metrics.loc["19", "evidence"]
    assert metrics.loc["22"].tolist()[1:] == ["calibration of logistic", "Curves"]
    claim, metrics = (plain.to_checklist(name).set_index("item") for name in ("CLAIM", "METRICS"))
    assert claim.loc["20", "evidence"] == plain.groups_note
    assert "Brier" not in claim.loc["28", "evidence"]
    for table, items in ((claim, ["26", "30"]), (metrics, ["19", "22"])):
        assert (table.loc[items, "evidence"] == STATE).all()
    with pytest.raises(ValueError, match="name is 'STROBE', expected one of"):
        plain.to_checklist("STROBE")


@pytest.mark.usefixtures("empty_figures")
def test_the_report_has_the_checklists(full, tmp_path):
    full.to_html(tmp_path / "report.html")
    html = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<details>") == 3
    assert "TRIPOD+AI: evidence for" in html
    assert "and the jackknife variance over groups, enl" in html.partition("<details>")[0]
    assert "Who annotated" in html


def test_the_table_of_a_paper(full, plain, tmp_path):
    text = full.to_latex()
    *_, last, _, _, _ = lines = text.splitlines()
    assert last.startswith("chance & ")
    score = full.to_frame().loc["SVM", ["accuracy", "accuracy_low", "accuracy_high"]]
    (row,) = (line for line in lines if line.startswith("SVM"))
    assert row.startswith("SVM & {:.2f} ({:.2f} to {:.2f}) & ".format(*score))
    assert "90 images of 30 groups: means over 6 splits" in text
    how = "Student's t and the jackknife variance over {}, enlarged for the training images"
    assert how.format("groups") in text
    assert how.format("groups") in full.to_checklist("CLAIM").to_csv()
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1
    plain.to_latex(tmp_path / "table.tex")
    text = (tmp_path / "table.tex").read_text(encoding="utf-8")
    assert r"a\_b \& \{C\} 50\% \$x\$ \#1 \textasciitilde " in text
    assert r"Sensitivity (p\_q)" in text
    assert "each counted as its own patient" in text
    assert how.format("images") in text
    n_columns = {line.replace(r"\&", "").count("&") for line in text.splitlines() if "&" in line}
    assert n_columns == {6}
