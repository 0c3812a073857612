"""What this machine has: `bbjspec doctor` looks, nothing is changed.

Whatever can hang or crash (CUDA, a broken build of a library) is asked in a child process with a time limit. Nothing
here knows a spec, and nothing here prints a secret.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import netrc
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bbjspec.store import read_json

CHILD_S = 7.5  # for a child: importing torch takes one second, several where it is read for the first time
WATCH_S = 1.0  # of that, at its end: does it still work?
COMMAND_S = 3.0
LATE = f"no answer within {COMMAND_S:g} s"  # of a command
NET_S = 3.0
_MARK = "bbjspec "  # before what a child tells, among all that libraries print

_TELL = f"import json, sys\ndef tell(**facts): print({_MARK!r} + json.dumps(facts), flush=True)\n"
_TORCH = """
import torch
tell(torch=torch.__version__, built=torch.version.cuda)
seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
cards = [torch.cuda.get_device_properties(at) for at in range(seen)]
tell(cards=[[card.name, card.total_memory] for card in cards])
"""
_DRIVER = """
from bbjspec.stages import claims
tell(driver=claims.driver_version(), supports=claims.driver_cuda())
"""
_BITSANDBYTES = """
import bitsandbytes
bitsandbytes.functional.quantize_4bit(torch.ones(64, 64), quant_type="nf4")
tell(bitsandbytes=bitsandbytes.__version__)
"""
_LLAMA = """
import llama_cpp
llama_cpp.llama_backend_init()
tell(llama_cpp=llama_cpp.__version__, gpu=bool(llama_cpp.llama_supports_gpu_offload()))
"""


@dataclass(frozen=True)
class Told:
    """What a child told before it ended, and why it ended early; "" when it came to its end. `slow`: it was still at
    work when its time was up, which says more about the machine's load than about what was asked."""

    facts: dict[str, Any]
    trouble: str
    slow: bool = False


def torch(*, bitsandbytes: bool) -> Told:
    """torch, built (its CUDA), cards [[name, bytes]], driver, supports; with `bitsandbytes` its version, once it has
    quantized something."""
    return child(_TORCH + _DRIVER + (_BITSANDBYTES if bitsandbytes else ""))


def llama_cpp() -> Told:
    """llama_cpp (its version), gpu: whether it was built for one."""
    return child(_LLAMA)


def child(code: str) -> Told:
    """Run Python with `tell` in a process of its own, and end it and all that it started when time is up."""
    package = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH", ""), package]))
    settings = {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    with subprocess.Popen(
        [sys.executable, "-P", "-c", _TELL + code],
        env=settings,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        late = slow = False
        try:
            out, err = process.communicate(timeout=CHILD_S - WATCH_S)
        except subprocess.TimeoutExpired:
            before = _work(process.pid)
            try:
                out, err = process.communicate(timeout=WATCH_S)
            except subprocess.TimeoutExpired:
                late, slow = True, _work(process.pid) != before
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
    facts: dict[str, Any] = {}
    for line in out.splitlines():
        if line.startswith(_MARK):
            with contextlib.suppress(ValueError, TypeError):
                facts |= json.loads(line.removeprefix(_MARK))
    if late:
        return Told(facts, f"no end within {CHILD_S:g} s" + (", though it is at work" if slow else ""), slow)
    if process.returncode < 0:
        return Told(facts, f"killed by {signal.Signals(-process.returncode).name}")
    if process.returncode:
        last = [line.strip() for line in err.splitlines() if line.strip()][-1:]
        return Told(facts, (last or [f"exit code {process.returncode}"])[0][:200])
    return Told(facts, "")


def _work(pid: int) -> object:
    """What changes while a process works: its CPU time; never twice the same where it waits for CPU or disk."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return object() if fields[0] in "RD" else fields[11:13]


def version(package: str) -> str | None:
    """The installed version; None where there is none, or none that says it."""
    try:
        return str(metadata.version(package))
    except (metadata.PackageNotFoundError, OSError, KeyError, TypeError, ValueError):
        return None


def command(*words: str) -> tuple[str | None, str]:
    """The first line that a command prints, or None and why there is none."""
    if shutil.which(words[0]) is None:
        return None, "not on PATH"
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, errors="replace", timeout=COMMAND_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return None, LATE
    except OSError as error:
        return None, error.strerror or "cannot be run"
    lines = [line.strip() for line in (done.stdout or done.stderr).splitlines() if line.strip()]
    if done.returncode:
        return None, lines[0][:200] if lines else f"exit code {done.returncode}"
    return lines[0][:200] if lines else "", ""


def git_lines(root: Path, *words: str, given: str = "") -> list[str]:
    """The lines of a git command in the project; none where there is no git, no repository, or no answer."""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *words],
            input=given, capture_output=True, text=True, errors="replace", timeout=COMMAND_S,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines()


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    return next((place for place in (path, *path.parents) if os.path.lexists(place)), Path("/"))


def file_system(path: Path) -> str:
    """The type of the file system that the path lies on, such as ext4; "" where nobody says."""
    try:
        lines = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    here, best, kind = str(path.resolve()), "", ""
    for line in lines:
        words, _, rest = line.partition(" - ")
        fields = words.split()
        if len(fields) < 5 or not rest:
            continue
        mount = fields[4].encode().decode("unicode_escape", "replace")
        inside = here == mount or here.startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, rest.split()[0]
    return kind


def locks(folder: Path) -> str:
    """Why flock does not keep two apart in the folder; "" when it does. Raises OSError where nothing can be written."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".bbjspec-doctor-") as one, Path(one.name).open("rb") as other:
        try:
            fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.strerror or "refused"
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return ""
        return "two processes can hold one lock"


def cores() -> tuple[int, float | None]:
    """CPU cores that this process may run on, and how many of them its control group grants, where it limits that."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        most, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return count, int(most) / int(period)
    return count, None


def hub_cached(base: str, revision: str | None) -> bool:
    """Whether this machine's Hub cache has tokenizer and all weights of that commit, or of that branch."""
    from huggingface_hub.constants import HF_HUB_CACHE

    home = Path(HF_HUB_CACHE) / f"models--{base.replace('/', '--')}"
    commit = revision or "main"
    with contextlib.suppress(OSError):
        commit = (home / "refs" / commit).read_text().strip() or commit
    snapshot = home / "snapshots" / commit
    index = read_json(snapshot / "model.safetensors.index.json")
    weights = set(index.get("weight_map", {}).values()) if isinstance(index, dict) else {"model.safetensors"}
    tokenizer = (snapshot / "tokenizer.json").exists() or (snapshot / "vocab.json").exists()
    return tokenizer and all((snapshot / str(name)).exists() for name in ("config.json", *weights))


def hub_cache() -> Path:
    """The folder that Hub snapshots are downloaded to."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def hub_offline() -> bool:
    """Whether the Hub must not be asked."""
    from huggingface_hub.constants import HF_HUB_OFFLINE

    return bool(HF_HUB_OFFLINE)


def hub_token() -> bool:
    """Whether there is a token for the Hub: in the environment, or by `hf auth login`."""
    from huggingface_hub import get_token

    return bool(get_token())


class _Stay(urllib.request.HTTPRedirectHandler):
    """A token goes to the Hub alone: redirects are an answer, and not followed."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def hub_answers(base: str, revision: str | None) -> str:
    """Why the base cannot be had from the Hub; "" when it can. One HEAD request of its config.json."""
    from huggingface_hub import get_token
    from huggingface_hub.constants import ENDPOINT

    token = get_token()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(
        f"{ENDPOINT}/{base}/resolve/{revision or 'main'}/config.json", headers=headers, method="HEAD"
    )
    try:
        urllib.request.build_opener(_Stay).open(request, timeout=NET_S).close()
    except urllib.error.HTTPError as error:
        error.close()
        if 300 <= error.code < 400:
            return ""
        what = {401: "no such model, or it is private or gated", 403: "access is gated", 404: "no such revision"}
        return what.get(error.code, f"HTTP {error.code}")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        return f"the Hub does not answer ({' '.join(str(reason).split())[:100]})"
    return ""


def wandb_key() -> bool:
    """Whether there is a key for W&B: in the environment, or by `wandb login`."""
    if os.environ.get("WANDB_API_KEY", "").strip():
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    named = os.environ.get("NETRC")
    for file in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        with contextlib.suppress(OSError, netrc.NetrcParseError, UnicodeDecodeError):
            if netrc.netrc(str(file)).authenticators(host):
                return True
    return False


def answers(url: str, headers: dict[str, str] | None = None) -> str:
    """Why a server does not answer at the URL; "" when it does, if only to say that something is amiss."""
    from bbjspec.generation.http import Failed, request_json

    try:
        request_json(url, None, headers or {}, NET_S)
    except Failed as error:
        return "" if error.status is not None else str(error)
    return ""


def ollama_url() -> str:
    """Where Ollama's own command looks for its server."""
    host = os.environ.get("OLLAMA_HOST", "").strip() or "127.0.0.1"
    parts = urlsplit(host if "://" in host else f"http://{host}")
    name = "127.0.0.1" if parts.hostname in (None, "0.0.0.0", "::") else parts.hostname
    port = parts.port or ({"https": 443}.get(parts.scheme, 80) if "://" in host else 11434)
    return f"{parts.scheme}://{f'[{name}]' if ':' in str(name) else name}:{port}"
