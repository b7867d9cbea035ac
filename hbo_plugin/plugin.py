"""The plugin: which of Axolotl's hooks calls what. Inert in a run without an `hbo:` block."""

import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from axolotl.integrations.base import BasePlugin

# Here, so that a fault in them shows when the plugin is loaded and not later in somebody else's run.
from hbo_plugin import options, overrides, user_errors
from hbo_plugin.args import HBOArgs, HBOConfig
from hbo_plugin.messages import listed

if TYPE_CHECKING:
    from hbo_plugin.data.load import RunData
    from hbo_plugin.methods import Method
    from hbo_plugin.signals.sources import Choice

LOG = logging.getLogger(__name__)

_EXTENSION = "hbo_plugin._sampler"


class HBOPlugin(BasePlugin):
    """`plugins: [hbo_plugin.HBOPlugin]`."""

    def __init__(self) -> None:
        """Axolotl makes one, and from 0.21 on keeps it for every configuration of the process."""
        super().__init__()
        self._prepared: tuple[RunData, Choice, Method] | None = None

    def register(self, cfg: Any) -> None:
        """Forget an earlier run; check what only the user's own YAML can show."""
        self._prepared = None
        overrides.apply(cfg)
        if "hbo" not in cfg:
            return
        try:
            importlib.import_module(_EXTENSION)
        except ImportError as error:
            msg = (
                f"`hbo:` is set, but its compiled extension `{_EXTENSION}` cannot be loaded ({error}): "
                f"install the wheel with `pip install axolotl-hbo`, or run `make build` in a checkout."
            )
            # Not an ImportError, which Axolotl 0.19 swallows, to train without hbo.
            raise RuntimeError(msg) from error
        user_errors.show_without_traceback()
        if cfg["hbo"] is None:  # `hbo:` with nothing under it: every default
            cfg["hbo"] = {}
        options.warn_of_changed(cfg)

    def get_input_args(self) -> str:
        """The `hbo:` block's schema."""
        return f"{HBOArgs.__module__}.{HBOArgs.__name__}"

    def load_datasets(self, cfg: Any, preprocess: bool = False) -> Any:  # noqa: FBT001, FBT002 Axolotl's signature
        """Load the data in cells, for `axolotl train` and `axolotl preprocess`."""
        if cfg.hbo is None:
            return None
        from hbo_plugin import compat
        from hbo_plugin.data.held_out import holds_out, target_shares, ties
        from hbo_plugin.data.load import load
        from hbo_plugin.data.mixture import find_mixture
        from hbo_plugin.signals.sources import choose

        if not preprocess:
            _pass_over_incomplete(cfg)
        config = _config(cfg)
        # First on as many rows as there can be: what is wrong is refused before a row is tokenised.
        mixture = find_mixture(cfg, config)
        names = mixture.names
        rows = np.ones((len(names), max(config.levels_of(names))), np.int64)
        trial = config.make_method(rows, names, seed=_seed(cfg), batch=cfg.batch_size)
        held_by = cfg.val_set_size or 0, config.val_set_size or {}
        sets = mixture.sets or [name for name in mixture.all_names if holds_out(*held_by, name)]
        target_shares(config.target, sets)
        tied = ties(names, sets, config.held_out or {})
        choice = choose(cfg, config, trial.signals, held_out=bool(sets), tied=bool(tied))
        loaded = load(cfg, config, mixture, steers=choice.steers)
        method = _method(cfg, config, loaded)
        self._prepared = (loaded, choice, method)
        steps = -1 if preprocess else loaded.steps(cfg)
        return compat.dataset_meta(train_dataset=loaded.train, eval_dataset=loaded.judging.rows, total_num_steps=steps)

    def get_training_args(self, cfg: Any) -> dict[str, Any] | None:
        """No loader workers: the rows that they draw ahead would be drawn under weights that are past."""
        if self._prepared is None:
            return None
        return {"dataloader_num_workers": 0, "dataloader_prefetch_factor": None}

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """Attach the run to its trainer."""
        if cfg.hbo is None:
            return []
        from hbo_plugin.callback import HBOCallback, keep_off_the_console
        from hbo_plugin.trainer import attach, replace_data
        from hbo_plugin.training.run import Run

        if self._prepared is None:
            # `axolotl evaluate` asks no plugin for data. What it held out itself, hbo may have trained on.
            self.load_datasets(cfg)
            replace_data(trainer, self._loaded[0])
        loaded, choice, method = self._loaded
        run = Run(trainer, loaded, _config(cfg), choice, method, _seed(cfg))
        attach(trainer, run)
        keep_off_the_console(trainer.callback_handler.callbacks)
        return [HBOCallback(run)]

    @property
    def _loaded(self) -> tuple["RunData", "Choice", "Method"]:
        if self._prepared is None:
            msg = "no data was loaded"
            raise RuntimeError(msg)
        return self._prepared


def _config(cfg: Any) -> HBOConfig:
    return HBOConfig.model_validate(cfg.hbo.to_dict())


def _method(cfg: Any, config: HBOConfig, loaded: "RunData") -> "Method":
    """The method of the run, which starts target first where the target is some of the datasets."""
    from hbo_plugin.training.target_first import target_first

    cells, prior = loaded.cells, None
    counted = {name for name, tied in loaded.tied.items() if tied in loaded.target}
    if config.target and config.takes_default_prior and 0 < len(counted) < len(cells.names):
        prior = target_first(
            cells,
            config,
            counted,
            steps=loaded.steps(cfg),
            capacity=cfg.batch_size * (cfg.sequence_len if cfg.sample_packing else 1),
            packed=bool(cfg.sample_packing),
        )
        loaded.notes.append(
            f"the prior is target first: {listed(name for name in cells.names if name in counted)} up to `max_epochs`, "
            f"and what is left evenly to the others"
        )
    return config.make_method(cells.sizes, cells.names, seed=_seed(cfg), batch=cfg.batch_size, prior=prior)


def _seed(cfg: Any) -> int:
    return cfg.seed or 0 if cfg.hbo.seed is None else int(cfg.hbo.seed)


def _pass_over_incomplete(cfg: Any) -> None:
    """Resume automatically from the newest checkpoint that is whole, where Axolotl takes the newest folder."""
    from hbo_plugin.training import state_file

    if not cfg.auto_resume_from_checkpoints or cfg.resume_from_checkpoint:
        return
    whole, incomplete = state_file.newest_checkpoints(Path(cfg.output_dir))
    if incomplete:
        LOG.warning(
            "%s: incomplete, because the run died while it was written; this run %s.",
            ", ".join(f"`{checkpoint}`" for checkpoint in incomplete),
            f"goes on from `{whole}`" if whole else "starts afresh",
        )
        cfg.resume_from_checkpoint = str(whole) if whole else None
        cfg.auto_resume_from_checkpoints = whole is not None
