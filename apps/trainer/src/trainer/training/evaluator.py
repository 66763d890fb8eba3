"""Score and sample the model of a run while it trains, and at its end.

Stage: model, validation text -> *losses, samples* -> metrics, summary. Not here: the sums
themselves (`evaluation/`), and when they are due (`loop.py`).
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass

from trainer.config.run_config import RunConfig
from trainer.data.preparation import PreparedData
from trainer.evaluation.loss import StreamScore, evaluate_windows
from trainer.evaluation.score import score_validation
from trainer.inference.generation import generate_text
from trainer.monitoring.progress import Reporter
from trainer.storage.run_directory import RunDirectory, write_text_atomically
from trainer.training.learner import Learner


@dataclass(frozen=True, slots=True)
class Evaluator:
    """The model of a run, and the text that it is scored on."""

    run: RunDirectory
    config: RunConfig
    data: PreparedData
    learner: Learner
    reporter: Reporter

    def validation_loss(self) -> float:
        """Return the mean loss on a few fixed windows, nats per token."""
        return evaluate_windows(
            self.learner.model,
            self.data.validation.tokens,
            num_windows=self.config.evaluation.num_windows,
            context_length=self.config.model.context_length,
            batch_size=self.config.evaluation.batch_size,
            device=self.learner.device,
            dtype=self.learner.plan.dtype,
            around_first=self._watched("evaluation"),
        )

    def final_score(self) -> StreamScore:
        """Score the validation text, or as many of its tokens as the configuration names."""
        return score_validation(
            self.learner.model,
            self.data,
            context_length=self.config.model.context_length,
            batch_size=self.config.evaluation.batch_size,
            num_tokens=self.config.evaluation.final_tokens,
            device=self.learner.device,
            dtype=self.learner.plan.dtype,
            reporter=self.reporter,
            around_first=self._watched("final score"),
        )

    def sample(self) -> str:
        """Return the prompt and its continuation, drawn by the run's seed."""
        settings = self.config.evaluation
        pieces = generate_text(
            self.learner.model,
            self.data.tokenizer,
            settings.sample_prompt,
            max_tokens=settings.sample_tokens,
            temperature=settings.sample_temperature,
            top_p=settings.sample_top_p,
            seed=self.config.seed,
        )
        return settings.sample_prompt + "".join(pieces)

    def write_sample(self, step: int) -> None:
        """Write a sample of `step`, if the run has samples.

        Raises:
            OSError: the disk refuses, and `checkpoint.on-failure` is stop.
        """
        if not self.config.evaluation.sample_tokens:
            return
        try:
            write_text_atomically(self.run.sample(step), self.sample())
        except OSError as error:
            if self.config.checkpoint.on_failure == "stop":
                raise
            self.reporter.say(f"a sample could not be written: {error}")

    def _watched(self, what: str) -> AbstractContextManager[None] | None:
        watch = self.learner.watch
        return None if watch is None else watch.evaluation(what)
