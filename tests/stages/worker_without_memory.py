"""One of two training processes, of which the second runs out of memory."""

from __future__ import annotations

import os

from bbjspec.stages import launch
from bbjspec.stages.trainer import Trainer
from tests.stages.test_stops import out_of_memory_at_step_3

if __name__ == "__main__":
    if os.environ["RANK"] == "1":
        out_of_memory_at_step_3(Trainer)
    launch.main()
