"""The loop: a learner and a data set in, a folder of results out.

fit             trains any learner from Python or a notebook
fit_population  trains many seeds and hyperparameters as one program; train_population the same
                from the command line
load            opens a finished or interrupted run
evaluate_run    measures what it has learned, and writes evaluation.json into its folder
start           begins a run of a named system from the command line
command         runs a script's main: mistakes and signals end it with one line
VAEPictures, GANPictures, standard_pictures    what a run draws

A script tells a run as a loop:

    with runs.start(systems.vae_mnist, num_epochs=15) as run:
        pictures = runs.VAEPictures(run)
        for state in run.epochs():
            pictures.draw_epoch(state)
        pictures.draw_run()

`epochs` trains, evaluates, records and saves; the body of the loop draws. The same command resumes
where the last one stopped.
"""

from jaxgen._process import command
from jaxgen.runs.evaluating import evaluate_run
from jaxgen.runs.fitting import fit
from jaxgen.runs.gan_pictures import GANPictures
from jaxgen.runs.loading import TrainedRun, load
from jaxgen.runs.loop import Run
from jaxgen.runs.pictures import standard_pictures
from jaxgen.runs.population_starting import TrainedPopulation, train_population
from jaxgen.runs.populations import fit_population
from jaxgen.runs.starting import start
from jaxgen.runs.vae_pictures import VAEPictures

__all__ = [
    "GANPictures",
    "Run",
    "TrainedPopulation",
    "TrainedRun",
    "VAEPictures",
    "command",
    "evaluate_run",
    "fit",
    "fit_population",
    "load",
    "standard_pictures",
    "start",
    "train_population",
]
