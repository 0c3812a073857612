"""`bbjspec doctor`: what lacks is told, whatever is broken; `--verify` finds changed files, and its advice is true."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest

from bbjspec.doctor import asked, examine, missing, probes, require, view
from bbjspec.doctor import verify as verifying
from bbjspec.doctor.asked import Asked, Check
from bbjspec.errors import BadInput, EnvironmentLacks
from bbjspec.plan import read_plan
from bbjspec.store import run
from tests.harness import environment, write_project
from tests.whole import make_whole

Edit = Callable[..., None]
SECRET = "hf_doctorsecret0123456789"


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    root = tmp_path / "fresh"
    write_project(root)
    return root


@pytest.fixture(autouse=True)
def _light(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real libraries are asked by one test alone: importing them takes seconds."""
    told = probes.Told({"torch": "2.13.0", "built": None, "cards": [], "bitsandbytes": "0.50.2", "supports": None}, "")
    monkeypatch.setattr(probes, "torch", lambda **_: told)
    monkeypatch.setattr(probes, "llama_cpp", lambda: probes.Told({"llama_cpp": "0.3.36", "gpu": False}, ""))


def spec(root: Path, old: str, new: str) -> None:
    file = root / "experiments/v1.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def checks(root: Path, *names: str) -> dict[str, Check]:
    plan = read_plan(root)
    assert not plan.bad or "v3.yaml" in plan.bad, plan.findings()
    found = {check.name: check for check in examine(plan, set(names) or None)}
    assert not [check for check in found.values() if "cannot be looked at" in check.found]
    return found


def command(root: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bbjspec", "doctor", *words],
        cwd=root,
        env={**environment(), "PYTHONPATH": str(Path(__file__).parents[2]), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_project_for_the_cpu_has_all_it_needs(fresh: Path) -> None:
    found = checks(fresh)
    assert missing(found.values()) == []
    require(found.values())
    idle = {name for name, check in found.items() if check.state == "not needed"}
    assert idle >= {"GPU", "llama.cpp", "llama.cpp converter", "bbjcpl", "Ollama", "W&B", "git-lfs"}
    assert found["torch"].needed_by == found["disk"].needed_by == ("v1",)


def test_what_is_published_needs_nothing_unless_it_is_asked_for(project: Path) -> None:
    found = checks(project)
    assert {check.state for check in found.values()} <= {"ok", "not needed"}
    assert found["torch"].state == "not needed" and found["experiments"].found.endswith("to run: none")
    assert checks(project, "v1")["torch"].needed_by == ("v1",)


def test_what_a_spec_asks_for_lacks(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for variable in ("BBJ_HOME", "WANDB_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NETRC", "/nowhere")
    monkeypatch.setattr(probes, "hub_cached", lambda *_: False)
    monkeypatch.setattr(probes, "hub_offline", lambda: True)
    commit = "abcdef7890" * 4
    spec(fresh, "{base: pico-qwen2, dtype: float32}", f"{{base: Qwen/Qwen2.5-Coder-32B-Instruct, revision: {commit}}}")
    spec(fresh, "{name: builtin}", '{name: bbjcpl, version: "26.03"}')
    spec(fresh, "{gguf: []}", "{gguf: [q4_k_m], ollama: {create: true}}\ntracking: {wandb: {project: bbj}}")
    spec(fresh, "{gpu: 0}", "{gpu: 2}")
    spec(fresh, "per_device_train_batch_size: 8", "per_device_train_batch_size: 4")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100e9))
    assert missing(checks(fresh).values()) == ["GPU", "bbjcpl", "Ollama", "Hub", "git", "disk"]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=900e9))
    found = checks(fresh)
    assert missing(found.values()) == ["GPU", "bbjcpl", "Ollama", "Hub", "git"]
    assert found["GPU memory"].state == "warning" and found["bitsandbytes"].state == "ok"
    assert found["bbjcpl"].remedy == "install BBj, or write eval.compiler.name: builtin for provisional verdicts"
    assert f"--revision {commit}" in found["Hub"].remedy and "HF_HUB_OFFLINE is set" in found["Hub"].found
    assert found["Snakemake"].state == "warning" and "not on PATH" in found["Snakemake"].found
    assert "GB needed" in found["disk"].found and found["llama.cpp converter"].needed_by == ("v1",)
    with pytest.raises(EnvironmentLacks) as error:
        require(found.values())
    assert str(error.value) == ("5 things that the experiments need are missing: GPU, bbjcpl, Ollama, Hub, git")


@pytest.mark.parametrize(
    ("cards", "lacks", "said"),
    [
        ([["H100", 80e9], ["H100", 80e9]], [], "2 × H100, driver 550.1"),
        ([["H100", 80e9]], ["GPU"], "H100, driver 550.1"),
        ([["T4", 15e9], ["T4", 15e9]], ["GPU memory"], "2 × T4, driver 550.1"),
    ],
)
def test_gpus_against_the_estimate(
    fresh: Path, cards: list[Any], lacks: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"torch": "2.13.0", "built": "12.6", "driver": "550.1", "supports": 12060, "bitsandbytes": "0.50.2"}
    monkeypatch.setattr(probes, "torch", lambda **_: probes.Told({**facts, "cards": cards}, ""))
    monkeypatch.setattr(probes, "hub_cached", lambda *_: True)
    spec(fresh, "{base: pico-qwen2, dtype: float32}", "{base: Qwen/Qwen2.5-Coder-32B-Instruct, allow_unpinned: true}")
    spec(fresh, "{gpu: 0}", "{gpu: 2}")
    spec(fresh, "per_device_train_batch_size: 8", "per_device_train_batch_size: 4")
    found = checks(fresh)
    assert missing(found.values()) == lacks and found["GPU"].found == said
    assert "about" in found["GPU memory"].found and "in the cache" in found["Hub"].found


def test_without_llama_cpp_the_specs_that_need_it_are_told(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    real = metadata.version

    def version(name: str) -> str:
        if name == "llama_cpp_python":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    spec(fresh, "{gguf: []}", "{gguf: [f16]}")
    (fresh / "experiments/v2.yaml").write_text("extends: v1\nexport: {gguf: []}\n")
    (fresh / "experiments/v3.yaml").write_text("extends: v1\nlora: {r: none}\n")
    found = checks(fresh)
    assert missing(found.values()) == ["llama.cpp"] and found["llama.cpp"].needed_by == ("v1",)
    assert found["experiments"].state == "warning" and found["experiments"].found.endswith("with errors: v3.yaml")


def test_bbjcpl_must_judge_and_be_of_the_version(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bbjcpl").write_text(f'#!/bin/sh\nexec {sys.executable} -m bbjspec.bbj.cpl "$@"\n')
    (tmp_path / "bbjcpl").chmod(0o755)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    spec(fresh, "{name: builtin}", '{name: bbjcpl, version: "26.03"}')
    monkeypatch.setenv("BBJ_VERSION", "26.03")
    assert checks(fresh)["bbjcpl"].state == "ok"
    monkeypatch.setenv("BBJ_VERSION", "25.01")
    found = checks(fresh)["bbjcpl"]
    assert found.state == "lacks" and "BBJ_VERSION says 25.01" in found.found
    monkeypatch.setenv("BBJ_VERSION", "26.03")
    (tmp_path / "bbjcpl").write_text("#!/bin/sh\nexit 0\n")
    found = checks(fresh)["bbjcpl"]
    assert found.state == "lacks" and "canaries" in found.found


def test_a_server_must_answer_and_its_key_be_there(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hello(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hello)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    reference = f"[{{name: other, server: '{url}', model: big, api_key_env: BIG_KEY}}]"
    spec(fresh, "  k: [1, 2]\n", f"  k: [1, 2]\n  references: {reference}\n")
    assert checks(fresh)["server of big"].found == "no key: BIG_KEY is not set"
    monkeypatch.setenv("BIG_KEY", SECRET)
    found = checks(fresh)
    assert found["server of big"].state == "ok" and SECRET not in repr(found)
    server.shutdown()
    server.server_close()
    found = checks(fresh)
    assert found["server of big"].state == "lacks" and "no connection" in found["server of big"].found


def test_git_lfs_is_needed_where_the_repository_gives_it_the_weights(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = shutil.which("git")
    assert git
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").symlink_to(git)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    subprocess.run(["git", "init", "-q", str(fresh)], check=True)
    assert checks(fresh)["git-lfs"].state == "not needed"
    (fresh / ".gitattributes").write_text("*.safetensors filter=lfs diff=lfs merge=lfs -text\n")
    found = checks(fresh)["git-lfs"]
    assert (found.state, found.found) == ("lacks", "not on PATH")
    assert found.remedy == "apt install git-lfs (or https://git-lfs.com), then once: git lfs install"
    (tmp_path / "bin/git-lfs").write_text("#!/bin/sh\necho git-lfs/3.4.0 x\n")
    (tmp_path / "bin/git-lfs").chmod(0o755)
    found = checks(fresh)["git-lfs"]
    assert (found.state, found.found, found.remedy) == ("lacks", "3.4.0, but not set up", "git lfs install")
    (tmp_path / "gitconfig").write_text('[filter "lfs"]\n\tclean = git-lfs clean -- %f\n')
    assert checks(fresh)["git-lfs"].state == "ok"
    (fresh / ".gitignore").write_text("adapters/v1/\n")
    assert checks(fresh)["git-lfs"].state == "not needed"


def test_pointers_that_a_run_needs_the_bytes_of(project: Path, edit: Edit) -> None:
    weights = project / "adapters/v1/adapter_model.safetensors"
    sha = json.loads((project / "adapters/v1/lock.json").read_text())["files"][weights.name]
    weights.write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha}\nsize 9\n")
    shutil.rmtree(project / "build")
    assert checks(project)["git-lfs"].state in ("warning", "not needed")
    edit("max_new_tokens: 12", "max_new_tokens: 13")
    found = checks(project)["git-lfs"]
    assert found.state == "lacks" and "1 pointers without their bytes, such as adapters/v1/" in found.found
    verified = verifying.verify(project)
    assert verified.pointers == ["adapters/v1/adapter_model.safetensors"] and not verified.findings


def test_bitsandbytes_for_each_that_asks(fresh: Path) -> None:
    spec(fresh, "dtype: float32}", "dtype: float32, load_in_4bit: false}")
    assert not Asked(read_plan(fresh)).who(asked.quantizes)
    spec(fresh, "load_in_4bit: false", "load_in_4bit: true")
    assert Asked(read_plan(fresh)).who(asked.quantizes) == ("v1",)


def test_the_sandbox_where_a_suite_runs_python(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bbjspec import sandbox

    assert checks(fresh)["sandbox"].state == "not needed"
    general = sorted((Path(__file__).parents[2] / "eval/prompts/general").glob("*.jsonl"))[0]
    shutil.copy(general, fresh / "eval/prompts/general.jsonl")
    found = checks(fresh)["sandbox"]
    assert found.state in ("ok", "warning") and "seccomp" in found.found and found.needed_by == ("v1",)

    def layers() -> Any:
        raise EnvironmentLacks("the sandbox for general prompts cannot be closed: use Linux")

    monkeypatch.setattr(sandbox, "layers", layers)
    found = checks(fresh)["sandbox"]
    assert (found.state, found.remedy) == ("lacks", "use Linux")


def test_the_hub_is_asked_only_for_what_is_not_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    asked_for: list[tuple[str, str]] = []

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            asked_for.append((self.path, self.headers["Authorization"]))
            self.send_response(
                {"org/moved": 307, "org/gated": 403, "org/gone": 404}[self.path[1:].partition("/res")[0]]
            )
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Hub)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert probes.hub_token() and probes.hub_answers("org/moved", "a" * 40) == ""
    assert asked_for == [(f"/org/moved/resolve/{'a' * 40}/config.json", f"Bearer {SECRET}")]
    assert probes.hub_answers("org/gated", None) == "access is gated"
    assert probes.hub_answers("org/gone", None) == "no such revision"
    server.shutdown()
    server.server_close()
    assert probes.hub_answers("org/moved", None).startswith("the Hub does not answer (")
    snapshot = tmp_path / "models--org--base/snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "one.safetensors"):
        (snapshot / name).write_text("{}")
    (snapshot / "model.safetensors.index.json").write_text(
        '{"weight_map": {"w": "one.safetensors", "v": "two.safetensors"}}'
    )
    assert not probes.hub_cached("org/base", "a" * 40), "half a download"
    (snapshot / "two.safetensors").write_text("{}")
    assert probes.hub_cached("org/base", "a" * 40) and not probes.hub_cached("org/base", None)
    (tmp_path / "models--org--base/refs").mkdir()
    (tmp_path / "models--org--base/refs/main").write_text("a" * 40)
    assert probes.hub_cached("org/base", None)


def test_keys_and_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not probes.wandb_key()
    (tmp_path / "netrc").write_text("what is this")
    assert not probes.wandb_key()
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {SECRET}\n")
    assert probes.wandb_key()
    for said, meant in {
        "": "http://127.0.0.1:11434",
        "0.0.0.0": "http://127.0.0.1:11434",
        "box:8080": "http://box:8080",
        "https://box.example": "https://box.example:443",
        "[::1]:99": "http://[::1]:99",
    }.items():
        monkeypatch.setenv("OLLAMA_HOST", said)
        assert probes.ollama_url() == meant
    assert probes.existing(tmp_path / "a/b/c") == tmp_path and probes.cores()[0] >= 1
    if sys.platform == "linux":
        assert probes.file_system(Path("/proc")) == "proc" and probes.file_system(tmp_path)


# What is broken, through the command itself.


def test_the_command_with_the_real_libraries(fresh: Path) -> None:
    spec(fresh, "{gguf: []}", "{gguf: [f16]}")
    spec(fresh, "dtype: float32}", "dtype: float32, load_in_4bit: true}")
    done = command(fresh, "--json", HF_TOKEN=SECRET, WANDB_API_KEY=SECRET)
    document = json.loads(done.stdout)
    found = {check["name"]: check for check in document["checks"]}
    # Where this machine is busy, importing torch may take longer than the doctor waits: that is a warning.
    states = {name: found[name]["state"] for name in ("torch", "bitsandbytes", "llama.cpp", "llama.cpp converter")}
    assert set(states.values()) <= {"ok", "warning"}, found
    assert (done.returncode, document["missing"], done.stderr) == (0, [], "")
    assert SECRET not in done.stdout and ", key" in found["W&B"]["found"] and found["Hub"]["found"].startswith("token")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise ImportError('broken here')", "ImportError: broken here"),
        ("import os; os.abort()", "killed by SIGABRT"),
        ("import time; time.sleep(60)", "no end within 3 s"),
    ],
)
def test_a_broken_torch(fresh: Path, tmp_path: Path, body: str, said: str) -> None:
    (tmp_path / "broken/torch").mkdir(parents=True)
    (tmp_path / "broken/torch/__init__.py").write_text(body + "\n")
    (tmp_path / "broken/nvidia-smi").write_text("#!/bin/sh\nprintf '\\377\\376 no'; exit 9\n")
    (tmp_path / "broken/nvidia-smi").chmod(0o755)
    package = Path(__file__).parents[2]
    code = "from bbjspec.doctor import probes; probes.CHILD_S = 3.0; from bbjspec.cli import entry; entry()"
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor"],
        cwd=fresh,
        env={**environment(), "PYTHONPATH": f"{tmp_path}/broken:{package}", "PATH": f"{tmp_path}/broken"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert time.monotonic() - began < 15, "3 s for torch; the rest is the machine's load"
    assert (done.returncode, "Traceback" in done.stderr) == (3, False)
    line = next(line for line in done.stdout.splitlines() if "  torch " in line)
    assert line.startswith("lacks") and said in line
    assert done.stderr.splitlines() == ["bbjspec: 2 things that the experiments need are missing: torch, git"]


def test_work_is_told_from_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "CHILD_S", 2.0)
    busy = probes.child("tell(begun=1)\nwhile True: pass")
    assert busy.slow and busy.facts == {"begun": 1} and busy.trouble == "no end within 2 s, though it is at work"
    assert not probes.child("import time; time.sleep(60)").slow


def test_a_check_that_fails_or_hangs_harms_only_itself(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> Any:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(probes, "cores", broken)
    monkeypatch.setattr(probes, "locks", lambda _: time.sleep(5))
    found = {check.name: check for check in examine(read_plan(fresh), seconds=3)}
    assert found["CPU cores"].found == "cannot be looked at: [Errno 13] Permission denied"
    assert found["file locks"].found == "no answer within 3 s" and found["file locks"].state == "warning"
    assert found["disk"].state == "ok"


def test_locks_that_do_not_hold(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes.fcntl, "flock", lambda *_: None)
    found = checks(fresh)["file locks"]
    assert found.state == "lacks" and found.found.endswith("two processes can hold one lock")
    assert not list((fresh).glob(".bbjspec-doctor-*")), "nothing is left behind"


def test_the_text_is_aligned_and_says_what_to_do(fresh: Path) -> None:
    told = [
        Check("git", "ok", "2.39", "keeping results", ("v1",)),
        Check("git-lfs", "lacks", "not on PATH", "weights", ("v1", "v2"), "apt install git-lfs"),
    ]
    assert list(view.lines(told)) == [
        "ok          git      2.39",
        "lacks       git-lfs  not on PATH",
        "            for weights, needed by v1, v2",
        "",
        "git-lfs: apt install git-lfs",
    ]
    assert list(view.lines(told[:1])) == ["ok          git  2.39"]
    assert view.document(told)["missing"] == ["git-lfs"]


def test_what_is_to_be_copied_is_whole_in_the_narrowest_terminal() -> None:
    """Longer than the terminal is wide, and than any width that text is folded at elsewhere."""
    command = "CMAKE_ARGS=-DGGML_CUDA=on pip install --no-binary llama-cpp-python " + "x" * 200
    told = [Check("llama.cpp", "warning", "built without a GPU", "answers", ("v1",), command)]
    assert list(view.lines(told))[-1] == f"llama.cpp: {command}"
    code = f"from bbjspec.doctor import view; from bbjspec.doctor.asked import Check; view.show({told!r})"
    ours, theirs = os.openpty()
    variables = {name: value for name, value in environment().items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**variables, "PYTHONPATH": str(Path(__file__).parents[2]), "TERM": "xterm", "COLUMNS": "40"},
        stdin=theirs,
        stdout=theirs,
        timeout=60,
    )
    os.close(theirs)
    text = os.read(ours, 1 << 16).decode()
    os.close(ours)
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    assert done.returncode == 0 and text != re.sub(r"\x1b", "", text), "a terminal, in colour"
    assert max(map(len, plain[:-1])) <= 40 and plain[-2:] == ["", f"llama.cpp: {command}"]


def test_a_busy_machine_is_no_reason_to_install(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    busy = "no end within 7.5 s, though it is at work"
    spec(fresh, "dtype: float32}", "dtype: float32, load_in_4bit: true}")
    spec(fresh, "{gguf: []}", "{gguf: [f16]}")
    monkeypatch.setattr(probes, "torch", lambda **_: probes.Told({"torch": "2.13.0", "cards": []}, busy, slow=True))
    monkeypatch.setattr(probes, "llama_cpp", lambda: probes.Told({}, busy, slow=True))
    found = checks(fresh)
    assert found["torch"].state == "ok"
    for name in ("bitsandbytes", "llama.cpp"):
        assert (found[name].state, found[name].remedy) == ("warning", asked.AGAIN), name
    spec(fresh, "{gpu: 0}", "{gpu: 1}")
    monkeypatch.setattr(probes, "torch", lambda **_: probes.Told({}, busy, slow=True))
    found = checks(fresh)
    for name in ("torch", "bitsandbytes", "GPU", "GPU memory"):
        assert (found[name].state, found[name].remedy) == ("warning", asked.AGAIN), name
    hung = probes.Told({"torch": "2.13.0", "cards": []}, "no end within 7.5 s")
    monkeypatch.setattr(probes, "torch", lambda **_: hung)
    found = checks(fresh)
    assert (found["bitsandbytes"].state, found["bitsandbytes"].remedy) == ("lacks", asked.INSTALL)


def test_llama_cpp_for_a_gpu_only_where_a_spec_asks_for_one(fresh: Path) -> None:
    spec(fresh, "{gguf: []}", "{gguf: [f16]}")
    found = checks(fresh)["llama.cpp"]
    assert (found.state, found.needed_by) == ("ok", ("v1",)) and "built without" not in found.found
    changed = "training: {learning_rate: 2e-3}\nresources: {gpu: 1}"
    (fresh / "experiments/v2.yaml").write_text(f"extends: v1\n{changed}\n")
    found = checks(fresh)["llama.cpp"]
    assert (found.state, found.needed_by) == ("warning", ("v2",)) and "built without a GPU" in found.found
    assert found.remedy.startswith("CMAKE_ARGS=-DGGML_CUDA=on pip install ")


def test_no_tracker_is_a_lack(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    spec(fresh, "{gguf: []}", "{gguf: []}\ntracking: {wandb: {project: bbj}}")
    monkeypatch.setattr(probes, "wandb_key", lambda: False)
    real = importlib.util.find_spec
    there: list[object] = [object()]
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: there[0] if name == "wandb" else real(name, *a))
    found = checks(fresh)["W&B"]
    assert found.state == "warning" and found.found.endswith(", no key: the training is recorded offline")
    assert found.remedy == "set WANDB_API_KEY, or wandb login; or write tracking.wandb.mode: offline"
    there[0] = None
    found = checks(fresh)["W&B"]
    assert (found.state, found.found) == ("warning", "not installed: the training goes on without it")
    assert found.remedy == "pip install 'bbjspec[wandb]'"


# --verify


def verified(root: Path) -> list[str]:
    return [str(finding) for finding in verifying.verify(root).findings]


def test_verify_finds_a_changed_file_of_the_same_size(project: Path) -> None:
    assert verified(project) == []
    plan = read_plan(project)
    split = plan.experiments["v1"].roles["split"]
    ledger = project / split.directory / "ledger.json"
    text = ledger.read_text()
    ledger.write_text(text.swapcase())
    (project / plan.experiments["v1"].roles["card"].directory / "MODEL_CARD.md").unlink()
    (project / "adapters/v1/eval_results.json").write_text("x")
    advice = "; the next run makes it again where it is still needed"
    card = plan.experiments["v1"].roles["card"].directory
    assert verified(project) == [
        "adapters/v1/eval_results.json: is not the file that lock.json lists; restore it with git checkout, or remove "
        "lock.json beside it to publish anew",
        f"{card}/MODEL_CARD.md: missing, not what manifest.json says; remove {card}{advice}",
        f"{split.directory}/ledger.json: not what manifest.json says; remove {split.directory}{advice}",
    ]
    with pytest.raises(BadInput):
        verifying.run(project, as_json=True)


def test_the_advice_is_true(project: Path, edit: Edit) -> None:
    """A plan takes a file of the right size for the right one; once its stage is removed, it is made again."""
    edit("learning_rate: 1e-3", "learning_rate: 2e-3")
    plan = read_plan(project)
    train = plan.experiments["v1"].roles["train"]
    make_whole(project, train)
    weights = project / train.directory / "adapter/adapter_model.safetensors"
    weights.write_text(weights.read_text().swapcase())
    plan = read_plan(project)
    assert plan.state(train) == "whole" and train not in list(plan.needed(plan.experiments["v1"]))
    (line,) = verified(project)
    assert f"; remove {train.directory};" in line
    shutil.rmtree(project / train.directory)
    plan = read_plan(project)
    assert train in list(plan.needed(plan.experiments["v1"])) and verified(project) == []


def test_a_stage_that_cannot_be_read_is_made_again(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` finds an unreadable file as it finds a changed one: no error of its own."""
    from bbjspec import store

    plan = read_plan(project)
    split = plan.experiments["v1"].roles["split"]
    store.prepare(project, split, plan.published.stages.get(split.digest))
    real = store.sha256_file

    def sha256_file(path: Path) -> str:
        if path.parent.parent.name == "split":
            raise OSError(5, "Input/output error", str(path))
        return real(path)

    monkeypatch.setattr(store, "sha256_file", sha256_file)
    assert store.corrupted(project / split.directory)
    monkeypatch.setattr(verifying, "sha256_file", sha256_file)
    assert any("cannot be read: Input/output error" in line for line in verified(project))
    monkeypatch.undo()
    run(project / split.directory / "stage.json", console=False)
    assert verified(project) == []


def test_unfinished_stages_and_broken_manifests(project: Path) -> None:
    plan = read_plan(project)
    (project / plan.experiments["v1"].roles["train"].directory / "manifest.json").unlink()
    assert verified(project) == []
    stage = project / plan.experiments["v1"].roles["score"].directory
    for broken in ("{", '{"files": {"../../x": {"sha256": "0"}}}', '{"files": {"a": 1}}'):
        (stage / "manifest.json").write_text(broken)
        (line,) = verified(project)
        assert f"build/score/{stage.name}/manifest.json: not a manifest; remove build/score/{stage.name};" in line
    shutil.rmtree(stage)
    (project / "adapters/v1/lock.json").write_text("[]")
    assert verified(project) == ["adapters/v1/lock.json: not a lock file; restore it with git checkout"]


def test_placed_ggufs(project: Path) -> None:
    """By what the published export.json says of them; a GGUF that was moved away is nobody's error."""
    (project / "out/v1").mkdir(parents=True)
    (project / "out/v1/q8_0.gguf").write_text("weights")
    import hashlib

    sha = hashlib.sha256(b"weights").hexdigest()
    types = {"q8_0": {"sha256": sha, "released": True}, "f16": {"sha256": sha, "released": True}}
    (project / "adapters/v1/export.json").write_text(json.dumps({"types": types}))
    lock = json.loads((project / "adapters/v1/lock.json").read_text())
    (project / "adapters/v1/lock.json").write_text(json.dumps({**lock, "export": {"dir": "out"}}))
    found = verifying.verify(project)
    assert found.files["placed"] == 1 and found.findings == []
    (project / "out/v1/q8_0.gguf").write_text("Weights")
    assert verified(project) == [
        "out/v1/q8_0.gguf: not what export.json says; remove it and adapters/v1/lock.json, and run"
    ]


def test_verify_by_the_command(project: Path) -> None:
    done = command(project, "--verify")
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.endswith(": all as they were made\n")
    (project / "adapters/v1/loss.svg").write_text("x")
    done = command(project, "--verify", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 1 and [f["file"] for f in document["findings"]] == ["adapters/v1/loss.svg"]
    assert done.stderr.startswith("adapters/v1/loss.svg: is not the file that lock.json lists")
    done = command(project, "--verify", "v1")
    assert (done.returncode, done.stdout) == (2, "")
