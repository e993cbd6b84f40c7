"""What the commands do: from a folder of images to features, a model, predictions and an audit."""

from featbus.commands._commands import audit, evaluate, extract, honesty, predict, train

__all__ = [
    "Examination",
    "audit",
    "describe_training_images",
    "evaluate",
    "examine_image",
    "extract",
    "honesty",
    "predict",
    "train",
]


def __getattr__(name):
    if name not in __all__:
        raise AttributeError(f"module 'featbus.commands' has no attribute {name!r}")
    from featbus.commands import _examine  # takes seconds; `featbus train --help` does not need it

    return getattr(_examine, name)
