"""``python -m featbus``."""

import sys

from featbus.cli import main

sys.exit(main())
