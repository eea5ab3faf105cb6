"""Training: the OpenLM-compatible trainer, its scales, its data path and its checkpoints.

Doors: `training.train` (command line, under torchrun or alone), `training.experiment.run_experiment` (a whole run from
a data set's reference to a model's reference), `training.checkpoint.load_model` (a checkpoint as a module ready to
evaluate), `training.hyperparameters` and `training.model_config` (scales and models as data; they load no torch).
"""
