"""Distributed training with DistributedDataParallel: every rank has the same stages and as many batches.

    torchrun --nproc-per-node 2 ddp.py data/train --base 96 --patch 12 --epochs 2         # two processes on one CPU
    torchrun --nproc-per-node 8 ddp.py data/train --backend nccl --epochs 100

Each process has a loader of its own, which takes its rank from torch.distributed. Since the ranks change to the next stage
with the same batch, no process waits for one that has larger images. The model interpolates its position embedding in the
forward pass (``dynamic_img_size``), so that its parameters keep their shapes and DDP its buckets.
"""

from __future__ import annotations

import argparse
import os

import timm
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from bandfeed.torch import DataLoader


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", help="folder of class folders, tar shards or packed records")
    parser.add_argument("--backend", choices=["gloo", "nccl"], default="gloo")
    parser.add_argument("--schedule", default="efficient_train_pp_deit")
    parser.add_argument("--epochs", type=float, default=2.0, help="budget in passes at the base size (2)")
    parser.add_argument("--batch-size", type=int, default=32, help="images of a step on each rank (32)")
    parser.add_argument("--base", type=int, default=224, help="side of the images at the end, in pixels (224)")
    parser.add_argument("--patch", type=int, default=16, help="side of a patch (16)")
    parser.add_argument("--dim", type=int, default=64, help="width of the model (64)")
    parser.add_argument("--lr", type=float, default=1e-3)
    return parser.parse_args()


def main() -> None:
    args = arguments()
    dist.init_process_group(args.backend)
    rank = dist.get_rank()
    if args.backend == "nccl":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
        torch.set_num_threads(1)

    loader = DataLoader(
        args.train,
        args.batch_size,
        schedule=args.schedule,
        epochs=args.epochs,
        base=args.base,
        patch=args.patch,
        to=None if device.type == "cpu" else device,
    )
    torch.manual_seed(0)
    model = timm.create_model(
        "vit_tiny_patch16_224",
        num_classes=len(loader.dataset.classes),
        img_size=args.base,
        patch_size=args.patch,
        embed_dim=args.dim,
        depth=2,
        num_heads=4,
        dynamic_img_size=True,
    )
    parallel = DistributedDataParallel(model.to(device))
    optimizer = torch.optim.AdamW(parallel.parameters(), lr=args.lr)
    criterion = nn.CrossEntropyLoss()
    for epoch in range(loader.epochs):
        total = torch.zeros(2, device=device)
        bands: dict[int, int] = {}
        for images, targets in loader:
            loss = criterion(parallel(images), targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += torch.stack([loss.detach() * len(images), torch.tensor(float(len(images)), device=device)])
            bands[loader.stage.band] = bands.get(loader.stage.band, 0) + 1
        dist.all_reduce(total)
        # All ranks say the same; the first one says it for all.
        everywhere: list[dict[int, int] | None] = [None] * dist.get_world_size()
        dist.all_gather_object(everywhere, bands)
        assert all(own == bands for own in everywhere), everywhere
        if rank == 0:
            batches = ", ".join(f"{count} of {band} px" for band, count in bands.items())
            loss = float(total[0] / total[1])
            print(f"epoch {epoch + 1}/{loader.epochs}: loss {loss:.4f}, batches on each of {len(everywhere)} ranks: {batches}")
    loader.close()
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
