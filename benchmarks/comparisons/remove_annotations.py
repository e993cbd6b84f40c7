"""RemoveAnnotations on BUSI: what the audit's marks predict before and after it.

python benchmarks/comparisons/remove_annotations.py /path/to/busi

The folder holds ``groups.csv`` with the columns class, file, group, similar_groups and annotation.
Thresholds were tuned on the half whose groups are even; similar groups count as the smallest of
them.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from featbus import RemoveAnnotations
from featbus.io import read_image
from featbus.model_selection._measures import measure_image
from featbus.model_selection._shortcuts import score_shortcuts
from featbus.preprocessing._annotations import find_annotations


def read_table(root):
    """Return the rows of groups.csv with the columns `joined`, a group, and `half`."""
    table = pd.read_csv(root / "groups.csv", dtype={"similar_groups": str}, keep_default_na=False)
    joined = {group: group for group in table["group"]}
    for _ in range(3):  # chains of similar groups are short
        for group, similar in zip(table["group"], table["similar_groups"]):
            near = [group, *map(int, similar.split(";"))] if similar else [group]
            joined.update(dict.fromkeys(near, min(joined.get(name, name) for name in near)))
    table["joined"] = table["group"].map(joined)
    table["half"] = np.where(table["joined"] % 2 == 0, "tuned on", "held out")
    return table


def print_shortcut(images, table, name):
    measures = pd.DataFrame([measure_image(image, image) for image in images])
    codes, groups = (pd.factorize(table[name])[0] for name in ("class", "joined"))
    row = score_shortcuts(measures, codes, groups).set_index("shortcut").loc["marks"]
    verdict = "above" if row["roc_auc"] > row["baseline_high"] else "within"
    print(
        f"  {name:24} AUC {row['roc_auc']:.3f} ({row['low']:.3f} to {row['high']:.3f}), permuted "
        f"{row['baseline']:.3f} (up to {row['baseline_high']:.3f}): {verdict} the baseline"
    )


def main():
    root = Path(sys.argv[1])
    table = read_table(root)
    images = [read_image(root / row["class"] / row["file"]) for _, row in table.iterrows()]
    removed = RemoveAnnotations().transform(images)
    shares = np.array([find_annotations(image).mean() for image in images])
    halves = {"tuned on": table["half"] == "tuned on", "held out": table["half"] == "held out"}
    halves["all"] = np.ones(len(table), bool)
    for name, chosen in halves.items():
        part = table[chosen].reset_index(drop=True)
        where = np.flatnonzero(chosen)
        print(f"{name}: {len(part)} images, {part['joined'].nunique()} groups")
        print_shortcut([images[index] for index in where], part, "as they are")
        print_shortcut([removed[index] for index in where], part, "after RemoveAnnotations")
        has_none = part["annotation"] == ""
        # A control: what the measures say where nobody has seen a mark.
        unmarked = part[has_none].reset_index(drop=True)
        print_shortcut(
            [images[index] for index in where[has_none]], unmarked, "unmarked, as they are"
        )
        for kind, picked in {"no": has_none, "an": ~has_none}.items():
            changed = 100 * shares[where][picked]
            print(
                f"  {len(changed):3} with {kind} annotation: share of pixels changed, median "
                f"{np.median(changed):.3f} %, mean {changed.mean():.3f} %, 95th percentile "
                f"{np.percentile(changed, 95):.3f} %, largest {changed.max():.3f} %; "
                f"{np.mean(changed == 0):.0%} untouched"
            )


if __name__ == "__main__":
    main()
