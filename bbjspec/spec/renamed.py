"""Names that other tools, or older versions of ours, have for what a spec says: what to write here instead.

`RENAMED` is a field under another name. `EXPLAINED` has no field of its own: it is always so, derived, or set by other
fields. `REFUSED` is what this project does not do, with the reason and what to do instead.
"""

from __future__ import annotations

_AXOLOTL = "axolotl's"
_FACTORY = "LLaMA-Factory's"
_HF = "transformers'"
_OLD_HF = "transformers' former"
_OLD_TRL = "TRL's former"
_PEFT = "PEFT's"
_UNSLOTH = "Unsloth's"

# name -> (whose it is, the field here)
RENAMED: dict[str, tuple[str, str]] = {
    "base_model": (_AXOLOTL, "model.base"),
    "revision_of_model": (_AXOLOTL, "model.revision"),
    "sequence_len": (_AXOLOTL, "training.max_length"),
    "micro_batch_size": (_AXOLOTL, "training.per_device_train_batch_size"),
    "num_epochs": (_AXOLOTL, "training.num_train_epochs"),
    "optimizer": (_AXOLOTL, "training.optim"),
    "lr_scheduler": (_AXOLOTL, "training.lr_scheduler_type"),
    "sample_packing": (_AXOLOTL, "training.packing"),
    "val_set_size": (_AXOLOTL, "data.val_size"),
    "datasets": (_AXOLOTL, "data.path"),
    "lora_r": (_AXOLOTL, "lora.r"),
    "lora_target_modules": (_AXOLOTL, "lora.target_modules"),
    "lora_target_linear": (_AXOLOTL, "lora.target_modules: all-linear"),
    "peft_use_rslora": (_AXOLOTL, "lora.use_rslora"),
    "sdp_attention": (_AXOLOTL, "model.attn_implementation: sdpa"),
    "flash_attention": (_AXOLOTL, "model.attn_implementation"),
    "test_datasets": (_AXOLOTL, "data.val_size"),
    "where": ("bbjspec's former", "data.filters.where"),
    "model_name_or_path": (_FACTORY, "model.base"),
    "model_revision": (_FACTORY, "model.revision"),
    "dataset": (_FACTORY, "data.path"),
    "cutoff_len": (_FACTORY, "training.max_length"),
    "lora_rank": (_FACTORY, "lora.r"),
    "lora_target": (_FACTORY, "lora.target_modules"),
    "flash_attn": (_FACTORY, "model.attn_implementation"),
    "quantization_bit": (_FACTORY, "model.load_in_4bit"),
    "double_quantization": (_FACTORY, "model.bnb_4bit_use_double_quant"),
    "quantization_type": (_FACTORY, "model.bnb_4bit_quant_type"),
    "default_system": (_FACTORY, "eval.sampling.system_prompt"),
    "max_seq_length": (_OLD_TRL, "training.max_length"),
    "torch_dtype": (_OLD_HF, "model.dtype"),
    "evaluation_strategy": (_OLD_HF, "training.eval_steps"),
    "eval_strategy": (_HF, "training.eval_steps"),
    "save_strategy": (_HF, "training.save_steps"),
    "warmup_ratio": (_OLD_HF, "training.warmup_steps (below 1 it is a share)"),
    "num_warmup_steps": (_HF, "training.warmup_steps"),
    "data_seed": (_HF, "training.seed"),
    "train_batch_size": (_HF, "training.global_train_batch_size"),
    "per_gpu_train_batch_size": (_OLD_HF, "training.per_device_train_batch_size"),
    "per_device_eval_batch_size": (_HF, "training.per_device_train_batch_size"),
    "activation_checkpointing": (_HF, "training.gradient_checkpointing"),
    "patience": (_HF, "training.early_stopping_patience"),
    "test_size": ("datasets'", "data.val_size"),
    "do_sample": (_HF, "eval.sampling.temperature (0 is greedy)"),
    "num_return_sequences": (_HF, "eval.sampling.n"),
    "max_tokens": ("vLLM's", "eval.sampling.max_new_tokens"),
    "repeat_penalty": ("Ollama's", "eval.sampling.repetition_penalty"),
    "num_predict": ("Ollama's", "eval.sampling.max_new_tokens"),
    "stop_strings": (_HF, "eval.sampling.stop"),
    "rank": (_PEFT, "lora.r"),
    "alpha": (_PEFT, "lora.lora_alpha"),
    "dropout": (_PEFT, "lora.lora_dropout"),
    "base_model_name_or_path": (_PEFT, "model.base"),
    "bnb_4bit_compute_dtype": (_HF, "model.dtype"),
    "use_gradient_checkpointing": (_UNSLOTH, "training.gradient_checkpointing"),
    "model_name": (_UNSLOTH, "model.base"),
    "quantization_method": (_UNSLOTH, "export.gguf"),
    "quantization": ("llama.cpp's", "export.gguf"),
    "context_length": ("Ollama's", "export.ollama.num_ctx"),
    "n_ctx": ("llama.cpp's", "export.ollama.num_ctx"),
    "license": ("Ollama's", "export.licence"),
    "export_dir": (_FACTORY, "export.dir"),
    "dataset_path": ("other tools'", "data.path"),
    "lr": ("other tools'", "training.learning_rate"),
    "epochs": ("other tools'", "training.num_train_epochs"),
    "batch_size": ("other tools'", "training.global_train_batch_size"),
    "gpus": ("other tools'", "resources.gpu"),
    "num_gpus": ("other tools'", "resources.gpu"),
    "gpu_type": ("other tools'", "resources.gpu_model"),
    "mem": ("SLURM's", "resources.mem_mb"),
    "memory": ("other tools'", "resources.mem_mb"),
    "gres": ("SLURM's", "resources.gpu"),
    "walltime": ("other tools'", "resources.runtime"),
    "time_limit": ("other tools'", "resources.runtime"),
    "cpus": ("other tools'", "resources.cpus_per_task"),
    "use_wandb": (_AXOLOTL, "tracking.wandb.project (naming one is enough)"),
    "wandb_project": (_AXOLOTL, "tracking.wandb.project"),
    "wandb_entity": (_AXOLOTL, "tracking.wandb.entity"),
    "wandb_mode": (_AXOLOTL, "tracking.wandb.mode"),
}

_DERIVED = "it is derived: training.global_train_batch_size / (training.per_device_train_batch_size x resources.gpu)"
_CHAT = "it is always so: the base's own chat template renders system, question and answer"
_COMPLETION = "it is always so: the loss is taken on the answer alone"
_NAMED = "it is derived: results lie in build/ by their digest and in adapters/<experiment>/"
_BEST = "it is always so: the checkpoint with the best validation loss is the one that is kept"
_LOGGED = "it is always so: every step is logged"
_SORTED = (
    "it is always so: each global batch is drawn at random by training.seed, and sorted by length before it is cut "
    "into the devices' batches, so that rows of one length are padded together"
)
_PLACE = (
    "it is the cluster's own business: slurm_partition and slurm_account in profiles/slurm or in --default-resources; "
    "a spec runs anywhere"
)
_LORA = "it is always so: the adapter is LoRA, and QLoRA with model.load_in_4bit: true"

EXPLAINED: dict[str, str] = {
    **dict.fromkeys(
        ("partition", "account", "qos", "queue", "constraint", "slurm_partition", "slurm_account", "slurm_extra"),
        _PLACE,
    ),
    "gradient_accumulation_steps": _DERIVED,
    "adapter": _LORA,
    "peft_type": _LORA,
    "finetuning_type": f"{_LORA}; full fine-tuning is not done here",
    "method": _LORA,
    "task_type": "it is always so: CAUSAL_LM",
    "bias": "it is always so: biases are not trained",
    "lora_bias": "it is always so: biases are not trained",
    "load_in_8bit": "4 bits (model.load_in_4bit: true) or none are meant",
    "bf16": "computation runs in model.dtype",
    "fp16": "computation runs in model.dtype",
    "tf32": "computation runs in model.dtype",
    "template": _CHAT,
    "chat_template": _CHAT,
    "tokenizer_type": _CHAT,
    **dict.fromkeys(("pad_token", "eos_token", "bos_token", "unk_token", "add_bos_token", "add_eos_token"), _CHAT),
    "dataset_prepared_path": _NAMED,
    "train_on_inputs": _COMPLETION,
    "train_on_prompt": _COMPLETION,
    "completion_only_loss": _COMPLETION,
    "assistant_only_loss": _COMPLETION,
    "train_on_responses_only": _COMPLETION,
    "response_template": _COMPLETION,
    "load_best_model_at_end": _BEST,
    "metric_for_best_model": _BEST,
    "greater_is_better": _BEST,
    "output_dir": _NAMED,
    "overwrite_output_dir": _NAMED,
    "run_name": _NAMED,
    "logging_dir": _NAMED,
    "name": "an experiment is called as its file is",
    "resume_from_checkpoint": "it is always so: a run goes on from its newest whole checkpoint",
    **dict.fromkeys(("logging_steps", "logging_strategy", "logging_first_step"), _LOGGED),
    **dict.fromkeys(("group_by_length", "train_sampling_strategy", "length_column_name"), _SORTED),
    "pad_to_sequence_len": "batches are padded to their longest row; training.packing: true leaves next to no padding",
    "padding_free": "training.packing: true is what leaves next to no padding",
    "packing_strategy": "it is always so: training.packing: true packs by best fit, and cuts no example",
    "eval_packing": "validation rows are never packed",
    "push_to_hub": "results are published in adapters/<experiment>/ of this repository",
    "hub_model_id": "results are published in adapters/<experiment>/ of this repository",
    "trust_remote_code": "code from a model's repository is never run; a base that needs it cannot be used",
    "use_dora": "LoRA and rsLoRA (lora.use_rslora) are known: both can be merged without loss",
    "lora_alpha_pattern": "one rank and one scale for all layers: lora.r and lora.lora_alpha",
    "rank_pattern": "one rank and one scale for all layers: lora.r and lora.lora_alpha",
    "alpha_pattern": "one rank and one scale for all layers: lora.r and lora.lora_alpha",
    "modules_to_save": "whole layers are not trained: name linear layers in lora.target_modules",
    "init_lora_weights": "it is always so: B starts at zero, so that training starts at the base",
    "use_liger_kernel": "Liger's kernels are used where they are installed",
    "report_to": "TensorBoard events are always written; tracking.wandb adds Weights & Biases",
    **dict.fromkeys(("wandb_name", "wandb_run_id"), "a run is called as its experiment"),
    "preprocessing_num_workers": "speed is the engine's business: snakemake --cores",
    "dataloader_num_workers": "speed is the engine's business: snakemake --cores",
}

_FULL = (
    "full fine-tuning is not done here: eight times the memory, and the base's knowledge is forgotten; raise lora.r to "
    "64 or 128 instead"
)
_TOKENS = (
    "the tokenizer is not trained here: new tokens make new embeddings, which ten thousand rows cannot teach; format "
    "the training data instead"
)
_GRID = (
    "grids are not run here: data moves the result more than hyperparameters do; write one experiment a question "
    "(bbjspec new v4 --extends v3 --set …) and compare"
)
_TURNS = (
    "multi-turn data is not trained on here: each row is one question and one answer; split a conversation into rows"
)
_SYNTHETIC = (
    "bulk synthetic data is not generated here: models that do not know BBj write wrong BBj; add rows from "
    "documentation and real programs instead"
)
_DEPLOY = (
    "nothing is deployed without evaluation: the gate (eval.gate) decides, export.gate says which verdict a release "
    "needs"
)
_NODES = (
    "training on several nodes is not done here: LoRA of a 32B base fits one GPU, and up to eight of one node share a "
    "batch without a network between them; write resources.gpu"
)
_MLOPS = (
    "infrastructure is not built here: git keeps results, Snakemake runs them (its profiles know clusters), Ollama "
    "serves them"
)

REFUSED: dict[str, str] = {
    **dict.fromkeys(
        ("full_finetune", "full_finetuning", "full", "freeze_trainable_layers", "unfrozen_parameters"), _FULL
    ),
    **dict.fromkeys(("use_galore", "use_badam", "unfreeze", "train_embeddings"), _FULL),
    **dict.fromkeys(("add_tokens", "new_tokens", "tokens", "special_tokens", "add_special_tokens"), _TOKENS),
    **dict.fromkeys(("resize_vocab", "resize_token_embeddings", "tokenizer", "tokenizer_training"), _TOKENS),
    **dict.fromkeys(("grid", "sweep", "sweeps", "search", "search_space", "hyperparameter_search", "hp_search"), _GRID),
    **dict.fromkeys(("matrix", "trials", "n_trials", "optuna", "ray_tune"), _GRID),
    **dict.fromkeys(("multi_turn", "multiturn", "conversations", "conversation", "max_turns", "history"), _TURNS),
    **dict.fromkeys(("synthetic", "synthetic_data", "generate_data", "augment", "augmentation"), _SYNTHETIC),
    **dict.fromkeys(("num_synthetic", "teacher_model", "distill"), _SYNTHETIC),
    **dict.fromkeys(("deploy", "deployment", "skip_eval", "force_release", "no_eval", "serve"), _DEPLOY),
    **dict.fromkeys(("nodes", "num_nodes", "nnodes", "num_machines", "n_nodes", "slurm_nodes"), _NODES),
    **dict.fromkeys(("kubernetes", "k8s", "mlflow", "registry", "model_registry", "ab_test", "ab_testing"), _MLOPS),
    **dict.fromkeys(("pipeline", "kubeflow", "airflow", "sagemaker", "retrain", "retraining"), _MLOPS),
}


def elsewhere(name: str) -> str | None:
    """What to write instead of a name that other tools have; None for a name that no table knows."""
    if name in REFUSED:
        return REFUSED[name]
    if name in RENAMED:
        whose, here = RENAMED[name]
        return f"unknown field; {whose} {name} is {here} here"
    if name in EXPLAINED:
        return f"unknown field; {EXPLAINED[name]}"
    return None
