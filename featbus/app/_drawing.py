"""An examined image as a picture for the page, with its outline and importance map."""

from base64 import b64encode

import cv2
import numpy as np

_SIDE = 900  # pixels of the longer side: sharp on the page
_OUTLINE = (255, 214, 64)
_FOR, _AGAINST = np.array([235, 64, 52.0]), np.array([52, 120, 246.0])
_OPACITY = 0.45
_VISIBLE = 0.1  # change of probability: a map of smaller ones stays pale


def draw(examination, importance=True):
    """Return the picture of an image as a ``data:`` URL: no address serves it to anyone else.

    Parameters
    ----------
    examination : Examination
        The image, its outline and its importance map.
    importance : bool, default=True
        Whether to paint the importance map, if there is one.

    Returns
    -------
    str
        The URL of a PNG.
    """
    picture = examination.image
    picture = np.stack([picture] * 3, axis=-1) if picture.ndim == 2 else picture
    if importance and examination.importance is not None:
        picture = _paint(picture, examination.importance)
    scale = _SIDE / max(picture.shape[:2])
    size = tuple(max(1, round(side * scale)) for side in picture.shape[1::-1])
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else 1)
    if examination.outline is not None:
        inside = cv2.resize(examination.outline.astype(np.uint8) * 255, size)
        edges, _ = cv2.findContours(
            (inside > 127).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(picture, edges, -1, (0, 0, 0), 5, cv2.LINE_AA)
        cv2.drawContours(picture, edges, -1, _OUTLINE, 2, cv2.LINE_AA)
    _, encoded = cv2.imencode(".png", picture[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return f"data:image/png;base64,{b64encode(encoded).decode()}"


def _paint(picture, importance):
    """Blend red where the map is above 0 and blue below; stronger is more opaque."""
    strength = importance[..., np.newaxis] / max(_VISIBLE, np.abs(importance).max())
    opacity = _OPACITY * strength**2  # leaves parts of little weight as they are
    color = np.where(strength > 0, _FOR, _AGAINST)
    return np.rint(picture * (1 - opacity) + color * opacity).astype(np.uint8)
