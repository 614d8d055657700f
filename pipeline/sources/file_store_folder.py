"""From an address to the folder of a file store, or the reason why it is none."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from pipeline.errors import SourceUnreadableError
from pipeline.sources.run_folders import META_FILE, PARTS, experiment_folders


def file_store_path(address: str) -> Path:
    """Give the folder of `file:///absolute` or a path, links resolved; of a project's folder the `mlruns` in it.

    Raises
    ------
    SourceUnreadableError
        The address has another scheme, another host, or names no folder.
    """
    path = address
    if address.startswith("file:"):
        parts = urlsplit(address)
        if parts.netloc not in ("", "localhost"):
            raise SourceUnreadableError(
                f"a file store must be on this machine, got the host '{parts.hostname}'; write file:///absolute/mlruns"
            )
        path = unquote(parts.path)
    elif "://" in address:
        scheme = address.partition("://")[0]
        raise SourceUnreadableError(f"a file store is a folder or file:///folder, got the scheme '{scheme}'")
    if not path.strip():
        raise SourceUnreadableError(f"an address must name a folder, got '{address}'; write file:///absolute/mlruns")
    folder = Path(path).expanduser().resolve()
    inside = folder / "mlruns"
    return inside.resolve() if inside.is_dir() and not _names_experiments(folder) else folder


def check_file_store(folder: Path) -> None:
    """Make sure that the folder holds an experiment or a run, be its meta file broken.

    Raises
    ------
    SourceUnreadableError
        It is missing, no folder, may not be listed, or holds neither.
    """
    try:
        if not folder.exists():
            raise SourceUnreadableError("no such folder")
        if not folder.is_dir():
            raise SourceUnreadableError("a file, not the folder of a file store")
        if (folder / META_FILE).exists():
            store = folder.parents[1] if any((folder / part).is_dir() for part in PARTS) else folder.parent
            raise SourceUnreadableError(f"a part of a file store; name the whole instead: {store}")
        if not _holds_runs_or_experiments(folder):
            databases = sorted({path.name for place in (folder, folder.parent) for path in place.glob("*.db")})
            hint = f"; the store may be {databases[0]}, in it or beside it" if databases else ""
            raise SourceUnreadableError(f"no file store: no folder in it holds an experiment or a run{hint}")
    except OSError as error:
        raise SourceUnreadableError(f"cannot be opened: {error.strerror}", stands=True) from error


def _names_experiments(folder: Path) -> bool:
    # A package recipe has a `meta.yaml` too, which names no experiment.
    try:
        return any(experiment.problem is None for experiment in experiment_folders(str(folder)))
    except OSError:
        return False


def _holds_runs_or_experiments(folder: Path) -> bool:
    # Without a single meta file it may still be a store that lost them: then every run is reported.
    patterns = (f"*/{META_FILE}", f"*/*/{META_FILE}", *(f"*/*/{part}" for part in PARTS))
    return any(next(folder.glob(pattern), None) is not None for pattern in patterns)
