"""Sampling with transformers: one complete block of settings, nothing left to a library's or the base's defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Sampler:
    """A model, its tokenizer and a sampling block. `sample` draws, `greedy` does not."""

    def __init__(self, model: Any, tokenizer: Any, sampling: Mapping[str, Any]) -> None:
        import transformers

        transformers.utils.logging.set_verbosity_error()  # it warns of settings that are off on purpose
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._stop = [str(text) for text in sampling["stop"]]
        self._model.config.use_cache = True

    def sample(self, prompts: Sequence[Sequence[int]], seed: int) -> list[dict[str, Any]]:
        """One answer per prompt: `{completion, finish_reason, n_tokens}`. Same prompts and seed, same answers.

        `finish_reason` is `stop` when the model ended its turn or wrote a stop text (which is cut off), else `length`.
        """
        import torch

        torch.manual_seed(seed)
        answers = []
        for ids in self._generate(prompts, self.config(), stop=self._stop):
            ended = ids[-1:] == [self._tokenizer.eos_token_id]
            text = self._tokenizer.decode(ids[:-1] if ended else ids, clean_up_tokenization_spaces=False)
            cut = min((at for at in (text.find(stop) for stop in self._stop) if at >= 0), default=-1)
            answers.append(
                {
                    "completion": text if cut < 0 else text[:cut],
                    "finish_reason": "stop" if ended or cut >= 0 else "length",
                    "n_tokens": len(ids),
                }
            )
        return answers

    def greedy(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[list[int]]:
        """The most likely continuation of each prompt as token ids, at most `max_new_tokens` of them."""
        limit = min(max_new_tokens, self._sampling["max_new_tokens"])
        return self._generate(prompts, self.config(greedy=True, max_new_tokens=limit), stop=[])

    def config(self, *, greedy: bool = False, max_new_tokens: int | None = None) -> Any:
        """The GenerationConfig of the sampling block; temperature 0 is greedy."""
        from transformers import GenerationConfig

        block = self._sampling
        draw = block["temperature"] > 0 and not greedy
        chosen: dict[str, Any] = {"do_sample": False}
        if draw:
            chosen = {
                "do_sample": True,
                "temperature": float(block["temperature"]),
                "top_p": float(block["top_p"]),
                "top_k": int(block["top_k"]),
            }
            if block["min_p"] > 0:
                chosen["min_p"] = float(block["min_p"])
        return GenerationConfig(
            **chosen,
            repetition_penalty=float(block["repetition_penalty"]),
            max_new_tokens=max_new_tokens or block["max_new_tokens"],
            num_beams=1,
            num_return_sequences=1,
            use_cache=True,
            bos_token_id=self._tokenizer.bos_token_id,
            eos_token_id=self._tokenizer.eos_token_id,
            pad_token_id=self._tokenizer.pad_token_id,
        )

    def _generate(self, prompts: Sequence[Sequence[int]], config: Any, stop: Sequence[str]) -> list[list[int]]:
        """New token ids of each prompt, up to and with the end of turn. Prompts are padded on the left."""
        import torch

        pad, eos = self._tokenizer.pad_token_id, self._tokenizer.eos_token_id
        width = max(len(ids) for ids in prompts)
        ids = torch.full((len(prompts), width), pad)
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(prompts):
            ids[row, width - len(prompt) :] = torch.tensor(list(prompt))
            mask[row, width - len(prompt) :] = 1
        place = self._model.device
        # What a config leaves unset is filled in from the model's own: let that be the same one.
        self._model.generation_config = config
        extra = {"stop_strings": list(stop), "tokenizer": self._tokenizer} if stop else {}
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=ids.to(place), attention_mask=mask.to(place), generation_config=config, **extra
            )
        answers = []
        for row in out[:, width:].tolist():
            if eos in row:
                row = row[: row.index(eos) + 1]
            else:
                while row and row[-1] == pad:  # filled up because others of the batch went on
                    row.pop()
            answers.append(row)
        return answers
