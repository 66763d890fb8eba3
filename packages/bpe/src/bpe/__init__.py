"""Train byte-level BPE tokenizers: text -> pretokens -> merges -> vocabulary."""

from bpe.byte_spelling import byte_to_unicode
from bpe.counting.corpus import count_documents, count_pretokens
from bpe.counts import PretokenCounts
from bpe.merges import learn_merges
from bpe.packed_counts import CountSettings
from bpe.patterns import CL100K, GPT2, LLAMA3, O200K, PATTERNS, QWEN2, resolve_pattern
from bpe.pretokens import Pretokenizer
from bpe.tie_breaking import TIE_BREAKING
from bpe.train import train_bpe, train_vocabulary, vocabulary_from_counts
from bpe.unicode_classes import UNICODE_VERSION
from bpe.vocabulary import Vocabulary

__all__ = [
    "CL100K",
    "GPT2",
    "LLAMA3",
    "O200K",
    "PATTERNS",
    "QWEN2",
    "TIE_BREAKING",
    "UNICODE_VERSION",
    "CountSettings",
    "PretokenCounts",
    "Pretokenizer",
    "Vocabulary",
    "byte_to_unicode",
    "count_documents",
    "count_pretokens",
    "learn_merges",
    "resolve_pattern",
    "train_bpe",
    "train_vocabulary",
    "vocabulary_from_counts",
]
