"""The error of retraining.

WorkloadFailedError
    A user's workload cannot be trained: it raised, hung, returned something else, or diverged in every replica. A retry
    does not help; the message says what to change.
"""

from __future__ import annotations


class WorkloadFailedError(Exception):
    """A user's workload cannot be trained."""

    retryable = False
