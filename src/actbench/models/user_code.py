"""The user's own objects: imported by name, with a checksum of their source.

Does not import torch until one of them is imported.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
import sysconfig
from importlib.machinery import all_suffixes
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actbench.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from actbench.study.specs import Spec

# The versions of these are stored with every study.
_WITHOUT_CODE = frozenset({"actbench", "torch", "torchvision", "numpy"})
_importing: list[str] = []
_at_import: dict[str, tuple[ModuleSpec | None, str]] = {}


def importing() -> str:
    """Return the user's module that is being imported for a study; empty if none is."""
    return _importing[-1] if _importing else ""


def import_object(spec: Spec) -> Any:
    """Return the object that an import path names, without changing settings of the process.

    The current folder is searched for a module last.

    Raises:
        UsageError: the module cannot be imported, or has no such name.
    """
    module_name, _, name = spec.name.rpartition(":")
    found: Any = _import_module(spec, module_name)
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(
                f"{spec.kind} {spec.name!r}: {module_name!r} has no {part!r}"
                f"{did_you_mean(part, [n for n in dir(found) if not n.startswith('_')])}"
                f"{_where(module_name)}"
            )
        found = getattr(found, part)
    return found


def _import_module(spec: Spec, module_name: str) -> ModuleType:
    if module_name == "__main__":
        raise UsageError(
            f"{spec.kind} {spec.name!r} is defined in a script or notebook, which worker processes "
            "and later runs cannot import; write it to a file, for example mine.py, "
            f"and name it mine:{spec.name.rpartition(':')[2]}"
        )
    loaded = sys.modules.get(_module_key(module_name))
    if loaded is not None:
        spec_before, _ = _at_import.get(module_name, (None, ""))
        if spec_before is not loaded.__spec__:  # imported or reloaded elsewhere
            _at_import[module_name] = (loaded.__spec__, _code_of(module_name))
        return loaded
    from actbench.models.global_state import settings_kept

    _importing.append(module_name)
    try:
        with settings_kept(module_name):
            module = (
                _load_file(Path(module_name))
                if module_name.endswith(".py")
                else _import_by_name(module_name)
            )
    except (Exception, SystemExit) as error:  # a user's module may raise anything
        raise UsageError(
            f"{spec.kind} {spec.name!r}: cannot import {module_name!r}: "
            f"{type(error).__name__}: {error}".replace("\n", " ")
        ) from error
    finally:
        _importing.pop()
    _at_import[module_name] = (module.__spec__, _code_of(module_name))
    return module


def _module_key(module_name: str) -> str:
    """Return a module's name in ``sys.modules``; that of a file is never importable."""
    return str(Path(module_name).resolve()) if module_name.endswith(".py") else module_name


def _import_by_name(module_name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    return importlib.import_module(module_name)


def _load_file(path: Path) -> ModuleType:
    key = _module_key(str(path))
    found = importlib.util.spec_from_file_location(key, key)
    if found is None or found.loader is None or not path.is_file():
        raise FileNotFoundError(f"there is no file {key!r}")
    module = importlib.util.module_from_spec(found)
    sys.modules[key] = module
    folder = str(Path(key).parent)
    sys.path.insert(0, folder)  # as for a script: files beside it come first
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[key]
        raise
    finally:
        sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)  # for imports inside its functions
    return module


def module_file(module_name: str) -> Path | None:
    """Return the file that an imported module was read from; None for one without."""
    file = getattr(sys.modules.get(_module_key(module_name)), "__file__", None)
    return Path(file) if file else None


def _where(module_name: str) -> str:
    """Return which file a module was read from, and how to name the user's own file instead."""
    file = module_file(module_name)
    if file is None or module_name.endswith(".py"):
        return ""
    own = Path(f"{module_name.replace('.', '/')}.py")
    instead = own.is_file() and own.resolve() != file.resolve()
    hint = f"; for your own file write ./{own.as_posix()}:Name" if instead else ""
    return f" (read from {str(file)!r}){hint}"


def code_of(spec: Spec) -> str:
    """Return the identity of an imported object's source, which changes when the source does.

    For the user's own code it is the SHA-256 of the module's file and of all files beside it, or
    in its package, that these import; for an installed package its name and version. Empty for the
    standard library, and for packages whose versions every study stores. Modules
    imported by a computed name, and data files, are not included.

    Raises:
        UsageError: the source has changed since this process imported it.
    """
    module_name = spec.name.rpartition(":")[0]
    now = _code_of(module_name)
    if module_name in _at_import and _at_import[module_name][1] != now:
        raise UsageError(
            f"{spec.kind} {spec.name!r}: its source has changed since this process imported it; "
            "restart Python (in a notebook, the kernel)"
        )
    return now


def _code_of(module_name: str) -> str:
    file = module_file(module_name)
    if file is None:
        return ""
    file = file.resolve()
    root = file.parent
    if not module_name.endswith(".py"):
        top = module_name.partition(".")[0]
        if top in _WITHOUT_CODE:
            return ""
        if {"site-packages", "dist-packages"} & set(file.parts):
            return release(top)
        if any(file.is_relative_to(folder) for folder in _standard_library()):
            return ""
        root = file.parents[module_name.count(".") + (file.stem == "__init__")]
    digest = hashlib.sha256()
    for name, content in sorted(_sources(root, file).items()):
        digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
    return f"sha256:{digest.hexdigest()}"


@functools.cache
def release(package: str) -> str:
    """Return an installed package's distribution and version."""
    names = importlib.metadata.packages_distributions().get(package, ())
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in sorted(set(names)))


@functools.cache
def _standard_library() -> tuple[Path, ...]:
    paths = sysconfig.get_paths()
    return tuple(Path(paths[name]).resolve() for name in ("stdlib", "platstdlib"))


def _sources(root: Path, file: Path) -> dict[str, bytes]:
    """Return the files below ``root`` that importing a file reads, by relative path."""
    found: dict[str, bytes] = {}
    package = file.relative_to(root).parent.parts
    pending = [file, *_files_of(root, package)]
    while pending:
        path = pending.pop()
        name = path.relative_to(root).as_posix()
        if name in found:
            continue
        found[name] = path.read_bytes()
        if path.suffix == ".py":
            for module_name in _imports(found[name], path.relative_to(root).parent.parts):
                pending += _files_of(root, tuple(module_name.split(".")))
    return found


def _files_of(root: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Yield the existing files of a module and of the packages that it is in."""
    for depth in range(1, len(parts) + 1):
        base = root.joinpath(*parts[:depth])
        candidates = (base.with_name(f"{base.name}{suffix}") for suffix in all_suffixes())
        yield from (path for path in (base / "__init__.py", *candidates) if path.is_file())


def _imports(source: bytes, package: tuple[str, ...]) -> Iterator[str]:
    """Yield the names of all modules that a source may import, anywhere in it."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # it cannot be imported
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = [*above, *([node.module] if node.module else [])]
            yield from (".".join([*base, alias.name]) for alias in node.names)
            yield ".".join(base)
