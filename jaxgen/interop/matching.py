"""Finds the arrays of a system in what a PyTorch file holds.

Training scripts store a state dict under names of their own (`state_dict`, `model`, `netG`), and
wrappers put a prefix before each key (`module.`, `_orig_mod.`, `model.`). One rule covers both: the
file is flattened to one dict of dotted keys, and a network is found at the prefix that is followed
by its expected keys.
"""

import difflib
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxgen.errors import UserError
from jaxgen.interop.flattening import is_array
from jaxgen.interop.keys import Naming

NUM_SHOWN = 4  # of a list in a message


class Match(NamedTuple):
    """Where the arrays of a state are in a flattened file.

    Attributes:
      naming: the set of keys that the file follows.
      prefixes: part -> what precedes its keys in the file; parts of which no key was found are
        absent.
      found: expected key -> key in the file.
    """

    naming: Naming
    prefixes: dict[str, str]
    found: dict[str, str]

    def unused(self, given: Mapping[str, Any]) -> list[str]:
        """The arrays of the file that belong to no expected key, BatchNorm's counters aside."""
        taken = set(self.found.values())
        for part, prefix in self.prefixes.items():
            taken |= {prefix + key for key in within(self.naming.counters, part)}
        return [key for key, value in given.items() if is_array(value) and key not in taken]


def match(system: str, namings: list[Naming], given: Mapping[str, Any]) -> Match:
    """The best match of a file with any of a system's namings.

    Args:
      system: its name, for the error.
      namings: as `keys.namings` returns them.
      given: the file's entries, flattened.

    Raises:
      UserError: several networks in the file fit equally well.
    """
    scored = [_match(system, naming, given) for naming in namings]
    return max(scored, key=lambda pair: pair[0])[1]


def within(keys: Iterable[str], part: str) -> list[str]:
    """The keys of one part, without its name."""
    start = _documented(part)
    return [key.removeprefix(start) for key in keys if key.startswith(start)]


def _documented(part: str) -> str:
    """What precedes the keys of a part in docs/pytorch.md."""
    return f"{part}." if part else ""


def _match(system: str, naming: Naming, given: Mapping[str, Any]) -> tuple[float, Match]:
    """A match under one naming, and the fraction of the expected keys and shapes it finds."""
    shapes = {entry.key: entry.layout.torch for entry in naming.entries}
    candidates = []
    for part in naming.parts:
        expected = {key: shapes[_documented(part) + key] for key in within(shapes, part)}
        for prefix, (keys, sizes) in _counts(expected, given).items():
            score = (keys / len(expected), sizes / len(expected), prefix == _documented(part))
            candidates.append((score, part, prefix))
    candidates.sort(key=lambda candidate: candidate[0], reverse=True)
    prefixes: dict[str, str] = {}
    for score, part, prefix in candidates:
        if part in prefixes or prefix in prefixes.values():
            continue
        prefixes[part] = prefix
        equal = [p for other_score, other, p in candidates if (other_score, other) == (score, part)]
        if score[:2] == (1, 1) and len(equal) > 1:
            raise UserError(
                f"cannot tell which of {', '.join(map(repr, equal))} holds the "
                f"{part or 'weights'} of {system}, each is followed by all keys: keep one of them"
            )
    found = {
        _documented(part) + key: prefix + key
        for part, prefix in prefixes.items()
        for key in within(shapes, part)
        if prefix + key in given
    }
    fits = sum(np.shape(given[there]) == shapes[key] for key, there in found.items())
    return (len(found) + fits) / len(shapes), Match(naming, prefixes, found)


def _counts(
    expected: Mapping[str, tuple[int, ...]], given: Mapping[str, Any]
) -> dict[str, tuple[int, int]]:
    """prefix -> how many of the expected keys follow it, and how many of those fit in shape."""
    keys, sizes = Counter(), Counter()
    for there, value in given.items():
        for key, shape in expected.items():
            if there == key or there.endswith(f".{key}"):
                prefix = there[: len(there) - len(key)]
                keys[prefix] += 1
                sizes[prefix] += np.shape(value) == shape
    return {prefix: (keys[prefix], sizes[prefix]) for prefix in keys}


def nearest_pairs(
    expected: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]
) -> dict[str, str] | None:
    """Each expected module with the given one of its shapes that has the most similar name.

    Args:
      expected: key -> shape.
      given: key -> shape.

    Returns:
      expected module -> given module; None where an expected module has no counterpart.
    """
    wanted, there = _modules(expected), _modules(given)
    if Counter(wanted.values()) - Counter(there.values()):
        return None
    ratios = {
        (one, other): difflib.SequenceMatcher(None, one.lower(), other.lower()).ratio()
        for one in wanted
        for other in there
        if wanted[one] == there[other]
    }
    pairs: dict[str, str] = {}
    for one, other in sorted(ratios, key=lambda pair: ratios[pair], reverse=True):
        if one not in pairs and other not in pairs.values():
            pairs[one] = other
    return {one: pairs[one] for one in wanted}


def _modules(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[tuple[int, ...], ...]]:
    """module -> the shapes of its arrays, sorted."""
    modules: dict[str, list[tuple[int, ...]]] = {}
    for key, shape in shapes.items():
        modules.setdefault(key.rpartition(".")[0], []).append(shape)
    return {module: tuple(sorted(found)) for module, found in modules.items()}


def notice(system: str, namings: list[Naming], matched: Match, unused: list[str]) -> str | None:
    """One line on what was read; None where the file is as `to_torch` writes it."""
    facts = [
        f"{part or 'keys'} after {prefix!r}"
        for part, prefix in matched.prefixes.items()
        if prefix != _documented(part)
    ]
    if matched.naming != namings[0]:
        facts.append(f"as {', '.join(matched.naming.modules)}")
    if unused:
        paths = {".".join(_until_different(key, matched.prefixes.values())) for key in unused}
        facts.append(f"left out {len(unused)} arrays under {shortened(sorted(paths))}")
    if not facts:
        return None
    return f"{system}: read {len(matched.found)} arrays ({'; '.join(facts)})"


def _until_different(key: str, prefixes: Iterable[str]) -> list[str]:
    """The components of a key up to the first that no prefix has in its place."""
    words = key.split(".")
    starts = {tuple(prefix.split(".")[:n]) for prefix in prefixes for n in range(len(words))}
    shared = max(n for n in range(len(words)) if n == 0 or tuple(words[:n]) in starts)
    return words[: shared + 1]


def shortened(names: list[str]) -> str:
    """The first names of a list, and how many follow."""
    more = len(names) - NUM_SHOWN
    return ", ".join(names[:NUM_SHOWN]) + (f" and {more} more" if more > 0 else "")
