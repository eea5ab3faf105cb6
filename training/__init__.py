"""Training: the OpenLM-compatible trainer, its scales, its data path and its checkpoints.

Doors: `training.train` (DCLM's command line, under torchrun or alone), `training.main` (OpenLM's), their functions
`training.experiment.run_experiment` and `training.main.run_trainer`; `training.loop.train` (a `TrainConfig`, with
observers and an on-checkpoint callable), `training.phase_plan` (what recipes above compile to),
`training.checkpoint.load_model` (a checkpoint as a module ready to evaluate), `training.proxies.run_proxies` (many
small runs side by side), `training.export.export_model` and `training.hf_import.import_model` (Hugging Face),
`training.sft.prepare_sft_data` (fine-tuning), `training.hyperparameters` and `training.model_config` (scales and
models as data; they load no torch).
"""
