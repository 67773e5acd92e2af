"""The epochs of a population: trained together, recorded and saved for each member."""

import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxgen._files import printable
from jaxgen._process import deferred, raise_if_interrupted
from jaxgen.errors import UserError
from jaxgen.learners import Population, member_of, stacked
from jaxgen.runs import console
from jaxgen.runs._population_members import Member
from jaxgen.runs.reporting import headline, named, short
from jaxgen.runs.reports import write_report
from jaxgen.runs.trainer import labels_of
from jaxgen.runs.training import Pace, means_over_images, wait_until_ready
from jaxgen.types import Dataset, PyTree


class Training:
    """The epochs of a population.

    Args:
      members: what is trained.
      opened: the folders of the members, in their order.
      dataset: the data.
      num_examples: train on the first so many images.
    """

    def __init__(
        self, members: Population, opened: Sequence[Member], dataset: Dataset, num_examples: int
    ):
        self._members, self._opened = members, opened
        train, test = dataset.train, dataset.test
        self._images = jax.device_put(train.images[:num_examples])
        self._labels = labels_of(members.learner, train.labels, num_examples)
        self._test_images = jax.device_put(test.images)
        self._test_labels = labels_of(members.learner, test.labels)
        self._num_steps = -(-num_examples // members.learner.images_per_step)
        self._pace = Pace()
        self._seconds = 0.0

    def run(self, num_epochs: int) -> None:
        """Trains to so many epochs, or until every member has diverged."""
        states, done = self._restored()
        for member in self._opened:
            diverged_in = member.diverged_in
            member.begin(done if diverged_in is None else min(done, diverged_in - 1))
        with console.progress_bar(num_epochs, done) as bar:
            for epoch in range(done + 1, num_epochs + 1):
                if all(member.diverged_in is not None for member in self._opened):
                    raise UserError(
                        "every member has diverged: lower the learning rates, and start over with "
                        "--overwrite"
                    )
                states = self._train(states, epoch)
                bar.update()
        for member in self._opened:
            if member.history:
                write_report(member.path)

    def _restored(self) -> tuple[PyTree, int]:
        """States after the last epoch that all members have; initial ones where one has none."""
        template = jax.eval_shape(self._members.learner.init, jax.random.key(0))
        found = [member.restore(template) for member in self._opened]
        alive = [p for p, m in zip(found, self._opened, strict=True) if m.diverged_in is None]
        done = min((0 if p is None else p.epoch for p in alive), default=0)
        if not done:
            keys = jnp.stack([member.key("init") for member in self._opened])
            return self._members.init(keys), 0
        states = []
        for member, progress in zip(self._opened, found, strict=True):
            alone = member.diverged_in is not None
            if progress is not None and progress.epoch != done and not alone:
                progress = member.restore(template, done * self._num_steps)
            if progress is None and not alone:
                raise UserError(
                    f"expected {printable(member.path)} to hold epoch {done}, as the other members "
                    "do, found none: start over with --overwrite"
                )
            if progress is None:  # it diverged in its first epoch
                states.append(self._members.learner.init(member.key("init")))
            else:
                states.append(progress.state)
        return stacked(states), done

    def _train(self, states: PyTree, epoch: int) -> PyTree:
        keys = jnp.stack([member.key("train", epoch) for member in self._opened])
        began, position, parts = time.perf_counter(), 0, []
        while position < self._num_steps:
            raise_if_interrupted()
            stop = min(position + self._pace.steps, self._num_steps)
            start = time.perf_counter()
            states, metrics = self._members.epoch(
                states, self._images, keys, start=position, stop=stop, **self._labels
            )
            wait_until_ready(metrics)
            self._pace.measured(stop - position, time.perf_counter() - start)
            parts.append({k: np.asarray(v)[:, position:stop] for k, v in metrics.items()})
            position = stop
        steps = {name: np.concatenate([p[name] for p in parts], axis=1) for name in parts[0]}
        seconds = time.perf_counter() - began
        self._seconds += seconds
        # The same key every epoch, as in a run.
        keys = jnp.stack([member.key("evaluate") for member in self._opened])
        test = self._members.evaluate(states, self._test_images, keys, **self._test_labels)
        test, on_host = jax.device_get((dict(test), states))
        share = seconds / len(self._opened)
        with deferred():
            for i, member in enumerate(self._opened):
                own = {name: np.asarray(values[i], np.float64) for name, values in steps.items()}
                record = {
                    "epoch": epoch,
                    "step": epoch * self._num_steps,
                    "seconds": round(share, 4),
                    **named("train", means_over_images(own)),
                    **named("test", {name: float(values[i]) for name, values in test.items()}),
                }
                member.finish(record, member_of(on_host, i), self._seconds)
        losses = [headline(m.history[-1]) for m in self._opened if m.history]
        spread = f"{short(min(losses))} to {short(max(losses))}" if losses else "not finite"
        rate = len(self._opened) * len(self._images) / seconds
        console.say(f"epoch {epoch}: losses {spread}; {rate:,.0f} images/s in all")
        return states
