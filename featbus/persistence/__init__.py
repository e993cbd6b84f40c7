"""Model files: fitted pipelines that move to another machine, without pickle."""

from featbus.persistence._archive import ModelFileError
from featbus.persistence._card import read_card, write_card_html
from featbus.persistence._model import load, save

__all__ = ["ModelFileError", "load", "read_card", "save", "write_card_html"]
