"""Encode text to token ids and back; write token files."""

from tokenizer.codec import END_OF_TEXT
from tokenizer.files.token_file import TokenFile, TokenFileInfo
from tokenizer.stream import StreamDecoder, StreamEncoder
from tokenizer.tokenizer import Tokenizer

__all__ = [
    "END_OF_TEXT",
    "StreamDecoder",
    "StreamEncoder",
    "TokenFile",
    "TokenFileInfo",
    "Tokenizer",
]
