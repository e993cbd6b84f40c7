"""``featbus`` with one thing switched on that keeps images: ``python leaky_app.py LEAK app MODEL``.

The test that nothing is kept has to find each of them.
"""

import sys

import featbus.app._model as model
import featbus.app._page as page
from featbus.cli import main


def keep_rows():
    """Have the bus of the model store its rows."""
    load = model.load

    def load_with_memory(path):
        pipeline = load(path)
        return pipeline.set_params(featurebus__memory="store")

    model.load = load_with_memory


def keep_results():
    """Have Streamlit cache results on disk."""
    import streamlit as st

    examine = page.examine

    @st.cache_data(persist="disk", show_spinner=False)
    def examine_once(_model, *args, **options):
        return examine(_model, *args, **options)

    page.examine = examine_once


def keep_uploads():
    """Have large uploads parsed in temporary files, which is the default of Starlette."""
    from starlette.formparsers import MultiPartParser

    from featbus.app import _server

    prepare = _server.prepare_server

    def prepare_for_files(*args):
        prepare(*args)
        MultiPartParser.spool_max_size = 1024**2

    _server.prepare_server = prepare_for_files


def tell_names():
    """Have the names of files logged."""
    examine = page.examine

    def examine_aloud(model, name, *args, **options):
        print("Examining", name, flush=True)
        return examine(model, name, *args, **options)

    page.examine = examine_aloud


LEAKS = {leak.__name__: leak for leak in (keep_rows, keep_results, keep_uploads, tell_names)}

if __name__ == "__main__":
    LEAKS[sys.argv.pop(1)]()
    main()
