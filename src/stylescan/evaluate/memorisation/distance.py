"""The distance between two pictures when one may be shifted, turned a little, mirrored, brighter or noisier.

Two windows, each less its mean and divided by its norm, are sqrt(2 - 2 r) apart, r their correlation: 0 for equal
pictures, whatever gain and offset, sqrt(2) for unrelated ones. The distance of a query from a training image is the
least over all poses of a `Search`. A cheap comparison of 16 x 16 thumbnails over coarse poses first picks, for each
query, the likeliest subjects and the likeliest slices of each.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from stylescan.evaluate.cache import Progress
from stylescan.evaluate.memorisation.poses import COARSE_ANGLES_DEG, Search, smoothing_matrix, turned

Floats = NDArray[np.float32]

SUBJECTS = 10  # on a query's shortlist, of SLICES each: 20 candidates
SLICES = 2
THUMB = 16
FLAT = 0.002  # standard deviation, of full scale, under which a window holds nothing to recognise
_QUERIES = 64  # at a time: one pass over the thumbnails serves them all
_PAIRS = 320  # of query and candidate at a time, in the costly comparison
_ROWS = 2048


@dataclass(frozen=True)
class Matches:
    """The shortlisted training subjects of each query, likeliest first; [n, k], k at most SUBJECTS.

    subjects : code of the subject in the bank's `names`. slices : position in the bank of its nearest slice.
    distances : to that slice, aligned. poses : [n, k, 3]: number of the variant, dy, dx.
    flat : [n], True where the query holds nothing to recognise; its distances mean nothing then.
    """

    subjects: NDArray[np.int64]
    slices: NDArray[np.int64]
    distances: NDArray[np.float64]
    poses: NDArray[np.int64]
    flat: NDArray[np.bool_]


class Bank:
    """The training images, ready to be searched. `names`: its subjects, whose codes are their positions.

    Made from reduced images uint16 [N, side, side] and the subject of each, in any order.
    """

    def __init__(self, images: NDArray[np.uint16], subjects: NDArray[Any], search: Search) -> None:
        self.search = search
        self.images = images
        self.names, codes = np.unique(np.asarray(subjects), return_inverse=True)
        self.codes: NDArray[np.int64] = codes.reshape(-1).astype(np.int64)
        # Thumbnails lie subject by subject, so that a subject's best slice is a reduction over neighbours.
        self.order: NDArray[np.int64] = np.argsort(self.codes, kind="stable")
        self.starts: NDArray[np.int64] = np.searchsorted(self.codes[self.order], np.arange(len(self.names) + 1))
        self._smooth = torch.from_numpy(smoothing_matrix(search.side, search.sigma))
        self._thumbs = torch.empty(len(images), min(THUMB, search.side) ** 2)
        self._norms = torch.empty(len(images), 2 * search.shift + 1, 2 * search.shift + 1)
        for low in range(0, len(images), _ROWS):
            part = slice(low, low + _ROWS)
            self._thumbs[part] = _thumbnails(self.smooth(self.floats(self.order[part])))
            self._norms[part] = _window_norms(self.smooth(self.floats(np.arange(len(images))[part])), search)

    def floats(self, positions: NDArray[np.int64]) -> torch.Tensor:
        """Images at `positions` as float32 [k, side, side], full scale 1, not smoothed."""
        return torch.from_numpy(self.images[positions].astype(np.float32) / np.float32(65535.0))

    def smooth(self, images: torch.Tensor) -> torch.Tensor:
        """Images [k, side, side] under the search's Gaussian."""
        return self._smooth @ images @ self._smooth.T

    def coarse(self, turned_queries: list[torch.Tensor]) -> NDArray[np.float32]:
        """Best correlation of thumbnails over the coarse poses, [queries, N], in the bank's `order`."""
        limit = self.search.shift
        shifts = range(-limit, limit + 1, 2 if limit > 1 else 1)  # never more than a pixel off
        best = torch.full((len(turned_queries[0]), len(self.images)), -2.0)
        side = self.search.side
        for images in turned_queries:
            wide = torch.nn.functional.pad(images, (limit,) * 4, mode="replicate")
            for y in shifts:
                for x in shifts:
                    moved = wide[:, y + limit : y + limit + side, x + limit : x + limit + side]
                    torch.maximum(best, _thumbnails(moved) @ self._thumbs.T, out=best)
        found: NDArray[np.float32] = best.numpy()
        return found

    def norms(self, positions: NDArray[np.int64]) -> torch.Tensor:
        """Norm of every window, less its mean, of the images at `positions`: [k, shifts, shifts]."""
        return self._norms[torch.from_numpy(positions)]


def search_bank(
    bank: Bank,
    queries: NDArray[np.uint16],
    own: NDArray[np.int64] | None = None,
    *,
    subjects: int = SUBJECTS,
    progress: Progress | None = None,
    what: str = "search for copies",
) -> Matches:
    """The nearest training subjects of each reduced query, uint16 [n, side, side].

    own : the bank's code of each query's own subject, which is left out (-1 for none).
    subjects : length of the shortlist; all of the bank's where it has fewer.
    """
    left_out = np.full(len(queries), -1) if own is None else own
    count = min(subjects, len(bank.names) - (1 if own is not None and (own >= 0).any() else 0))
    parts = []
    for low in range(0, len(queries), _QUERIES):
        block = slice(low, min(low + _QUERIES, len(queries)))
        parts.append(_search_block(bank, queries[block], left_out[block], count))
        if progress is not None:
            progress(block.stop, len(queries), what)
    if not parts:
        none = np.empty((0, count))
        return Matches(
            none.astype(int), none.astype(int), none, np.empty((0, count, 3), np.int64), np.empty(0, np.bool_)
        )
    return Matches(*(np.concatenate(column) for column in zip(*parts)))


def restrict(matches: Matches, keep: NDArray[np.bool_], subjects: int = SUBJECTS) -> Matches:
    """The matches that a bank of the subjects `keep` [number of names] alone would have given.

    Raises ValueError where a query has too few of them on its shortlist to know.
    """
    kept = keep[matches.subjects]
    if kept.sum(axis=1).min(initial=subjects) < subjects:
        raise ValueError(f"a shortlist holds fewer than {subjects} of the subjects to keep; search for more subjects")
    columns = np.argsort(~kept, axis=1, kind="stable")[:, :subjects]

    def take(values: NDArray[Any]) -> NDArray[Any]:
        taken: NDArray[Any] = np.take_along_axis(values, columns, axis=1)
        return taken

    poses = np.take_along_axis(matches.poses, columns[:, :, None], axis=1)
    return Matches(take(matches.subjects), take(matches.slices), take(matches.distances), poses, matches.flat)


def _search_block(bank: Bank, queries: NDArray[np.uint16], own: NDArray[np.int64], count: int) -> tuple[Any, ...]:
    search = bank.search
    raw = torch.from_numpy(queries.astype(np.float32) / np.float32(65535.0))
    variants = [bank.smooth(turned(raw, mirror, angle)) for mirror, angle in search.variants]
    rough = [bank.smooth(turned(raw, mirror, angle)) for mirror in search.mirrors for angle in COARSE_ANGLES_DEG]
    subjects, candidates = _shortlist(bank, bank.coarse(rough), own, count)
    windows = torch.stack([_windows(images, search) for images in variants], dim=1)  # [b, V, w, w]
    step = max(1, _PAIRS // max(1, candidates.shape[1]))
    pose = np.concatenate(
        [_best_poses(bank, windows[i : i + step], candidates[i : i + step]) for i in range(0, len(raw), step)]
    )  # slice, variant, dy, dx
    chosen = np.take_along_axis(candidates.reshape(len(raw), count, SLICES), pose[..., :1], axis=2)[..., 0]
    shifts = pose[..., 2:] - search.shift
    distances = _exact_distances(bank, windows, chosen, pose[..., 1], shifts)
    flat = windows[:, 0].flatten(1).std(dim=1, correction=0).numpy() < FLAT
    return subjects, chosen, distances, np.concatenate([pose[..., 1:2], shifts], axis=-1), flat


def _shortlist(
    bank: Bank, scores: NDArray[np.float32], own: NDArray[np.int64], count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(subjects [b, count], likeliest first; their likeliest slices, positions in the bank [b, count * SLICES])."""
    best = np.maximum.reduceat(scores, bank.starts[:-1], axis=1)
    rows = np.flatnonzero(own >= 0)
    best[rows, own[rows]] = -np.inf
    subjects = np.argsort(-best, axis=1, kind="stable")[:, :count].astype(np.int64)
    candidates = np.empty((len(scores), count, SLICES), np.int64)
    for row, column in np.ndindex(subjects.shape):
        low, high = bank.starts[subjects[row, column]], bank.starts[subjects[row, column] + 1]
        first = np.argsort(-scores[row, low:high], kind="stable")[:SLICES] + low
        candidates[row, column] = bank.order[np.resize(first, SLICES)]  # a subject of one slice fills both places
    return subjects, candidates.reshape(len(scores), -1)


def _best_poses(bank: Bank, windows: torch.Tensor, candidates: NDArray[np.int64]) -> NDArray[np.int64]:
    """The best (place among a subject's SLICES, variant, dy index, dx index) for each query and subject: [b, k, 4]."""
    correlation = _correlations(bank, windows, candidates)  # [b, V, k * SLICES, S, S]
    b, v, c, s, _ = correlation.shape
    best = correlation.movedim(2, 1).reshape(b, c // SLICES, -1).argmax(dim=2).numpy()
    return np.stack(np.unravel_index(best, (SLICES, v, s, s)), axis=-1).astype(np.int64)


def _correlations(bank: Bank, windows: torch.Tensor, candidates: NDArray[np.int64]) -> torch.Tensor:
    """Correlation of every window with every candidate of its row at every shift: [b, V, candidates, S, S].

    By the Fourier transform, of whose inverse only the few shifts that are wanted are computed.
    """
    search = bank.search
    side, margin = search.side, search.shift
    b, c = candidates.shape
    used, place = np.unique(candidates, return_inverse=True)
    images = torch.fft.rfft2(bank.smooth(bank.floats(used)))[torch.from_numpy(place.reshape(-1))]
    padded = torch.nn.functional.pad(windows, (margin, margin, margin, margin))
    product = torch.fft.rfft2(padded).conj()[:, :, None] * images.reshape(b, 1, c, side, side // 2 + 1)
    along_y, along_x = _inverse_at_shifts(side, margin)
    partial = product @ along_x  # [b, V, c, side, S]
    found = (along_y @ partial).real
    norms = bank.norms(candidates.reshape(-1)).reshape(b, 1, c, *found.shape[-2:])
    lengths = windows.flatten(2).norm(dim=2)[:, :, None, None, None]
    least = FLAT * search.window
    # Where either window is flat there is nothing to correlate: 0.
    correlation = found / (norms * lengths).clamp_min(1e-12)
    return torch.where((norms < least) | (lengths < least), torch.zeros(()), correlation)


def _inverse_at_shifts(side: int, margin: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices [S, side] and [side / 2 + 1, S] whose product with a half spectrum is its inverse at -margin..margin."""
    shifts = torch.arange(-margin, margin + 1, dtype=torch.float64)
    turn = 2.0 * torch.pi / side
    along_y = torch.exp(1j * turn * shifts[:, None] * torch.arange(side))
    k = torch.arange(side // 2 + 1)
    twice = torch.where((k == 0) | (k == side // 2), 1.0, 2.0).double()  # the other half mirrors this one
    along_x = (twice / side**2)[:, None] * torch.exp(1j * turn * k[:, None] * shifts)
    return along_y.to(torch.complex64), along_x.to(torch.complex64)


def _exact_distances(
    bank: Bank, windows: torch.Tensor, chosen: NDArray[np.int64], variant: NDArray[np.int64], shifts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Distances at the poses found, in double precision: single precision calls equal pictures .0005 apart."""
    search = bank.search
    b, k = chosen.shape
    rows = torch.arange(b)[:, None]
    query = windows[rows, torch.from_numpy(variant)].double().flatten(2)  # [b, k, w * w]
    images = bank.smooth(bank.floats(chosen.reshape(-1))).double()
    inside = np.arange(search.window) + search.shift
    y = torch.from_numpy(inside[None, :] + shifts[..., 0].reshape(-1)[:, None])
    x = torch.from_numpy(inside[None, :] + shifts[..., 1].reshape(-1)[:, None])
    other = images[torch.arange(b * k)[:, None, None], y[:, :, None], x[:, None, :]].reshape(b, k, -1)
    query, other = (v - v.mean(dim=2, keepdim=True) for v in (query, other))
    lengths = query.norm(dim=2), other.norm(dim=2)
    unit = query / lengths[0].clamp_min(1e-12)[..., None] - other / lengths[1].clamp_min(1e-12)[..., None]
    flat = (lengths[0] < FLAT * search.window) | (lengths[1] < FLAT * search.window)
    return torch.where(flat, torch.tensor(2.0).sqrt().double(), unit.norm(dim=2)).numpy()


def _windows(images: torch.Tensor, search: Search) -> torch.Tensor:
    margin, end = search.shift, search.side - search.shift
    middle = images[:, margin:end, margin:end]
    return middle - middle.mean(dim=(1, 2), keepdim=True)


def _thumbnails(images: torch.Tensor) -> torch.Tensor:
    """Block means, less their mean, of unit norm: [n, THUMB * THUMB]."""
    block = max(1, images.shape[-1] // THUMB)
    means = torch.nn.functional.avg_pool2d(images[:, None], block).flatten(1)
    means = means - means.mean(dim=1, keepdim=True)
    unit: torch.Tensor = means / means.norm(dim=1, keepdim=True).clamp_min(1e-6)
    return unit


def _window_norms(images: torch.Tensor, search: Search) -> torch.Tensor:
    """Norm of each window less its mean, for every shift, from running sums: [n, S, S]."""

    def sums(values: torch.Tensor) -> torch.Tensor:
        total = torch.nn.functional.pad(values.double().cumsum(1).cumsum(2), (1, 0, 1, 0))
        w, s = search.window, 2 * search.shift + 1
        top = total[:, :s, w : w + s] - total[:, :s, :s]
        found: torch.Tensor = total[:, w : w + s, w : w + s] - total[:, w : w + s, :s] - top
        return found

    squares: torch.Tensor = sums(images**2) - sums(images) ** 2 / search.window**2
    return squares.clamp_min(0.0).sqrt().float()


@dataclass(frozen=True)
class Nearest:
    """Who each image resembles, and how much more than anybody else.

    ratios : [n] distance to the nearest training subject / distance to the next other one, in [0, 1]: 0 for an exact
    copy, near 1 for an image of nobody in particular. who : [n] code of the nearest subject. first, second : [n] their
    columns in the `Matches`.
    """

    ratios: NDArray[np.float64]
    who: NDArray[np.int64]
    first: NDArray[np.int64]
    second: NDArray[np.int64]

    def __getitem__(self, rows: Any) -> Nearest:
        return Nearest(self.ratios[rows], self.who[rows], self.first[rows], self.second[rows])

    def and_also(self, other: Nearest) -> Nearest:
        """These images, then the other ones."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(Nearest))
        return Nearest(*(np.concatenate(pair) for pair in pairs))


def nearest_subjects(matches: Matches) -> Nearest:
    """The nearest and the next subject of each query; its shortlists hold at least two.

    The ratio is 1 where the query is flat, or where both distances are 0: what equals two people identifies neither.
    """
    order = np.argsort(matches.distances, axis=1, kind="stable")[:, :2]
    first, second = np.take_along_axis(matches.distances, order, axis=1).T
    ratios = np.divide(first, second, out=np.ones(len(first)), where=(second > 1e-9) & ~matches.flat)
    who = np.take_along_axis(matches.subjects, order[:, :1], axis=1)[:, 0]
    return Nearest(ratios, who, order[:, 0], order[:, 1])
