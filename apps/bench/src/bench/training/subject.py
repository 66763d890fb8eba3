"""Compare training of the reference model with every baseline.

Stage: options -> token file -> ways -> contests -> *tables, JSON, chart*. Not here: how anything is
measured (`measurement`, `tasks`), and which figures there are (`contests`, `targets`).
"""

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from bench.console import table_console
from bench.contestants.models import DISTRIBUTIONS
from bench.contestants.peers import fetch_extras
from bench.contests import add_contest_options, num_rounds, publish, run_and_keep
from bench.measurement.harness import Entry, Result
from bench.measurement.machine import describe_machine, num_cpus
from bench.measurement.report import Report
from bench.measurement.rows import Row
from bench.measurement.targets import FIGURES
from bench.training.contests import agreement, end_to_end, generation, memory, speed
from bench.training.contests.setting import CONTEXT_LENGTH, TRAINED, ModelSetting, Way
from bench.training.contests.ways import find_ways
from bench.training.speeds import Speed, print_speeds, read_speeds

HELP = "Compare training of the reference model with a nanoGPT-style model and HF's Llama."

_CONTESTS = ("agreement", "bfloat16", "float32", "memory", "generation", "cuda", "end-to-end")
_CUDA_KEYS = ("cuda", "cuda-peak", "cuda-large")
_CUDA_BATCH, _CUDA_LARGE_BATCH = 32_768 // CONTEXT_LENGTH, 131_072 // CONTEXT_LENGTH
_WHOLE_RUN_STEPS = 10_000  # of 32,768 tokens: 327.68M


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of the subject."""
    quick = "check that it works, no valid figures"
    add_contest_options(parser, _CONTESTS, quick=quick, cache="the text")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="auto: all that are available",
    )
    parser.add_argument(
        "--ways",
        type=Path,
        metavar="FILE",
        help="use the ways of an earlier --json instead of a search",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the contests and report; 1 if results differ or ours fails."""
    fetch_extras(DISTRIBUTIONS)
    tokens, words = _token_file(arguments.cache_dir)
    report = Report(
        subject="training",
        machine=describe_machine(sorted({*DISTRIBUTIONS.values()})),
        settings={"vocabulary": words, "rounds": num_rounds(arguments), "ways": {}}
        | {"quick": arguments.quick},
        agreement="all compared results agree",
    )
    with tempfile.TemporaryDirectory() as compiled:  # inductor's cache, for this run only
        setting = ModelSetting(
            tokens=tokens,
            cache_dir=arguments.cache_dir,
            device="cpu",
            num_threads=num_cpus(),
            batch_size=2 if arguments.quick else 32,
            num_steps=2 if arguments.quick else 6,
            warm_steps=1 if arguments.quick else 3,
            environment={"TORCHINDUCTOR_CACHE_DIR": compiled},
        )
        session = _Session(arguments, setting, report, [])
        if arguments.device != "cuda":
            _run_cpu(session)
        _run_cuda(session)
    return _publish(session)


@dataclass(frozen=True, slots=True)
class _Session:
    arguments: argparse.Namespace
    setting: ModelSetting
    report: Report
    speeds: list[Speed]

    def wants(self, contest: str) -> bool:
        only = self.arguments.only
        return only is None or contest in only

    def contest(
        self, name: str, entries: Sequence[Entry], *, rounds: int | None = None
    ) -> dict[str, Result]:
        device = str(entries[0].order.arguments["device"])
        how = {"place": device, "entries": entries, "rounds": rounds}
        return run_and_keep(self.report, self.arguments, name, **how)

    def ways(self, setting: ModelSetting, name: str, dtype: str) -> dict[str, Way]:
        if self.arguments.ways is not None:
            ways: dict[str, Way] = _read_ways(self.arguments.ways, name)
        elif self.arguments.quick:
            plain = Way(micro_batch_size=setting.batch_size, compile="off")
            ways = dict.fromkeys(TRAINED, plain)
        else:
            search = partial(self.contest, f"ways, {name}", rounds=1)
            ways = find_ways(replace(setting, num_steps=2, warm_steps=1), dtype, search)
        self.report.settings["ways"][name] = {who: asdict(way) for who, way in ways.items()}
        return ways


def _run_cpu(session: _Session) -> None:
    setting, report = session.setting, session.report
    if session.wants("agreement"):
        (result,) = session.contest("agreement", agreement.entries(setting), rounds=1).values()
        words, problems = agreement.judge(result)
        report.notes.append(words)
        report.problems.extend(problems)
    for dtype in ("bfloat16", "float32"):
        wants_memory = dtype == "bfloat16" and session.wants("memory")
        if not (session.wants(dtype) or wants_memory):
            continue
        ways = session.ways(setting, dtype, dtype)
        if session.wants(dtype):
            results = session.contest(dtype, speed.entries(setting, dtype, ways))
            report.rows.extend(speed.rows(f"train-{dtype}", results))
            session.speeds.extend(read_speeds("cpu", dtype, ways, results))
        if wants_memory:
            short = replace(setting, num_steps=2)
            results = session.contest("memory", memory.entries(short, dtype, ways))
            report.rows.extend(memory.rows(results))
    if session.wants("generation"):
        entries = generation.entries(setting, 20 if session.arguments.quick else 200)
        report.rows.extend(generation.rows(session.contest("generation", entries)))


def _run_cuda(session: _Session) -> None:
    report = session.report
    if session.arguments.device == "cpu" or not _has_cuda():
        why = "not asked for" if session.arguments.device == "cpu" else "no CUDA device here"
        wanted = _CUDA_KEYS if session.wants("cuda") else ()
        wanted += ("cuda-end-to-end",) if session.wants("end-to-end") else ()
        report.rows.extend(Row(key=key, note=f"unmeasured: {why}") for key in wanted)
        return
    setting = replace(
        session.setting,
        device="cuda",
        batch_size=_CUDA_BATCH,
        num_steps=20 if session.arguments.quick else 200,
        warm_steps=5 if session.arguments.quick else 50,
    )
    if session.wants("cuda"):
        for key, batch_size in (("cuda", _CUDA_BATCH), ("cuda-large", _CUDA_LARGE_BATCH)):
            of_size = replace(setting, batch_size=batch_size)
            ways = session.ways(of_size, key, "bfloat16")
            results = session.contest(key, speed.entries(of_size, "bfloat16", ways))
            report.rows.extend(speed.rows(key, results, has_peak=f"{key}-peak" in FIGURES))
            session.speeds.extend(read_speeds(key, "bfloat16", ways, results))
    if session.wants("end-to-end"):
        num_steps = 100 if session.arguments.quick else _WHOLE_RUN_STEPS
        entries = end_to_end.entries(setting, num_steps)
        report.rows.extend(end_to_end.rows(session.contest("end-to-end", entries, rounds=1)))


def _publish(session: _Session) -> int:
    arguments, report = session.arguments, session.report
    if arguments.quick:
        report.rows[:] = [replace(row, is_judged=False) for row in report.rows]
    report.settings["speeds"] = [asdict(one) for one in session.speeds]
    console = table_console(180)
    print_speeds(session.speeds, console)
    return publish(report, arguments, console)


def _token_file(cache_dir: Path) -> tuple[Path, str]:
    """Prepare the standard library's source with the trainer; return its token file."""
    from bench.contestants.models.recipe import VOCAB_SIZE, reference_config
    from trainer.data.preparation import prepare
    from trainer.monitoring.progress import Reporter

    data = prepare(reference_config(cache_dir), reporter=Reporter())
    if data.tokenizer.vocab_size != VOCAB_SIZE:
        raise ValueError(
            f"the text gave a vocabulary of {data.tokenizer.vocab_size}, but {VOCAB_SIZE} is needed"
        )
    words = f"{VOCAB_SIZE:,} entries, of the standard library's source: {len(data.train):,} tokens"
    return data.train.path, words


def _read_ways(path: Path, name: str) -> dict[str, Way]:
    try:
        found: Mapping[str, Mapping] = json.loads(path.read_bytes())["settings"]["ways"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} was not written by --json of this command") from error
    if name not in found:
        raise ValueError(f"{path} has no ways for {name}; leave out --ways to find them")
    return {contestant: Way(**way) for contestant, way in found[name].items()}


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()
