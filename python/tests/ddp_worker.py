"""What each process of the torchrun test does: a short DDP training over gloo, told of in a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from bandfeed.torch import DataLoader

source, out = sys.argv[1], Path(sys.argv[2])
dist.init_process_group("gloo")
rank = dist.get_rank()
loader = DataLoader(source, 4, base=32, patch=8, epochs=2, seed=5)
torch.manual_seed(rank)
model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(12, 4))
model = torch.nn.parallel.DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
steps, lengths = [], []
for epoch in range(loader.epochs):
    loader.set_epoch(epoch)
    lengths.append(len(loader))
    for images, targets in loader:
        loss = torch.nn.functional.cross_entropy(model(images), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        batch = loader.batch
        steps.append([batch.stage.index, images.shape[-1], batch.epoch, batch.step, batch.indices.tolist()])
told = {
    "rank": rank,
    "lengths": lengths,
    "steps": steps,
    "weights": [parameter.tolist() for parameter in model.parameters()],
    "workers": loader.loader.workers,
}
(out / f"rank{rank}.json").write_text(json.dumps(told))
dist.destroy_process_group()
