"""
Near-duplicates: the same picture twice
=======================================

:func:`~featbus.find_near_duplicates` groups copies and near-copies. Keep each group on one side of
every split.

The images are eight different scans and near-duplicates of the first: brighter, cropped at one
side, rotated, with measurement marks, mirrored, inverted, and as `ImageAugmenter` changes it.
"""

import cv2
import matplotlib.pyplot as plt
import numpy as np

from featbus import ImageAugmenter, find_near_duplicates, make_breast_ultrasound

scans = make_breast_ultrasound(16, weights=[1, 1, 0], contrast=2, random_state=0).images[::2]
scan = scans[0]
marked = scan.copy()
for place in [(70, 90), (150, 90)]:
    cv2.drawMarker(marked, place, 255, cv2.MARKER_CROSS, 9, 2)
cv2.putText(marked, "1 L 0.82 cm", (6, 184), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
height, width = scan.shape
turn = cv2.getRotationMatrix2D((width / 2, height / 2), 10, 1)
changed = {
    "brighter": np.clip(scan * 1.4 + 10, 0, 255).astype(np.uint8),
    "cropped": np.ascontiguousarray(scan[:, 40:]),
    "rotated": cv2.warpAffine(scan, turn, (width, height)),
    "marked": marked,
    "mirrored": scan[:, ::-1],
    "inverted": 255 - scan,
    "augmented": ImageAugmenter(n_copies=1).fit_resample([scan], [0])[0][1],
}
images = [*scans, *changed.values()]
groups = find_near_duplicates(images)
print(groups)

# %%
# Groups
# ------
# Images of the group have red frames. The others are alone in their groups.

titles = ["original", *changed, "another"]
shown = [0, *range(8, 15), 1]
figure, axes = plt.subplots(3, 3, figsize=(8, 6.6), layout="constrained")
for axis, title, index in zip(axes.flat, titles, shown):
    axis.imshow(images[index], cmap="gray", vmin=0, vmax=255)
    axis.set(xticks=[], yticks=[])
    together = np.count_nonzero(groups == groups[index]) > 1
    color = "C3" if together else "0.6"
    axis.set_title(f"{title}: group {groups[index]}", color=color if together else "0.3")
    for spine in axis.spines.values():
        spine.set(color=color, linewidth=4)

# %%
# Limits
# ------
# Two halves of an image that do not overlap have nothing in common that could be compared. Images
# must share at least 40 % of the smaller one.

shares = np.arange(0, 1.01, 0.1)
found = []
for share in shares:
    start = round((1 - share) * width / 2)
    parts = [(scan[:, : width // 2], scan[:, start : start + width // 2]) for scan in scans]
    found.append(np.mean([np.ptp(find_near_duplicates(pair)) == 0 for pair in parts]))

figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.plot(100 * shares, found, marker=".")
axis.set(xlabel="common part of two crops, %", ylabel="share found")
axis.set_ylim(-0.03, 1.03)
plt.show()
