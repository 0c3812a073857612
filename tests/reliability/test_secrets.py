"""What is secret in the environment stays there: a whole run and a failing one, and every byte that they leave."""

from __future__ import annotations

import base64
import logging
import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from bbjspec.redact import redacted
from bbjspec.stagelog import stage_log
from tests.harness import environment, run, write_project

# None of them is in the shape of an issuer's token but the first: those would be found by their shape.
PLANTED = {
    "HF_TOKEN": "hf_" + "PlantedHuggingFace01",
    "WANDB_API_KEY": "planted-wandb-5d41402abc4b2a76b971",
    "OPENAI_API_KEY": "planted openai+key/with=signs&more",
    "AWS_SECRET_ACCESS_KEY": "planted/aws+wJalrXUtnFEMI/K7MDENG",
    "GITLAB_PASSWORD": "plantedGitlabPassword!",
    "ACME_CREDENTIALS": "planted:acme:credentials",
    "DATABASE_URL": "postgres://bbj:plantedDatabase42@db.example.org/rows",
    "GIT_ASKPASS": "/opt/planted-askpass",
    "http_proxy": "http://proxy-user:plantedProxy77@127.0.0.1:9",
    "HTTPS_PROXY": "http://proxy-user:plantedProxy77@127.0.0.1:9",
}
REMOTE = "https://oauth2:plantedRemoteToken9@gitlab.example.org/team/bbj.git"
# The secret part of each.
SECRETS = [value.rpartition("@")[0].rpartition(":")[2] or value for value in PLANTED.values()] + ["plantedRemoteToken9"]


def shapes(secret: str) -> list[bytes]:
    """The secret as it may stand in a file: plain, in a URL, and in base64 at each of the three offsets."""
    data = secret.encode()
    coded = [base64.b64encode(b"x" * pad + data)[4 if pad else 0 : -4] for pad in range(3)]
    return [data, quote(secret, safe="").encode(), *coded]


def leaks(found: dict[str, bytes]) -> list[str]:
    """Where a secret stands, and which."""
    looked_for = {shape: secret for secret in SECRETS for shape in shapes(secret)}
    return [
        f"{name}: {secret}" for name, data in found.items() for shape, secret in looked_for.items() if shape in data
    ]


def files(*roots: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for root in roots for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The small project in a repository with a token in its remote's URL, and secrets in the environment."""
    root = tmp_path / "project"
    write_project(root)
    for command in (["init", "-q"], ["remote", "add", "origin", REMOTE]):
        assert run(root, "git", *command).returncode == 0
    assert REMOTE.encode() in (root / ".git/config").read_bytes()
    for name, value in PLANTED.items():
        monkeypatch.setenv(name, value)
    return root


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    for at, secret in enumerate(SECRETS):
        for number, shape in enumerate(shapes(secret)):
            assert len(shape) > 8 and leaks({"f": b"..." + shape + b"..."}), (at, number)
    header = base64.b64encode(b"proxy-user:plantedProxy77")
    assert leaks({"f": b"Proxy-Authorization: Basic " + header})
    assert not leaks({"f": b"nothing planted here"})


def test_a_whole_run(planted: Path) -> None:
    """build/, adapters/, eval/, what Snakemake keeps, what all say, and the report."""
    home = planted.parent / "home"
    home.mkdir()
    shown = environment() | {"HOME": str(home)}
    said = {}
    commands = {
        "run": ["snakemake", "--cores", "2", "--resources", "gpu=1", "--printshellcmds"],
        "plan": ["bbjspec", "plan", "v1", "--json"],
        "compile": ["bbjspec", "compile", "--to", "json"],
        "report": ["snakemake", "--report", "report.html"],
    }
    for name, command in commands.items():
        done = subprocess.run(command, cwd=planted, env=shown, capture_output=True, timeout=600)
        assert done.returncode == 0 or name == "report", done.stderr.decode()
        said |= {f"{name} stdout": done.stdout, f"{name} stderr": done.stderr}
    left = files(planted / "build", planted / "adapters", planted / "eval", planted / ".snakemake", home)
    left |= {str(path): path.read_bytes() for path in planted.glob("*") if path.is_file()}
    assert any(name.endswith("stage.log") for name in left) and any("/.snakemake/log/" in name for name in left)
    assert (planted / "adapters/v1/MODEL_CARD.md").is_file()
    assert not leaks(left | said)


FAILS = """
import sys
from bbjspec.stages import tokenizer


def run(stage):
    stage.log.info("asking %s", {url!r})
    stage.log.debug("with Authorization: Bearer {bearer}")
    try:
        raise OSError("407 Proxy Authentication Required: {url}")
    except OSError as error:
        raise RuntimeError("cannot reach {url} with key {key}, quoted {quoted}; \\x1b[2Jtoken {token}") from error


tokenizer.run = run
"""


def test_a_stage_that_fails_with_a_secret_in_its_words(planted: Path, tmp_path: Path) -> None:
    """As libraries do: a URL with a password, a key that the server repeats. Log and terminal have stars."""
    site = tmp_path / "site"
    site.mkdir()
    key = PLANTED["OPENAI_API_KEY"]
    (site / "failing.py").write_text(
        FAILS.format(
            url="https://somebody:plantedUrlPassword@hub.example.org/models",
            key=key,
            quoted=quote(key, safe=""),
            token=PLANTED["HF_TOKEN"],
            bearer="plantedBearer.abc-def",
        )
    )
    compiled = run(planted, "bbjspec", "compile", "--to", "json")
    assert compiled.returncode == 0, compiled.stderr
    (stage,) = planted.glob("build/tokenizer/*/stage.json")
    code = "import sys; import failing; from bbjspec.cli import entry; entry()"
    command = ["python", "-c", code, "run", str(stage.relative_to(planted))]
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(command, cwd=planted, env=environment() | {"PYTHONPATH": path}, capture_output=True)
    log = (stage.parent / "stage.log").read_bytes()
    assert done.returncode == 4 and b"Traceback" not in done.stderr and b"\x1b" not in done.stderr + log
    assert b"RuntimeError: cannot reach https://***@hub.example.org/models with key ***, quoted ***; " in done.stderr
    assert b"Traceback" in log and b"407 Proxy Authentication Required: https://***@hub.example.org/models" in log
    for secret in (b"plantedUrlPassword", b"plantedBearer", b"somebody"):
        assert secret not in done.stdout + done.stderr + log
    assert not leaks(files(planted / "build") | {"stdout": done.stdout, "stderr": done.stderr})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("git clone https://user:pass@host/x.git", "git clone https://***@host/x.git"),
        ("https://ghp_0123456789abcdef0123@github.com", "https://***@github.com"),
        ("postgres://u:p@ss@host:5432/db", "postgres://***@host:5432/db"),
        ("https://huggingface.co/org/name@main", "https://huggingface.co/org/name@main"),
        ("mail me at a@example.org", "mail me at a@example.org"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: Basic ***"),
        ("a token hf_abcdefghijk here", "a token *** here"),
        ("it says secretvalue1", "it says ***"),
        ("short is kept: abc", "short is kept: abc"),
        ("learning_rate 0.001 of training", "learning_rate 0.001 of training"),
        ("in URLs: se%2Fcret%20value2", "in URLs: ***"),
        ("the password plantedProxy by itself", "the password *** by itself"),
    ],
)
def test_what_is_redacted(text: str, shown: str) -> None:
    given = {
        "MY_TOKEN": "secretvalue1", "db_pwd": "se/cret value2", "API_KEY": "abc", "PWD": "training", "USER": "a token",
        "ALL_PROXY": "socks5://me:plantedProxy@host:1080",
    }  # fmt: skip
    assert redacted(text, given) == shown


def test_a_log_of_half_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be written as UTF-8 is no error of the log."""
    log = stage_log({"kind": "score", "digest": "0" * 16}, tmp_path, console=True)
    log.info("the answer \ud800 \x1b[31m and")
    logging.shutdown([])
    assert capsys.readouterr().err == "score 00000000: the answer \\ud800 \\x1b[31m and\n"
    assert (tmp_path / "stage.log").read_text().endswith("the answer \\ud800 \\x1b[31m and\n")
    shutil.rmtree(tmp_path)
