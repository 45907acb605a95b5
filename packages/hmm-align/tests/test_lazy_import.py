"""The public names are looked up on first use."""

import ast
import inspect
import subprocess
import sys

import pytest

import hmm_align


def test_import_loads_neither_torch_nor_numpy() -> None:
    code = "import sys, hmm_align; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_name_exists_and_the_list_is_sorted() -> None:
    assert hmm_align.__all__ == sorted(hmm_align.__all__) == dir(hmm_align)
    for name in hmm_align.__all__:
        assert getattr(hmm_align, name).__name__ == name


def test_type_checkers_see_the_same_table() -> None:
    tree = ast.parse(inspect.getsource(hmm_align))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: f".{node.module}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }
    assert seen == hmm_align._EXPORTS


def test_a_submodule_never_hides_a_function() -> None:
    assert not {f".{name}" for name in hmm_align.__all__} & set(hmm_align._EXPORTS.values())


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'hmm_align' has no attribute 'nothing'"):
        hmm_align.nothing  # noqa: B018 - the access is the test
