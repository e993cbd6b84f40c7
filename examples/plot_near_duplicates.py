"""
Near-duplicates: the same picture twice
=======================================

:func:`~featbus.find_near_duplicates` groups copies and near-copies. Keep each group on one side of
every split.

The images are eight different scans and near-duplicates of the first: brighter, cropped, resized,
with measurement marks, and noisy. A mirrored copy is not found, by design.
"""

import cv2
import matplotlib.pyplot as plt
import numpy as np

from featbus import find_near_duplicates, make_breast_ultrasound

scans = make_breast_ultrasound(16, weights=[1, 1, 0], contrast=2, random_state=0).images[::2]
scan = scans[0]
marked = scan.copy()
for place in [(70, 90), (150, 90)]:
    cv2.drawMarker(marked, place, 255, cv2.MARKER_CROSS, 9, 2)
cv2.putText(marked, "1 L 0.82 cm", (6, 184), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1, cv2.LINE_AA)
noise = np.random.default_rng(0).normal(0, 25, scan.shape)
changed = {
    "brighter": np.clip(scan * 1.4 + 10, 0, 255).astype(np.uint8),
    "cropped": scan[6:-6, 8:-8],
    "smaller": cv2.resize(scan, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA),
    "marked": marked,
    "noisy": np.clip(scan + noise, 0, 255).astype(np.uint8),
    "mirrored": scan[:, ::-1],
}
images = [*scans, *changed.values()]
groups = find_near_duplicates(images)
print(groups)

# %%
# Groups
# ------
# Images of the group have red frames. The others are alone in their groups.

titles = ["original", *changed, "another", "another"]
shown = [0, *range(8, 14), 1, 2]
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
# The more of the border is cropped, the less two images have in common. Beyond some point, only a
# table of patients tells that they belong together.

cuts = np.arange(0, 25, 2)
found = []
for cut in cuts:
    pairs = [find_near_duplicates([scan, scan[cut:, cut:]]) for scan in scans]
    found.append(np.mean([first == second for first, second in pairs]))

figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
axis.plot(100 * cuts / scans.shape[1], found, marker=".")
axis.set(xlabel="cropped at the top and left, % of the height", ylabel="share found")
axis.set_ylim(-0.03, 1.03)
plt.show()
