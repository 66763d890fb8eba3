"""Bytes on disk, against files that were really written."""

from pathlib import Path

from accounting.disk import token_file_bytes
from tokenizer import Tokenizer


def test_a_token_file_takes_what_is_said(tmp_path: Path) -> None:
    text = "one<|endoftext|>two<|endoftext|>three"
    (tmp_path / "text.txt").write_text(text)
    tokenizer = Tokenizer({i: bytes([i]) for i in range(256)}, [], ["<|endoftext|>"])
    file = tokenizer.encode_file(tmp_path / "text.txt", tmp_path / "ids.npy")
    written = sum(path.stat().st_size for path in tmp_path.glob("ids.*"))
    assert written == token_file_bytes(
        num_tokens=len(file),
        vocab_size=257,
        num_documents=3,
        num_bytes=len(text),
        end_of_text_id=256,
        sources=["text.txt"],
    )
