"""Say how fast a device can multiply matrices at best, from its datasheet.

Dense peaks in FLOP/s, without sparsity. "bfloat16" is the tensor cores with float32 accumulation,
"float32" the ordinary cores (the TF32 mode is another type and not in the table). A device that is
not in the table is unknown: no number is guessed from a similar name.
"""

_TERA = 10**12

# device name as torch.cuda.get_device_name gives it -> (bfloat16, float32) in TFLOP/s
_PEAKS: dict[str, tuple[float | None, float]] = {
    # NVIDIA A100 datasheet, 2021
    "NVIDIA A100-SXM4-40GB": (312, 19.5),
    "NVIDIA A100-SXM4-80GB": (312, 19.5),
    "NVIDIA A100-PCIE-40GB": (312, 19.5),
    "NVIDIA A100 80GB PCIe": (312, 19.5),
    # NVIDIA H100 datasheet, 2023; tensor figures there are with sparsity, twice the dense
    "NVIDIA H100 80GB HBM3": (989.4, 66.9),
    "NVIDIA H100 PCIe": (756.0, 51.0),
    "NVIDIA H100 NVL": (835.5, 60.0),
    # NVIDIA H200 datasheet, 2024
    "NVIDIA H200": (989.4, 66.9),
    # NVIDIA L4 and L40S datasheets, 2023
    "NVIDIA L4": (121, 30.3),
    "NVIDIA L40S": (362, 91.6),
    # NVIDIA Ampere and Ada GPU architecture papers
    "NVIDIA GeForce RTX 3090": (71, 35.6),
    "NVIDIA GeForce RTX 4090": (165.2, 82.6),
    # NVIDIA V100 and T4 datasheets; no bfloat16
    "Tesla V100-SXM2-16GB": (None, 15.7),
    "Tesla V100-SXM2-32GB": (None, 15.7),
    "Tesla T4": (None, 8.1),
}


def peak_flops_per_second(device_name: str, dtype: str) -> float | None:
    """Return the dense peak of a device, None where it is unknown.

    Args:
        device_name: exactly as `torch.cuda.get_device_name` gives it.
        dtype: "bfloat16" or "float32"; any other type is unknown.

    >>> peak_flops_per_second("NVIDIA H200", "bfloat16")
    989400000000000.0
    >>> peak_flops_per_second("NVIDIA H100 MIG 1g.10gb", "bfloat16") is None
    True
    """
    peaks = _PEAKS.get(device_name)
    if peaks is None or dtype not in ("bfloat16", "float32"):
        return None
    tera = peaks[0] if dtype == "bfloat16" else peaks[1]
    return None if tera is None else float(tera * _TERA)


def model_flops_utilization(flops_per_second: float, peak: float | None) -> float | None:
    """Return the share of the peak, None where the peak is unknown.

    Args:
        flops_per_second: FLOPs by the model convention, over wall clock.
        peak: FLOP/s, as `peak_flops_per_second` gives it.

    >>> model_flops_utilization(400e12, 1000e12)
    0.4
    """
    return None if peak is None else flops_per_second / peak
