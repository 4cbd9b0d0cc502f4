"""The peer of benchmarks/delay.py: PyTorch's pipelined back-propagation (1F1B), one stage.

    torch_pipeline.py --rank R --head ADDRESS:PORT [--steps N] [--micro-batches 4]

Four of these, ranks 0 to 3, train the network of examples/mnist-fcn4.toml on random pixels, batch
256, with Adam, over gloo. The last rank prints samples/s as JSON. Needs the extra [torch].
"""

from __future__ import annotations

import argparse
import json
import time

import torch
from torch import nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

STAGES, BATCH, PIXELS, WIDTH, CLASSES = 4, 256, 784, 256, 10
WARM_UP = 2


def stage(rank: int) -> nn.Module:
    """The layer of this rank."""
    if rank == STAGES - 1:
        return nn.Linear(WIDTH, CLASSES)
    inputs = PIXELS if rank == 0 else WIDTH
    return nn.Sequential(nn.Linear(inputs, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU())


def main() -> None:
    """Train and print the rate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rank", type=int, required=True)
    parser.add_argument("--head", required=True)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--micro-batches", type=int, default=4)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    distributed = torch.distributed
    distributed.init_process_group(
        "gloo", init_method=f"tcp://{options.head}", rank=options.rank, world_size=STAGES
    )
    model = stage(options.rank)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    piece = BATCH // options.micro_batches
    width = PIXELS if options.rank == 0 else WIDTH
    inputs = torch.rand(piece, width)
    made = PipelineStage(model, options.rank, STAGES, torch.device("cpu"), input_args=(inputs,))
    schedule = Schedule1F1B(made, options.micro_batches, loss_fn=nn.CrossEntropyLoss())
    x, y = torch.rand(BATCH, PIXELS), torch.randint(0, CLASSES, (BATCH,))
    began = time.perf_counter()
    for step in range(WARM_UP + options.steps):
        if step == WARM_UP:
            began = time.perf_counter()
        optimizer.zero_grad()
        if options.rank == 0:
            schedule.step(x)
        elif options.rank == STAGES - 1:
            schedule.step(target=y)
        else:
            schedule.step()
        optimizer.step()
    seconds = time.perf_counter() - began
    if options.rank == STAGES - 1:
        print(json.dumps({"samples_per_second": options.steps * BATCH / seconds}), flush=True)
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
