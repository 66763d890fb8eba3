"""Track a run live in TensorBoard, Weights & Biases or trackio."""

from trainer.tracking.fan_out import Tracking
from trainer.tracking.trackers import Tracker, require_trackers

__all__ = ["Tracker", "Tracking", "require_trackers"]
