"""Where Numba cannot compile, all work is done in plain Python, with one warning and one result."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from environments.surroundings import BLOCK

import bpe
from tokenizer import Tokenizer

# Numbers that make the smallest work worth a kernel.
WORK = """
import json, logging, sys
import bpe, bpe.counting.corpus, bpe.merges, bpe.counts, tokenizer, tokenizer.engine
bpe.counting.corpus._SMALL_BYTES = bpe.counts._LARGE_KINDS = tokenizer.engine.PAYS_LOADING_BYTES = 0
bpe.merges._LOADING_SECONDS = -1.0
log = []
handler = logging.Handler()
handler.emit = lambda record: log.append(record.getMessage())
logging.getLogger("bpe").addHandler(handler)
corpus = sys.argv[1]
counts = bpe.count_pretokens(corpus)
vocabulary = bpe.train.vocabulary_from_counts(counts + counts, 266)
encoder = tokenizer.Tokenizer(vocabulary.tokens, vocabulary.merges)
ids = encoder.encode(open(corpus, encoding="utf-8").read())
encoder.warm_up()
print(json.dumps([log, ids, encoder.decode(ids)]))
"""


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"NUMBA_DISABLE_JIT": "1"}, "NUMBA_DISABLE_JIT is set"),
        ({"BLOCKED_MODULES": "zlib"}, "numba cannot be imported (No module named 'zlib')"),
    ],
    ids=["no-jit", "no-zlib"],
)
def test_the_result_is_that_of_the_kernels(
    tmp_path: Path, variables: dict[str, str], reason: str
) -> None:
    text = "the c\u00e4t sat on the mat, the m\u00e4t " * 20
    (tmp_path / "corpus").write_text(text, encoding="utf-8")
    if "BLOCKED_MODULES" in variables:
        (tmp_path / "sitecustomize.py").write_text(BLOCK, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(tmp_path / "corpus")],
        env=os.environ | {"PYTHONPATH": str(tmp_path)} | variables,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    log, ids, decoded = json.loads(done.stdout)
    assert log == [f"working in plain Python, which is far slower: {reason}"]
    vocabulary = bpe.train_vocabulary(tmp_path / "corpus", 266)
    tokenizer = Tokenizer(vocabulary.tokens, vocabulary.merges)
    tokenizer.warm_up()
    assert (decoded, ids) == (text, tokenizer.encode(text))
