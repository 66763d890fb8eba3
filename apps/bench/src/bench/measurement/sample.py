"""Take one sample in a process of its own: `python -m bench.measurement.sample ORDER`.

Stage: order -> *sample*, as JSON on the last line of stdout, after anything a contestant prints.
Not here: the tasks.
"""

import json
import os
import sys


def main() -> None:
    """Take one sample."""
    order = json.loads(sys.argv[1])
    _pin(order["num_threads"])  # before anything starts a thread or counts CPUs
    from importlib import import_module

    contestant = import_module(f"bench.contestants.{order['contestant']}")
    task = getattr(import_module(order["tasks"]), order["task"])
    sample = task(contestant, num_threads=order["num_threads"], **order["arguments"])
    print("\n" + json.dumps(sample), flush=True)


def _pin(num_cpus: int) -> None:
    """Pin to the last allowed CPUs, because the first ones serve most interrupts."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-num_cpus:])


if __name__ == "__main__":
    main()
