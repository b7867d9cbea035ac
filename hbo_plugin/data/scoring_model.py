"""The scoring model: the run's own as it is before the training, or a smaller one of the same tokenizer."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hbo_plugin import compat
from hbo_plugin.data.files import FileDigests
from hbo_plugin.devices import own_devices

LOG = logging.getLogger(__name__)

_OF_THE_RUN = (
    "adapter", "cls_model_config", "gptq", "load_in_4bit", "load_in_8bit", "model_quantization_config",
    "overrides_of_model_config", "overrides_of_model_kwargs", "revision_of_model", "shrink_embeddings",
)  # fmt: skip
"""Keys of a configuration that are about its own model, and do not hold for another."""


class ScoringModel:
    """A causal language model that scores rows, loaded when it is first used."""

    def __init__(self, cfg: Any, tokenizer: Any, files: FileDigests, name: str | None) -> None:
        """Nothing is loaded yet.

        Args:
            cfg: Axolotl's configuration, for the model and its precision.
            tokenizer: of the run, with the tokens that its configuration adds.
            files: digests of the model's files.
            name: a model that scores in place of the run's own, by its folder or as on a hub; None for the run's own.
        """
        self._own = cfg
        self._cfg = cfg
        if name is not None:
            own = {"base_model": name, "base_model_config": name}
            self._cfg = type(cfg)({**cfg, **dict.fromkeys(_OF_THE_RUN), **own})
        self._tokenizer = tokenizer
        self._files = files

    @property
    def name(self) -> str:
        """As configured."""
        return str(self._cfg.base_model)

    def refuse(self) -> None:
        """Refuse a model of another tokenizer, of which no weights are loaded.

        Raises:
            ValueError: says where the two differ.
        """
        if self._cfg is self._own:
            return
        needed = min(len(self._tokenizer), _vocabulary(compat.loading(self._own, self._tokenizer).config))
        if (known := _vocabulary(self._loading.config)) < needed:
            differs = f"has {known} token embeddings, but the tokenizer of `{self._own.base_model}` has {needed} tokens"
        elif found := self._other_token():
            token, its, ours = found
            differs = f"knows the token `{token}` as {its}, but the tokenizer of `{self._own.base_model}` as {ours}"
        else:
            return
        msg = f"`hbo.scorer_model: {self.name}` {differs}; name a model of the same tokenizer."
        raise ValueError(msg)

    def _other_token(self) -> tuple[str, int, int] | None:
        """A token that has another number in the model's own tokenizer, and both numbers; None where there is none."""
        try:
            other = AutoTokenizer.from_pretrained(self.name, trust_remote_code=bool(self._cfg.trust_remote_code))
        except (OSError, ValueError):  # it has no tokenizer, so that only sizes can be compared
            return None
        ours = self._tokenizer.get_vocab()
        both = ((token, number, ours.get(token, number)) for token, number in other.get_vocab().items())
        return next((each for each in both if each[1] != each[2]), None)

    @cached_property
    def identity(self) -> str:
        """What its scores depend on: its files' digests, or on a hub its name and commit; and how it is loaded."""
        folder = Path(self.name)
        if folder.is_dir():
            digests = self._files.of([*folder.glob("*.safetensors"), *folder.glob("*.bin"), folder / "config.json"])
            model = " ".join(f"{Path(file).name} {digest}" for file, digest in sorted(digests.items()))
        else:
            commit = getattr(self._loading.config, "_commit_hash", None) or self._cfg.revision_of_model
            model = f"{self.name} {commit}"
        cfg, quantized = self._cfg, self._loading.quantization
        tokens = len(self._tokenizer), cfg.resize_token_embeddings_to_32x, cfg.mean_resizing_embeddings
        return f"{model} {self._dtype} {quantized and quantized.to_dict()} {tokens} {cfg.overrides_of_model_config}"

    @property
    def device(self) -> torch.device:
        """Where it is: each process of a launcher has one of its own."""
        return torch.device("cuda", self._cfg.local_rank or 0) if torch.cuda.is_available() else torch.device("cpu")

    @cached_property
    def network(self) -> Any:
        """The model, loaded as Axolotl loads it: in its precision or quantized, with an embedding for each token."""
        LOG.info("hbo: loading `%s` to score the difficulty of the data", self.name)
        with _whole():
            model: Any = AutoModelForCausalLM.from_pretrained(
                self.name,
                config=self._loading.config,
                revision=self._cfg.revision_of_model,
                trust_remote_code=bool(self._cfg.trust_remote_code),
                dtype=self._dtype,
                quantization_config=self._loading.quantization,
                device_map={"": self.device},
            )
        with torch.random.fork_rng(own_devices(model)), torch.no_grad():
            torch.manual_seed(0)  # embeddings of added tokens are drawn: the same ones on all ranks
            self._loading.resize(model)
        return model.eval()

    def hours(self, tokens: int) -> float:
        """How long a forward pass over so many tokens takes on this CPU, at the rate of a product of matrices."""
        with torch.device("meta"):
            trusted = bool(self._cfg.trust_remote_code)
            model = AutoModelForCausalLM.from_config(self._loading.config, trust_remote_code=trusted)
        return 2 * int(model.num_parameters()) * tokens / _operations_a_second(self._dtype) / 3600

    @cached_property
    def _loading(self) -> compat.Loading:
        return compat.loading(self._cfg, self._tokenizer)

    @property
    def _dtype(self) -> torch.dtype:
        if self._cfg.bf16:
            return torch.bfloat16
        return torch.float16 if self._cfg.fp16 else torch.float32


def _vocabulary(config: Any) -> int:
    """How many token embeddings a model has."""
    return int(config.get_text_config().vocab_size)


@contextmanager
def _whole() -> Iterator[None]:
    """While open, every rank loads a whole model: for FSDP, only the first may read its weights."""
    variable = "FSDP_CPU_RAM_EFFICIENT_LOADING"
    before = os.environ.pop(variable, None)
    try:
        yield
    finally:
        if before is not None:
            os.environ[variable] = before


def _operations_a_second(dtype: torch.dtype) -> float:
    """Of this CPU, measured on products of matrices in a type."""
    size, times = 1024, []
    square = torch.ones(size, size, dtype=dtype)
    for _ in range(3):
        begun = perf_counter()
        torch.mm(square, square)
        times.append(perf_counter() - begun)
    return 2 * size**3 / min(times)
