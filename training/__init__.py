"""Training: the OpenLM-compatible trainer, its scales, its data path and its checkpoints.

Packages, each importing only those before it: `models` (with `training.hyperparameters`: scales), `data` (token shards
to batches), `state` (processes, checkpoints), `optimization` (one step), `plan` (what a run is to do), `observers`
(what looks on), `loop` (many steps), `arguments` (command lines), and on top of them the entry points, `experiment`,
`proxies`, `huggingface` and `finetuning`.

Doors: `training.train` (DCLM's command line, under torchrun or alone), `training.main` (OpenLM's), their functions
`training.experiment.run_experiment` and `training.main.run_trainer`; `training.loop.train_loop.train` (a `TrainConfig`,
with observers and an on-checkpoint callable), `training.plan.phase_plan` (what recipes above compile to),
`training.state.checkpoint.load_model` (a checkpoint as a module ready to evaluate), `training.proxies.run_proxies`
(many small runs side by side), `training.huggingface.export.export_model` and
`training.huggingface.import_model.import_model` (Hugging Face), `training.finetuning.prepare.prepare_sft_data`
(fine-tuning), `training.hyperparameters` and `training.models.config` (scales and models as data; they load no torch).
"""
