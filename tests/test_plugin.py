"""The plugin in Axolotl: found, loud when broken, polite to other plugins, and silent where it was not asked."""

import importlib.metadata
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import history, load, read_trace, train

pytestmark = pytest.mark.axolotl


def test_a_missing_extension_is_loud(make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hbo_plugin._sampler", None)
    with pytest.raises(RuntimeError) as error:
        load(make_config(), tmp_path)
    assert str(error.value) == (
        "`hbo:` is set, but its compiled extension `hbo_plugin._sampler` cannot be loaded "
        "(import of hbo_plugin._sampler halted; None in sys.modules): "
        "install the wheel with `pip install axolotl-hbo`, or run `make build` in a checkout."
    )


def test_a_missing_extension_is_nobody_s_business_without_a_block(
    make_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "hbo_plugin._sampler", None)
    assert load(make_config(hbo=None), tmp_path).hbo is None


def test_a_run_warns_of_options_that_mean_something_else(make_config: Any, caplog: pytest.LogCaptureFixture) -> None:
    from hbo_plugin import HBOPlugin

    with caplog.at_level(logging.WARNING, logger="hbo_plugin.options"):
        HBOPlugin().register(make_config(sample_packing_bin_size=4))
    assert [record.getMessage() for record in caplog.records] == [
        "`sample_packing_bin_size: 4` has no effect, because hbo packs the rows itself."
    ]


def test_an_unknown_axolotl_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from hbo_plugin import compat

    monkeypatch.setattr(compat, "version", lambda _: "9.9")
    with pytest.raises(RuntimeError) as error:
        compat.private("axolotl.loaders", "load_tokeniser")
    assert str(error.value) == (
        "`axolotl.loaders.load_tokeniser` was not found: hbo works with axolotl >=0.19,<0.22, and 9.9 is installed; "
        "install a supported version."
    )


@pytest.mark.parametrize("first", ["hbo_plugin.HBOPlugin", "other_trainer.OtherTrainerPlugin"])
def test_another_plugin_s_trainer_is_extended(make_config: Any, first: str) -> None:
    """Whichever plugin is named first: Axolotl builds the trainer of one plugin alone."""
    config = make_config(max_steps=6)
    config["plugins"] = sorted(
        ["hbo_plugin.HBOPlugin", "other_trainer.OtherTrainerPlugin"], key=lambda name: name != first
    )
    folder = train(config)
    assert history(folder, "other") == dict.fromkeys(range(1, 7), 1.0)
    assert history(folder, "hbo/weight/sums").keys() == set(range(1, 7))
    trace = read_trace(folder)
    assert [record["event"] for record in trace] == ["start", "update", "end"]
    assert trace[1]["weights"] != trace[0]["weights"]


def test_the_entry_point_names_the_class_that_users_write() -> None:
    try:
        entry_points = importlib.metadata.distribution("axolotl-hbo").entry_points
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("the distribution is not installed here, only its folder is on the path")
    (entry_point,) = entry_points.select(group="axolotl.plugins")
    assert entry_point.value == "hbo_plugin:HBOPlugin"


def test_a_block_alone_is_enough_where_axolotl_finds_plugins(make_config: Any, tmp_path: Path) -> None:
    base = pytest.importorskip("axolotl.integrations.base")
    if not hasattr(base, "get_builtin_plugins"):
        pytest.skip("this Axolotl loads only the plugins that the configuration names")
    cfg = load(make_config(plugins=None), tmp_path)
    assert cfg.hbo.update_every == 3
    assert [name for name in base.PluginManager.get_instance().plugins if "hbo" in name] == ["hbo_plugin.HBOPlugin"]
