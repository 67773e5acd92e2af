"""The pictures of a GAN's run: the same latents drawn again and again while the generator learns.

looks/STEP.npz                one look, as long as a run may resume within its epoch
fixed-latents/EPOCH.npz       what they looked like, and the metrics, at each look of that epoch
images/samples-EPOCH.png      draws; samples-averaged-EPOCH.png those of the averaged generator
images/latent-strip.png       one latent over training; latent-collage.png the same in 25 pictures
images/latents-animation.gif  the fixed latents over training (.png where they are in colour)
images/losses.png ...         curves over the looks; diversity.png over the epochs
"""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxgen._files import writing
from jaxgen.learners import with_averaged_generator
from jaxgen.runs.loop import Run
from jaxgen.runs.reporting import of_split
from jaxgen.runs.training import Watch
from jaxgen.types import Array, PyTree
from jaxgen.visualization import grids, plots
from jaxgen.visualization.report import spread

NUM_LATENTS = 24
NUM_SAMPLES = 64
COLLAGE = 25  # pictures of one latent, 5 x 5
STRIP = 12  # pictures of one latent in a row
FACTOR = 4  # by which the pictures of one latent are enlarged
MAX_FRAMES = 120  # of the animation
METRIC = "metric/"  # before a metric's name in the files
COLLAPSED = 0.25  # share of the data's diversity under which a generator is called collapsed

# Curves by name: (metrics, what the axis says).
CURVES = {
    "losses": (("critic_loss", "generator_loss"), "loss"),
    "accuracy": (("accuracy_real", "accuracy_fake"), "critic's accuracy"),
    "gradients": (("critic_gradient_norm", "generator_gradient_norm"), "gradient norm"),
    "weights_on_bound": (("weights_on_bound",), "share of the critic's weights on the bound"),
}


class GANPictures:
    """Draws the run of a learner that samples; continues where an interrupted run stopped.

    Args:
      run: the run.
      every: steps between two looks; None for one look at the end of each epoch, which an epoch
        without any other gets in any case.
      estimate: what the critic's estimate of the Wasserstein distance is, for its axis.
    """

    def __init__(
        self,
        run: Run,
        every: int | None = None,
        estimate: str = "critic's estimate of the Wasserstein distance",
    ):
        self.every = every if run.draws else None
        self._run = run
        self._curves = CURVES | {"wasserstein": (("wasserstein",), estimate)}
        key = run.key("fixed-latents")
        self._latents = jax.random.normal(key, (NUM_LATENTS, run.learner.latent_size))
        self._steps: list[int] = []
        self._frames: list[np.ndarray] = []
        self._metrics: list[dict[str, float]] = []
        if run.draws:
            self._continue()

    @property
    def watch(self) -> Watch | None:
        """What `Run.epochs` calls every few steps."""
        return None if self.every is None else self._look

    def draw_epoch(self, state: PyTree) -> None:
        """Draws samples, keeps what was seen in this epoch, and names a collapse."""
        run, record = self._run, self._run.history[-1]
        diversity = record["test/diversity"]
        if diversity < COLLAPSED:
            run.note(
                f"epoch {run.epoch}: the generator has collapsed: its samples differ from one "
                f"another by {diversity:.1%} of what the data do (less than {COLLAPSED:.0%})"
            )
        if not run.draws:
            return
        key = run.key("samples")
        samples = run.learner.require("sample")(state, NUM_SAMPLES, key)
        run.draw("samples", grids.grid(samples))
        if state.ema:
            averaged = run.learner.require("sample")(
                with_averaged_generator(state), NUM_SAMPLES, key
            )
            run.draw("samples-averaged", grids.grid(averaged))
        if not self._frames:  # one look an epoch, also where its steps are fewer than `every`
            self._look(state, record["step"], of_split(record, "train"))
        self._keep()

    def draw_run(self) -> None:
        """Draws the strip, the collage, the animation and the curves of the whole run."""
        run = self._run
        if not run.draws:
            return
        frames, metrics = self._everything()
        if len(frames):
            for name, count, columns in (("strip", STRIP, STRIP), ("collage", COLLAGE, 5)):
                one = frames[spread(len(frames), count), 0]
                picture = grids.enlarge(grids.grid(one, min(columns, len(one))), FACTOR)
                grids.save(run.path(f"images/latent-{name}.png"), picture)
            shown = frames[spread(len(frames), MAX_FRAMES)]
            sheets = np.stack([grids.grid(frame, columns=6) for frame in shown])
            grids.animation(run.path("images/latents-animation"), sheets)
        x_label = "epoch" if self.every is None else f"looks, one in {self.every} steps"
        for name, (shown_metrics, y_label) in self._curves.items():
            series = {metric: metrics[metric] for metric in shown_metrics if metric in metrics}
            if series:
                plots.curves(run.path(f"images/{name}.png"), series, x_label, y_label, run.name)
        diversity = {"samples": [record["test/diversity"] for record in run.history]}
        plots.curves(
            run.path("images/diversity.png"),
            diversity,
            "epoch",
            "mean distance between samples / between test images",
            run.name,
        )

    def _look(self, state: PyTree, step: int, metrics: dict[str, float]) -> None:
        """Takes one look, and writes it: a run may resume in the midst of an epoch."""
        if step in self._steps:
            return
        frame = _bytes(self._run.learner.require("decode")(state, self._latents))
        path = self._run.path(f"looks/{step:08d}.npz")
        path.parent.mkdir(parents=True, exist_ok=True)
        kept: dict[str, Any] = {METRIC + name: value for name, value in metrics.items()}
        with writing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, frame=frame, **kept)
        self._steps.append(step)
        self._frames.append(frame)
        self._metrics.append(metrics)

    def _looks(self) -> dict[int, Path]:
        """The files of single looks by their step."""
        return {int(p.stem): p for p in sorted(self._run.path("looks").glob("*.npz"))}

    def _continue(self) -> None:
        """Reads the looks of the epoch that an interrupted run was in, and removes later ones."""
        first = self._run.history[-1]["step"] if self._run.history else 0
        for step, path in self._looks().items():
            if step > self._run.step:
                path.unlink()
            elif step > first:
                with np.load(path, allow_pickle=False) as kept:
                    self._steps.append(step)
                    self._frames.append(kept["frame"])
                    names = [name for name in kept.files if name.startswith(METRIC)]
                    self._metrics.append(
                        {name.removeprefix(METRIC): float(kept[name]) for name in names}
                    )

    def _keep(self) -> None:
        """Writes the looks of this epoch, whole or not at all, and forgets them."""
        names = self._metrics[0] if self._metrics else {}
        kept: dict[str, Any] = {
            METRIC + name: [metrics[name] for metrics in self._metrics] for name in names
        }
        shape = (0, NUM_LATENTS, *self._run.image_shape)
        kept["frames"] = np.stack(self._frames) if self._frames else np.zeros(shape, np.uint8)
        with writing(self._path(self._run.epoch)) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **kept)
        self._steps, self._frames, self._metrics = [], [], []
        for step, path in self._looks().items():
            if step <= self._run.earliest_start:
                path.unlink()

    def _everything(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The frames [T, 24, H, W, C] and metrics [T] of all epochs that were drawn."""
        frames, metrics = [], {}
        for epoch in range(1, self._run.epoch + 1):
            path = self._path(epoch)
            if not path.exists():  # the run was without pictures then
                continue
            with np.load(path, allow_pickle=False) as kept:
                frames.append(kept["frames"])
                for name in kept.files:
                    if name.startswith(METRIC):
                        metrics.setdefault(name.removeprefix(METRIC), []).append(kept[name])
        if not frames:
            return np.zeros(0), {}
        return np.concatenate(frames), {k: np.concatenate(v) for k, v in metrics.items()}

    def _path(self, epoch: int) -> Path:
        return self._run.path(f"fixed-latents/{epoch:04d}.npz")


def _bytes(pictures: Array) -> np.ndarray:
    return np.rint(np.asarray(pictures) * 255).astype(np.uint8)
