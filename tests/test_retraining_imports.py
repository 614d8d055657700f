import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCKED = ("polars", "mlflow", "duckdb", "pyarrow", "prefect", "adbc_driver_sqlite", "pydantic", "mlxtend")

PROGRAM = f"""
import sys
for name in {BLOCKED!r}:
    sys.modules[name] = None  # makes its import raise ImportError
import models.retraining.job, models.retraining.execution, models.retraining.child_program
import models.retraining.job_program
"""


def test_retraining_is_imported_where_there_is_only_torch_and_numpy() -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, check=True)
