"""An Axolotl plugin for tests: a loss that leaves no logits, as the fused ones for GPUs do."""

from types import MethodType
from typing import Any

from axolotl.integrations.base import BasePlugin
from pydantic import BaseModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class FusedLossArgs(BaseModel):
    """The key of the loss that is stood in for."""

    cut_cross_entropy: bool | None = None


class FusedLossPlugin(BasePlugin):
    """`plugins: [fused_loss.FusedLossPlugin]`."""

    def get_input_args(self) -> str:
        return "fused_loss.FusedLossArgs"

    def post_model_build(self, cfg: Any, model: Any) -> None:
        plain = model.forward

        def forward(self: Any, input_ids: Any = None, labels: Any = None, **options: Any) -> Any:
            if labels is None or not self.training:
                return plain(input_ids=input_ids, labels=labels, **options)
            items = options.pop("num_items_in_batch", None)
            logits = self.lm_head(self.model(input_ids=input_ids, **options).last_hidden_state)
            count = {} if items is None else {"num_items_in_batch": items}
            loss = self.loss_function(logits, labels, self.config.vocab_size, **count)
            return CausalLMOutputWithPast(loss=loss)

        model.forward = MethodType(forward, model)
