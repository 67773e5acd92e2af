"""The loop: one run of one system, from the command line to a folder of results.

    with runs.start(systems.vae_mnist, num_epochs=15) as run:
        for state in run.epochs():
            run.draw("samples", grids.grid(run.learner.sample(state, 128, run.key("samples"))))

`epochs` trains, evaluates, records and saves; the body of the loop draws. Run again, the same
command goes on where the last one stopped.
"""

from jaxgen.runs.loop import Run
from jaxgen.runs.starting import command, start

__all__ = ["Run", "command", "start"]
