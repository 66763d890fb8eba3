"""Train byte-level BPE tokenizers: text -> pretokens -> merges -> vocabulary."""

from bpe.byte_spelling import byte_to_unicode
from bpe.patterns import CL100K, GPT2, O200K, PATTERNS, resolve_pattern
from bpe.pretokens import Pretokenizer
from bpe.unicode_classes import UNICODE_VERSION
from bpe.vocabulary import Vocabulary

__all__ = [
    "CL100K",
    "GPT2",
    "O200K",
    "PATTERNS",
    "UNICODE_VERSION",
    "Pretokenizer",
    "Vocabulary",
    "byte_to_unicode",
    "resolve_pattern",
]
