"""Two ranks with half of a batch each find the loss and the gradient of the whole batch."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed
from torch import multiprocessing as processes

from detrdistill.data.dataset import Batch
from tests.core.engine.test_methods import config_of
from tests.core.engine.test_step import BATCH, HALFWAY, step_of
from tests.support.factories import tiny_detector

RANKS = 2
METHODS = (
    {"kind": "matched_logits", "split": True},
    {"kind": "target_features"},
    {"kind": "query_prior"},
    {"kind": "distillation_points", "variant": "paper", "general": 0},
    {"kind": "foreground_memory", "foreground_weight": 1.0, "background_weight": 1.0},
    {"kind": "feature_maps", "source": "memory"},
)
BY_TARGETS = (METHODS[0] | {"normaliser": "targets"}, *METHODS[1:])
CASES = {"lw-detr": METHODS, "yolos": BY_TARGETS}
"""Sigmoid scores with proposals, and softmax scores: two detectors whose new weights do not magnify rounding, which
differs between one image and two. The batch's second image has no target, so one rank has none."""


def loss_and_gradient(family: str, batch: Batch) -> list[Tensor]:
    """In evaluation mode, without denoising or batch statistics, which are each rank's own."""
    student, teacher = tiny_detector(family, queries=8), tiny_detector(family, queries=12, seed=1)
    step = step_of(student, teacher, config_of(*CASES[family]))
    student.eval()
    losses = step(batch, HALFWAY)
    losses.total.backward()
    return [losses.total.detach(), *(weight.grad for weight in student.parameters() if weight.grad is not None)]


def work(rank: int, folder: Path) -> None:
    """One rank."""
    torch.set_num_threads(1)
    store = f"file://{folder / 'store'}"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=RANKS)
    mine = replace(
        BATCH, inputs=(BATCH.inputs[0][rank : rank + 1],), targets=BATCH.targets[rank : rank + 1], image_ids=(rank,)
    )
    for family in CASES:
        found = loss_and_gradient(family, mine)
        for value in found:
            distributed.all_reduce(value)
        if rank == 0:
            torch.save([value / RANKS for value in found], folder / f"{family}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    processes.spawn(work, (folder,), nprocs=RANKS)
    return folder


@pytest.mark.parametrize("family", CASES)
def test_two_ranks_equal_one(ranks: Path, family: str):
    loss, *gradients = torch.load(ranks / f"{family}.pt", weights_only=True)
    whole_loss, *whole_gradients = loss_and_gradient(family, BATCH)
    torch.testing.assert_close(loss, whole_loss, rtol=1e-6, atol=0)
    assert len(gradients) == len(whole_gradients)
    flat, whole_flat = (torch.cat([part.flatten() for part in parts]) for parts in (gradients, whole_gradients))
    assert (flat - whole_flat).norm() <= 1e-6 * whole_flat.norm()
