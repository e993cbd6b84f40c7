"""Types in the signatures of featbus."""

import os
from collections.abc import Sequence
from typing import Any, TypeAlias

from numpy.typing import ArrayLike

Images: TypeAlias = ArrayLike | Sequence[Any]  # arrays and paths, in any sequence
PathLike: TypeAlias = str | os.PathLike[str]
