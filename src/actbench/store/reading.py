"""The records of one study in its results folder: the complete ones, and faults of the others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Generic, TypeVar

from actbench.store.record_files import Stored
from actbench.study.plain import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from actbench.store.store import Store
    from actbench.study.study import Study, Trial

R = TypeVar("R", bound=Stored)


class Reading(Generic[R]):
    """Reads the records of one study.

    Args:
        store: the results folder.
        study: the study, whose trials are the only ones that are read.
        trials: its trials by their names in the folder.
        parse: returns the record of a text, or raises a ValueError.
        check: raises a ValueError if a record is not of this trial of the study.
        test_images: returns the number of test images of a record; 0 if it has none.
    """

    def __init__(
        self,
        store: Store,
        study: Study,
        trials: Mapping[str, Trial],
        parse: Callable[[str], R],
        check: Callable[[R, Study, Trial], None],
        test_images: Callable[[R], int],
    ) -> None:
        self.store, self.study = store, study
        self._trials, self._parse = trials, parse
        self._check, self._test_images = check, test_images

    def records(self) -> dict[str, R]:
        """Return the stored records of the study's trials by trial id, in the study's order.

        A file that is no complete record of its trial counts as none: see ``damaged``.

        Raises:
            ResultsFolderError: a record is of another format, or cannot be read.
        """
        return self._read()[0]

    def damaged(self) -> dict[Path, str]:
        """Return the damaged files of the folder, each with what is wrong with it.

        These are files of the study's trials that are not the complete record of their trial, an
        archive of records that cannot be read, and such an ``environment.json``.

        Raises:
            ResultsFolderError: a record is of another format, or cannot be read.
        """
        return {**self._read()[1], **self.store.damaged_environment()}

    def unknown_records(self) -> str:
        """Return a sentence on the JSON files in ``trials/`` that belong to no trial of the study.

        It names one of them, preferably a record of one of the study's trials. Empty if there are
        none.

        Raises:
            ResultsFolderError: the folder of records cannot be read.
        """
        files = self.store.record_files
        names = files.others(self._trials)
        if not names:
            return ""
        which = "1 JSON file" if len(names) == 1 else f"{len(names)} JSON files"
        verb = "belongs" if len(names) == 1 else "belong"
        sentence = (
            f"{which} in {str(files.folder)!r} {verb} to no trial of the study and "
            f"{'is' if len(names) == 1 else 'are'} not used: "
        )
        for name in names:
            trial_id = _trial_id_in(files.folder / name)
            if trial_id in self._trials:
                return f"{sentence}{name!r} is the record of {trial_id}; its name must be that"
        return f"{sentence}{names[0]!r}" if len(names) == 1 else f"{sentence}such as {names[0]!r}"

    def _read(self) -> tuple[dict[str, R], dict[Path, str]]:
        """Return the complete records by trial id, and what is wrong with the other files."""
        files = self.store.record_files
        found, damaged = files.read(self._trials, self._parse)
        faults = {}
        for name, record in found.items():
            try:
                self._check(record, self.study, self._trials[name])
            except ValueError as error:
                faults[name] = str(error)
        faults |= self._other_test_sets({n: r for n, r in found.items() if n not in faults})
        for name, fault in faults.items():
            del found[name]
            path = files.path_of(name)
            damaged[path] = f"{name}.json: {fault}" if path == files.archive else fault
        return found, damaged

    def _other_test_sets(self, records: dict[str, R]) -> dict[str, str]:
        """Return the trials whose number of test images is not that of most, with what is wrong."""
        sizes = {name: size for name, r in records.items() if (size := self._test_images(r))}
        if len(set(sizes.values())) < 2:
            return {}
        usual = Counter(sizes.values()).most_common(1)[0][0]
        return {
            name: f"it has {size} test images, and others have {usual}"
            for name, size in sizes.items()
            if size != usual
        }


def _trial_id_in(path: Path) -> str:
    """Return the trial id in a JSON file; empty if there is none."""
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    return str(content.get("trial_id", "")) if isinstance(content, dict) else ""
