"""The public names, which `__init__.py` resolves on first use."""

from ._appearance import describe_training_images as describe_training_images
from ._audit import audit as audit
from ._audit import honesty as honesty
from ._examine import Examination as Examination
from ._examine import examine_image as examine_image
from ._extract import extract as extract
from ._predict import predict as predict
from ._train import evaluate as evaluate
from ._train import train as train

__all__: list[str]
