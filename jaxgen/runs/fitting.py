"""`fit`: the whole loop for any learner, from Python."""

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal

from jaxgen import data
from jaxgen.runs.loading import TrainedRun
from jaxgen.runs.opening import open_run
from jaxgen.runs.pictures import standard_pictures
from jaxgen.runs.saving import Settings
from jaxgen.types import Dataset, Learner, PyTree

OnEpoch = Callable[[int, PyTree, dict[str, Any]], bool | None]


def fit(
    learner: Learner,
    dataset: Dataset,
    *,
    num_epochs: int,
    workdir: str | os.PathLike[str],
    seed: int = 0,
    num_examples: int | None = None,
    system: str | None = None,
    hyperparameters: Mapping[str, Any] | None = None,
    state: PyTree | None = None,
    init_from: str | os.PathLike[str] | None = None,
    on_epoch: OnEpoch | None = None,
    pictures: bool = True,
    checkpoint_every: int | None = None,
    keep: int = 2,
    keep_best: str | None = None,
    validation_fraction: float = 0.0,
    on_nonfinite: str = "stop",
    devices: int | Literal["all"] = 1,
    overwrite: bool = False,
) -> TrainedRun:
    """Trains a learner as the scripts do: recorded, drawn, saved, and resumed where it stopped.

    Called again with the same arguments it resumes after the last saved epoch, also towards a
    larger `num_epochs`. Reads no command line.

    Args:
      learner: one of `systems`, or made by `learners.minimize` or `learners.adversarial`.
      dataset: from `data.load` or `data.from_arrays`.
      num_epochs: passes over the training images, in all.
      workdir: the folder for config.json, metrics.jsonl, checkpoints/, tensorboard/ and images/;
        it is made where it is missing.
      seed: of every random choice of the run, 0 to 2**32 − 1.
      num_examples: train on the first so many images; None for all.
      system: the name in `systems` of the function that made the learner, with `hyperparameters`
        its keyword arguments: `load` and every command can then open the run by itself. None for
        a learner of your own, which `load` has to be given.
      hyperparameters: what config.json records of the learner; values that JSON can hold. A run
        with other values does not resume this one.
      state: a state of the learner whose weights to start from, with a fresh optimizer.
      init_from: the same from a file: a workdir, or weights as `interop.save` or PyTorch write
        them.
      on_epoch: called after each epoch with its number, the state and its metrics as in
        metrics.jsonl. The run ends after the epoch where it returns True. The state is donated to
        the next epoch: copy what is to be kept.
      pictures: whether to draw the standard pictures of a VAE or of a GAN. In a notebook they are
        shown as well.
      checkpoint_every: save whenever the number of steps is a multiple of this, and after each
        epoch; None for the latter alone.
      keep: how many of the newest checkpoints are kept.
      keep_best: a metric such as "loss": the checkpoint of the epoch with its best value on the
        validation split is kept besides; `load(workdir, "best")` opens it.
      validation_fraction: share of the training images held out as that split; 0 for none, or
        where the data set has one of its own.
      on_nonfinite: "stop" ends the run at the first loss or gradient that is not finite; "skip"
        leaves such updates out, and counts them as train/skipped.
      devices: how many of JAX's devices share every batch; "all" for all. May change when a run
        resumes.
      overwrite: delete an earlier run in `workdir` first.

    Returns:
      The finished run: learner, state, config, history, workdir and dataset.

    Raises:
      UserError: the arguments do not fit together, the workdir cannot be used or holds another
        run, or a metric is no longer finite. In messages an argument is called as the flag of
        the scripts: --num-epochs for num_epochs.

    Example:
      >>> import jax
      >>> import numpy as np
      >>> from jaxgen import data, runs, systems
      >>> dataset = data.from_arrays(np.zeros((100, 28, 28), np.uint8))
      >>> learner = systems.vae_mnist(hidden_sizes=(16,), batch_size=32)
      >>> run = runs.fit(learner, dataset, num_epochs=1, workdir="runs/mine", pictures=False)
      mine on arrays: 90 training and 10 test images of 28x28x1...
      results are in runs/mine
      >>> run.learner.sample(run.state, 16, jax.random.key(0)).shape
      (16, 28, 28, 1)
    """
    run = open_run(
        learner,
        data.with_validation(dataset, validation_fraction),
        num_epochs=num_epochs,
        workdir=workdir,
        seed=seed,
        num_examples=num_examples,
        system=system,
        hyperparameters=hyperparameters,
        state=state,
        init_from=init_from,
        origin={"validation_fraction": validation_fraction} if validation_fraction else None,
        on_nonfinite=on_nonfinite,
        settings=Settings(
            pictures=pictures,
            checkpoint_every=checkpoint_every,
            keep=keep,
            keep_best=keep_best,
            devices=devices,
        ),
        overwrite=overwrite,
    )
    with run:
        drawing = standard_pictures(run)
        for state in run.epochs(drawing.every, drawing.watch):
            drawing.draw_epoch(state)
            if on_epoch is not None and on_epoch(run.epoch, state, dict(run.history[-1])):
                run.stop()
        drawing.draw_run()
    trained = TrainedRun(run.learner, run.state, run.config, run.history, run.workdir)
    vars(trained)["dataset"] = run.dataset  # it need not be loaded
    return trained
