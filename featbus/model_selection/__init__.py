"""Groups of images that belong together, and the search for leaks and shortcuts."""

from featbus.model_selection._audit import audit
from featbus.model_selection._near_duplicates import find_near_duplicates
from featbus.model_selection._report import AuditReport

__all__ = ["AuditReport", "audit", "find_near_duplicates"]
