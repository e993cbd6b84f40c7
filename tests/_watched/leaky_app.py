"""``featbus`` with a page that keeps what is uploaded: ``python leaky_app.py app MODEL``.

The test that nothing is kept has to find each of these.
"""

from starlette.formparsers import MultiPartParser

from featbus.app import _results, _run
from featbus.cli import main

load, examine, prepare = _results.load, _results.examine, _run._keep_nothing


def load_with_memory(path):
    """Have the bus of the model store its rows."""
    return load(path).set_params(featurebus__memory="store")


def examine_aloud(model, name, *args, **options):
    """Tell the name of a file."""
    print("Examining", name, flush=True)
    return examine(model, name, *args, **options)


def prepare_for_files():
    """Have large uploads parsed in temporary files, which is the default of Starlette."""
    prepare()
    MultiPartParser.spool_max_size = 1024**2


_results.load, _results.examine = load_with_memory, examine_aloud
_run._keep_nothing = prepare_for_files

if __name__ == "__main__":
    main()
