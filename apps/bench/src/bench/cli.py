"""Run the command `bench SUBJECT`.

Stage: a shell -> one subject. Results go to stdout and files, progress to stderr. Not here: any
subject.
"""

import argparse
import sys

from bench import busy, generated_text, sgd_toy
from bench.calculators import subject as accounting
from bench.fuzzing import subject as fuzz
from bench.learning import subject as learning
from bench.measurement.harness import SampleError
from bench.tokenization import subject as tokenization
from bench.tokenizers import subject as tokenizer_experiments
from bench.training import subject as training
from bpe.cli.streams import repair_streams, written_output
from bpe.formats.files import require_working_directory

_SUBJECTS = {
    "accounting": accounting,
    "busy": busy,
    "generated-text": generated_text,
    "learning": learning,
    "sgd-toy": sgd_toy,
    "tokenization": tokenization,
    "tokenizer-experiments": tokenizer_experiments,
    "training": training,
    "fuzz": fuzz,
}


def main() -> None:
    """Run the subject that is named."""
    repair_streams()
    try:
        with written_output():
            arguments = _parser().parse_args()
            require_working_directory()
            sys.exit(_SUBJECTS[arguments.subject].run(arguments))
    except (OSError, ValueError) as error:  # a user's mistake, such as an unknown option
        print(f"bench: error: {error}", file=sys.stderr)
        sys.exit(2)
    except ImportError as error:  # some builds of Python lack modules that torch needs
        print(
            f"bench: error: {error}; install what is missing, or another Python if that is a "
            "part of it",
            file=sys.stderr,
        )
        sys.exit(2)
    except SampleError as error:
        sys.exit(f"bench: error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Measure this repository side by side with its peers.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subjects = parser.add_subparsers(dest="subject", required=True, metavar="SUBJECT")
    usages = []
    for name, module in _SUBJECTS.items():
        subject = subjects.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(subject)
        usages.append(subject.format_usage())
    parser.epilog = "\n".join(usages)
    return parser
