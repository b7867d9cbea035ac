"""The method of a run, as the `hbo:` block gives it: its name, its form and its parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from hbo_plugin.messages import listed, nearest, yaml_text
from hbo_plugin.methods import METHODS, PARAMETERS, PUBLISHED, find_settings
from hbo_plugin.methods.parameters import PENALTY, TWIN_EVERY, parameters, plain, read_settings
from hbo_plugin.methods.published.hbo import PublishedHboSettings
from hbo_plugin.methods.published.scalebio import PublishedScaleBioSettings

STATIC = "static"


class MethodConfig(BaseModel):
    """The keys that choose a method; beside them stand its parameters, which `model_extra` has as they were given."""

    model_config = ConfigDict(extra="allow")  # `_check_places` refuses what is no parameter of the method

    method: str = Field(
        default="hbo",
        description="The rule that turns signals into weights: a name in docs/methods.md, or the import path of a class.",
    )
    published: bool = Field(
        default=False,
        description=f"Learn as the published code does, from its rewards; {listed(PUBLISHED)} have one. With `hbo` the defaults "
        f"of `update_every` and `prior` become the published {PublishedHboSettings.update_every} and "
        f"`{PublishedHboSettings().prior}`, and with `scalebio` {PublishedScaleBioSettings.update_every} and "
        f"`{PublishedScaleBioSettings().prior}`.",
    )
    settings: dict[str, Any] | None = Field(
        default=None,
        description="The parameters of a class of your own. The parameters of all other methods stand beside `method`.",
    )

    @property
    def is_static(self) -> bool:
        """Whether nothing that is measured changes the weights."""
        return self.method == STATIC

    @property
    def shares(self) -> list[Mapping[str, float]]:
        """The numbers that the block gives datasets by name, one mapping for each phase; none where hbo computes them."""
        read = self._read()
        prior = getattr(read, "prior", None)
        phases = [shares for shares, _ in read.phases] if self.is_static else []
        return phases or ([prior] if isinstance(prior, Mapping) else [])

    def method_settings(self) -> dict[str, Any]:
        """What the block sets of its method, as YAML has it."""
        read = plain(self._read())
        given = {key: read[key] for key in self._given()}
        return {"published": True, **given} if self.published else given

    @property
    def twin(self) -> dict[str, Any]:
        """How a twin is trained, where the method measures by one: `twin_every` and `penalty`."""
        read = self._read()
        return {
            "twin_every": getattr(read, "twin_every", TWIN_EVERY),
            "penalty": getattr(read, "penalty", PENALTY),
        }

    def _given(self) -> dict[str, Any]:
        """The method's parameters that the block sets, unchecked."""
        return (self.model_extra or {}) | (self.settings or {})

    def _read(self, prior: Mapping[str, float] | None = None) -> Any:
        """The settings of the method, of which `prior` may be the default; a ValueError for a value that it does not allow."""
        given = self._given() | ({"prior": prior} if prior and self.takes_default_prior else {})
        return read_settings(find_settings(self.method, published=self.published), given, self.settings or ())

    @property
    def left_out(self) -> set[str]:
        """The datasets that are never drawn: a number of 0, in each phase."""
        phases = self.shares or [{}]
        return {name for name in phases[0] if not any(shares.get(name, 1) for shares in phases)}

    @property
    def takes_default_prior(self) -> bool:
        """Whether the method has a prior and the block leaves it open."""
        has = parameters(find_settings(self.method, published=self.published))
        return "prior" in has and not self._given().keys() & {"prior", "weights"}

    def _choose_method(self) -> None:
        """Let `weights` choose the static method; raise a ValueError where another is named beside it, or a prior."""
        given = self.model_extra or {}
        if given.get("weights") is None or (self.method not in METHODS and "method" in self.model_fields_set):
            return
        wrong = f"`hbo.weights: {yaml_text(given['weights'])}` fixes the mixture, but"
        if "method" not in self.model_fields_set:
            # Straight into __dict__: an assignment would mark the key as set by the user.
            self.__dict__["method"] = STATIC
        elif not self.is_static:
            msg = (
                f"{wrong} `hbo.method: {self.method}` moves it; write `prior:` in place of `weights:` for where it starts, or "
                f"remove `method`."
            )
            raise ValueError(msg)
        if given.get("prior") is not None:
            msg = f"{wrong} `hbo.prior: {yaml_text(given['prior'])}` stands beside it; remove `prior` or `weights`."
            raise ValueError(msg)

    def _check_places(self) -> None:
        """Raise a ValueError for a parameter that the method lacks, or that stands in the wrong place."""
        if self.settings is not None and self.method in METHODS:
            msg = (
                f"`hbo.settings: {yaml_text(self.settings)}` was given, but it is only for a class of your own; put "
                f"the parameters of `{self.method}` beside `method`."
            )
            raise ValueError(msg)
        has = parameters(find_settings(self.method, published=self.published))
        for key, value in (self.model_extra or {}).items():
            if key in has and key in PARAMETERS:
                continue
            if key in has:
                wrong = f"it is a parameter of a class of your own; move it to `hbo.settings.{key}`."
            elif key in PARAMETERS:
                wrong = self._lacks(has)
            else:
                near = nearest(key, (*type(self).model_fields, "weights", *has))
                hint = f"did you mean `{near}`?" if near else "`python -m hbo_plugin docs keys` lists the keys."
                wrong = f"there is no such key; {hint}"
            msg = f"`hbo.{key}: {yaml_text(value)}` was given, but {wrong}"
            raise ValueError(msg)
        for key, value in (self.settings or {}).items():
            if key in has and key not in PARAMETERS:
                continue
            wrong = f"it stands beside `settings`; move it to `hbo.{key}`." if key in PARAMETERS else self._lacks(has)
            msg = f"`hbo.settings.{key}: {yaml_text(value)}` was given, but {wrong}"
            raise ValueError(msg)

    def _lacks(self, has: Sequence[str]) -> str:
        method = f"`{self.method}`" + (" with `published: true`" if self.published else "")
        return f"{method} has {f'only {listed(has)}' if has else 'no parameters'}; remove it."
