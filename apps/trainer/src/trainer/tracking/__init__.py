"""Show a run elsewhere while it goes on: TensorBoard, Weights & Biases, trackio."""

from trainer.tracking.fan_out import Tracking
from trainer.tracking.trackers import Tracker, TrackerName, require_trackers

__all__ = ["Tracker", "TrackerName", "Tracking", "require_trackers"]
