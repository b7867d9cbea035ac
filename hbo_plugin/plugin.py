"""The plugin: which of Axolotl's hooks calls what. Inert in a run without an `hbo:` block."""

import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from axolotl.integrations.base import BasePlugin

# Here, so that a fault in them shows when the plugin is loaded and not later in somebody else's run.
from hbo_plugin import kinds, options, overrides, user_errors
from hbo_plugin.input_args import HBOArgs

if TYPE_CHECKING:
    from hbo_plugin.setup import Setup

LOG = logging.getLogger(__name__)

_EXTENSION = "hbo_plugin._sampler"


class HBOPlugin(BasePlugin):
    """`plugins: [hbo_plugin.HBOPlugin]`."""

    def __init__(self) -> None:
        """Axolotl makes one, and from 0.21 on keeps it for every configuration of the process."""
        super().__init__()
        self._setup: Setup | None = None

    def register(self, cfg: Any) -> None:
        """Forget an earlier run; check what only the user's own YAML can show."""
        self._setup = None
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
        from hbo_plugin.setup import Setup

        if not preprocess:
            _pass_over_incomplete(cfg)
        setup = Setup(cfg)
        setup.refuse()
        data = setup.data
        _ = setup.shape, setup.method, setup.row_weights  # all are refused before the model is loaded
        self._setup = setup
        steps = -1 if preprocess else data.steps(cfg)
        return compat.dataset_meta(train_dataset=data.train, eval_dataset=data.evaluated, total_num_steps=steps)

    def get_training_args(self, cfg: Any) -> dict[str, Any] | None:
        """Few batches ahead: of the 256 for each worker that are usual, most would be drawn under weights that are past."""
        if self._setup is None:
            return None
        from hbo_plugin.training.ahead import loader_workers

        return loader_workers(cfg.dataloader_num_workers or 0, cfg.gradient_accumulation_steps)

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[Any]:
        """Attach the run to its trainer."""
        if cfg.hbo is None:
            return []
        from hbo_plugin.callback import HBOCallback, keep_off_the_console
        from hbo_plugin.trainer import attach, replace_data
        from hbo_plugin.training.run import Run

        if self._setup is None:
            # `axolotl evaluate` asks no plugin for data. What it held out itself, hbo may have trained on.
            kinds.refuse_command("`axolotl evaluate`", cfg)
            self.load_datasets(cfg)
            replace_data(trainer, self._loaded.data)
        setup = self._loaded
        run = Run(trainer, setup.data, setup.config, setup.choice, setup.method, setup.row_weights, setup.seed)
        attach(trainer, run)
        keep_off_the_console(trainer.callback_handler.callbacks)
        return [HBOCallback(run)]

    @property
    def _loaded(self) -> "Setup":
        if self._setup is None:
            msg = "no data was loaded"
            raise RuntimeError(msg)
        return self._setup


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
