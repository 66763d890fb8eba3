"""Look up the peak speed and memory of a device in its datasheet.

Stage: device name -> *peaks* -> time, plans. Peaks are dense FLOP/s: if a datasheet gives tensor
figures with sparsity, the table has half of them. "bfloat16" is the tensor cores with float32
accumulation, "tf32" their mode for float32, "float32" the ordinary cores. A device that is not in
the table is unknown; nothing is guessed from a similar name. Not here: measuring (`measure-peak`).
"""

import difflib
from dataclasses import dataclass

_TERA, _GIGA = 10**12, 10**9


@dataclass(frozen=True, slots=True)
class Device:
    """A device's datasheet."""

    name: str
    """As `torch.cuda.get_device_name` gives it."""
    bfloat16: float | None
    """TFLOP/s; None if it has no such mode."""
    tf32: float | None
    float32: float
    memory_gb: float
    """10^9 bytes."""
    gigabytes_per_second: float
    """Bandwidth of its memory."""
    watts: float
    """Maximum power."""
    datasheet: str

    def peak(self, dtype: str) -> float | None:
        """Return the dense peak in FLOP/s; None if the datasheet has none for this dtype."""
        known = {"bfloat16": self.bfloat16, "tf32": self.tf32, "float32": self.float32}
        tera = known.get(dtype)
        return None if tera is None else float(tera * _TERA)

    @property
    def bytes_per_second(self) -> float:
        """Bandwidth of its memory."""
        return self.gigabytes_per_second * _GIGA


_A100, _H100 = "NVIDIA A100 datasheet, 2021", "NVIDIA H100 datasheet, 2023"
_TABLE = (
    Device("NVIDIA A100-SXM4-40GB", 312, 156, 19.5, 40, 1555, 400, _A100),
    Device("NVIDIA A100-SXM4-80GB", 312, 156, 19.5, 80, 2039, 400, _A100),
    Device("NVIDIA A100-PCIE-40GB", 312, 156, 19.5, 40, 1555, 250, _A100),
    Device("NVIDIA A100 80GB PCIe", 312, 156, 19.5, 80, 1935, 300, _A100),
    Device("NVIDIA H100 80GB HBM3", 989.4, 494.7, 66.9, 80, 3350, 700, _H100),
    Device("NVIDIA H100 PCIe", 756.0, 378.0, 51.0, 80, 2000, 350, _H100),
    Device("NVIDIA H100 NVL", 835.5, 417.5, 60.0, 94, 3900, 400, _H100),
    Device("NVIDIA H200", 989.4, 494.7, 66.9, 141, 4800, 700, "NVIDIA H200 datasheet, 2024"),
    Device("NVIDIA B200", 2250, 1125, 75, 180, 8000, 1000, "NVIDIA DGX B200 datasheet, 2024"),
    Device("NVIDIA L4", 121, 60, 30.3, 24, 300, 72, "NVIDIA L4 datasheet, 2023"),
    Device("NVIDIA L40S", 362, 183, 91.6, 48, 864, 350, "NVIDIA L40S datasheet, 2023"),
    Device(
        *("NVIDIA GeForce RTX 3090", 71, 35.6, 35.6, 24, 936, 350),
        "NVIDIA Ampere GA102 architecture paper, 2021",
    ),
    Device(
        *("NVIDIA GeForce RTX 4090", 165.2, 82.6, 82.6, 24, 1008, 450),
        "NVIDIA Ada GPU architecture paper, 2023",
    ),
    Device("Tesla V100-SXM2-16GB", None, None, 15.7, 16, 900, 300, "NVIDIA V100 datasheet, 2020"),
    Device("Tesla V100-SXM2-32GB", None, None, 15.7, 32, 900, 300, "NVIDIA V100 datasheet, 2020"),
    Device("Tesla T4", None, None, 8.1, 16, 320, 70, "NVIDIA T4 datasheet, 2019"),
)
DEVICES: dict[str, Device] = {device.name: device for device in _TABLE}
_SHORT = {
    "A100": "NVIDIA A100-SXM4-80GB",
    "A100-40GB": "NVIDIA A100-SXM4-40GB",
    "A100-80GB": "NVIDIA A100-SXM4-80GB",
    "H100": "NVIDIA H100 80GB HBM3",
    "H200": "NVIDIA H200",
    "B200": "NVIDIA B200",
    "L4": "NVIDIA L4",
    "L40S": "NVIDIA L40S",
    "RTX3090": "NVIDIA GeForce RTX 3090",
    "RTX4090": "NVIDIA GeForce RTX 4090",
    "V100": "Tesla V100-SXM2-32GB",
    "T4": "Tesla T4",
}


def find_device(name: str) -> Device:
    """Return a device by its full or its short name.

    Raises:
        ValueError: it is not in the table; the message lists the known ones.

    >>> find_device("H200").memory_gb
    141
    """
    full = _SHORT.get(name.upper().replace(" ", ""), name)
    if full in DEVICES:
        return DEVICES[full]
    known = [*_SHORT, *DEVICES]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(
        f"device {name!r} is unknown{hint} known are {', '.join(known)}; for any other give "
        "--peak-tflops (measure-peak measures it) and --memory-gb"
    )


def peak_flops_per_second(device_name: str, dtype: str) -> float | None:
    """Return the dense peak of a device, or None if it is unknown.

    Args:
        device_name: exactly as `torch.cuda.get_device_name` gives it.
        dtype: "bfloat16", "tf32" or "float32"; any other dtype is unknown.

    >>> peak_flops_per_second("NVIDIA H200", "bfloat16")
    989400000000000.0
    >>> peak_flops_per_second("NVIDIA H100 MIG 1g.10gb", "bfloat16") is None
    True
    """
    device = DEVICES.get(device_name)
    return None if device is None else device.peak(dtype)


def model_flops_utilization(flops_per_second: float, peak: float | None) -> float | None:
    """Return the share of the peak, or None if the peak is unknown.

    Args:
        flops_per_second: FLOPs by the model convention, over wall clock.
        peak: FLOP/s, as `peak_flops_per_second` gives it.

    >>> model_flops_utilization(400e12, 1000e12)
    0.4
    """
    return None if peak is None else flops_per_second / peak
