# /// script
# requires-python = ">=3.11"
# dependencies = ["nox[uv]>=2025.2.9"]
# ///
"""Every check of the repository, one verb a session; plain ``nox`` runs what continuous integration runs."""

import os
import shutil
import sys
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent / "tools"))
from workspace import PACKAGES, closure, import_name, wheel

ROOT = Path(__file__).parent
DIST = ROOT / "dist"
COVERAGE = ROOT / "build" / "coverage"
PYPROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
CONSTRAINTS = ("--constraint", str(ROOT / "constraints.txt"))

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # spinning threads make a busy machine crawl
nox.options.sessions = [
    "build",
    "lint",
    "typecheck",
    "docs",
    "tests",
    "tests_triton",
    "coverage",
    "tests_integration",
]


def groups(*names: str) -> list[str]:
    """Return the requirements of the dependency groups that exist among ``names``."""
    known = [name for name in names if name in PYPROJECT["dependency-groups"]]
    return list(nox.project.dependency_groups(PYPROJECT, *known))


def install_wheels(session: nox.Session, package: str, extra: str = "", *more: str) -> None:
    """Install one package from its wheel, its siblings from theirs, and ``more`` from the pinned versions."""
    fresh = [
        f"--reinstall-package={name}" for name in closure(package)
    ]  # versions stand still between builds
    requirement = f"{package}{extra} @ {wheel(package).as_uri()}"
    session.install("--find-links", str(DIST), *CONSTRAINTS, *fresh, requirement, *more)


def install_everything(session: nox.Session, *more: str) -> None:
    """Install the meta-package with every extra and the benchmark runner, all from wheels."""
    install_wheels(session, "pytorch-hmm", "[all]", *more)


@nox.session
def build(session: nox.Session) -> None:
    """Build the source distribution of each package, and its wheel from that."""
    shutil.rmtree(DIST, ignore_errors=True)
    session.install(*CONSTRAINTS, *groups("build"))
    session.run("uv", "build", "--all-packages", "--out-dir", str(DIST), "--quiet", external=True)
    session.run("twine", "check", "--strict", *map(str, sorted(DIST.glob("*[lz]"))))


# Packages whose tests take minutes in one process.
MANY_TESTS = ("hmm-core", "hmm-models", "hmm-speech", "hmm-align")


@nox.session(requires=["build"])
@nox.parametrize("package", PACKAGES, ids=PACKAGES)
def tests(session: nox.Session, package: str) -> None:
    """Test one package, installed from its wheel with nothing but its own dependencies."""
    extra = "[cmn,g2p,ja]" if package == "hmm-speech" else "[plot,sphinx]" if package == "hmm-align" else ""
    extra = "[demo]" if package == "pytorch-hmm" else extra
    install_wheels(session, package, extra, *groups("test", f"oracle-{package}"))
    COVERAGE.mkdir(parents=True, exist_ok=True)
    config = f"packages/{package}/pyproject.toml"
    arguments = ["-c", config, "--rootdir", f"packages/{package}"]
    if package in MANY_TESTS and not session.posargs:  # a page's examples need each other: a file, a process
        arguments += ["-n", "auto", "--dist", "loadfile"]
    arguments += ["--cov", import_name(package), "--cov-config", config, "--cov-report="]
    arguments += session.posargs or [f"packages/{package}/tests", f"packages/{package}/README.md"]
    if not session.posargs:
        arguments += ["--doctest-modules", "--pyargs", import_name(package)]
    data = str(COVERAGE / package)
    session.run("python", "-I", "-m", "pytest", *arguments, env={"COVERAGE_FILE": data})


@nox.session(requires=["build"])
def tests_triton(session: nox.Session) -> None:
    """Test the CUDA kernels without a GPU: results in Triton's interpreter, compilation for three GPUs."""
    install_wheels(session, "hmm-core", "", *groups("test"))
    COVERAGE.mkdir(parents=True, exist_ok=True)
    config = "packages/hmm-core/pyproject.toml"
    arguments = ["-c", config, "--rootdir", "packages/hmm-core", "-n", "auto", "--dist", "worksteal"]
    counted = ["--cov", "hmm_core", "--cov-config", config, "--cov-report="]
    tests = "packages/hmm-core/tests_cuda"
    compilation = sorted(map(str, (ROOT / tests).glob("test_compilation*.py")))
    # Triton decides when it is imported whether to interpret: one process does one of the two.
    interpreted = {"TRITON_INTERPRET": "1", "COVERAGE_FILE": str(COVERAGE / "hmm-core.triton")}
    run = ("python", "-I", "-m", "pytest", *arguments)
    others = [f"--ignore={path}" for path in (*compilation, f"{tests}/test_gpu.py")]  # that needs a GPU
    session.run(*run, *counted, tests, *others, *session.posargs, env=interpreted)
    if not session.posargs:
        session.run(*run, *compilation)


# Small problems of every family, for tools that make everything many times slower.
SANITIZED = (
    "test_a_kernel_gives_what_the_definition_gives or test_states_of_several_programs or test_programs_share "
    "or test_tiles_wait or test_strips_wait or test_every_result_is_that_of_the_reference "
    "or test_paths_of_linear_memory or test_decoding_is_that_of_the_reference or test_filtering_many_states "
    "or test_sums_paths_and_samples_are_the_reference or test_values_and_gradients_are_those_of_the_reference"
)


@nox.session(default=False, requires=["build"])
def tests_gpu(session: nox.Session) -> None:
    """Test the CUDA kernels on the GPU of this machine, some of them under compute-sanitizer."""
    install_wheels(session, "hmm-core", "", *groups("test"))
    arguments = ["-c", "packages/hmm-core/pyproject.toml", "--rootdir", "packages/hmm-core"]
    run = ("python", "-I", "-m", "pytest", *arguments)
    if session.posargs:
        session.run(*run, *session.posargs)
        return
    tests = "packages/hmm-core/tests_cuda"
    compilation = sorted(map(str, (ROOT / tests).glob("test_compilation*.py")))
    others = [f"--ignore={path}" for path in compilation]
    session.run(*run, tests, *others)
    session.run(*run, "-n", "auto", "--dist", "worksteal", *compilation)
    sanitizer = shutil.which("compute-sanitizer")
    if sanitizer is None:
        session.warn("compute-sanitizer is not on the PATH: accesses to memory and races were not checked")
        return
    for tool in ("memcheck", "racecheck"):
        checked = (sanitizer, "--tool", tool, "--error-exitcode", "1", "--target-processes", "all")
        # Every tensor is an allocation of its own, so that one that is left shows.
        own = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        session.run(*checked, *run, tests, *others, "-k", SANITIZED, env=own, external=True)


@nox.session(requires=[*(f"tests({package})" for package in PACKAGES), "tests_triton"])
def coverage(session: nox.Session) -> None:
    """Fail where a package's own tests reach less than 95 % of its lines."""
    session.install(*CONSTRAINTS, "coverage")
    for package in PACKAGES:
        config, data = f"packages/{package}/pyproject.toml", str(COVERAGE / package)
        session.log(f"lines of {package}")
        if package == "hmm-core":  # tested in two processes
            both = [data, f"{data}.triton"]
            data += ".all"
            session.run(
                "coverage", "combine", "--keep", "--rcfile", config, *both, env={"COVERAGE_FILE": data}
            )
        session.run("coverage", "report", "--rcfile", config, "--fail-under=95", env={"COVERAGE_FILE": data})


@nox.session(requires=["build"])
def tests_integration(session: nox.Session) -> None:
    """Test what only the whole can show: wheels, the public surface, the commands, real speech."""
    install_everything(session, *groups("test", "browser", "oracle-hmm-bench"))
    session.run("python", "-I", "-m", "pytest", *(session.posargs or ["tests-integration"]))


@nox.session(requires=["build"])
def docs(session: nox.Session) -> None:
    """Build the documentation with every warning an error, and run its examples."""
    install_everything(session, *groups("docs", "test", "oracle-hmm-models"))
    session.run("sphinx-build", "-W", "-n", "-q", "--keep-going", "docs", "docs/_build/html")
    # Where the packages' tests look for speech, too.
    speech = os.environ.get("HMM_SPEECH_DATA", str(ROOT.parent / "shared" / "data"))
    pages = ("-n", "auto", "--dist", "loadfile", "docs", "README.md")
    session.run("python", "-I", "-m", "pytest", *pages, env={"HMM_SPEECH_DATA": speech})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, spelling, import layers, sibling version ranges, the public surface and C++ layout."""
    session.install(*CONSTRAINTS, *groups("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell", "packages", "docs", "benchmarks", "tools", *map(str, ROOT.glob("*.md")))
    sources = os.pathsep.join(str(ROOT / "packages" / package / "src") for package in PACKAGES)
    session.run("lint-imports", env={"PYTHONPATH": sources})
    session.run("python", "tools/check_versions.py")
    session.run("python", "tools/public_api.py", "--check")
    cpp = sorted(str(path) for path in ROOT.glob("packages/*/csrc/**/*.[ch]pp"))
    session.run("clang-format", "--dry-run", "-Werror", *cpp)


@nox.session(requires=["build"])
def typecheck(session: nox.Session) -> None:
    """Run mypy --strict over every package with its tests, the tools and this file."""
    install_everything(session, *groups("test", "browser", "typecheck"))
    for package in PACKAGES:
        folder = ROOT / "packages" / package
        session.run(
            "mypy",
            f"packages/{package}/src",
            f"packages/{package}/tests",
            env={"MYPYPATH": str(folder / "tests")},
        )
    session.run("mypy", "packages/hmm-core/tests_cuda", env={"MYPYPATH": "packages/hmm-core/tests_cuda"})
    for scripts in ("tests-integration", "benchmarks/cases"):
        session.run("mypy", scripts, env={"MYPYPATH": scripts})
    session.run("mypy", "benchmarks/summary.py", env={"MYPYPATH": "benchmarks/cases"})
    session.run("mypy", "tools", "noxfile.py")


@nox.session(default=False, python="3.12")
def tests_floor(session: nox.Session) -> None:
    """Test every package with the oldest versions that it declares."""
    folders = [f"./packages/{package}" for package in PACKAGES[:-1]]
    session.install("--resolution", "lowest-direct", *folders, "./packages/pytorch-hmm[all]")
    session.install(*groups("test"))
    for package in PACKAGES:
        config = f"packages/{package}/pyproject.toml"
        session.run("python", "-I", "-m", "pytest", "-q", "-c", config, f"packages/{package}/tests")


@nox.session(default=False, requires=["build"])
def bench(session: nox.Session) -> None:
    """Run the benchmark cases (or those named) and summarise; ``--quick`` only shows that all of it works."""
    install_everything(session, *groups("bench"))
    options = [argument for argument in session.posargs if argument.startswith("-")]
    names = [argument for argument in session.posargs if not argument.startswith("-")]
    folder = ROOT / "benchmarks"
    for name in names or sorted(path.stem for path in folder.glob("cases/[a-z]*.py") if path.stem != "gpu"):
        session.run("python", str(folder / "cases" / f"{name}.py"), *options)
    session.run("python", str(folder / "summary.py"))


@nox.session(default=False, requires=["build"])
def bench_gpu(session: nox.Session) -> None:
    """Measure the CUDA kernels on the GPU of this machine and summarise; options as those of ``gpu.py``."""
    install_everything(session, *groups("bench", "oracle-hmm-bench"))
    folder = ROOT / "benchmarks"
    session.run("python", str(folder / "cases" / "gpu.py"), *session.posargs)
    session.run("python", str(folder / "summary.py"))


@nox.session(default=False)
@nox.parametrize("peer", ["pocketsphinx", "pstrain", "viter"], ids=["pocketsphinx", "pstrain", "viter"])
def aligner(session: nox.Session, peer: str) -> None:
    """Run one peer of the benchmark ``align_speech`` alone, on folders of clips and of what it finds."""
    script = ROOT / "benchmarks" / "peers" / f"{peer}_align.py"
    session.install(*nox.project.load_toml(script)["dependencies"])
    session.run("python", str(script), *session.posargs)


@nox.session(default=False)
def pin(session: nox.Session) -> None:
    """Rewrite constraints.txt from an environment that holds everything, after checking it in ``tests``."""
    everything = [f"{ROOT / 'packages' / package}" for package in PACKAGES]
    everything[-1] += "[all]"
    session.install("--upgrade", *everything, "coverage", *groups(*PYPROJECT["dependency-groups"]))
    frozen = session.run("uv", "pip", "freeze", silent=True, external=True) or ""
    session.run("python", "tools/pin.py", "constraints.txt", env={"FROZEN": frozen})


@nox.session(default=False, venv_backend="none")
def dev(session: nox.Session) -> None:
    """Make .venv with every package editable and every tool in it."""
    session.run("uv", "sync", "--all-packages", "--group", "dev")
