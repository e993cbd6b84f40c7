"""``featbus`` with one change of the page: ``python changed_app.py CHANGE app MODEL``.

The test that nothing is kept has to find what each change keeps.
"""

import sys

import featbus.app._results as results
from featbus.cli import main


def keep_rows():
    """Have the bus of the model store its rows."""
    load = results.load

    def load_with_memory(path):
        pipeline = load(path)
        return pipeline.set_params(featurebus__memory="store")

    results.load = load_with_memory


def keep_uploads():
    """Have large uploads parsed in temporary files, which is the default of Starlette."""
    from starlette.formparsers import MultiPartParser

    from featbus.app import _run

    prepare = _run._keep_nothing

    def prepare_for_files():
        prepare()
        MultiPartParser.spool_max_size = 1024**2

    _run._keep_nothing = prepare_for_files


def tell_names():
    """Have the names of files logged."""
    examine = results.examine

    def examine_aloud(model, name, *args, **options):
        print("Examining", name, flush=True)
        return examine(model, name, *args, **options)

    results.examine = examine_aloud


CHANGES = {change.__name__: change for change in (keep_rows, keep_uploads, tell_names)}

if __name__ == "__main__":
    CHANGES[sys.argv.pop(1)]()
    main()
