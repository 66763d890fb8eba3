"""Encode text to token ids and back; write token files."""

from tokenizer.stream import StreamDecoder, StreamEncoder
from tokenizer.token_file import TokenFile, TokenFileInfo
from tokenizer.tokenizer import END_OF_TEXT, Tokenizer

__all__ = [
    "END_OF_TEXT",
    "StreamDecoder",
    "StreamEncoder",
    "TokenFile",
    "TokenFileInfo",
    "Tokenizer",
]
