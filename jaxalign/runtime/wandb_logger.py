"""Metrics and samples in Weights & Biases (W&B)."""

import os
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxalign.atomic_files import atomic_path

RUN_ID = "wandb_id"  # in the run's folder; a resumed run continues the same one


class WandbLogger:
    """A run of W&B; its own variables apply, such as WANDB_PROJECT and WANDB_MODE.

    With WANDB_MODE=offline nothing is sent: `wandb sync FOLDER/wandb/offline-run-*`
    sends it later.
    """

    def __init__(
        self, folder: Path, experiment: str, settings: Mapping[str, Any]
    ) -> None:
        """Begins a run of W&B, or continues that of the folder.

        Args:
          folder: of the run; W&B's own files go to FOLDER/wandb.
          experiment: the run's type, by which W&B groups.
          settings: the values of its flags, by name.

        Raises:
          Exception: W&B's own, such as without a network or a login.
        """
        import wandb

        self.wandb = wandb
        path = folder / RUN_ID
        own = path.read_text("utf-8").strip() if path.exists() else ""
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "jaxalign"),
            dir=str(folder),
            id=own or uuid.uuid4().hex[:8],
            name=os.environ.get("WANDB_NAME", str(folder)),
            job_type=experiment,
            config=dict(settings),
            resume="allow",
        )
        if not own:
            with atomic_path(path) as part:
                part.write_text(self.run.id, "utf-8")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Logs metrics of a step."""
        self.run.log(dict(metrics), step=step)

    def text(self, step: int, rows: Sequence[Mapping[str, Any]]) -> None:
        """Logs samples of a step as a table."""
        columns = list(rows[0])
        data = [[row[name] for name in columns] for row in rows]
        table = self.wandb.Table(columns=columns, data=data)
        self.run.log({"samples": table}, step=step)

    def close(self) -> None:
        """Ends the run of W&B; waits until all is sent."""
        self.run.finish()
