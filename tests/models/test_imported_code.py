import importlib
import sys
from pathlib import Path

import pytest

from models.retraining.user_code import imported_code


def test_code_is_that_of_the_modules_below_the_root_that_were_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "imported_net.py").write_text("WIDTH = 1\n")
    (tmp_path / "never_imported.py").write_text("WIDTH = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    nothing = imported_code(tmp_path)
    importlib.import_module("imported_net")
    before = imported_code(tmp_path)
    (tmp_path / "never_imported.py").write_text("WIDTH = 2\n")
    assert imported_code(tmp_path) == before != nothing
    (tmp_path / "imported_net.py").write_text("WIDTH = 2\n")
    assert imported_code(tmp_path) != before
    monkeypatch.delitem(sys.modules, "imported_net")
    assert imported_code(tmp_path) == nothing
