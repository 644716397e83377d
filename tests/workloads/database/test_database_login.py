"""Logins by a password file: a real PostgreSQL's client, moto's Secrets Manager, a metadata server of our own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3
import pytest
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from workloads.database import login as logins
from workloads.database.cli import main, parser
from workloads.database.errors import DatabaseError
from workloads.database.login import Login, keep, of_google, of_secret, write

LOGIN = Login("db.example.com", "5432", "mlflow", "mlflow@project.iam")
TEXT = st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]))


def fields(line: str) -> list[str]:
    """A line of the password file, as libpq's documentation says that it is read."""
    found, escaped = [""], False
    for letter in line.removesuffix("\n"):
        if escaped or letter not in "\\:":
            found[-1] += letter
            escaped = False
        elif letter == "\\":
            escaped = True
        else:
            found.append("")
    return found


@given(TEXT, TEXT)
def test_whatever_is_in_it_a_line_has_five_fields(user: str, password: str) -> None:
    line = Login("host", "5432", "*", user).line(password)
    assert fields(line) == ["host", "5432", "*", user, password]


def test_a_line_break_is_refused_rather_than_cut() -> None:
    with pytest.raises(DatabaseError, match="has a line break"):
        LOGIN.line("one\ntwo")


def test_the_file_is_its_owners_and_whole(tmp_path: Path) -> None:
    passfile = tmp_path / "pgpass"
    assert write(passfile, "a:b:c:d:e\n")
    assert passfile.stat().st_mode & 0o777 == 0o600
    assert not write(passfile, "a:b:c:d:e\n"), "nothing has changed"
    assert [path.name for path in tmp_path.iterdir()] == ["pgpass"]


def test_a_password_that_turns_is_written_and_one_that_fails_is_not(tmp_path: Path) -> None:
    passfile, ended = tmp_path / "pgpass", Ended(4)
    answers: list[str | DatabaseError] = ["first", "first", DatabaseError("away"), "second"]
    said: list[str] = []

    def password() -> str:
        answer = answers.pop(0)
        if isinstance(answer, DatabaseError):
            assert fields(passfile.read_text())[-1] == "first"
            raise answer
        return answer

    keep(passfile, LOGIN, password, 1.0, ended, said.append)
    assert fields(passfile.read_text())[-1] == "second"
    assert [text.rsplit(": ", 1)[-1] for text in said] == [
        "password written",
        "away; the password stays as it was",
        "password has turned",
    ]


def test_without_a_first_password_it_ends(tmp_path: Path) -> None:
    def refused() -> str:
        raise DatabaseError("denied")

    with pytest.raises(DatabaseError, match="denied"):
        keep(tmp_path / "pgpass", LOGIN, refused, 1.0, threading.Event(), print)
    assert not list(tmp_path.iterdir())


class Ended(threading.Event):
    """Ends after so many looks, without waiting."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002
        self.looks -= 1
        return self.looks <= 0


@pytest.fixture
def region(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        yield "us-east-1"


def test_the_secret_that_rds_keeps(region: str) -> None:
    client = boto3.client("secretsmanager", region_name=region)
    arn = client.create_secret(Name="rds", SecretString=json.dumps({"username": "mlflow", "password": "p:1"}))["ARN"]
    ask = of_secret(arn, region)
    assert ask() == "p:1"
    client.put_secret_value(SecretId=arn, SecretString=json.dumps({"username": "mlflow", "password": "p:2"}))
    assert ask() == "p:2"
    client.put_secret_value(SecretId=arn, SecretString="no json")
    with pytest.raises(DatabaseError, match=r"expected a JSON object with `password`"):
        ask()
    with pytest.raises(DatabaseError, match="nowhere"):
        of_secret("nowhere", region)()


@contextmanager
def metadata(answer: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.headers.get("Metadata-Flavor") == "Google"
            self.send_response(200 if known else 403)
            self.end_headers()
            self.wfile.write(answer if known else b"")

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/token"
    finally:
        server.shutdown()
        server.server_close()


def test_googles_token() -> None:
    with metadata(b'{"access_token": "ya29.token", "expires_in": 3599}') as url:
        assert of_google(url)() == "ya29.token"
    with metadata(b"{}") as url, pytest.raises(DatabaseError, match="no token"):
        of_google(url)()


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["login", "--passfile", str(tmp_path / "pgpass"), "--host", "h", "--user", "u", "--google-token"]
    assert parser().parse_args(words).every_s == 30
    monkeypatch.setattr(logins, "TOKEN_URL", "unused")
    monkeypatch.setattr("workloads.database.cli.of_google", lambda: of_google("http://127.0.0.1:1/token"))
    assert main(words) == 1
    assert "no token" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parser().parse_args([*words, "--every-s", "0"])
    assert "expected 1 to 600 seconds" in capsys.readouterr().err


@pytest.fixture
def postgres() -> Iterator[tuple[Path, int, list[str]]]:
    """Directory of the socket, port, and the words before a command that may be the server's."""
    if not all(map(shutil.which, ("initdb", "postgres", "psql"))):
        pytest.skip("no PostgreSQL on this machine")
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="pg", ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        (home / "password").write_text("first")
        if nobody:
            for path in (home, home / "password"):
                os.chown(path, 65534, 65534)
        made = [*nobody, "initdb", "-D", home / "data", "-U", "mlflow", "-A", "scram-sha-256", "--no-sync"]
        subprocess.run([*made, f"--pwfile={home}/password"], check=True, capture_output=True, cwd="/")
        server = subprocess.Popen(
            [*nobody, "postgres", "-D", home / "data", "-p", str(port), "-k", directory, "-h", "127.0.0.1", "-F"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        try:
            for _ in range(300):
                ready = subprocess.run(["pg_isready", "-h", "127.0.0.1", "-p", str(port)], capture_output=True)
                if ready.returncode == 0 or server.poll() is not None:
                    break
                threading.Event().wait(0.1)
            yield home, port, nobody
        finally:
            server.terminate()
            server.wait()


def test_libpq_finds_the_password_that_has_turned(tmp_path: Path, postgres: tuple[Path, int, list[str]]) -> None:
    _, port, _ = postgres
    passfile = tmp_path / "pgpass"
    login = Login("127.0.0.1", str(port), "postgres", "mlflow")

    def ask(sql: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PGPASSFILE": str(passfile)}
        place = f"postgresql://mlflow@127.0.0.1:{port}/postgres"
        return subprocess.run(["psql", "-w", "-tAc", sql, place], env=environment, capture_output=True, text=True)

    write(passfile, login.line("first"))
    assert ask("SELECT current_user").stdout.strip() == "mlflow"
    assert ask(r"ALTER ROLE mlflow PASSWORD 'se:c\ond'").returncode == 0
    assert "password authentication failed" in ask("SELECT 1").stderr
    write(passfile, login.line(r"se:c\ond"))
    assert ask("SELECT 1").stdout.strip() == "1"
