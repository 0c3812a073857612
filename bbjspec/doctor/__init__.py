"""`bbjspec doctor`: what this machine has and lacks for the experiments at hand.

What is asked of the machine is read off the stages that are to run: an experiment that is published needs nothing. Each
check runs in a thread of its own and has until `SECONDS`: whatever is broken, the others are still told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable

from bbjspec.doctor import libraries, machine, services
from bbjspec.doctor.asked import AGAIN, Asked, Check, State
from bbjspec.errors import EnvironmentLacks
from bbjspec.plan import Plan

SECONDS = 8.5


def _specs(asked: Asked) -> Iterable[Check]:
    who = ", ".join(asked.everyone) if len(asked.everyone) <= 5 else str(len(asked.everyone))
    count = len(asked.plan.experiments) + len(asked.plan.bad_specs)
    said = f"{count} {'experiment' if count == 1 else 'experiments'}, to run: {who or 'none'}"
    if asked.bad:
        said += f"; with errors: {', '.join(asked.bad)}"
    state: State = "warning" if asked.bad else "ok"
    remedy = "bbjspec check says what to write instead" if asked.bad else ""
    yield Check("experiments", state, said, "what is asked of this machine", asked.everyone, remedy)


CHECKS: tuple[tuple[Callable[[Asked], Iterable[Check]], str], ...] = (
    (_specs, "experiments"),
    (libraries.python, "Python"),
    (libraries.packages, "packages"),
    (libraries.torch_and_gpu, "torch"),
    (libraries.flash, "flash-attn"),
    (libraries.llama, "llama.cpp"),
    (libraries.snakemake, "Snakemake"),
    (libraries.tensorboard, "TensorBoard"),
    (services.bbjcpl, "bbjcpl"),
    (services.sandbox, "sandbox"),
    (services.ollama, "Ollama"),
    (services.servers, "servers"),
    (services.hub, "Hub"),
    (services.wandb, "W&B"),
    (services.git, "git"),
    (machine.disk, "disk"),
    (machine.memory, "memory"),
    (machine.cores, "CPU cores"),
    (machine.locks, "file locks"),
)


def examine(plan: Plan, names: Collection[str] | None = None, seconds: float = SECONDS) -> list[Check]:
    """All checks, in a fixed order, after `seconds` at most. Nothing raises: a check that fails says so."""
    asked = Asked(plan, names)
    results: list[list[Check]] = [[] for _ in CHECKS]
    threads = []
    for at, (check, title) in enumerate(CHECKS):

        def work(at: int = at, check: Callable[[Asked], Iterable[Check]] = check, title: str = title) -> None:
            try:
                results[at] = list(check(asked))
            except Exception as error:  # a machine can be broken in any way
                said = " ".join(str(error).split())[:200] or type(error).__name__
                results[at] = [Check(title, "warning", f"cannot be looked at: {said}", "", asked.everyone)]

        threads.append(threading.Thread(target=work, daemon=True))
        threads[-1].start()
    deadline = time.monotonic() + seconds
    found: list[Check] = []
    for thread, (_, title), result in zip(threads, CHECKS, range(len(CHECKS)), strict=True):
        thread.join(max(0.0, deadline - time.monotonic()))
        late = [Check(title, "warning", f"no answer within {seconds:g} s", "", asked.everyone, AGAIN)]
        found += results[result] or (late if thread.is_alive() else [])
    return found


def missing(checks: Iterable[Check]) -> list[str]:
    """Names of what is needed and lacks."""
    return [check.name for check in checks if check.state == "lacks"]


def require(checks: Iterable[Check]) -> None:
    """Raise EnvironmentLacks when something needed lacks."""
    if names := missing(checks):
        things = (
            "1 thing that the experiments need is"
            if len(names) == 1
            else f"{len(names)} things that the experiments need are"
        )
        raise EnvironmentLacks(f"{things} missing: {', '.join(names)}")
