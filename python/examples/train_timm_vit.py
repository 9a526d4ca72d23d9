"""Trains a timm vision transformer under EfficientTrain++: small, low-frequency images first, the whole band at the end.

    python train_timm_vit.py data/train data/val --epochs 100
    python train_timm_vit.py "train-{000..099}.tar" val.tar --model vit_small_patch16_224 --recipe deit_small --amp bfloat16
    python train_timm_vit.py data/train data/val --resume        # goes on with the same batches

The data are a folder of class folders, WebDataset shards, or packed records. What differs from a loop over torchvision's
loader: the images of a batch have the side ``loader.stage.band``, so the model is told when it changes (``resize_model``); and
the learning rate goes by the share of the run's compute, ``loader.batch.progress``, as the stages do.

For a small set such as Imagenette at 96 pixels:

    python train_timm_vit.py train.tar val.tar --base 96 --patch 12 --dim 128 --depth 4 --heads 4 --batch-size 64 --epochs 10
"""

from __future__ import annotations

import argparse
import math
import os
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import timm.optim
import torch
from timm.layers import resample_abs_pos_embed
from torch import nn

from bandfeed import Stage
from bandfeed.torch import DataLoader


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", help="folder of class folders, tar shards or packed records")
    parser.add_argument("val", nargs="?", help="the same, to evaluate on after every epoch")
    parser.add_argument("--out", type=Path, default=Path("run"), help="folder of the checkpoint (run)")
    parser.add_argument("--resume", action="store_true", help="go on where OUT/checkpoint.pt was written")
    parser.add_argument("--stop-after", type=int, metavar="EPOCH", help="stop then, to go on later with --resume")

    parser.add_argument("--recipe", default="plain", help="plain, deit_tiny, deit_small ... or a .toml file (plain)")
    parser.add_argument("--schedule", default="efficient_train_pp_deit", help="constant, efficient_train ... or a .toml table")
    parser.add_argument("--epochs", type=float, default=100.0, help="budget in passes at the base size (100)")
    parser.add_argument("--batch-size", type=int, default=256, help="images of an optimiser step (256)")
    parser.add_argument("--base", type=int, default=224, help="side of the images at the end, in pixels (224)")
    parser.add_argument("--workers", type=int, help="threads that make batches (all cores)")
    parser.add_argument("--seed", type=int, default=0)

    parser.add_argument("--model", default="vit_tiny_patch16_224", help="a vision transformer of timm (vit_tiny_patch16_224)")
    parser.add_argument("--patch", type=int, default=16, help="side of a patch (16)")
    parser.add_argument("--dim", type=int, help="width of the model, if it is not its own")
    parser.add_argument("--depth", type=int, help="blocks of the model, likewise")
    parser.add_argument("--heads", type=int, help="attention heads of the model, likewise")

    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate at the end of the warm-up (1e-3)")
    parser.add_argument("--min-lr", type=float, default=1e-6, help="and at the end (1e-6)")
    parser.add_argument("--warmup", type=float, default=0.1, help="share of the compute (0.1)")
    parser.add_argument("--weight-decay", type=float, default=0.05)
    parser.add_argument("--smoothing", type=float, default=0.1, help="of the labels (0.1)")
    parser.add_argument("--clip", type=float, default=5.0, help="greatest norm of the gradient (5)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--amp", choices=["bfloat16", "float16"], help="mixed precision")
    return parser.parse_args()


def make_model(args: argparse.Namespace, classes: int, band: int) -> nn.Module:
    own = {"embed_dim": args.dim, "depth": args.depth, "num_heads": args.heads}
    changed = {name: value for name, value in own.items() if value is not None}
    return timm.create_model(args.model, num_classes=classes, img_size=band, patch_size=args.patch, **changed)


@torch.no_grad()
def resize_model(model: Any, optimizer: torch.optim.Optimizer, band: int) -> None:
    """Makes the model ready for images of ``band`` pixels, by timm's own interpolation of the position embedding.

    The embedding is a new parameter then, of another shape: the optimiser gets it in the old one's place, with its moments
    interpolated alike.
    """
    old, grid = model.pos_embed, model.patch_embed.grid_size
    model.set_input_size(img_size=(band, band))
    new = model.pos_embed
    if new is old:
        return
    for group in optimizer.param_groups:
        group["params"] = [new if parameter is old else parameter for parameter in group["params"]]
    prefix = 0 if model.no_embed_class else model.num_prefix_tokens
    state = optimizer.state.pop(old, {})
    for name, value in state.items():
        if torch.is_tensor(value) and value.shape == old.shape:
            # Not bicubic: a mean of squares must not fall below 0.
            state[name] = resample_abs_pos_embed(
                value, model.patch_embed.grid_size, grid, num_prefix_tokens=prefix, interpolation="bilinear", antialias=False
            )
    optimizer.state[new] = state


def learning_rate(args: argparse.Namespace, progress: float) -> float:
    """Linear warm-up, then half a cosine, over the share of the compute."""
    if progress < args.warmup:
        return args.lr * progress / args.warmup
    turn = math.pi * (progress - args.warmup) / (1 - args.warmup)
    return args.min_lr + (args.lr - args.min_lr) * (1 + math.cos(turn)) / 2


@dataclass
class Tally:
    """What is told of a stage."""

    band: int
    magnitude: float
    sums: torch.Tensor
    """Loss and number of hits over the images. They stay on the device, so that no step waits for the one before."""
    images: int = 0
    seconds: float = 0.0
    waited: float = 0.0

    def loss(self) -> float:
        return float(self.sums[0]) / self.images

    def row(self, stage: int) -> str:
        loss, top1 = self.loss(), 100 * float(self.sums[1]) / self.images
        rate, waited = self.images / max(self.seconds, 1e-9), 100 * self.waited / max(self.seconds, 1e-9)
        numbers = f"{self.images:9} {loss:7.4f} {top1:7.2f} {rate:8.0f} {waited:8.2f}"
        return f"{stage + 1:5} {self.band:5} {self.magnitude:6.1f} {numbers}"


HEADING = f"{'stage':>5} {'band':>5} {'magn.':>6} {'images':>9} {'loss':>7} {'top-1 %':>7} {'images/s':>8} {'waited %':>8}"


class Training:
    """Model, optimiser and loader, and how far they have come."""

    def __init__(self, args: argparse.Namespace) -> None:
        torch.manual_seed(args.seed)
        self.args = args
        self.device = torch.device(args.device)
        self.loader = DataLoader(
            args.train,
            args.batch_size,
            recipe=args.recipe,
            schedule=args.schedule,
            epochs=args.epochs,
            base=args.base,
            patch=args.patch,
            num_workers=args.workers,
            seed=args.seed,
            smoothing=args.smoothing,
            to=None if self.device.type == "cpu" else self.device,
        )
        saved = torch.load(self.checkpoint, weights_only=True) if args.resume else None
        self.band = self.loader.stage.band if saved is None else saved["band"]
        self.model = make_model(args, len(self.loader.dataset.classes), self.band).to(self.device)
        self.optimizer = timm.optim.create_optimizer_v2(self.model, opt="adamw", lr=args.lr, weight_decay=args.weight_decay)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=args.amp == "float16")
        # Soft targets are smoothed by the loader.
        self.criterion = nn.CrossEntropyLoss(label_smoothing=0.0 if self.loader.soft_targets else args.smoothing)
        self.tallies: dict[int, Tally] = {}
        if saved is not None:
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.scaler.load_state_dict(saved["scaler"])
            self.loader.load_state_dict(saved["loader"])
            self.tallies = {stage: Tally(**tally) for stage, tally in saved["tallies"].items()}
            for tally in self.tallies.values():
                tally.sums = tally.sums.to(self.device)
            torch.set_rng_state(saved["random"])

    @property
    def checkpoint(self) -> Path:
        return self.args.out / "checkpoint.pt"

    def save(self) -> None:
        self.args.out.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoint.with_suffix(".partial")
        state = {
            "band": self.band,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "loader": self.loader.state_dict(),
            "tallies": {stage: vars(tally) for stage, tally in self.tallies.items()},
            "random": torch.get_rng_state(),
        }
        torch.save(state, partial)
        os.replace(partial, self.checkpoint)

    def autocast(self) -> AbstractContextManager[Any]:
        if self.args.amp is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=getattr(torch, self.args.amp))

    def train_epoch(self) -> None:
        """One equivalent epoch, or what is left of it."""
        self.model.train()
        summed = 0
        waited = self.loader.loader.counters()["wait_for_producer"]
        clock = time.perf_counter()
        stage: Stage | None = None
        for images, targets in self.loader:
            batch = self.loader.batch
            assert batch is not None
            if summed and stage is not None and batch.stage.index != stage.index:
                # What the old stage has left belongs to a step of its own.
                self.step(stage)
                summed = 0
            stage = batch.stage
            if stage.band != self.band:
                resize_model(self.model, self.optimizer, stage.band)
                self.band = stage.band
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.args, batch.progress) * stage.rate_scale
            with self.autocast():
                scores = self.model(images)
                loss = self.criterion(scores, targets)
            self.scaler.scale(loss / stage.accumulate).backward()
            summed += 1
            if summed == stage.accumulate:
                self.step(stage)
                summed = 0

            if stage.index not in self.tallies:
                sums = torch.zeros(2, dtype=torch.float64, device=self.device)
                self.tallies[stage.index] = Tally(stage.band, stage.magnitude, sums)
            tally = self.tallies[stage.index]
            labels = targets.argmax(1) if targets.ndim == 2 else targets
            hits = (scores.argmax(1) == labels).sum()
            tally.sums += torch.stack([loss.detach().double() * len(images), hits.double()])
            tally.images += len(images)
            now, counted = time.perf_counter(), self.loader.loader.counters()["wait_for_producer"]
            tally.seconds += now - clock
            tally.waited += counted - waited
            clock, waited = now, counted
        if summed and stage is not None:
            self.step(stage)

    def step(self, stage: Stage) -> None:
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), self.args.clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.inference_mode()
    def evaluate(self) -> float:
        """Top-1 in percent, of images of the size that the model is at."""
        self.model.eval()
        correct = total = 0
        stage = self.loader.stage
        with DataLoader(
            self.args.val,
            recipe=self.args.recipe,
            schedule=self.loader.schedule,
            evaluation=True,
            stage=stage.replace(batch_size=self.args.batch_size),
            num_workers=self.args.workers,
            to=self.loader.to,
        ) as loader:
            for images, labels in loader:
                with self.autocast():
                    correct += int((self.model(images).argmax(1) == labels).sum())
                total += len(labels)
        return 100 * correct / total


def main() -> None:
    args = arguments()
    training = Training(args)
    loader = training.loader
    parameters = sum(parameter.numel() for parameter in training.model.parameters())
    print(f"{args.model}: {parameters / 1e6:.2f} M parameters at {training.band} px; {loader.schedule!r}")
    started = time.perf_counter()
    for epoch in range(loader.epoch, loader.epochs):
        training.train_epoch()
        training.save()
        text = f"epoch {epoch + 1}/{loader.epochs}, {time.perf_counter() - started:.0f} s: band {training.band}"
        newest = training.tallies[max(training.tallies)]
        text += f", loss of the stage {newest.loss():.4f}"
        if args.val:
            text += f", top-1 {training.evaluate():.2f} %"
        print(text, flush=True)
        if epoch + 1 == args.stop_after:
            break
    print(HEADING)
    for stage, tally in sorted(training.tallies.items()):
        print(tally.row(stage))


if __name__ == "__main__":
    main()
