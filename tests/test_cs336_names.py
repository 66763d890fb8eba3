"""CS336's 48 test names of 2026: `pytest -k NAME` finds a test of ours that claims the same."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
LIST = TESTS.resolve().parents[0] / ".." / "shared" / "data" / "cs336" / "test-names-2026.txt"
LEFT_OUT = {"slow", "campaign", "matrix", "gpu"}
_SPELLED = """
    test_get_batch
    test_4d_scaled_dot_product_attention test_embedding test_linear test_multihead_self_attention
    test_multihead_self_attention_with_rope test_rmsnorm test_rope
    test_scaled_dot_product_attention test_silu_matches_pytorch test_swiglu test_transformer_block
    test_transformer_lm test_transformer_lm_truncated_input
    test_cross_entropy test_gradient_clipping test_softmax_matches_pytorch
    test_adamw test_get_lr_cosine_schedule test_checkpointing
    test_address_matches_tiktoken test_address_roundtrip test_ascii_string_matches_tiktoken
    test_empty_matches_tiktoken test_encode_iterable_memory_usage
    test_encode_iterable_tinystories_matches_tiktoken
    test_encode_iterable_tinystories_sample_roundtrip test_encode_memory_usage
    test_encode_special_token_double_newline_non_whitespace
    test_encode_special_token_trailing_newlines test_german_matches_tiktoken test_german_roundtrip
    test_overlapping_special_tokens test_roundtrip_ascii_string test_roundtrip_empty
    test_roundtrip_single_character test_roundtrip_single_unicode_character
    test_roundtrip_unicode_string test_roundtrip_unicode_string_with_special_tokens
    test_single_character_matches_tiktoken test_single_unicode_character_matches_tiktoken
    test_tinystories_matches_tiktoken test_tinystories_sample_roundtrip
    test_unicode_string_matches_tiktoken test_unicode_string_with_special_tokens_matches_tiktoken
    test_train_bpe test_train_bpe_special_tokens test_train_bpe_speed
"""
NAMES = _SPELLED.split()


def _run_by_default() -> set[str]:
    """The names of the tests at the top of `tests` that no marker leaves out."""
    return {
        node.name
        for path in TESTS.glob("test_*.py")
        for node in ast.parse(path.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and not _markers(node) & LEFT_OUT
    }


def _markers(node: ast.FunctionDef) -> set[str]:
    marks = [ast.unparse(one).partition("(")[0] for one in node.decorator_list]
    return {mark.removeprefix("pytest.mark.") for mark in marks}


def test_the_names_are_the_courses() -> None:
    if not LIST.exists():
        pytest.skip("needs the course's list of names (../shared/data/cs336)")
    listed = [line.split()[1] for line in LIST.read_text("utf-8").splitlines()]
    assert sorted(NAMES) == sorted(listed)


def test_every_name_is_that_of_a_test_of_ours() -> None:
    assert len(set(NAMES)) == 48
    assert set(NAMES) - _run_by_default() == set()
