"""
RemoveAnnotations: take burned-in marks away
============================================

Scanners burn calipers, dotted lines and text into the pixels. A classifier learns them: where there
is a caliper, somebody has found something. :class:`~featbus.RemoveAnnotations` finds them by their
edges, which are one pixel wide, and paints them over. The image is synthetic.
"""

import cv2
import matplotlib.pyplot as plt
import numpy as np

from featbus import RemoveAnnotations, make_breast_ultrasound

scan = make_breast_ultrasound(1, image_shape=(360, 480), random_state=3).images[0]
marked = np.repeat(cv2.GaussianBlur(scan, (3, 3), 0)[..., np.newaxis], 3, axis=2)
for x, y in ((140, 150), (300, 120)):
    cv2.drawMarker(marked, (x, y), (226, 226, 226), cv2.MARKER_CROSS, 15, 2)
for share in np.linspace(0.07, 0.93, 28):
    x, y = int(140 + 160 * share), int(150 - 30 * share)
    marked[y : y + 2, x : x + 2] = 226
font = cv2.FONT_HERSHEY_SIMPLEX
cv2.putText(marked, "RT UOQ", (40, 320), font, 0.5, (226, 226, 226), 1, cv2.LINE_4)
cv2.rectangle(marked, (360, 40), (440, 110), (230, 210, 60), 1)

# %%
# With ``method="mask"`` the marks leave the region (red), and features leave them out. With
# ``method="inpaint"``, the default, they are painted over from what is around them.

masked = RemoveAnnotations("mask").transform([marked])[0]
painted = RemoveAnnotations().transform([marked])[0]
found = np.where(masked.mask, np.array([220, 40, 40], np.uint8), marked)

figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), layout="constrained")
titles = ["with marks", "what is found", "painted over"]
for axis, picture, title in zip(axes, [marked, found, painted], titles):
    axis.imshow(picture)
    axis.set_title(title, fontsize="medium")
    axis.axis("off")

# %%
# All other pixels stay as they are:

outside = ~masked.mask
print(f"{masked.mask[..., 0].mean():.1%} of the pixels are part of a mark, or next to one.")
print("The others are the same:", bool((painted[outside] == marked[outside]).all()))
