from pathlib import Path

import pytest

from flows.workload_code import code_hash


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "training.py": "import torch\nfrom models.network import predict\ndef workload():\n    import late.data\n",
        "models/__init__.py": "",
        "models/network.py": "from . import layers\nfrom .optim.sgd import step\npredict = layers.linear\n",
        "models/layers.py": "linear = 1\n",
        "models/optim/sgd.py": "step = 2\n",
        "late/data.py": "from ..nowhere import x\n",
        "research/trial.py": "import beside\n",
        "research/beside.py": "",
        "unrelated.py": "",
    }
    for name, text in files.items():
        path = tmp_path / "repository" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "repository"


@pytest.mark.parametrize(
    "changed",
    [
        "training.py",
        "models/__init__.py",
        "models/network.py",
        "models/layers.py",  # from . import
        "models/optim/sgd.py",  # from .package.module import, in a package without __init__.py
        "late/data.py",  # inside a function
    ],
)
@pytest.mark.parametrize("place", ["training", "training.py"])
def test_a_change_in_anything_that_the_training_imports_changes_the_hash(root: Path, place: str, changed: str) -> None:
    before = code_hash(place, root)
    (root / changed).write_text((root / changed).read_text() + "# another\n")
    assert code_hash(place, root) != before


def test_a_change_elsewhere_does_not(root: Path) -> None:
    before = code_hash("training", root)
    (root / "unrelated.py").write_text("another = True\n")
    (root / "weights.csv").write_text("1,2\n")
    assert code_hash("training", root) == before


def test_module_and_file_are_the_same_code(root: Path) -> None:
    assert code_hash("training", root) == code_hash("training.py", root) == code_hash(str(root / "training.py"), root)


def test_a_file_sees_what_lies_beside_it(root: Path) -> None:
    before = code_hash("research/trial.py", root)
    (root / "research" / "beside.py").write_text("another = True\n")
    assert code_hash("research/trial.py", root) != before


def test_code_that_is_no_python_is_hashed_as_it_stands(root: Path) -> None:
    (root / "training.py").write_text("def workload(:\n")
    broken = code_hash("training", root)
    (root / "training.py").write_bytes(b"\x00\xff")
    assert len({broken, code_hash("training", root), ""}) == 3


def test_code_that_is_missing_has_no_hash(root: Path) -> None:
    assert (code_hash("trainings", root), code_hash("trainings.py", root), code_hash("models.net", root)) == (
        "",
        "",
        code_hash("models", root),
    )


def test_nothing_is_executed(root: Path) -> None:
    (root / "training.py").write_text("raise SystemExit('executed')\n")
    assert len(code_hash("training", root)) == 16
