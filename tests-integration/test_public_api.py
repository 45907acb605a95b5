"""The public surface: reviewed lists, the meta-package, lazy imports."""

import importlib
import inspect
import subprocess
import sys

import pytest
from workspace import PACKAGES, ROOT, import_name

REEXPORTED = [import_name(package) for package in PACKAGES if package not in {"hmm-bench", "pytorch-hmm"}]


def test_importing_the_meta_package_does_not_import_torch() -> None:
    code = (
        "import sys, pytorch_hmm\nassert 'torch' not in sys.modules\n"
        "assert not [name for name in sys.modules if name.startswith('hmm_')]"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True)


def test_the_help_of_the_command_does_not_import_torch() -> None:
    code = (
        "import sys\nfrom pytorch_hmm.cli import main\nsys.argv = ['hmm', '--help']\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-I", "-c", code], check=True, capture_output=True)


def test_the_meta_package_exports_the_union_of_the_packages_each_name_once() -> None:
    meta = importlib.import_module("pytorch_hmm")
    names = [name for module in REEXPORTED for name in importlib.import_module(module).__all__]
    assert sorted(names) == sorted(set(names))
    assert sorted(meta.__all__) == sorted(names)


@pytest.mark.parametrize("module", REEXPORTED)
def test_a_name_of_the_meta_package_is_the_object_of_its_package(module: str) -> None:
    meta, package = importlib.import_module("pytorch_hmm"), importlib.import_module(module)
    for name in package.__all__:
        assert getattr(meta, name) is getattr(package, name)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_public_names_are_the_reviewed_ones(package: str) -> None:
    listed = (
        (ROOT / "tests-integration" / "public_api" / f"{import_name(package)}.txt")
        .read_text(encoding="utf-8")
        .split()
    )
    assert sorted(importlib.import_module(import_name(package)).__all__) == listed


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_documented_and_every_function_with_an_example(package: str) -> None:
    module = importlib.import_module(import_name(package))
    for name in module.__all__:
        public = getattr(module, name)
        assert public.__doc__, f"{package}: {name} has no docstring"
        if inspect.isroutine(public):
            assert ">>>" in public.__doc__, f"{package}: {name} has no example"
