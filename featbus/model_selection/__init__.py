"""Groups of images that belong together, robust columns, and the search for leaks and shortcuts."""

from featbus.model_selection._audit import AuditReport, audit
from featbus.model_selection._near_duplicates import find_near_duplicates
from featbus.model_selection._robustness import PERTURBATIONS, SelectRobust, feature_robustness

__all__ = [
    "PERTURBATIONS",
    "AuditReport",
    "SelectRobust",
    "audit",
    "feature_robustness",
    "find_near_duplicates",
]
