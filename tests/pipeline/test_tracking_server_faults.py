"""What servers and what stands before them do wrong, done on demand by a small HTTP server."""

import base64
import json
import logging
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pytest

from pipeline.errors import SourceUnreadableError
from pipeline.ingestion import ingest
from pipeline.sources.rest_client import canonical_server_uri
from pipeline.sources.served_histories import (
    LARGEST_ANSWER,
    HistoryRequest,
    Series,
    batch_of,
    history_requests,
    whole_histories,
)
from pipeline.sources.source import EVERYTHING, Scope, source_id_of
from pipeline.sources.tracking_server import TrackingServer
from pipeline.warehouse import Warehouse

EXPERIMENTS = "experiments/search"
RUNS = "runs/search"
HISTORY = "metrics/get-history"
BULK = "metrics/get-history-bulk"

NO_JSON = "instead of MLflow's JSON (200); a proxy may want a login: check the address"

Answer = tuple[int, dict[str, str], bytes]
Answers = Callable[[dict[str, Any]], Answer]


def given(content: Any, status: int = 200, **headers: str) -> Answer:
    return status, {"Content-Type": "application/json", **headers}, json.dumps(content).encode()


def page(status: int = 200) -> Answer:
    return status, {"Content-Type": "text/html"}, b"<!doctype html><title>Log in</title>"


class SmallServer:
    """Answers each endpoint by a function of the request's parameters; notes what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answers] = {
            EXPERIMENTS: lambda _: given({"experiments": [{"experiment_id": "1", "name": "mnist"}]}),
            RUNS: lambda _: given({"runs": [run("a", loss=2)]}),
            BULK: lambda asked: given({"metrics": [point(i, run_id=asked["run_id"][0]) for i in range(3)]}),
        }
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.most_at_once = self._now = 0
        self._lock = threading.Lock()
        small = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(parse_qs(urlsplit(self.path).query))

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, asked: dict[str, Any]) -> None:
                endpoint = urlsplit(self.path).path.partition("/mlflow/")[2]
                with small._lock:
                    small._now += 1
                    small.most_at_once = max(small._now, small.most_at_once)
                    small.asked.append((endpoint, asked))
                    small.headers.append(dict(self.headers))
                    small.paths.append(self.path)
                status, headers, content = small.answers.get(endpoint, lambda _: page(404))(asked)
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with small._lock:
                    small._now -= 1
                self.wfile.write(content)
                if int(headers.get("Content-Length", "0")) > len(content):
                    self.close_connection = True

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_address[1]}"

    def times(self, endpoint: str) -> int:
        return sum(which == endpoint for which, _ in self.asked)


def run(run_id: str, *, status: str = "FINISHED", **latest_steps: int) -> dict[str, Any]:
    info = {"run_id": run_id, "experiment_id": "1", "status": status, "lifecycle_stage": "active", "start_time": 5}
    metrics = [point(step, key=key) for key, step in latest_steps.items()]
    return {"info": info, "data": {"metrics": metrics} if metrics else {}}


def point(step: int, *, key: str = "loss", value: Any = 0.5, **more: Any) -> dict[str, Any]:
    return {"key": key, "value": value, "step": step, "timestamp": 1000 * step, **more}


def in_turn(*answers: Answer) -> Answers:
    """The first answer to the first request, and so on; the last to all that follow."""
    waiting = list(answers)
    return lambda _: waiting.pop(0) if len(waiting) > 1 else waiting[0]


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN", "AUTH", "AWS_SIGV4", "INSECURE_TLS", "SERVER_CERT_PATH"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@pytest.fixture
def small() -> Iterator[SmallServer]:
    with serving() as server:
        yield server


@pytest.fixture
def other() -> Iterator[SmallServer]:
    with serving() as server:
        yield server


@contextmanager
def serving() -> Iterator[SmallServer]:
    server = SmallServer()
    threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.http.shutdown()
    server.http.server_close()


def read_runs(address: str, scope: Scope = EVERYTHING) -> list[dict[str, Any]]:
    with TrackingServer(address) as server, server.runs(scope) as reader:
        return list(reader.read_all().to_pylist())


def read_points(address: str, *run_uuids: str, threads: int = 4) -> list[tuple[Any, ...]]:
    with TrackingServer(address, threads=threads) as server:
        with server.runs() as reader:
            told = reader.read_all()["run_uuid"].to_pylist()
        with server.points(run_uuids or told) as reader:
            return sorted(tuple(row.values()) for row in reader.read_all().to_pylist())


def reason(address: str) -> str:
    with pytest.raises(SourceUnreadableError) as raised:
        read_points(address)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# --- patience


def test_a_server_that_asks_to_wait_is_given_the_time_it_asks_for(small: SmallServer) -> None:
    small.answers[RUNS] = in_turn(given({}, 429, **{"Retry-After": "1"}), small.answers[RUNS]({}))
    started = time.monotonic()
    assert [row["run_uuid"] for row in read_runs(small.address)] == ["a"]
    assert time.monotonic() - started >= 1
    assert small.times(RUNS) == 2


def test_a_server_that_is_down_for_two_requests_is_asked_a_third_time(small: SmallServer) -> None:
    small.answers[EXPERIMENTS] = in_turn(page(503), page(502), small.answers[EXPERIMENTS]({}))
    assert [row["run_uuid"] for row in read_runs(small.address)] == ["a"]


def test_an_answer_that_breaks_off_is_asked_for_again(small: SmallServer) -> None:
    whole = small.answers[RUNS]({})
    small.answers[RUNS] = in_turn((200, {"Content-Length": "100000"}, whole[2][:20]), whole)
    assert [row["run_uuid"] for row in read_runs(small.address)] == ["a"]
    assert small.times(RUNS) == 2


def test_a_server_whose_answers_always_break_off_costs_three_attempts(small: SmallServer) -> None:
    small.answers[RUNS] = lambda _: (200, {"Content-Length": "100000"}, b'{"runs": [')
    assert reason(small.address) == "its answers break off; ingest it again later, its log may say why"
    assert small.times(RUNS) == 3


# --- refusals


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (page(), "answers with a web page instead of MLflow's JSON (200); a proxy may want a login: check the address"),
        (
            given([1]),
            "answers with something else instead of MLflow's JSON (200); a proxy may want a login: check the address",
        ),
        (given({"hello": 1}), "answers, but not as an MLflow server does; check the address"),
        (page(404), "no MLflow server at this address (404); a prefix may be missing at its end"),
        (
            page(401),
            "asks for credentials (401); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN",
        ),
        (
            given({"error_code": "PERMISSION_DENIED", "message": "not\nyours"}, 403),
            "forbids to read it (403: not yours); ask its administrator for permission to read",
        ),
        (
            given({}, 302, Location="https://login.example/in?code=hunter2"),
            "redirects to https://login.example (302); give its final address, or credentials if that is a login page",
        ),
        (
            given({"error_code": "INTERNAL_ERROR", "message": "no disk"}, 500),
            "answers 500: no disk; its log may say why",
        ),
    ],
)
def test_a_refusal_is_one_line_with_the_remedy(small: SmallServer, answer: Answer, said: str) -> None:
    small.answers[EXPERIMENTS] = lambda _: answer
    assert reason(small.address) == said


def test_a_port_where_nothing_listens_is_named_within_seconds() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = time.monotonic()
    assert reason(f"http://127.0.0.1:{port}") == (
        "no server listens there (connection refused); start it, or check the port"
    )
    assert time.monotonic() - started < 10


def test_a_silent_server_is_given_up_after_the_time_that_mlflow_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert reason(f"http://127.0.0.1:{silent.getsockname()[1]}") == (
            "does not answer in 1 s; MLFLOW_HTTP_REQUEST_TIMEOUT sets another time in seconds"
        )


def test_a_server_without_tls_at_an_https_address_is_told_from_a_dead_one(small: SmallServer) -> None:
    assert reason(small.address.replace("http:", "https:")) == (
        "no TLS connection; it may be a server for http://, or want MLFLOW_TRACKING_CLIENT_CERT_PATH"
    )


def test_a_certificate_is_trusted_when_the_environment_says_so(
    small: SmallServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, *names],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    small.http.socket = context.wrap_socket(small.http.socket, server_side=True)
    address = small.address.replace("http:", "https:")
    assert reason(address).startswith("its certificate cannot be verified; MLFLOW_TRACKING_SERVER_CERT_PATH names one")
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(certificate))
    assert [row["run_uuid"] for row in read_runs(address)] == ["a"]
    monkeypatch.setenv("MLFLOW_TRACKING_SERVER_CERT_PATH", str(tmp_path / "none.pem"))
    assert reason(address) == "a certificate file named in the environment cannot be found"


def test_a_server_that_dies_while_histories_are_read_ends_in_one_line_through_duckdb_too(small: SmallServer) -> None:
    import duckdb

    small.answers[HISTORY] = small.answers[BULK] = lambda _: page(500)
    with TrackingServer(small.address) as server:
        with server.runs() as reader:
            reader.read_all()
        said = r"^answers with a web page instead of MLflow's JSON \(500\)"
        with pytest.raises(SourceUnreadableError, match=said), server.points(["a"]) as points:
            assert points is not None
            duckdb.sql("select count(*) from points").fetchall()


def test_a_server_that_dies_while_histories_are_read_ends_in_one_line(
    small: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.sources.rest_client._BACKOFF_SECONDS", 0.001)
    small.answers[RUNS] = lambda _: given({"runs": [run(f"{index:03}", loss=4_999) for index in range(20)]})

    def last_answer(asked: dict[str, Any]) -> Answer:
        small.http.socket.close()
        status, headers, content = given({"metrics": [point(4_999, run_id=asked["run_id"][0])]})
        return status, {**headers, "Connection": "close"}, content

    small.answers[BULK] = last_answer
    assert reason(small.address) == "no server listens there (connection refused); start it, or check the port"


def test_pages_without_end_are_given_up(small: SmallServer) -> None:
    small.answers[RUNS] = lambda _: given({"runs": [run("a")], "next_page_token": "again"})
    assert reason(small.address) == "its pages of runs have no end; a proxy may repeat old answers"
    small.answers[RUNS] = lambda _: given({"runs": [run("a", loss=30_000)]})
    small.answers[HISTORY] = lambda _: given({"metrics": [], "next_page_token": "again"})
    assert reason(small.address) == "the server's pages of the history of 'loss' have no end"


# --- credentials


def test_credentials_are_those_of_mlflow_and_appear_nowhere(
    small: SmallServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ana")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    encoded = base64.b64encode(b"ana:hunter2").decode()
    read_points(small.address)
    assert {headers["Authorization"] for headers in small.headers} == {f"Basic {encoded}"}
    monkeypatch.delenv("MLFLOW_TRACKING_PASSWORD")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter3")
    read_runs(small.address)
    assert small.headers[-1]["Authorization"] == "Bearer hunter3"
    in_address = small.address.replace("//", "//ana:hunter%324@")
    server = TrackingServer(in_address)
    assert server.uri == small.address
    assert server.source_id == source_id_of(small.address)
    read_runs(in_address)
    assert small.headers[-1]["Authorization"] == f"Basic {base64.b64encode(b'ana:hunter24').decode()}"

    # A server that repeats what it was given, and one that is busy: urllib3 logs what it repeats.
    small.answers[EXPERIMENTS] = in_turn(page(503), given({"error_code": "X", "message": "no hunter24 here"}, 400))
    said = [reason(in_address), repr(server), str(vars(server.__class__))]
    assert said[0] == "answers 400: no *** here; its log may say why"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "hunter3\n")
    said.append(reason(small.address))
    assert said[-1] == "MLFLOW_TRACKING_TOKEN cannot stand in a header; look for a line break in it"
    records = [record.getMessage() + str(record.exc_text) for record in caplog.records]
    assert records
    everything = " ".join([*said, *records, *capfd.readouterr()])
    assert "hunter" not in everything
    assert encoded not in everything


def test_credentials_may_stand_in_mlflows_file_and_a_broken_one_is_not_quoted(
    small: SmallServer, tmp_path: Path
) -> None:
    file = tmp_path / ".mlflow" / "credentials"
    file.parent.mkdir()
    file.write_text("[mlflow]\nmlflow_tracking_username = ana\nmlflow_tracking_password = hunter2\n")
    read_runs(small.address)
    assert small.headers[-1]["Authorization"] == f"Basic {base64.b64encode(b'ana:hunter2').decode()}"
    file.write_text("[mlflow]\nhunter2\n")
    assert reason(small.address) == "~/.mlflow/credentials cannot be parsed; see MLflow's documentation"


def test_refused_credentials_are_told_from_missing_ones(small: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    small.answers[EXPERIMENTS] = lambda _: page(401)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "wrong")
    assert reason(small.address).startswith("refuses the credentials (401); check ")


def test_the_workspace_of_the_environment_is_asked_for(small: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")
    read_runs(small.address)
    assert {headers["X-MLFLOW-WORKSPACE"] for headers in small.headers} == {"team-a"}


def test_a_workspace_in_the_address_goes_before_that_of_the_environment(
    small: SmallServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")
    read_runs(f"{small.address}/?workspace=team-b")
    assert {headers["X-MLFLOW-WORKSPACE"] for headers in small.headers} == {"team-b"}


def test_two_workspaces_of_one_server_are_two_sources(small: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    host = "http://ana:pass@host.example"
    team = "http://host.example?workspace=team-a"
    assert TrackingServer(host).uri == "http://host.example"
    assert TrackingServer(f"{host}?workspace=default").uri == "http://host.example"
    monkeypatch.setenv("MLFLOW_WORKSPACE", "team-a")
    assert [TrackingServer(address).uri for address in (host, team)] == [team, team]
    assert TrackingServer(f"{host}/?workspace=default").uri == "http://host.example"
    assert TrackingServer(host).source_id == source_id_of(team)


def test_reading_one_workspace_leaves_the_runs_of_another_alone(small: SmallServer, tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    small.answers[RUNS] = lambda _: given({"runs": [run(small.headers[-1].get("X-MLFLOW-WORKSPACE", "default"))]})
    first, second = ingest(warehouse, [small.address, f"{small.address}?workspace=team-a"]).sources
    assert (first.runs_new, second.runs_new) == (1, 1)
    [again] = ingest(warehouse, [small.address]).sources
    assert (again.runs_unchanged, again.runs_vanished) == (1, 0)
    assert sorted(warehouse.frame("select run_uuid from runs")["run_uuid"]) == ["default", "team-a"]


@pytest.mark.parametrize(("status", "is_copy"), [(401, True), (403, True), (404, False)])
def test_a_server_that_refuses_us_has_not_moved_to_where_its_runs_are_found_too(
    small: SmallServer, other: SmallServer, tmp_path: Path, status: int, is_copy: bool
) -> None:
    warehouse = Warehouse(tmp_path / "warehouse.duckdb")
    ingest(warehouse, [small.address])
    small.answers[EXPERIMENTS] = lambda _: page(status)
    [source] = ingest(warehouse, [other.address]).sources
    expected = (1, None) if is_copy else (0, f"moved here from {small.address}")
    assert (source.runs_new, source.reason) == expected


# --- addresses and choice


def test_a_prefix_in_the_address_comes_before_every_path(small: SmallServer) -> None:
    assert len(read_points(f"{small.address}/team/tracking/")) == 3
    assert {path.partition("mlflow/")[0] for path in small.paths} == {
        "/team/tracking/api/2.0/",
        "/team/tracking/ajax-api/2.0/",
    }


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        ("HTTP://Host.Example:80/", "http://host.example"),
        ("https://host.example:443/mlflow/?x=1#y", "https://host.example/mlflow"),
        ("https://ana:pass@host.example:8443", "https://host.example:8443"),
        ("http://[::1]:5000", "http://[::1]:5000"),
    ],
)
def test_spellings_of_an_address_are_one(address: str, uri: str) -> None:
    assert canonical_server_uri(address) == uri


@pytest.mark.parametrize("address", ["ftp://host", "http://", "http://host:port", "host:5000", ""])
def test_what_is_no_address_of_a_server_is_refused(address: str) -> None:
    with pytest.raises(SourceUnreadableError, match="must be like http://host:5000"):
        TrackingServer(address)


def test_experiments_and_time_are_chosen_by_the_server(small: SmallServer) -> None:
    names = {"1": "mnist", "2": "cifar", "3": "mnist-old"}
    small.answers[EXPERIMENTS] = lambda _: given(
        {"experiments": [{"experiment_id": key, "name": name} for key, name in names.items()]}
    )
    read_runs(small.address, Scope(experiments=("mnist*",), since=7))
    [asked] = [asked for which, asked in small.asked if which == RUNS]
    assert asked["experiment_ids"] == ["1", "3"]
    assert asked["filter"] == "attributes.start_time >= 7"
    assert asked["run_view_type"] == "ALL"
    read_runs(small.address, Scope(experiments=("none",)))
    assert small.times(RUNS) == 1


def test_a_run_that_moves_to_the_next_page_is_told_of_once(small: SmallServer) -> None:
    first = {"runs": [run("a"), run("b")], "next_page_token": "2"}
    second = {"runs": [run("b"), run("c")]}
    small.answers[RUNS] = lambda asked: given(second if asked.get("page_token") == "2" else first)
    assert [row["run_uuid"] for row in read_runs(small.address)] == ["a", "b", "c"]


def test_a_run_without_name_data_or_end_has_the_values_that_stand_for_nothing(small: SmallServer) -> None:
    small.answers[RUNS] = lambda _: given({"runs": [{"info": {"run_uuid": "a", "experiment_id": "1"}}]})
    [row] = read_runs(small.address)
    del row["watermark"]
    assert row == {
        "run_uuid": "a",
        "experiment_id": "1",
        "experiment_name": "mnist",
        "run_name": "",
        "status": "",
        "lifecycle_stage": "active",
        "start_time": -1,
        "end_time": -1,
        "role": "",
        "preset": "",
        "point_count": 0,
        "param_count": 0,
        "tag_count": 0,
    }


def test_the_watermark_moves_with_the_latest_point_the_status_and_the_end_only(small: SmallServer) -> None:
    def watermark(told: dict[str, Any]) -> str:
        small.answers[RUNS] = lambda _: given({"runs": [told]})
        return str(read_runs(small.address)[0]["watermark"])

    before = run("a", loss=2, acc=2)
    swapped = run("a", acc=2, loss=2)
    machine = run("a", loss=2, acc=2)
    machine["data"]["metrics"].append(point(9, key="system/cpu"))
    ended = run("a", loss=2, acc=2)
    ended["info"]["end_time"] = 9
    assert watermark(before) == watermark(swapped) == watermark(machine)
    others = [run("a", loss=3, acc=2), run("a", loss=2), run("a", loss=2, acc=2, status="RUNNING"), ended]
    assert len({watermark(told) for told in [before, *others]}) == 5


# --- histories


def test_a_server_without_the_bulk_endpoint_is_read_page_by_page(small: SmallServer) -> None:
    del small.answers[BULK]
    small.answers[HISTORY] = lambda asked: given(
        {"metrics": [point(1)]} if "page_token" in asked else {"metrics": [point(0)], "next_page_token": "1"}
    )
    small.answers[RUNS] = lambda _: given({"runs": [run("a", loss=1), run("b", loss=1)]})
    expected = [(which, "loss", step, 1000 * step, 0.5, 0) for which in "ab" for step in (0, 1)]
    assert read_points(small.address) == expected
    assert small.times(BULK) == 1


def test_a_bulk_answer_that_lacks_a_run_or_its_end_is_not_believed(small: SmallServer) -> None:
    small.answers[RUNS] = lambda _: given({"runs": [run(which, loss=1) for which in "abc"]})
    small.answers[BULK] = lambda _: given(
        {"metrics": [point(0, run_id="a"), point(0, run_id="b"), point(1, run_id="b")]}
    )
    small.answers[HISTORY] = lambda _: given({"metrics": [point(0, value=7), point(1, value=7)]})
    values = {(which, step): value for which, _, step, _, value, _ in read_points(small.address)}
    assert values == {
        ("a", 0): 7.0, ("a", 1): 7.0, ("b", 0): 0.5, ("b", 1): 0.5, ("c", 0): 7.0, ("c", 1): 7.0
    }  # fmt: skip


def test_a_run_deleted_for_good_in_the_meantime_has_no_points(small: SmallServer) -> None:
    gone = given({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no run"}, 404)
    small.answers[BULK] = small.answers[HISTORY] = small.answers["runs/get"] = lambda _: gone
    assert read_points(small.address) == []
    assert read_points(small.address, "unknown") == []


def test_a_run_that_no_search_told_of_is_asked_for(small: SmallServer) -> None:
    small.answers["runs/get"] = lambda asked: given({"run": run(asked["run_id"][0], acc=2)})
    with TrackingServer(small.address) as server, server.series(["z"]) as reader:
        assert reader.read_all().to_pylist() == [{"run_uuid": "z", "key": "acc"}]


def test_values_come_back_as_a_database_holds_them() -> None:
    values = ["NaN", float("nan"), "Infinity", "-Infinity", 3, "0.25", 10**300]
    batch = batch_of(["a"] * 7, "loss", [{"value": value, "step": "9007199254740993"} for value in values])
    largest = 1.7976931348623157e308
    assert batch["value"].to_pylist() == [0.0, 0.0, largest, -largest, 3.0, 0.25, 1e300]
    assert batch["is_nan"].to_pylist() == [1, 1, 0, 0, 0, 0, 0]
    assert batch["step"].to_pylist() == [9007199254740993] * 7


def test_requests_hold_one_name_and_about_five_thousand_points() -> None:
    series = [Series(str(index), key, 1999) for index in range(5) for key in ("loss", "acc")]
    series += [Series("long", "loss", 25_000), Series("negative", "acc", -5)]
    requests = list(history_requests(series))
    assert sorted(one.run_uuid + one.key for request in requests for one in request.series) == sorted(
        one.run_uuid + one.key for one in series
    )
    assert all(len({one.key for one in request.series}) == 1 for request in requests)
    assert [(request.is_paged, len(request.series)) for request in requests] == [
        (False, 2), (False, 2), (False, 2), (False, 2), (False, 2), (True, 1), (False, 1)
    ]  # fmt: skip


def test_a_cut_answer_is_believed_up_to_its_last_run() -> None:
    series = tuple(Series(which, "loss", 0) for which in "abcd")
    points = [point(0, run_id="a"), *(point(step, run_id="b") for step in range(LARGEST_ANSWER - 1))]
    assert whole_histories(series, points) == ({"a"}, [HistoryRequest(series[1:])])
    points = [point(step, run_id="a") for step in range(LARGEST_ANSWER)]
    assert whole_histories(series, points) == (
        set(),
        [HistoryRequest(series[1:]), HistoryRequest(series[:1], is_paged=True)],
    )
    assert whole_histories(series, points[:-1])[1] == [HistoryRequest(series[1:], is_paged=True)]


def test_no_more_than_the_threads_ask_at_once_and_little_is_read_ahead(small: SmallServer) -> None:
    small.answers[RUNS] = lambda _: given({"runs": [run(f"{index:03}", loss=4_999) for index in range(100)]})

    def slow(asked: dict[str, Any]) -> Answer:
        time.sleep(0.02)
        return given({"metrics": [point(4_999, run_id=asked["run_id"][0])]})

    small.answers[BULK] = slow
    with TrackingServer(small.address, threads=3) as server:
        with server.runs() as reader:
            told = reader.read_all()["run_uuid"].to_pylist()
        with server.points(told) as reader:
            assert isinstance(reader.read_next_batch(), pa.RecordBatch)
            time.sleep(0.3)
            assert small.times(BULK) <= 7
        assert small.times(BULK) <= 7
        with server.points(told) as reader:
            assert reader.read_all().num_rows == 100
    assert small.most_at_once == 3


def test_a_server_is_entered_before_it_is_read() -> None:
    with pytest.raises(ValueError, match="must be entered"), TrackingServer("http://host").runs():
        pass
    with pytest.raises(ValueError, match="threads must be at least 1, got 0"):
        TrackingServer("http://host", threads=0)
