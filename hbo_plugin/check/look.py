"""Look: everything that can be said of a configuration without its model, with what training would refuse or warn of."""

from __future__ import annotations

import logging
import sys
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import axolotl.cli  # noqa: F401 sets up its logging, which must not come later

from hbo_plugin import user_errors
from hbo_plugin.check.plan import Plan, plan
from hbo_plugin.data.load import load
from hbo_plugin.setup import Setup, read_config
from hbo_plugin.training import state_file
from hbo_plugin.training.balancer import Balancer
from hbo_plugin.training.checkpoint import load_balancer
from hbo_plugin.training.moments import Moments
from hbo_plugin.training.warnings import warn_of_rare_updates

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Findings:
    """What was found.

    Attributes:
        refusals: why training would refuse, a message each.
        warnings: that training would give.
        notes: what a user should know.
        plan: what the run does at its first weights; None where that cannot be said.
    """

    refusals: tuple[str, ...]
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()
    plan: Plan | None = None


def look(config: Path, ranks: int) -> Findings:
    """Look at a configuration, for so many ranks."""
    refused: dict[str, None] = {}
    notes: tuple[str, ...] = ()
    made = None
    with _quietly() as warnings, _kept(refused):
        cfg = read_config(config, is_preprocess=True)
        cfg.is_preprocess = False  # what is prepared stays
        warnings.of_axolotl = False  # it advises to prepare the data first
        cfg.batch_size *= ranks
        setup = Setup(cfg, scores_missing=False)
        with _kept(refused):
            setup.refuse()
        if refused:
            load(cfg, setup.config, scores_missing=False)  # for what is wrong with the data too
        else:
            notes = (*setup.data.notes, *setup.choice.notes)
            balancer = _balancer(setup)
            made = _plan(setup, balancer)
            if checkpoint := _resumed(cfg):
                load_balancer(balancer, setup.shape, state_file.read(checkpoint)[0])
    return Findings(tuple(refused), tuple(warnings.found), notes, made)


def _resumed(cfg: Any) -> Path | None:
    """The checkpoint that training would go on from."""
    if cfg.resume_from_checkpoint:
        return Path(cfg.resume_from_checkpoint)
    return state_file.newest_checkpoints(Path(cfg.output_dir))[0] if cfg.auto_resume_from_checkpoints else None


def _balancer(setup: Setup) -> Balancer:
    shape = setup.shape
    return Balancer(
        setup.data.cells,
        setup.config,
        setup.method,
        seed=setup.seed,
        steps=shape.steps,
        capacity=shape.capacity,
        window=shape.window,
        watched=setup.data.watched,
    )


def _plan(setup: Setup, balancer: Balancer) -> Plan:
    data, shape = setup.data, setup.shape
    if setup.choice.adapts or data.watched:
        warn_of_rare_updates(Moments.of(setup.config, setup.method, shape.steps), shape.steps)
    return plan(
        balancer,
        shape,
        setup.config,
        setup.choice,
        raw_rows=data.raw_rows,
        judges={name: len(rows) for name, rows in data.judging.sets.items()},
        tied=data.tied,
        unscored=data.unscored,
        target=data.target,
        counted=setup.counted,
    )


@contextmanager
def _kept(refused: dict[str, None]) -> Iterator[None]:
    """Keep what ends the work inside, which would end the training too."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 of Axolotl, or of a library that loads the tokenizer
        refused.update(dict.fromkeys(user_errors.refusals(error)))


@contextmanager
def _quietly() -> Iterator[_Warnings]:
    """While open, nothing is written to stdout, and warnings are kept instead of logged."""
    warnings = _Warnings(logging.WARNING)
    loggers = [logging.getLogger(name) for name in (None, "axolotl")]
    before = [logger.handlers for logger in loggers]
    for logger in loggers:
        logger.handlers = [warnings]
    try:
        with redirect_stdout(sys.stderr):
            yield warnings
    finally:
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers = handlers


class _Warnings(logging.Handler):
    """Keeps the warnings of hbo and of Axolotl, each once, in their order."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.found: dict[str, None] = {}
        self.of_axolotl = True

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("hbo_plugin") or (self.of_axolotl and record.name.startswith("axolotl")):
            self.found[record.getMessage().removeprefix("hbo: ")] = None
