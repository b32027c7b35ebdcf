"""Two sources of variance: the trained seeds and the test images.

Pure functions: no I/O and no random numbers.
"""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike, NDArray

VARIANCE_COLUMNS = (
    "activation",
    "baseline",
    "n_seeds",
    "n_images",
    "difference",
    "standard_error_seeds",
    "standard_error_images",
    "standard_error_total",
    "reduced_by",
)
# A ratio up to this counts as equal: from five seeds a standard error is known to about a third.
_ALIKE = 1.25


@dataclass(frozen=True)
class StandardErrors:
    """The result of ``crossed_standard_errors``; NaN if there are too few seeds or images.

    Attributes:
        seeds: for other seeds on the same test images; that of the paired t-test.
        images: for other test images with the same trained networks.
        total: for other seeds and other test images.
    """

    seeds: float
    images: float
    total: float


def crossed_standard_errors(differences: ArrayLike) -> StandardErrors:
    """Return the standard errors of a mean over seeds × test images, by source of variance.

    Every seed sees every image, so the two sources are crossed random effects, and the mean squares
    MS of the two-way layout without replication give, for S seeds and I images (Searle, Casella &
    McCulloch 1992, chapter 4; Owen 2007 on why both sources are needed):

    - other seeds, images fixed: MS_seeds / (S I);
    - other images, seeds fixed: MS_images / (S I);
    - both new: (MS_seeds + MS_images − MS_residual) / (S I). The residual is part of both others
      and must be counted once. The estimate is unbiased but may fall below its parts by chance;
      then the larger part is returned.

    Args:
        differences: finite, shape (seeds, images): one image's score under an activation minus its
            score under the baseline, same seed.
    """
    values = np.asarray(differences, dtype=np.float64)
    n_seeds, n_images = values.shape
    cells = n_seeds * n_images
    seeds = images = total = math.nan
    if not cells:
        return StandardErrors(seeds, images, total)
    seed_means, image_means = values.mean(axis=1), values.mean(axis=0)
    if n_seeds > 1:
        by_seed = n_images * float(seed_means.var(ddof=1)) / cells
        seeds = math.sqrt(by_seed)
    if n_images > 1:
        by_image = n_seeds * float(image_means.var(ddof=1)) / cells
        images = math.sqrt(by_image)
    if min(n_seeds, n_images) > 1:
        squares = float(np.einsum("si,si->", values, values))
        squares -= n_images * float(seed_means @ seed_means)
        squares -= n_seeds * float(image_means @ image_means)
        squares += cells * float(seed_means.mean()) ** 2
        residual = squares / ((n_seeds - 1) * (n_images - 1)) / cells
        total = math.sqrt(max(by_seed, by_image, by_seed + by_image - residual))
    return StandardErrors(seeds, images, total)


def variance_sources(
    correct: Mapping[tuple[str, int], NDArray[Any]], baseline: str, versions: int = 1
) -> pd.DataFrame:
    """Return each accuracy difference's standard errors from seeds and from test images.

    ``reduced_by`` is what reduces the uncertainty most. Doubling the seeds subtracts half the
    squared standard error from seeds from the squared total, doubling the test images half of that
    from images. So it is "more seeds" or "more test images", whichever standard error is larger,
    and "either" if they are within a quarter of each other; "neither" if the total is 0, "more
    seeds" with one seed, which has no spread, and "" without a pair.

    Args:
        correct: by (activation, seed), the score of each test image, in the same order everywhere,
            shape (images,): whether it was classified correctly, or how many of its versions
            were. Trials without a result are left out.
        baseline: the activation that all others are compared with.
        versions: how many versions of each image were classified.

    Returns:
        A row per activation other than the baseline, in order of first appearance, with the
        columns ``activation``, ``baseline``, ``n_seeds`` (pairs), ``n_images``, ``difference``,
        ``standard_error_seeds``, ``standard_error_images``, ``standard_error_total`` (see
        ``StandardErrors``; fractions, NaN where there are too few) and ``reduced_by``.

    Raises:
        ValueError: scores differ in shape, have other than one dimension, or are not finite.
    """
    scores = {trial: np.asarray(score) for trial, score in correct.items()}
    shapes = {score.shape for score in scores.values()}
    if len(shapes) > 1 or any(len(shape) != 1 for shape in shapes):
        raise ValueError(f"scores have the shapes {sorted(shapes)}; one (images,) is needed")
    if not all(np.isfinite(score).all() for score in scores.values()):
        raise ValueError("scores must be finite; leave out trials without a result")
    n_images = next(iter(shapes))[0] if shapes else 0
    rows = []
    for activation in dict.fromkeys(name for name, _ in scores if name != baseline):
        seeds = [s for name, s in scores if name == activation and (baseline, s) in scores]
        differences = np.empty((len(seeds), n_images))
        for row, seed in zip(differences, sorted(seeds), strict=True):
            ours, theirs = scores[activation, seed], scores[baseline, seed]
            np.subtract(ours, theirs, out=row, dtype=np.float64)
        counted = crossed_standard_errors(differences)  # sums of integers are exact
        error = StandardErrors(*(value / versions for value in astuple(counted)))
        rows.append(
            {
                "activation": activation,
                "baseline": baseline,
                "n_seeds": len(seeds),
                "n_images": n_images,
                "difference": differences.mean() / versions if differences.size else math.nan,
                "standard_error_seeds": error.seeds,
                "standard_error_images": error.images,
                "standard_error_total": error.total,
                "reduced_by": _reduced_by(len(seeds), error),
            }
        )
    return pd.DataFrame(rows, columns=list(VARIANCE_COLUMNS))


def _reduced_by(n_seeds: int, error: StandardErrors) -> str:
    if n_seeds == 0:
        return ""
    if error.total == 0:
        return "neither"
    if n_seeds == 1 or error.seeds > _ALIKE * error.images:
        return "more seeds"
    if math.isnan(error.images) or error.images > _ALIKE * error.seeds:
        return "more test images"
    return "either"
