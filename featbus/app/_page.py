"""The page: what a reader sees; every number comes from `featbus.commands`."""

from dataclasses import replace
from importlib.resources import files

import streamlit as st

from featbus.app import _html
from featbus.app._download import download_link
from featbus.app._drawing import draw
from featbus.app._model import open_model
from featbus.app._results import Result, examine, to_csv

MAX_IMAGES = 20  # at a time: all of them are in memory
_NOT_EXPLAINED = "What the class rests on could not be computed."
_LOGO = str(files("featbus.app").joinpath("logo.svg"))


def show_page(path):
    """Show the page of a model.

    Parameters
    ----------
    path : str
        The file of the model.
    """
    model = open_model(path)
    st.set_page_config(page_title=f"{model.name} – featbus", page_icon=_LOGO, layout="wide")
    st.html(_html.style())
    st.html(_html.header(model.name))
    choice, answer, view = st.columns([0.24, 0.32, 0.44], gap="medium")
    with choice:
        images = _choose_images(model)
    results = _results_of(images)
    with choice:
        shown = _choose_shown(images, results)
        overview = st.container()
    if not images:
        answer.html(_html.welcome(model.card["classes"]))
        view.html(_html.card(model.card))
        return
    if any(result.error for result in results.values()):
        answer.html(_html.errors(results.values()))
    if shown is not None:
        with answer, st.spinner("Examining the image"):
            _examine(model, images, results, shown)
        if results[shown].error:
            st.rerun()  # with the next image
        _show_answer(results[shown].examination, answer)
    with answer, st.expander("Model card: data, scores, limits"):
        st.html(_html.card(model.card))
    if shown is not None:
        _show_image(model, images, results, shown, view)
    with overview:
        _show_all(model, images, results)


def _choose_images(model):
    """Return the content of all chosen images by their keys, with their names."""
    uploads = st.file_uploader(
        "Images: PNG, JPEG, TIFF or DICOM", accept_multiple_files=True, key="uploads"
    )
    example = st.selectbox(
        "Or a synthetic example", [*model.examples], index=None, placeholder="Choose an example"
    )
    if len(uploads) > MAX_IMAGES:
        st.html(_html.too_many(len(uploads), MAX_IMAGES))
    chosen = {upload.file_id: (upload.name, upload) for upload in uploads[:MAX_IMAGES]}
    return chosen | ({example: (example, model.examples[example])} if example else {})


def _choose_shown(images, results):
    """Return the key of the image that is shown: not one of those that have an error."""
    names = {
        key: f"{position}. {name}"
        for position, (key, (name, _)) in enumerate(images.items(), start=1)
        if key not in results or results[key].error is None
    }
    if len(names) < 2:
        return next(iter(names), None)
    return st.selectbox("Image shown", [*names], format_func=names.get)


def _results_of(images):
    """Return this reader's results, without those of images that were removed."""
    kept = st.session_state.get("results", {})
    st.session_state.results = {key: kept[key] for key in images if key in kept}
    return st.session_state.results


def _examine(model, images, results, key, importance=False):
    """Examine an image, unless that was done."""
    if key not in results or importance > results[key].is_explained:
        name, image = images[key]
        data = image.getvalue() if hasattr(image, "getvalue") else image
        result = examine(model, name, data, importance)
        if result.error and key in results:  # only the importance failed
            found = replace(results[key].examination, importance_reason=_NOT_EXPLAINED)
            result = Result(name, found, is_explained=True)
        results[key] = result


def _show_answer(found, answer):
    with answer:
        st.html(_html.warning(found) + _html.classes(found) + _html.histograms(found))


def _show_image(model, images, results, key, view):
    """Show the image at once, and again with its importance map if that is wanted."""
    with view:
        is_wanted = st.toggle("Show what the class rests on")
        place = st.empty()
        if is_wanted and not results[key].is_explained:
            _draw(results[key], False, place)
            with st.spinner("Finding what the class rests on"):
                _examine(model, images, results, key, importance=True)
        _draw(results[key], is_wanted, place)


def _draw(result, importance, place):
    found = result.examination
    place.html(_html.picture(draw(found, importance), result.name, found, importance))


def _show_all(model, images, results):
    """Examine the images that are not shown, and list all of them."""
    place, before = st.empty(), dict(results)
    for key in images:
        _list(images, results, place)
        _examine(model, images, results, key)
    if any(results[key].error for key in images if key not in before):
        st.rerun()  # errors stand above the result
    _list(images, results, place)
    download_link(to_csv(results[key] for key in images))


def _list(images, results, place):
    if len(images) > 1:
        listed = [results.get(key, Result(name)) for key, (name, _) in images.items()]
        place.html(_html.table(listed))
