"""Choose a readable unit for a time.

Stage: used by findings, plots and tables.
"""


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the unit for a time, as its length in seconds and its name.

    >>> time_unit(90), time_unit(600), time_unit(7200)
    ((1.0, 'seconds'), (60.0, 'minutes'), (3600.0, 'hours'))
    """
    if seconds < 180:
        return 1.0, "seconds"
    return (60.0, "minutes") if seconds < 2 * 3600 else (3600.0, "hours")


def format_seconds(seconds: float) -> str:
    """Format a duration in a suitable unit.

    >>> format_seconds(45), format_seconds(1230), format_seconds(9000)
    ('45.0 s', '20.5 min', '2.5 h')
    """
    scale, unit = time_unit(seconds)
    return f"{seconds / scale:.1f} {dict(seconds='s', minutes='min', hours='h')[unit]}"
