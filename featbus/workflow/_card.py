"""What a model card says of a training."""

import os

import numpy as np

from featbus.datasets import count_images
from featbus.evaluation._metrics import iter_tables
from featbus.workflow._features import has_backbone
from featbus.workflow._reference import FewImagesError, describe_training_images

_SCORES = ("accuracy", "balanced_accuracy", "sensitivity", "specificity", "roc_auc", "brier")
_KNOWN = ("BUSI", "mini-MIAS")
_PLAIN = (bool, int, float, type(None))


def make_card(settings, recipe, dataset, evaluation, audit):
    """Describe a training for the card of its model.

    Parameters
    ----------
    settings : dict
        The parameters of `train_model`.
    recipe : Pipeline
        The recipe.
    dataset : Bunch
        The images.
    evaluation : Evaluation
        The result of the cross-validation.
    audit : AuditReport
        The result of the audit.

    Returns
    -------
    dict
        ``recipe``, ``data``, ``audit`` (the verdict in one line), ``protocol``, ``scores`` (mean,
        low and high end of the 95% interval; without a positive class, their names say what they
        are about) and ``positive_class``, in the types of JSON. It
        contains no path, and the name of a data set only if it is a public one: folders are named
        after people.
    """
    return {
        "recipe": _recipe(settings, recipe),
        "data": {
            "name": dataset.name if dataset.name in _KNOWN else "one folder per class",
            "images": len(dataset.images),
            "left_out": len(dataset.get("left_out", [])),
            "classes": count_images(dataset),
            "groups": None if dataset.groups is None else len(np.unique(dataset.groups)),
            "groups_known": not evaluation.groups_note,
            "groups_note": evaluation.groups_note or None,
        },
        "audit": audit.verdict,
        "protocol": evaluation.protocol,
        "scores": _scores(evaluation),
        "positive_class": evaluation.pos_name,
        **_reference(dataset),
    }


def _reference(dataset):
    """Describe the training images, unless they are too few."""
    known = {"groups": dataset.groups, "target_names": dataset.target_names}
    try:
        return {"reference": describe_training_images(dataset.images, dataset.target, **known)}
    except FewImagesError:
        return {}


def _recipe(settings, recipe):
    return {
        "name": settings["recipe"],
        **(_network(settings) if has_backbone(recipe) else {}),
        "options": _plain(settings["options"] or {}),
        "random_state": int(settings["random_state"]),
    }


def _network(settings):
    weights = settings["weights"]
    return {
        "weights": weights if weights in ("imagenet", None) else "from a file",
        "backbone_options": _plain(settings["backbone_options"] or {}),
    }


def _plain(value):
    """Return options in the types of JSON, without paths and objects."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, str) and not {os.sep, os.altsep, "/", "\\"} & {*value}:
        return value
    if isinstance(value, np.generic):
        return _plain(value.item())
    return value if isinstance(value, _PLAIN) else f"a {type(value).__name__}, not shown"


def _scores(evaluation):
    named = None, evaluation.pos_name
    return {
        metric if about in named else f"{metric} ({about})": {
            part: _number(table[part].iloc[0]) for part in ("mean", "low", "high")
        }
        for metric, about, table in iter_tables(evaluation, _SCORES)
    }


def _number(value):
    return round(float(value), 4) if np.isfinite(value) else None
