"""
Visual words: which kinds of patches an image is made of
========================================================

:class:`~featbus.VisualWords` sorts the patches of the training images into groups of similar ones,
the words, and describes an image by how many of its patches belong to each word.
"""

# %%
# What the words look like
# ------------------------
# Sixteen words are learned from synthetic ultrasound images. ``find_words`` returns the word of
# each patch, and how far its descriptor is from the word: patches with a small distance show what
# the word stands for. DAISY describes edges relative to their strength, so that a patch of dim
# speckle and one of bright speckle can be the same word. Each patch is drawn in its own contrast.

import matplotlib.pyplot as plt
import numpy as np

from featbus import VisualWords, make_breast_ultrasound

data = make_breast_ultrasound(60, weights=[1, 1, 0], random_state=0)
images, malignant = data.images, data.target == data.target_names.index("malignant")
training = np.arange(len(images)) < 40
words = VisualWords(n_words=16, random_state=0).fit(images[training])

n_shown, radius = 8, words.size // 2
frequent = words.transform(images[training]).mean(axis=0).argsort()[::-1]
found = [words.find_words(image) for image in images[training]]
figure, axes = plt.subplots(6, n_shown, figsize=(8, 6.6), layout="constrained")
for word, line in zip(frequent, axes):
    # The closest patch of each image, the closest of all first.
    closest = []
    for image, (centers, of, distances) in zip(images, found):
        best = np.where(of == word, distances, np.inf).argmin()
        row, column = centers[best]
        patch = image[row - radius : row + radius, column - radius : column + radius]
        if of[best] == word:
            closest.append((distances[best], patch))
    closest.sort(key=lambda pair: pair[0])
    for axis, (_, patch) in zip(line, closest):
        axis.imshow(patch, cmap="gray")
        axis.set(xticks=[], yticks=[])
    line[0].set_ylabel(f"word {word}")
figure.suptitle("patches of eight images that are closest to the six most frequent words")

# %%
# Two classes
# -----------
# The words of one image, each in a color of its own, and the mean rows of images that the words
# were not learned from. Words that are more frequent in one class than in the other are what a
# classifier learns from.

held = ~training
rows = words.transform(images[held])
centers, of, _ = words.find_words(images[held][0])
figure, axes = plt.subplots(1, 2, figsize=(12, 4), layout="constrained")
axes[0].imshow(images[held][0], cmap="gray")
axes[0].scatter(*centers.T[::-1], c=of, cmap="tab20", s=18)
axes[0].set(xticks=[], yticks=[], title="the words of an image")
for offset, is_malignant, name in ((-0.2, False, "benign"), (0.2, True, "malignant")):
    mean = rows[malignant[held] == is_malignant].mean(axis=0)
    axes[1].bar(np.arange(16) + offset, mean, width=0.4, label=name)
axes[1].set(xlabel="word", xticks=range(16), title="mean share of patches")
axes[1].legend()
