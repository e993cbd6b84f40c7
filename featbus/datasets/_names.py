"""Names as they are compared: of files, classes and groups."""

import unicodedata

from featbus.files import as_unicode


def as_name(text):
    """Return a name as it is compared: accents have two spellings, and spaces do not show."""
    return unicodedata.normalize("NFC", as_unicode(text)).strip()


def stem_of(path):
    """Return a path without its extension; the end of a number, such as 1.2.3, is none."""
    return path.with_suffix("") if path.suffix[1:2].isalpha() else path
