"""How stores are read into the warehouse: the same for an ingestion and for its plan."""

from dataclasses import dataclass
from typing import Final

from pipeline.selection import EVERY_RUN, ChooseSeries, Selection


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """What of the stores is read, and which store is none.

    Parameters
    ----------
    registry_uri
        Where presets are registered: refused as a source.
    allow_registry_as_source
        Read it all the same (a team with one store); runs of ours are skipped there as everywhere.
    selection
        Which runs and series; what it leaves out stays in the warehouse as it is.
    choose_series
        Of some names of series, those to copy; asked where the selection does not say. None copies all.
    full
        Read every run in the choice again: a source that cannot tell exactly (a tracking server) would not show points
        that reached a finished run late.
    """

    registry_uri: str | None = None
    allow_registry_as_source: bool = False
    selection: Selection = EVERY_RUN
    choose_series: ChooseSeries | None = None
    full: bool = False

    @property
    def choose(self) -> ChooseSeries | None:
        """What decides about names of series; None where all are copied."""
        return self.selection.series(self.choose_series)

    @property
    def refused_uri(self) -> str | None:
        """The address that must not be a source, or None."""
        return None if self.allow_registry_as_source else self.registry_uri


EVERYTHING_NEW: Final = IngestOptions()
"""All series of all runs that are new or have changed."""
