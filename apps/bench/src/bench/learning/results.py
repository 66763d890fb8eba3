"""Keep the results of the trainings so far.

Stage: trainings -> *one JSON object per line, appended as each ends* -> table, chart. A file
belongs to one experiment: results with other settings are refused.
"""

import dataclasses
import json
import statistics
from pathlib import Path
from typing import Any

from bench.learning.trials import Contender, Trial

FORMAT, VERSION = "bench-learning", 1


class Results:
    """The finished trainings of one experiment.

    Raises:
        ValueError: the file holds something else.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._path = path
        self._head = {"format": FORMAT, "version": VERSION, "settings": settings}
        self._found: dict[Trial, dict[str, Any]] = {}
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for line in lines:
            row = json.loads(line)
            head = {key: row.get(key) for key in self._head}
            if head != self._head:
                raise ValueError(
                    f"{path} holds results of {head}, but these are {self._head}; name another "
                    "--folder"
                )
            self._found[Trial(**row["trial"])] = row["result"]

    def __contains__(self, trial: Trial) -> bool:
        return trial in self._found

    def __getitem__(self, trial: Trial) -> dict[str, Any]:
        return self._found[trial]

    def add(self, trial: Trial, result: dict[str, Any]) -> None:
        """Append a result; it is on disk before this returns."""
        row = {**self._head, "trial": dataclasses.asdict(trial), "result": result}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self._found[trial] = result

    def rates(self, contender: Contender) -> dict[float, float]:
        """Return the final loss of each learning rate tried."""
        trials = [Trial(contender.name, r, contender.tuned_at, seed=0) for r in contender.rates]
        return {trial.rate: self._found[trial]["loss"] for trial in trials if trial in self._found}

    def best_rate(self, contender: Contender) -> float:
        """Return the rate of the lowest loss."""
        losses = self.rates(contender)
        return min(losses, key=losses.__getitem__)

    def at_share(self, contender: Contender, share: float) -> list[dict[str, Any]]:
        """Return the results of the best rate at a share of the tokens, one per seed."""
        if not self.rates(contender):
            return []
        best = self.best_rate(contender)
        return [
            result
            for trial, result in sorted(self._found.items(), key=lambda item: item[0].seed)
            if (trial.contender, trial.rate, trial.share) == (contender.name, best, share)
        ]

    def mean_loss(self, contender: Contender, share: float) -> float | None:
        """Return the mean over seeds; None if nothing was trained with these settings."""
        losses = [result["loss"] for result in self.at_share(contender, share)]
        return statistics.mean(losses) if losses else None
