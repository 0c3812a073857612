"""`bbjspec plan --check-remote`: what a node must see, and what is known of it from here."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from bbjspec import remote
from bbjspec.doctor import probes
from bbjspec.doctor.asked import Check
from bbjspec.plan import read_plan
from tests.harness import SPEC, run, write_project

SHARED = "nfs4"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    write_project(root)
    return root


def checks(root: Path, *names: str) -> dict[str, Check]:
    return {check.name: check for check in remote.checks(read_plan(root), names or None)}


def test_a_disk_of_one_machine_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "file_system", lambda path: "ext4" if path == project else SHARED)
    found = checks(project)
    assert (found["project"].state, found["Python"].state) == ("warning", "ok")
    assert found["project"].found == f"{project}, on ext4"
    assert found["project"].remedy == (
        "nodes must have it too, at the same path: ext4 is a file system of one machine, unless it is exported"
    )
    assert found["Python"].found == f"{sys.prefix}, on {SHARED}"
    assert ("its base" in found) is (sys.prefix != sys.base_prefix)


def test_links_bases_compilers_and_servers(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "file_system", lambda _: SHARED)
    monkeypatch.setenv("HF_HOME", "/shared/hf")
    monkeypatch.setenv("HF_TOKEN", "hf_secretsecretsecret")
    monkeypatch.delenv("BBJ_HOME", raising=False)
    elsewhere = project.parent / "large"
    elsewhere.mkdir()
    (project / "build").symlink_to(elsewhere)
    base = "Qwen/Qwen2.5-Coder-7B-Instruct, revision: " + "c0ffee00" * 5
    text = SPEC.replace("pico-qwen2", base).replace("gpu: 0", "gpu: 4, gpu_model: h100")
    text = text.replace("device_train_batch_size: 8", "device_train_batch_size: 2")
    text = text.replace("name: builtin", 'name: bbjcpl, version: "26.03", path: /opt/none/bbjcpl').replace(
        "eval:\n", "eval:\n  references: [{name: served, model: m, server: 'http://localhost:11434/v1'}]\n"
    )
    (project / "experiments/v1.yaml").write_text(text)
    assert not read_plan(project).bad
    found = checks(project, "v1")
    assert found["build/"].found == f"{elsewhere}, on {SHARED}"
    assert (found["Hub cache"].state, found["Hub cache"].needed_by) == ("ok", ("v1",))
    assert (found["bbjcpl"].state, found["server"].state) == ("lacks", "warning")
    assert found["server"].found == "http://localhost:11434/v1, which a node asks"
    assert found["environment"].found.startswith("set here, and so in jobs: HF_HOME, HF_HUB_OFFLINE of ")
    assert found["to ask one"].found == (
        "srun --nodes=1 --ntasks=1 --time=5 --mem=65536 --cpus-per-task=8 --gpus=h100:4 "
        f"{sys.executable} -m bbjspec doctor v1"
    )
    assert "secret" not in str(found)


def test_as_a_command(project: Path) -> None:
    done = run(project, "bbjspec", "plan", "--check-remote", "--json", "v1")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["missing"] == [] and document["checks"][0]["name"] == "project"
    text = (project / "experiments/v1.yaml").read_text()
    (project / "experiments/v1.yaml").write_text(text.replace("name: builtin", 'name: bbjcpl, version: "26.03"'))
    done = run(project, "bbjspec", "plan", "--check-remote")
    assert done.returncode == 3, done.stdout
    assert done.stderr == "bbjspec: 1 thing that the experiments need is missing: bbjcpl\n"
