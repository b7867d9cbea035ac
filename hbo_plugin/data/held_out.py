"""Held-out sets: how many rows a dataset holds out, and which set belongs to which dataset."""

import difflib
from collections.abc import Iterable, Mapping

TARGET = "target"
"""The name under which evaluations report the mean over the held-out sets."""

_ENOUGH = 8
"""Fewer held-out rows than this give a loss that says little; so many are held out where they are a small part."""
_SMALL_PART = 0.2


def held_out_counts(
    val_set_size: float, own: Mapping[str, float], rows: Mapping[str, int]
) -> tuple[dict[str, int], list[str]]:
    """Rows that each dataset holds out, always leaving one to train on, and notes on those that hold out few.

    Args:
        val_set_size: Axolotl's key: a share of every dataset, or a number of rows in all.
        own: by name, what replaces it for single datasets: a share below 1, or a number of rows.
        rows: of each dataset.
    """
    share = val_set_size if val_set_size < 1 else val_set_size / max(1, sum(rows.values()))
    held, notes = {}, []
    for name, count in rows.items():
        wanted = own.get(name, share * count)
        asked = round(wanted * count if name in own and wanted < 1 else wanted)
        raised = 0 if name in own or not share else min(_ENOUGH, int(_SMALL_PART * count))
        held[name] = max(0, min(count - 1, max(asked, raised)))
        if (wanted > 0 and held[name] < _ENOUGH) or held[name] > asked:
            instead = f" instead of {asked}" if held[name] > asked else ""
            notes.append(
                f"dataset `{name}` holds out {held[name]} of its {count} rows{instead}; "
                f"a loss on fewer than {_ENOUGH} rows says little, and `hbo.val_set_size` sets the number"
            )
    return held, notes


def ties(datasets: Iterable[str], sets: Iterable[str], given: Mapping[str, str]) -> dict[str, str]:
    """The held-out set of each dataset that has one: by `hbo.held_out`, or of the same name.

    Args:
        datasets: names.
        sets: names.
        given: `hbo.held_out`, whose keys are known to be datasets.

    Raises:
        ValueError: `hbo.held_out` names a set that there is not.
    """
    sets = list(sets)
    for dataset, name in given.items():
        if name not in sets:
            near = difflib.get_close_matches(name, sets, n=1)
            hint = f"did you mean `{near[0]}`? There are" if near else "there are"
            known = ", ".join(f"`{known}`" for known in sets) or "none; set `test_datasets` or `val_set_size`"
            msg = f"`hbo.held_out: {{{dataset}: {name}}}` names a held-out set that does not exist; {hint} {known}."
            raise ValueError(msg)
    return {dataset: given.get(dataset, dataset) for dataset in datasets if given.get(dataset, dataset) in sets}
