"""Checklists for publications, filled with what an evaluation shows."""

from importlib.resources import files
from io import StringIO

import pandas as pd

from featbus.evaluation._metrics import TITLES, format_interval, iter_tables, title

CHECKLISTS = ["CLAIM", "TRIPOD+AI", "METRICS"]
STATE = "the authors must state"


def fill_checklist(evaluation, name, audit=None):
    """Return the items of a checklist with the evidence of an evaluation.

    Parameters
    ----------
    evaluation : Evaluation
        The result of `evaluate`.
    name : str
        One of `CHECKLISTS`.
    audit : AuditReport, default=None
        The result of `featbus.audit`.

    Returns
    -------
    DataFrame
        See `Evaluation.to_checklist`.
    """
    if name not in CHECKLISTS:
        raise ValueError(f"name is {name!r}, expected one of {CHECKLISTS}.")
    text = files("featbus.evaluation").joinpath("checklists.csv").read_text(encoding="utf-8")
    items = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
    items = items[items.pop("checklist") == name].reset_index(drop=True)
    evidence = _collect(evaluation, audit)
    cells = [_join(keys.split(), evidence) for keys in items["evidence"]]
    return items.assign(**dict(zip(["evidence", "where"], zip(*cells))))


def _join(keys, evidence):
    """Return the evidence for an item as text, and the sections of the report that have it."""
    found = [evidence[key] for key in keys if key in evidence]
    texts, sections = dict.fromkeys(text for text, _ in found), dict.fromkeys(at for _, at in found)
    rest = [f"{STATE} the rest"] if texts and "rest" in keys else []
    return "; ".join([*texts, *rest]) or STATE, ", ".join(sections)


def _collect(evaluation, audit):
    """Return what the run shows, and the section with it, by the keys of the items."""
    names, n_repeats = evaluation.pipeline_names, evaluation.predictions["repeat"].nunique()
    samples = evaluation.predictions.drop_duplicates("index")
    counts = samples["target"].value_counts().reindex(evaluation.labels, fill_value=0)
    classes = ", ".join(f"{name} {n}" for name, n in zip(evaluation.target_names, counts))
    kinds = {name: evaluation.pooled(name).kind for name in names}
    kinds_text = ", ".join(f"{name}: class and {kind} values" for name, kind in kinds.items())
    sure = ", ".join(name for name, kind in kinds.items() if kind == "probability")
    is_wrong = evaluation.predictions["target"] != evaluation.predictions["predicted"]
    n_wrong = f"{is_wrong.sum()} of {len(is_wrong)} predictions are wrong"
    protocol = [line for line in evaluation.protocol.splitlines() if "pos_label=" not in line]
    is_tuned = len(evaluation.best_params) > 0
    described, is_prefit = " ".join(protocol).rstrip("."), evaluation.is_prefit
    apart = "" if is_prefit else "training and test parts share no group"
    columns = evaluation.by_subgroup(names[0]).get("column", pd.Series(dtype=str)).unique()
    shown = {
        "top of the report": {
            "disjoint": evaluation.groups_note or apart,
            "doubts": "; ".join(evaluation._doubts(audit)),
            "external": described * is_prefit,
            "partition": described,
            "internal": described * (not is_prefit),
            "repeats": f"{n_repeats} repeats of the folds" * (n_repeats > 1),
        },
        "Results": {
            "chance": "" if evaluation.chance is None else _show(evaluation.chance),
            "intervals": f"95% intervals: {evaluation._method}",
            "metrics": ", ".join(TITLES[name] for name in TITLES if sure or name != "brier"),
            "rates": _show(evaluation, ("sensitivity", "specificity")),
            "score": _show(evaluation),
        },
        "Comparison": {"comparison": "differences with intervals and tests" * (len(names) > 1)},
        "Subgroups": {"subgroups": f"scores by {', '.join(columns)}" * (len(columns) > 0)},
        "Curves": {
            "calibration": sure and f"calibration of {sure}",
            "benefit": sure and f"decision curve of {sure}",
            "output": kinds_text,
        },
        "Most wrong": {"errors": f"{n_wrong}; the most confident ones are shown"},
        "Data set": {"data": f"{evaluation._size} ({classes})"},
        "Audit": {"audit": f"audit {audit.outcome}: {audit.verdict}" if audit else ""},
        "Details": {
            "seed": f"seed {evaluation.random_state}",
            "tuning": "parameters chosen within each training part" * is_tuned,
            "versions": ", ".join(f"{name} {n}" for name, n in evaluation.versions.items()),
        },
    }
    return {key: (text, at) for at, texts in shown.items() for key, text in texts.items() if text}


def _show(evaluation, metrics=("accuracy", "roc_auc")):
    """Return metrics of each pipeline with their intervals as text."""
    tables = {title(metric, of): table for metric, of, table in iter_tables(evaluation, metrics)}
    return "; ".join(
        f"{name}: "
        + ", ".join(f"{head} {format_interval(row.loc[name])}" for head, row in tables.items())
        for name in evaluation.pipeline_names
    )
