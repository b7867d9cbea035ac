"""The table of signals: what each is, what measuring it needs, and which sources give it. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Need = Literal[
    "predictions",
    "layers",
    "forward",
    "backward",
    "copies",
    "steps",
    "adapter",
    "held_out",
    "tied",
    "pairs",
    "rollouts",
]
"""What measuring takes: the predictions for training batches, a view of the layers that they go through, passes of its own
forward or backward, a copy of what is trained that makes steps, branches of the run, that an adapter is all that is trained,
held-out rows, a held-out set that belongs to a dataset, rows that are pairs of answers, or answers that are generated."""


@dataclass(frozen=True)
class Signal:
    """What a signal is.

    Attributes:
        shape: `cell` for float64[datasets, levels], `dataset` for float64[datasets], `target` for float64[datasets, sets],
            one value for each held-out set of the target.
        meaning: what one value is.
        unit: of one value.
        sources: the sources that give it, in the order of preference, each with what it needs.
    """

    shape: Literal["cell", "dataset", "target"]
    meaning: str
    unit: str
    sources: Mapping[str, frozenset[Need]]

    @property
    def per_cell(self) -> bool:
        """Whether there is one value a cell, and not one a dataset."""
        return self.shape == "cell"


_PREDICTIONS: frozenset[Need] = frozenset({"predictions"})
_LAYERS: frozenset[Need] = frozenset({"predictions", "layers"})
_FORWARD: frozenset[Need] = frozenset({"forward"})
_BACKWARD: frozenset[Need] = frozenset({"backward"})
_STEPS: frozenset[Need] = frozenset({"forward", "steps", "held_out"})
_HELD_OUT: frozenset[Need] = frozenset({"held_out"})
_COPIES: frozenset[Need] = frozenset({"backward", "copies", "held_out"})
_TIED: frozenset[Need] = frozenset({"held_out", "tied"})
_TWIN: frozenset[Need] = frozenset({"adapter", "predictions", "backward", "held_out"})
_PAIRS: frozenset[Need] = frozenset({"pairs"})
_ROLLOUTS: frozenset[Need] = frozenset({"rollouts"})

SIGNALS: Mapping[str, Signal] = {
    "gradient_norm": Signal(
        "dataset",
        "L2 norm of the gradient of the mean loss of a sample of rows",
        "nats per unit of a parameter",
        {"reuse": _LAYERS, "probe": _BACKWARD},
    ),
    "row_gradient_norm": Signal(
        "dataset",
        "mean over rows of the L2 norm of the gradient of one row's mean loss, prompt included",
        "nats per unit of a parameter",
        {"probe": _BACKWARD},
    ),
    "gradient_variance": Signal(
        "dataset",
        "trace of the covariance of the gradients of single rows' mean losses",
        "the square of that of `gradient_norm`",
        {"reuse": _LAYERS, "probe": _BACKWARD},
    ),
    "gradient_alignment": Signal(
        "dataset",
        "mean cosine of the dataset's gradient with that of each held-out set",
        "-1 to 1",
        {"probe": _BACKWARD | _HELD_OUT},
    ),
    "similarity": Signal(
        "dataset",
        "mean cosine of the dataset's mean hidden state with that of each dataset",
        "-1 to 1",
        {"probe": _FORWARD},
    ),
    "loss": Signal("cell", "mean loss per token of the answer", "nats", {"reuse": _PREDICTIONS, "probe": _FORWARD}),
    "perplexity_ratio": Signal(
        "cell",
        "geometric mean over rows of the perplexity now, divided by that at the start",
        "a ratio",
        {"reuse": _PREDICTIONS, "probe": _FORWARD},
    ),
    "mean_perplexity_ratio": Signal(
        "cell",
        "arithmetic mean, over other rows at each update, of the perplexity now divided by that at the start",
        "a ratio",
        {"probe": _FORWARD},
    ),
    "entropy": Signal(
        "cell",
        "mean entropy of the predictions per token of the answer",
        "nats",
        {"reuse": _PREDICTIONS, "probe": _FORWARD},
    ),
    "pair_loss": Signal(
        "cell",
        "mean over pairs of how surprised the model is by which answer is the better one: -log sigmoid of the margin",
        "nats",
        {"pairs": _PAIRS},
    ),
    "margin": Signal(
        "cell",
        "mean over pairs of how much better the model holds the chosen answer than the rejected one, see kinds.md",
        "log-odds, in nats",
        {"pairs": _PAIRS},
    ),
    "held_out_loss": Signal(
        "dataset",
        "mean loss per token of the dataset's held-out rows",
        "nats",
        {"held_out": _FORWARD | _TIED},
    ),
    "branch_effect": Signal(
        "target",
        "loss of a held-out set in a branch that trains on the dataset, beside what counts, less that in branches as the run is",
        "nats",
        {"branches": _STEPS},
    ),
    "branch_error": Signal("target", "standard error of `branch_effect`, of paired rows", "nats", {"branches": _STEPS}),
    "branch_noise": Signal(
        "target",
        "standard deviation of `branch_effect` by the noise of training, from how far branches as the run is lie apart",
        "nats",
        {"branches": _STEPS},
    ),
    "look_ahead": Signal(
        "dataset",
        "share of its loss that a virtual step on the dataset takes off, to first order",
        "a share",
        {"probe": _BACKWARD},
    ),
    "copy_gain": Signal(
        "target",
        "how much lower the dataset's loss is in a copy that makes steps on its rows and the held-out set's than in one "
        "that makes the same without the set; mean over rows",
        "nats",
        {"probe": _COPIES},
    ),
    "transfer": Signal(
        "target",
        "`copy_gain` over the same for the held-out set itself; not measured where that is below two standard errors",
        "1 where the dataset gains as much as the set, 0 where nothing, below 0 where it loses",
        {"probe": _COPIES},
    ),
    "transfer_variance": Signal(
        "target",
        "square of the standard error of `transfer`, from its rows",
        "the square of a ratio",
        {"probe": _COPIES},
    ),
    "twin_gap": Signal(
        "dataset",
        "mean over the rows that were trained on of the loss of a twin, which learns the held-out rows too, minus the model's",
        "nats",
        {"twin": _TWIN},
    ),
    "reward": Signal("cell", "mean reward of the answers to a prompt", "that of the rewards", {"rollouts": _ROLLOUTS}),
    "reward_variance": Signal(
        "cell",
        "variance of the rewards of the answers to one prompt, mean over prompts; for rewards of 0 and 1 the mean of p (1 - p)",
        "the square of that of the rewards",
        {"rollouts": _ROLLOUTS},
    ),
    "advantage": Signal(
        "cell",
        "mean absolute difference of a reward from the mean of those of the same prompt",
        "that of the rewards",
        {"rollouts": _ROLLOUTS},
    ),
    "no_variance": Signal(
        "cell",
        "share of prompts whose answers all have the same reward, from which nothing is learned",
        "a share",
        {"rollouts": _ROLLOUTS},
    ),
}
"""Every signal by its name."""


def cost(
    needs: frozenset[Need],
    *,
    forward_rows: object,
    gradient_rows: object,
    copy_rows: object,
    branches: object,
    twin_every: object,
) -> str:
    """What measuring takes at each update, in words; the numbers, and the branches, as they should stand in them."""
    if "adapter" in needs:
        return f"forward and backward over the rows of one step in {twin_every}, and over as many held-out rows"
    if needs & {"predictions", "pairs", "rollouts"}:
        return "no pass"
    if "steps" in needs:
        return str(branches)
    if "copies" in needs:
        return (
            f"forward and backward over {copy_rows} rows by copies, each of which then goes forward over {forward_rows} rows "
            "of each cell and the held-out rows; once for all signals of copies"
        )
    if "backward" in needs:
        rows = f"{gradient_rows} rows of each dataset" + (" and of each held-out set" if "held_out" in needs else "")
        return f"forward and backward over {rows}"
    return "forward over " + ("the held-out rows" if "held_out" in needs else f"{forward_rows} rows of each cell")
