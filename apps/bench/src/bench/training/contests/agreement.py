"""Check that ours and HF compute the same from the same weights and batch."""

from bench.measurement.harness import Entry, Result
from bench.training.contests.setting import ModelSetting

_LOSS_DIFFERENCE = 2e-5  # nats, of about 9.2, in float32
_NORM_DIFFERENCE = 1e-4  # relative


def entries(setting: ModelSetting) -> list[Entry]:
    """Return one first step of both."""
    return [
        setting.entry(
            "models.ours",
            "agree",
            tokens=str(setting.tokens),
            dtype="float32",
            batch_size=4,
            micro_batch_size=4,
            compile="off",
        )
    ]


def judge(result: Result) -> tuple[str, list[str]]:
    """Report what was compared, and what disagrees."""
    if result.failure:
        return "", [f"ours and HF could not be compared: {result.failure[0]}"]
    found = result.samples[0].metrics
    words = (
        f"ours and HF from the same weights and batch: loss {found['loss']:.4f} differs by "
        f"{found['loss_difference']:.1e} nats, gradient norm by {found['norm_difference']:.1e}; "
        f"{found['num_parameters']:,.0f} parameters differ by {found['parameter_difference']:.0f}"
    )
    is_same = (
        found["loss_difference"] <= _LOSS_DIFFERENCE
        and found["norm_difference"] <= _NORM_DIFFERENCE
        and found["parameter_difference"] == 0
    )
    return words, [] if is_same else [words]
