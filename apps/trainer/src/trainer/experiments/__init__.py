"""Run many related configurations as a study that any process can resume."""

from trainer.experiments.ablations import ABLATIONS, ablate, retuned_families
from trainer.experiments.grid import Over, parse_over, sweep
from trainer.experiments.results import Point, best_first, points, print_study, ranked, winners
from trainer.experiments.retune import Retune
from trainer.experiments.study import Outcome, Study, Trial, is_study, load_study, open_study
from trainer.experiments.trials import Sitting, StudyResult, run_study

__all__ = [
    "ABLATIONS",
    "Outcome",
    "Over",
    "Point",
    "Retune",
    "Sitting",
    "Study",
    "StudyResult",
    "Trial",
    "ablate",
    "best_first",
    "is_study",
    "load_study",
    "open_study",
    "parse_over",
    "points",
    "print_study",
    "ranked",
    "retuned_families",
    "run_study",
    "sweep",
    "winners",
]
