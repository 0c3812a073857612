"""The callback that watches training: what is saved when, a stop at NaN, a stop on request, and how far it has come."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from transformers import TrainerCallback

from bbjspec import signals
from bbjspec.errors import StageFailed, Stopped
from bbjspec.progress import Progress
from bbjspec.stage import StageRun
from bbjspec.stages import checkpoints


class Flow(TrainerCallback):  # type: ignore[misc]  # untyped to mypy
    """One for a run."""

    def __init__(self, stage: StageRun, keep: int) -> None:
        self._stage, self._keep = stage, keep  # how many checkpoints
        self._asked = False
        self._bar: Progress | None = None

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """While training: Ctrl-C or SIGTERM asks to save and stop at the end of the step.

        The bar is closed whatever happens.
        """
        try:
            with signals.heeded(self._ask):
                yield
        finally:
            if self._bar is not None:
                self._bar.__exit__(None, None, None)

    def _ask(self) -> None:
        self._asked = True

    def _told_to_stop(self) -> bool:
        """Whether any process of the run was asked: all must stop at the same step, so all ask at the same places."""
        if not _several():
            return self._asked
        asked = torch.tensor(
            [float(self._asked)], device="cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        )
        torch.distributed.all_reduce(asked)
        return bool(asked.item())

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the bar, at the step that was resumed from."""
        if state.is_world_process_zero:
            self._bar = Progress("training", state.max_steps, "steps", self._stage.log, done=state.global_step)
            self._bar.__enter__()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A stop on request saves first."""
        if self._told_to_stop():
            control.should_save = True

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **_: Any) -> None:
        """The best must be on disk, also between two save_steps."""
        better = state.best_metric is None or metrics["eval_loss"] < state.best_metric
        if better:
            control.should_save = True
        if state.is_world_process_zero:
            said = f"step {state.global_step} of {state.max_steps}: validation loss {metrics['eval_loss']:.4g}"
            self._stage.log.info("%s%s", said, ", the best so far" if better else "")

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Old checkpoints go. Raises Stopped once a requested stop is safe: the checkpoint is whole, in all processes.

        A request may have come since the step ended, to some of them alone: they agree anew.
        """
        if state.is_world_process_zero:
            checkpoints.keep(self._stage.work, self._keep, state.global_step, state.best_global_step)
        if self._told_to_stop():
            raise Stopped(
                f"training was asked to stop: step {state.global_step} of {state.max_steps} is saved; run the same "
                "command again to go on from there"
            )

    def on_log(self, args: Any, state: Any, control: Any, logs: Any, **_: Any) -> None:
        """Raises StageFailed at a loss or gradient that is no number; else advances the bar."""
        for name in ("loss", "eval_loss", "grad_norm"):
            # With a loss scaler (float16) an infinite gradient is a step that is left out, and the scale lowered.
            if name in logs and not math.isfinite(logs[name]) and not (args.fp16 and name == "grad_norm"):
                raise StageFailed(
                    f"training diverged: {name} is {logs[name]} at step {state.global_step}; lower "
                    f"training.learning_rate (now {args.learning_rate:g}) or raise training.warmup_steps, "
                    "then run again"
                )
        if self._bar is not None and "loss" in logs:
            self._bar.advance(1, f"loss {logs['loss']:.3g}, {logs['tokens_per_s']:,.0f} tokens/s")


def _several() -> bool:
    """Whether this process is one of several that train together."""
    return torch.distributed.is_available() and bool(torch.distributed.is_initialized())
