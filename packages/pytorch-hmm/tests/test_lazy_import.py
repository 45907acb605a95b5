"""The meta-package: everything under one name, nothing loaded before it is used."""

import ast
import importlib
import inspect
import subprocess
import sys

import pytest

import pytorch_hmm

PACKAGES = ("hmm_core", "hmm_models", "hmm_speech", "hmm_metrics", "hmm_align", "hmm_stream", "hmm_tts")


@pytest.mark.parametrize("module", ["pytorch_hmm", "pytorch_hmm.cli", "pytorch_hmm.demo"])
def test_import_loads_neither_torch_nor_numpy(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_table_is_the_union_of_the_packages_names_none_twice() -> None:
    names = [(name, package) for package in PACKAGES for name in importlib.import_module(package).__all__]
    assert len({name for name, _ in names}) == len(names)
    assert dict(names) == pytorch_hmm._EXPORTS
    assert pytorch_hmm.__all__ == sorted(pytorch_hmm._EXPORTS)


def test_type_checkers_see_the_same_table() -> None:
    tree = ast.parse(inspect.getsource(pytorch_hmm))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }
    assert seen == pytorch_hmm._EXPORTS


def test_a_name_is_the_very_object_of_its_package() -> None:
    for name, package in pytorch_hmm._EXPORTS.items():
        assert getattr(pytorch_hmm, name) is getattr(importlib.import_module(package), name)


def test_submodules_are_the_packages() -> None:
    for submodule, package in (
        ("alignment", "hmm_align"),
        ("metrics", "hmm_metrics"),
        ("streaming", "hmm_stream"),
    ):
        found, expected = getattr(pytorch_hmm, submodule), importlib.import_module(package)
        assert sorted(found.__all__) == sorted(expected.__all__)
        for name in expected.__all__:
            assert getattr(found, name) is getattr(expected, name)
    assert not pytorch_hmm._SUBMODULES & set(pytorch_hmm.__all__)


def test_dir_lists_names_and_submodules() -> None:
    assert {*pytorch_hmm.__all__, "alignment", "demo", "metrics", "streaming"} == set(dir(pytorch_hmm))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pytorch_hmm' has no attribute 'nothing'"):
        pytorch_hmm.nothing  # noqa: B018 - the access is the test
