import tomllib
from pathlib import Path
from typing import get_args

import pytest

from features.series_names import IGNORED, Role
from pipeline.settings import GroupSettings, RoleOrIgnored, Settings, load_settings, template, write_template


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "greedylr.toml"


def load(file: Path, text: str) -> Settings:
    file.write_text(text)
    return load_settings(file)


def test_the_defaults_are_these() -> None:
    settings = Settings()
    assert settings.warehouse == Path("data/greedylr.duckdb")
    assert settings.sources == ()
    assert settings.registry_uri == "sqlite:///data/registry.db"
    assert settings.allow_registry_as_source is False
    assert (settings.groups.by, settings.groups.min_runs) == (("experiment", "optimizer"), 6)
    assert settings.budget.max_seeds == 20
    assert settings.budget.max_replicas == 4000
    assert settings.budget.nightly_device_hours == 0.0
    assert settings.promotion.mode == "manual"
    assert settings.command_store == "sqlite:///data/command_runs.db"
    assert settings.group("any") == GroupSettings(workload=None, steps=None, timeout_minutes=30.0, learning_rate=None)
    assert (settings.group("any").mode, settings.group("any").parallel) == ("min", 1)


def test_the_file_of_init_says_the_defaults(file: Path) -> None:
    write_template(file)
    assert load_settings(file) == Settings().anchored(file.parent)


def test_the_file_of_init_names_every_key(file: Path) -> None:
    uncommented = "\n".join(
        line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in template().splitlines()
    )
    table = tomllib.loads(uncommented)
    assert list(table) == [
        "warehouse",
        "sources",
        "registry_uri",
        "command_store",
        "allow_registry_as_source",
        "ingest",
        "groups",
        "roles",
        "budget",
        "promotion",
    ]
    assert list(table["ingest"]) == ["experiment", "since", "where", "max_runs_per_group", "metrics", "all_series"]
    assert list(table["groups"]) == ["by", "min_runs", "NAME"]
    assert list(table["groups"]["NAME"]) == [
        "workload",
        "command",
        "metric",
        "report_metric",
        "mode",
        "parallel",
        "steps",
        "timeout_minutes",
        "learning_rate",
    ]
    assert table["roles"] == {"energy/total": "training_loss", "*/sanity_loss": "ignored"}
    assert list(table["budget"]) == ["max_seeds", "max_replicas", "nightly_device_hours"]
    assert list(table["promotion"]) == ["mode"]
    # With every example switched on the file is valid, but for the choice between a workload and a command.
    of_a_command = uncommented.replace("NAME", "mnist-mlp-sgd").replace("workload =", "# workload =")
    of_a_command = of_a_command.replace("--schedule {schedule}", "--steps {steps} --schedule {schedule}")
    assert load(file, of_a_command).group("mnist-mlp-sgd").steps == 2000


def test_init_never_overwrites(file: Path) -> None:
    file.write_text("mine")
    with pytest.raises(ValueError, match="exists already; edit it, or remove it first"):
        write_template(file)
    assert file.read_text() == "mine"


def test_relative_paths_are_relative_to_the_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = file.parent
    file.write_text(
        'warehouse = "w.duckdb"\n'
        'sources = ["a.db", "sqlite:///b.db", "sqlite:////c/d.db", "/e.db", "http://host"]\n'
        'registry_uri = "sqlite:///r.db"\n'
        '[groups.a]\nworkload = "code/training.py:workload"\n'
        '[groups.b]\nworkload = "package.module:workload"\n'
        '[groups.c]\nworkload = "reference:mnist-mlp"\n'
    )
    monkeypatch.chdir("/")
    settings = load_settings(file)
    assert settings.warehouse == folder / "w.duckdb"
    assert settings.sources == (
        f"{folder}/a.db",
        f"sqlite:///{folder}/b.db",
        "sqlite:////c/d.db",
        "/e.db",
        "http://host",
    )
    assert settings.registry_uri == f"sqlite:///{folder}/r.db"
    assert settings.group("a").workload == f"{folder}/code/training.py:workload"
    assert settings.group("b").workload == "package.module:workload"
    assert settings.group("c").workload == "reference:mnist-mlp"


def test_a_group_has_its_own_table(file: Path) -> None:
    settings = load(
        file,
        '[groups]\nby = ["experiment", "param:model"]\nmin_runs = 3\n'
        '[groups."mnist-mlp-sgd"]\nlearning_rate = 0.1\nsteps = 400\ntimeout_minutes = 5\n',
    )
    assert settings.groups.by == ("experiment", "param:model")
    assert settings.group("mnist-mlp-sgd") == GroupSettings(learning_rate=0.1, steps=400, timeout_minutes=5.0)
    assert settings.group("other") == GroupSettings()


def test_roles_are_said_by_the_names_of_metrics_or_globs_in_their_order(file: Path) -> None:
    said = load(file, '[roles]\n"val/*" = "ignored"\nenergy = "training_loss"\nsaid = "epoch"').roles.said
    assert list(said.items()) == [("val/*", "ignored"), ("energy", "training_loss"), ("said", "epoch")]


def test_the_roles_that_can_be_said_are_those_that_the_rules_give() -> None:
    assert get_args(RoleOrIgnored) == (*get_args(Role), IGNORED)


def test_a_group_may_be_called_as_a_field_of_ours(file: Path) -> None:
    assert load(file, "[groups.named]\nsteps = 50").group("named").steps == 50


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("warehose = 'x'", "warehose is no known key; did you mean warehouse?"),
        (
            "zzz = 1",
            "zzz is no known key; keys here are warehouse, sources, registry_uri, command_store, "
            "allow_registry_as_source, ingest, "
            "groups, roles, budget, promotion",
        ),
        (
            "[ingest]\nsince = 'lately'",
            'ingest.since must be an age such as "12h", "180d" or "4w", or a date such as "2026-01-31", got \'lately\'',
        ),
        ("[ingest]\nmax_runs_per_group = 0", "ingest.max_runs_per_group must be a whole number >= 1, got 0"),
        ("[ingest]\nexperiments = ['a']", "ingest.experiments is no known key; did you mean experiment?"),
        (
            "[ingest]\nexperiment = 'a'",
            "ingest.experiment must be a list of globs in quotes, such as [\"mnist-*\"], got 'a'",
        ),
        (
            "[ingest]\nmetrics = ['a']\nall_series = true",
            "ingest.metrics and ingest.all_series must not be given both; with all_series every series is copied",
        ),
        (
            "sources = 'postgresql://me:se/cr@et@host/mlflow'",
            "sources must be a list of addresses in quotes, got 'postgresql://me:***@host/mlflow'",
        ),
        ("[groups]\nmin_run = 3", "groups.min_run is no known key; did you mean min_runs?"),
        ("[groups]\nnamed = 3", "groups.named is no known key; keys here are by, min_runs"),
        ("[groups.a-b]\nstep = 50", "groups.a-b.step is no known key; did you mean steps?"),
        (
            "[roles]\nenergy = 'loss'",
            'roles.energy must be "training_loss", "validation_loss", "learning_rate", "epoch" or "ignored", '
            "got 'loss'; "
            "a metric with dots, slashes or globs in its name goes in quotes",
        ),
        (
            "[roles]\ntrain.loss = 'training_loss'",
            'roles.train must be "training_loss", "validation_loss", "learning_rate", "epoch" or "ignored", got '
            "{'loss': 'training_loss'}; a metric with dots, slashes or globs in its name goes in quotes",
        ),
        ("roles = 3", "roles must be a table, got 3; write [roles] above its keys"),
        ("[budget]\nmax_seed = 5", "budget.max_seed is no known key; did you mean max_seeds?"),
        (
            "[groups.a-b]\nlearning_rate = 0",
            "groups.a-b.learning_rate must be a number > 0, got 0; with a rate of 0 nothing is ever learned",
        ),
        (
            "[groups.a-b]\nlearning_rate = -0.1",
            "groups.a-b.learning_rate must be a number > 0, got -0.1; with a rate of 0 nothing is ever learned",
        ),
        (
            "[groups.a-b]\nlearning_rate = nan",
            "groups.a-b.learning_rate must be a number > 0, got nan; with a rate of 0 nothing is ever learned",
        ),
        (
            "[groups.a-b]\nsteps = 39",
            "groups.a-b.steps must be a whole number >= 40, got 39; with fewer steps the rate could not move",
        ),
        ("[groups.a-b]\ntimeout_minutes = 0", "groups.a-b.timeout_minutes must be a number > 0, got 0"),
        (
            "[groups.a-b]\nworkload = 'training.py'",
            'groups.a-b.workload must be "module:factory", "path/file.py:factory" or "reference:NAME", '
            "got 'training.py'",
        ),
        (
            "[groups.Mine]\nsteps = 50",
            "groups.Mine must be a group's name in small letters, digits and hyphens; `greedylr runs` lists the groups",
        ),
        ("groups = 3", "groups must be a table, got 3; write [groups] above its keys"),
        ("[groups]\nmin_runs = '6'", "groups.min_runs must be a whole number >= 1, got '6'"),
        ("[groups]\nmin_runs = 2.5", "groups.min_runs must be a whole number >= 1, got 2.5"),
        ("[groups]\nmin_runs = true", "groups.min_runs must be a whole number >= 1, got True"),
        (
            "[groups]\nby = ['model']",
            'groups.by must be a list of "experiment", "optimizer", "param:NAME" and "tag:NAME", got \'model\'',
        ),
        (
            "[groups]\nby = []",
            'groups.by must be a list of "experiment", "optimizer", "param:NAME" and "tag:NAME", got []',
        ),
        ("sources = 'a.db'", "sources must be a list of addresses in quotes, got 'a.db'"),
        ("sources = ['']", "sources must be a list of addresses in quotes, got ''"),
        ("warehouse = ''", "warehouse must be a path in quotes, got ''"),
        (
            "registry_uri = 'data/registry.db'",
            'registry_uri must be an address such as "sqlite:///data/registry.db" or "http://host:5000", '
            "got 'data/registry.db'",
        ),
        ("allow_registry_as_source = 'yes'", "allow_registry_as_source must be true or false, got 'yes'"),
        ("[budget]\nmax_seeds = 7", "budget.max_seeds must be 5, 10 or 20, got 7"),
        ("[budget]\nnightly_device_hours = inf", "budget.nightly_device_hours must be a number >= 0, got inf"),
        ("[promotion]\nmode = 'Auto'", 'promotion.mode must be "manual" or "auto", got \'Auto\''),
    ],
)
def test_a_fault_is_told_with_file_key_rule_and_value(file: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        load(file, text)
    assert str(raised.value) == f"{file}: {message}"


def test_all_faults_are_told_at_once(file: Path) -> None:
    with pytest.raises(ValueError) as raised:
        load(file, "warehose = 'x'\n[budget]\nmax_replicas = 0\n")
    assert str(raised.value).splitlines() == [
        f"{file}: budget.max_replicas must be a whole number >= 1, got 0",
        f"{file}: warehose is no known key; did you mean warehouse?",
    ]


def test_a_file_that_is_missing_or_no_toml_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no .*greedylr\.toml; `greedylr init` writes one"):
        load_settings(file)
    with pytest.raises(ValueError, match=r"greedylr\.toml cannot be read as TOML: Invalid value"):
        load(file, "sources = [")


def test_passwords_are_not_repeated(file: Path) -> None:
    with pytest.raises(ValueError) as raised:
        load(file, "registry_uri = 'ftp://me:secret@host/x'")
    assert "secret" not in str(raised.value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().warehouse = Path("other")


COMMAND = """
[groups.a]
command = "python train.py --seed {seed} --schedule {schedule}"
metric = "val_loss"
"""


@pytest.mark.parametrize(
    ("changed", "to", "message"),
    [
        (" --seed {seed}", "", r"groups.a.command must be a command with \{seed\} and \{schedule\} in it"),
        (" --schedule {schedule}", "", "groups.a.command must be a command with"),
        ("train.py", "train.py {rate}", r"got 'python train.py \{rate\} --seed .* other braces stand twice"),
        ("train.py", "train.py {seed.__class__}", "groups.a.command must be a command with"),
        ("train.py", "'train.py", "its quotes must close"),
        (
            "train.py",
            "train.py --steps {steps}",
            r"groups.a.command must have \{steps\} where steps is given, and only",
        ),
        ("metric", "steps = 200\nmetric", r"groups.a.command must have \{steps\} where steps is given, and only there"),
        ("metric", 'workload = "a:b"\nmetric', "groups.a must have a workload or a command, got both; leave one out"),
        (
            'metric = "val_loss"',
            "",
            "groups.a.metric must name the series that the command logs its result to",
        ),
        (
            "metric",
            'report_metric = "val_loss"\nmetric',
            "report_metric must be of other data than metric",
        ),
        ("metric", 'mode = "up"\nmetric', """groups.a.mode must be "min" or "max", got 'up'"""),
        ("metric", "parallel = 0\nmetric", "groups.a.parallel must be a whole number >= 1, got 0"),
        ("command = ", "# ", "groups.a.metric is of a command, and there is none; name one, or leave metric out"),
    ],
)
def test_a_command_that_cannot_be_used_is_refused_by_its_key(file: Path, changed: str, to: str, message: str) -> None:
    load(file, COMMAND)
    with pytest.raises(ValueError, match=message):
        load(file, COMMAND.replace(changed, to))


def test_the_store_of_commands_is_relative_to_the_file(file: Path) -> None:
    assert load(file, COMMAND).command_store == f"sqlite:///{file.parent}/data/command_runs.db"
    assert load(file, 'command_store = "http://host:5000"').command_store == "http://host:5000"
    with pytest.raises(ValueError, match="command_store must be an address such as"):
        load(file, 'command_store = "runs.db"')
