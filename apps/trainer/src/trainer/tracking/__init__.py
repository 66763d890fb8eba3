"""Show a run elsewhere while it goes on: TensorBoard, Weights & Biases, trackio."""

from trainer.tracking.fan_out import Tracking
from trainer.tracking.trackers import Tracker, require_trackers

__all__ = ["Tracker", "Tracking", "require_trackers"]
