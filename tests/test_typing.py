"""The signatures that type checkers and editors see."""

import inspect
from functools import cached_property
from importlib.resources import files

import featbus
from featbus import (
    base,
    bus,
    commands,
    datasets,
    evaluation,
    feature_extraction,
    io,
    model_selection,
    persistence,
    preprocessing,
    recipes,
    sampling,
    segmentation,
    verify,
)

MODULES = [
    *(base, bus, datasets, evaluation, feature_extraction, io, model_selection, persistence),
    *(preprocessing, recipes, sampling, segmentation, verify, commands),
]
PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in MODULES
    for name in module.__all__
    if callable(getattr(module, name))
}


def functions_of(value):
    """Yield the public functions of featbus that a class has, or the function itself."""
    if not inspect.isclass(value):
        yield inspect.unwrap(value)
        return
    for owner in value.__mro__:
        for name, member in vars(owner).items():
            if owner.__module__.startswith("featbus") and name in ("__init__", name.lstrip("_")):
                member = getattr(member, "fget", None) or getattr(member, "__func__", member)
                member = member.func if isinstance(member, cached_property) else member
                if inspect.isfunction(member):
                    yield inspect.unwrap(member)


def is_annotated(function):
    signature = inspect.signature(function)
    missing = [
        name
        for name, parameter in signature.parameters.items()
        if parameter.annotation is parameter.empty and name not in ("self", "cls")
    ]
    return not missing and signature.return_annotation is not signature.empty


def test_a_marker_tells_type_checkers():
    assert files(featbus).joinpath("py.typed").is_file()


def test_public_signatures_are_annotated():
    missing = {
        f"{name}: {function.__qualname__}"
        for name, value in PUBLIC.items()
        for function in functions_of(value)
        if not is_annotated(function)
    }
    assert len(PUBLIC) > 50
    assert not missing
