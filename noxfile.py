"""The commands of CONTRIBUTING.md, each in its own environment, such as ``nox -s tests``."""

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "lint", "types", "docs"]


@nox.session
def tests(session: nox.Session) -> None:
    """Run the quick and the slow tests in two processes, or the pytest arguments after ``--``."""
    session.install("-e", ".[test]")
    if session.posargs:
        session.run("python", "-m", "pytest", *session.posargs)
        return
    session.run("python", "-m", "pytest", "-n", "2")
    session.run("python", "-m", "pytest", "-n", "2", "-m", "slow")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Check that the benchmarks run; nothing is timed."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", "-n", "2", "bench", "--benchmark-disable")


@nox.session
def browser(session: nox.Session) -> None:
    """Check report.html in Chromium; no test is skipped."""
    session.install("-e", ".[test,browser]")
    session.run("playwright", "install", "chromium")
    environment = {"ACTBENCH_TEST_BROWSER": "required"}
    session.run("python", "-m", "pytest", "tests/report/test_browser.py", env=environment)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types and the import order of the packages."""
    session.install("-e", ".[test]")
    session.run("mypy")
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site."""
    session.install(".[docs]")
    session.run("mkdocs", "build", "--strict")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Read 1,000 damaged and forged files, or N with ``-- --times N``."""
    session.install("-e", ".")
    session.run("python", "tools/fuzz.py", *session.posargs)
