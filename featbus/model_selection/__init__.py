"""Groups of images that belong together, and the search for leaks and shortcuts."""

from featbus.model_selection._audit import AuditReport, audit
from featbus.model_selection._near_duplicates import find_near_duplicates

__all__ = ["AuditReport", "audit", "find_near_duplicates"]
