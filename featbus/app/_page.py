"""The page, a script of Streamlit: what a reader sees of each image."""

import re
import sys
from importlib.resources import files

import pandas as pd
import streamlit as st

from featbus.app._results import describe_call, draw, examine, open_model, tabulate
from featbus.files import escape

MAX_IMAGES = 20  # at a time: all of them are in memory
_NOTE = (
    "Not a medical device and not for clinical use: a research tool that must not guide the care "
    "of a patient. Nothing you upload is kept."
)
_NOT_TRAINED_ON = (
    "Anything else: other kinds of images, findings other than {}, and devices, hospitals and "
    "patients that the data do not cover. For such images the class means nothing."
)
_COLORS = (
    "Red: hiding this part lowers the probability of the predicted class; blue: raises it. "
    "The scale is the change, from -{0:.2f} to +{0:.2f}."
)


def show_page(path):
    """Show the page of a model.

    Parameters
    ----------
    path : str
        The file of the model.
    """
    model = open_model(path)
    logo = str(files("featbus.app").joinpath("logo.svg"))
    st.set_page_config(page_title=f"{model.name} – featbus", page_icon=logo, layout="wide")
    st.title(_plain(model.name))
    st.caption(_NOTE)
    choice, answer, view = st.columns([0.26, 0.32, 0.42], gap="medium")
    with choice:
        images = _choose_images(model)
    known = st.session_state.get("results", {}).items()
    st.session_state.results = {key: result for key, result in known if key[0] in images}
    with answer, st.spinner("Examining the images"):
        results = {key: _examine(model, images, key) for key in images}
    with choice:
        shown = _choose_shown(results)
        if results:
            _list_results(results.values())
    with answer:
        for result in results.values():
            if result.error:
                st.error(f"**{_plain(result.name)}** has no result: {_plain(result.error)}")
        if shown is not None:
            _show_prediction(model.card, results[shown].examination)
            with view:
                _show_image(model, images, shown)
        with st.expander("Model card: data, scores, limits", expanded=not images):
            _show_card(model.card)


def _plain(text):
    """Return a text that Markdown shows as it is."""
    return re.sub(r"([^\w\s,;=%])", r"\\\1", escape(" ".join(str(text).split())))


def _choose_images(model):
    """Return, by their keys, the names of all chosen images and functions that read them."""
    uploads = st.file_uploader(
        "Images: PNG, JPEG, TIFF or DICOM", accept_multiple_files=True, key="uploads"
    )
    example = st.selectbox(
        "Or a synthetic example", [*model.examples], index=None, placeholder="Choose an example"
    )
    if len(uploads) > MAX_IMAGES:
        st.error(f"{len(uploads)} images are chosen; only the first {MAX_IMAGES} are examined.")
    chosen = {upload.file_id: (upload.name, upload.getvalue) for upload in uploads[:MAX_IMAGES]}
    return chosen | ({example: (example, lambda: model.examples[example])} if example else {})


def _examine(model, images, key, importance=False):
    """Examine an image, unless that was done before."""
    results = st.session_state.results
    if (key, importance) not in results:
        name, read = images[key]
        results[key, importance] = examine(model, name, read(), importance)
    return results[key, importance]


def _choose_shown(results):
    """Return the key of the image to show; None if no image has a result."""
    names = {key: result.name for key, result in results.items() if result.error is None}
    return st.selectbox("Image shown", [*names], format_func=names.get) if names else None


def _list_results(results):
    """Show a row per image, and a button to download all columns."""
    table = tabulate(results)
    st.dataframe(table.filter(["image", "predicted", "unlike_training_images"]), hide_index=True)
    st.download_button(
        "Download results (CSV)", table.to_csv(index=False), "featbus-results.csv", "text/csv"
    )


def _show_prediction(card, found):
    """Show the class and the probabilities, with a warning about an unfamiliar image."""
    if found.is_unfamiliar:
        st.error(
            "**Unlike the training images.** The model has not learned from images like this one: "
            f"do not rely on the class below. Distance {found.distance:.2f}, expected at most "
            f"{found.limit:.2f}."
        )
    if card.get("doubt"):
        st.warning(_plain(f"{card['doubt']} Do not rely on the class below."))
    st.caption("Predicted class")
    (st.write if card.get("doubt") else st.subheader)(_plain(found.predicted))
    st.write(_plain(" ".join(describe_call(card, found))))
    if found.probabilities is None:
        st.write("This model gives no probabilities.")
    else:
        for name, value in found.probabilities.items():
            st.progress(float(value), f"{_plain(name)} {value:.2f}")


def _show_image(model, images, key):
    """Show the image, with its importance map if wanted."""
    importance = st.toggle("Show what the class rests on")
    with st.spinner("Examining the image"):
        result = _examine(model, images, key, importance)
    found = result.examination or _examine(model, images, key).examination
    parts = [f"{result.name}."]
    if found.outline is not None:
        parts.append("Yellow: the region that the model found.")
    if importance:
        heat, reason = found.importance, result.error or found.importance_reason
        parts.append(reason if heat is None else _COLORS.format(abs(heat).max()))
    st.image(draw(found), caption=_plain(" ".join(parts)))


def _show_card(card):
    """Show what the model was trained on, and what not, and how good it is."""
    classes = _plain(", ".join(card["classes"]))
    st.subheader("Model card")
    st.write(f"**Not trained on.** {_NOT_TRAINED_ON.format(classes)}")
    known = {key: value for key, value in card.items() if key != "reference" and value}
    rows = pd.json_normalize(known, sep=", ").T.astype(str)
    st.table(rows.set_axis(["model card"], axis=1).map(_plain))


if __name__ == "__main__":
    show_page(sys.argv[1])
