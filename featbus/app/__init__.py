"""The page of a trained model: upload an image, see its class and why; keeps nothing."""

from featbus.app._run import run_app

__all__ = ["run_app"]
