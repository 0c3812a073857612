"""A real SLURM on this machine, for tests and for trying a change by hand: one node, one GPU (that is none).

    python -m tests.cluster.slurm snakemake --workflow-profile profiles/slurm demo

starts it, runs the command as on a login node, and stops it. Controller, node and what they start live in namespaces
of their own: a network with nothing in it but loopback, so that nothing leaves the machine; a mount of the
configuration over /etc/slurm, where nested `srun` looks (the plugin takes SLURM_CONF from it); and a table of
processes, so that ending its first one ends them all. The machine's own SLURM, if it has one, is not touched.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "unshare", "nsenter")
ETC = Path("/etc/slurm")
MEMORY_MB, CPUS = 1_000_000, 64  # what the node says it has, whatever this machine has
NAMESPACES = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
SECONDS = 60  # until the node is idle

# `config_overrides` and the node's line: what is asked for is counted, not measured. linuxproc and `task/none` need no
# control groups, which a container may not have.
SLURM_CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={scratch}/munge
CredType=cred/munge
StateSaveLocation={scratch}/state
SlurmdSpoolDir={scratch}/spool
SlurmctldPidFile={scratch}/slurmctld.pid
SlurmdPidFile={scratch}/slurmd.pid
SlurmctldLogFile={scratch}/slurmctld.log
SlurmdLogFile={scratch}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2
MpiDefault=none
ReturnToService=2
MinJobAge=3600
KillWait=30
MailProg=/bin/true
GresTypes=gpu
SlurmdParameters=config_overrides
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefMemPerCPU=500
"""
# A count without a device makes the node invalid.
GRES_CONF = "Name=gpu File=/dev/null\n"
# slurmd looks for control groups even where nothing uses them.
CGROUP_CONF = "CgroupPlugin=cgroup/v1\n"


def lacks() -> str:
    """Why no SLURM can be started here; empty where it can."""
    # A user's PATH may lack the folders of daemons.
    missing = [name for name in PROGRAMS if not shutil.which(name, path=_path())]
    if missing:
        return f"{', '.join(missing)} not found: apt-get install munge slurmctld slurmd slurm-client"
    if os.getuid():
        return "only root may start a SLURM of its own"
    if not ETC.is_dir():
        return f"no folder {ETC}"
    tried = subprocess.run([*NAMESPACES, "true"], capture_output=True, text=True, timeout=30)
    return "" if tried.returncode == 0 else f"no namespaces here: {tried.stderr.strip()}"


def _path() -> str:
    return os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


class Slurm:
    """A running SLURM. `scratch` has its logs and its state."""

    def __init__(self, scratch: Path, leader: int) -> None:
        self.scratch = scratch
        self._leader = leader

    def command(self, *words: str, cwd: Path | None = None) -> list[str]:
        """The words as a command line that runs them as on a login node, in that directory or in this one."""
        where = f"--wd={cwd or Path.cwd()}"
        return ["nsenter", f"--target={self._leader}", "--mount", "--net", "--pid", where, *words]

    def run(self, *words: str, cwd: Path | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command there, to its end."""
        with self.popen(*words, cwd=cwd) as process:
            try:
                said, told = process.communicate(timeout=timeout)
            except BaseException:
                os.killpg(process.pid, signal.SIGKILL)
                raise
        return subprocess.CompletedProcess(words, process.returncode, said, told)

    def popen(self, *words: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start a command there, in a process group of its own."""
        from tests.harness import environment

        return subprocess.Popen(
            self.command(*words, cwd=cwd),
            env=environment() | {"PATH": f"{environment()['PATH']}:/usr/sbin:/sbin"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def squeue(self, format: str, *words: str) -> list[str]:
        """One line a job, in `squeue`'s format; jobs that have ended are there too."""
        done = self.run("squeue", "--noheader", "--states=all", "--sort=i", f"--format={format}", *words)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return [line.strip() for line in done.stdout.splitlines()]


@contextlib.contextmanager
def slurm() -> Iterator[Slurm]:
    """Start SLURM, and stop it on leaving. Raises RuntimeError, with what its logs say, where it does not start."""
    # munge's socket must have a short name.
    scratch = Path(tempfile.mkdtemp(prefix="slurm-"))
    scratch.chmod(0o755)
    process = subprocess.Popen(
        [*NAMESPACES, sys.executable, "-m", "tests.cluster.slurm", "--inside", str(scratch)],
        cwd=REPOSITORY,
        env=os.environ | {"PATH": _path()},
        stdin=subprocess.PIPE,  # when we end, however we do, it reads the end of it
        stdout=subprocess.DEVNULL,
        stderr=(scratch / "inside.log").open("w"),
        start_new_session=True,
    )
    try:
        running = Slurm(scratch, _leader(process, scratch))
        _until_idle(running, process)
        yield running
    finally:
        process.kill()  # its child is killed with it, and is the first process of its table
        process.wait()
        shutil.rmtree(scratch, ignore_errors=True)


def _leader(process: subprocess.Popen[bytes], scratch: Path) -> int:
    """The process that is the first one inside, by its number out here."""
    deadline = time.monotonic() + SECONDS
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while time.monotonic() < deadline and process.poll() is None:
        if (scratch / "ready").exists() and (found := children.read_text().split()):
            return int(found[0])
        time.sleep(0.05)
    raise RuntimeError(_logs(scratch))


def _until_idle(running: Slurm, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if running.run("sinfo", "--noheader", "--format=%T").stdout.split() == ["idle"]:
            return
        time.sleep(0.2)
    raise RuntimeError(_logs(running.scratch))


def _logs(scratch: Path) -> str:
    found = [f"{file.name}:\n{file.read_text(errors='replace')[-2000:]}" for file in sorted(scratch.glob("*.log"))]
    return "SLURM does not start here\n" + "\n".join(found)


def inside(scratch: Path) -> None:
    """The first process of the namespaces: configure, start the daemons, and wait until one of them or we are ended."""
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _loopback()
    for folder in ("etc", "state", "spool"):
        (scratch / folder).mkdir()
    host = socket.gethostname().split(".")[0]
    texts = {
        "slurm.conf": SLURM_CONF.format(host=host, scratch=scratch, cpus=CPUS, memory=MEMORY_MB),
        "gres.conf": GRES_CONF,
        "cgroup.conf": CGROUP_CONF,
    }
    for name, text in texts.items():
        (scratch / "etc" / name).write_text(text)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", str(scratch / "etc"), str(ETC)], check=True)
    key = scratch / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    munged = ["munged", "--force", "--foreground", f"--socket={scratch}/munge", f"--key-file={key}"]
    munged += [f"--{name}-file={scratch}/munge.{name}" for name in ("pid", "log", "seed")]
    daemons = [subprocess.Popen(munged)]
    while not (scratch / "munge").exists() and daemons[0].poll() is None:
        time.sleep(0.02)
    daemons += [subprocess.Popen(["slurmctld", "-D"]), subprocess.Popen(["slurmd", "-D"])]
    (scratch / "ready").touch()
    # Whatever lost its parent in there is this process' child too.
    while os.wait()[0] not in {daemon.pid for daemon in daemons}:
        pass


def _end_with_the_parent() -> None:
    os.read(0, 1)
    os._exit(0)


def _loopback() -> None:
    """Bring lo up, with an address beside 127.0.0.1: with none, names are looked up for no family of addresses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as anything:

        def set_address(name: bytes, address: str, request: int) -> None:
            packed = struct.pack("16sH2s4s8x", name, socket.AF_INET, b"", socket.inet_aton(address))
            fcntl.ioctl(anything, request, packed)

        up = struct.pack("16sH14x", b"lo", 0x1 | 0x8 | 0x40)  # IFF_UP, IFF_LOOPBACK, IFF_RUNNING
        fcntl.ioctl(anything, 0x8914, up)  # SIOCSIFFLAGS
        set_address(b"lo:1", "192.0.2.1", 0x8916)  # SIOCSIFADDR; of a block that is nobody's (RFC 5737)


def main() -> int:
    """The command line."""
    if sys.argv[1:2] == ["--inside"]:
        inside(Path(sys.argv[2]))
        return 1
    if why := lacks():
        print(why, file=sys.stderr)
        return 3
    with slurm() as running:
        return subprocess.run(
            running.command(*sys.argv[1:]), env=os.environ | {"PATH": _path()}, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
