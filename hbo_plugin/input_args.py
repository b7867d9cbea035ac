"""What the plugin adds to Axolotl's schema, and what is refused when Axolotl reads a configuration."""

from typing import Any

from pydantic import BaseModel, ValidationError, model_validator

from hbo_plugin.args import HBOConfig
from hbo_plugin.messages import reasons
from hbo_plugin.options import refuse_incompatible


class HBOArgs(BaseModel):
    """The block, in Axolotl's own schema."""

    hbo: HBOConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _compatible(cls, data: Any) -> Any:
        if isinstance(data, dict) and "hbo" in data:
            try:
                refuse_incompatible(data)
            except ValueError as refused:
                try:
                    HBOConfig.model_validate(data["hbo"])
                except ValidationError as error:
                    msg = f"{reasons(error)}\n{refused}"
                    raise ValueError(msg) from None
                raise
        return data
