"""The commands of CONTRIBUTING.md, each in an environment of its own: ``nox -s tests``."""

import nox

nox.options.default_venv_backend = "venv"
nox.options.sessions = ["tests", "lint", "types"]


@nox.session
def tests(session: nox.Session) -> None:
    """Run the test suite in two processes, or what is named after ``--``."""
    session.install("-e", ".[test]")
    session.run("python", "-m", "pytest", *(session.posargs or ["-n", "2"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install("ruff>=0.9")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install("-e", ".[test]")
    session.run("mypy")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Read 1,000 damaged and forged files, or as many as ``-- --times N`` says."""
    session.install("-e", ".")
    session.run("python", "tools/fuzz.py", *session.posargs)
