"""What ranks tell each other and what they do together, without starting any."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hbo_plugin.training.agreement import Agreement  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

from hbo_plugin import plan  # noqa: E402
from hbo_plugin.args import HBOConfig  # noqa: E402
from hbo_plugin.cells import Cells  # noqa: E402
from hbo_plugin.signals import Probes  # noqa: E402


def test_the_agreement_names_who_differs_in_what() -> None:
    def gather(mine: Any) -> Any:
        others = mine.repeat(4, 1)
        others[1, 2] += 1
        others[2:, 1] -= 5
        others[3, 3] = ~others[3, 3]
        return others

    args = SimpleNamespace(world_size=4)
    trainer = SimpleNamespace(args=args, accelerator=SimpleNamespace(device="cpu", gather=gather))
    agreement = Agreement(trainer)
    with pytest.raises(RuntimeError) as error:
        agreement.check(7, np.array([0.5, 0.5]), 60)
    assert str(error.value) == (
        "after step 7, the weights of ranks 2, 3 and the head of the stream of rank 1 and the rows of rank 3 differ from "
        "rank 0's, and no rank may train on another mixture: give every rank the same configuration, data, checkpoint and "
        "versions, and resume."
    )
    told = []

    def agree(mine: Any) -> Any:
        told.append(mine[0].tolist())
        return mine.repeat(4, 1)

    trainer.accelerator.gather = agree
    agreement.check(7, np.array([0.5, 0.5]), 60)
    agreement.check(7, np.array([0.5, np.nextafter(0.5, 1)]), 60)
    agreement.count(np.array([3, 4]))
    agreement.check(7, np.array([0.5, 0.5]), 60)
    assert [len({row[column] for row in told}) for column in range(4)] == [1, 2, 1, 2]
    assert torch.tensor(told).dtype == torch.int64
    trainer.args.world_size = 1
    trainer.accelerator.gather = None
    agreement.check(8, np.array([1.0]), 0)


def test_ranks_share_probes_out_and_run_the_model_as_often(tiny_model: Path) -> None:
    """Which a sharded model needs; each batch is that of one process, so the sums of ranks are its sums to the bit."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    rows = [{"input_ids": list(range(4, 9 + index)), "labels": list(range(4, 9 + index))} for index in range(9)]
    lengths = np.array([len(row["input_ids"]) for row in rows], np.int32)
    cells = Cells(("a", "b"), np.array([[5], [4]]), lengths, ("", ""))
    calls: list[int] = []
    model.register_forward_hook(lambda *_: calls.append(1))
    parts: list[Any] = []

    def reduce(mine: Any, reduction: str) -> Any:
        assert reduction == "sum"
        parts.append(mine)
        return mine

    def run(rank: int, ranks: int) -> tuple[int, Any]:
        trainer = SimpleNamespace(
            model=model,
            train_dataset=rows,
            args=SimpleNamespace(process_index=rank, world_size=ranks, per_device_train_batch_size=2),
            compute_loss_context_manager=nullcontext,
            accelerator=SimpleNamespace(device="cpu", reduce=reduce),
        )
        calls.clear()
        sums, tokens, _ = Probes(trainer, cells, gradient_rows=4, forward_rows=9, seed=3)._on_sample(("loss",))
        return len(calls), np.stack([sums[0], tokens])

    times, alone = run(0, 1)
    assert times % 3
    assert [run(rank, 3)[0] for rank in range(3)] == [-(-times // 3)] * 3
    assert all(0 < part[1].count_nonzero() < 9 for part in parts)
    np.testing.assert_array_equal(sum(parts), alone)


@pytest.mark.parametrize(
    ("cfg", "wrong"),
    [
        ({"deepspeed": "zero1.json"}, "similarity"),
        ({"fsdp_config": {"offload_params": False}}, "similarity"),
        ({"fsdp_config": {"offload_params": False}, "fsdp_version": 2}, "look_ahead"),
    ],
)
def test_what_no_probe_can_measure_is_refused(cfg: dict[str, Any], wrong: str) -> None:
    config = HBOConfig()
    option = next(iter(cfg))
    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole sentence is compared
        plan.plan(cfg, config, ["similarity", "look_ahead"], held_out=False)
    assert str(error.value) == (
        f"`{option}` spreads the model over ranks, where no probe can measure `{wrong}`: train with DDP, or choose a "
        "method whose signals come from the training batches, with `hbo.signals: auto`."
    )


def test_signals_of_a_sharded_model_come_from_its_batches() -> None:
    logits = "`gradient_norm` is that of the loss at the logits, in closed form; `signals: probe` measures the whole"
    left_out = (
        "`deepspeed` spreads the model over ranks, where the held-out losses of the datasets are not measured; with DDP, "
        "or FSDP under `fsdp_version: 2`, they are"
    )
    signals = ["gradient_norm", "perplexity_ratio"]
    sharded = plan.plan({"fsdp_config": {"x": 1}, "fsdp_version": 2}, HBOConfig(), signals, held_out=True)
    assert sharded == plan.Plan(tuple(signals), (), held_out=True, notes=(logits,))
    deepspeed = plan.plan({"deepspeed": "zero3.json"}, HBOConfig(), signals, held_out=True)
    assert deepspeed == plan.Plan(tuple(signals), (), held_out=False, notes=(left_out, logits))
    assert plan.plan({"fsdp_config": {"x": 1}, "fsdp_version": 2}, HBOConfig(), ["similarity"], held_out=False).probed
