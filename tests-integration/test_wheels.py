"""What users install: contents and metadata of the wheels."""

import email
import zipfile
from email.message import Message
from pathlib import Path

import pytest
from workspace import PACKAGES, ROOT, import_name, project, wheel

try:
    WHEELS = {package: wheel(package) for package in PACKAGES}
except FileNotFoundError:
    pytest.skip("dist/ holds no wheels: nox -s build makes them", allow_module_level=True)


def metadata(path: Path) -> Message:
    with zipfile.ZipFile(path) as archive:
        name = next(entry for entry in archive.namelist() if entry.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_holds_its_package_with_types_and_licence_and_nothing_else(package: str) -> None:
    names = zipfile.ZipFile(WHEELS[package]).namelist()
    assert f"{import_name(package)}/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {import_name(package)}
    assert not [name for name in names if "/tests/" in name or name.endswith((".cpp", "CMakeLists.txt"))]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_declares_the_version_and_requirements_of_its_pyproject(package: str) -> None:
    found, declared = metadata(WHEELS[package]), project(package)
    assert found["Version"] == declared["version"]
    assert found["Requires-Python"] == ">=3.11"
    required = [
        line.partition(";")[0].strip()
        for line in found.get_all("Requires-Dist", [])
        if "extra ==" not in line
    ]
    names = {line.replace(">", "<").replace("=", "<").replace("[", "<").split("<")[0] for line in required}
    wanted = {
        line.replace(">", "<").replace("=", "<").replace("[", "<").split("<")[0]
        for line in declared["dependencies"]
    }
    assert names == wanted


@pytest.mark.parametrize("package", PACKAGES)
def test_a_wheel_asks_for_no_address(package: str) -> None:
    assert "@" not in " ".join(metadata(WHEELS[package]).get_all("Requires-Dist", []))


def test_the_wheel_of_the_core_holds_the_headers_and_the_cmake_package_beside_each_other() -> None:
    names = zipfile.ZipFile(WHEELS["hmm-core"]).namelist()
    assert {"hmm_core/cmake/hmm-config.cmake", "hmm_core/cmake/hmm-config-version.cmake"} <= set(names)
    sources = ROOT / "packages" / "hmm-core" / "csrc" / "include"
    headers = {f"hmm_core/include/{path.relative_to(sources)}" for path in sources.rglob("*.hpp")}
    assert headers == {name for name in names if name.endswith(".hpp")}
