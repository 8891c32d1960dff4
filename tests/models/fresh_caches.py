"""Run by `test_hosts.py` with some Python: what a saved folder generates through every cache that this host has.

Usage: python fresh_caches.py HOST FOLDER [FOLDER ...]

The package is shut out and every warning is an error. HOST is `real`, `unbatched` (real, without continuous batching)
or what transformers may do next: `dropped` (the older name of the cache is unknown), `renamed` (attention takes it
under a third name) or `hidden` (attention is not given it at all). Each folder holds a saved model. Prints JSON: for
each folder, by kind of cache, the text or the error; `none` is the truth.
"""

# ruff: noqa: E402 - the package is shut out, and the host is changed, before the folder's code is loaded

import inspect
import json
import logging
import sys
import warnings

host, folders = sys.argv[1], sys.argv[2:]
sys.modules["lsw_hf"] = None  # any import of the package fails from here on

import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache, GenerationConfig, StaticCache
from transformers.models.llama import modeling_llama as llama
from transformers.utils.generic import ModelOutput

NEW_TOKENS = 12
NAMES = ("cache", "past_key_values")
NAME = next(name for name in NAMES if name in inspect.signature(llama.LlamaAttention.forward).parameters)


class Stream:
    """Offloading overlaps copies with computation on GPU streams; this stand-in runs them one after the other."""

    def wait_stream(self, other):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def drop_the_older_name():
    """What 5.40 announces: the decorators that translate are gone, and so is the attribute of outputs."""
    for owner in (llama.LlamaAttention, llama.LlamaModel, llama.LlamaForCausalLM):
        assert owner.forward.__code__.co_qualname.startswith("deprecate_kwarg"), owner
        owner.forward = owner.forward.__wrapped__
    del ModelOutput.past_key_values


def change_attention(handed):
    """Attention takes the cache as `kv_store`; the layer hands it over as `handed` says."""
    attend, run_layer = llama.LlamaAttention.forward, llama.LlamaDecoderLayer.forward

    def forward(self, hidden_states, position_embeddings=None, attention_mask=None, kv_store=None, **kwargs):
        cache = {NAME: kv_store}
        return attend(self, hidden_states, position_embeddings, attention_mask, **cache, **kwargs)

    def layer_forward(self, hidden_states, **kwargs):
        def hand_over(module, args, given):
            cache = given.pop(NAME, None)
            return args, given | handed(cache)

        hook = self.self_attn.register_forward_pre_hook(hand_over, with_kwargs=True)
        try:
            return run_layer(self, hidden_states, **kwargs)
        finally:
            hook.remove()

    llama.LlamaAttention.forward = forward
    llama.LlamaDecoderLayer.forward = layer_forward


def caches(model):
    """Every kind that generates exactly what no cache does: arguments of `generate`."""
    return {
        "none": {"use_cache": False},
        "default": {},
        "dynamic": {NAME: DynamicCache(config=model.config)},
        "static": {NAME: StaticCache(config=model.config, max_cache_len=64)},
        "offloaded": {NAME: DynamicCache(config=model.config, offloading=True)},
        "offloaded static": {NAME: StaticCache(config=model.config, max_cache_len=64, offloading=True)},
        "static by name": {"cache_implementation": "static"},
        "beams": {"num_beams": 3},
        "beams, none": {"num_beams": 3, "use_cache": False},
    }


def generated(model, ids, **how):
    try:
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False, **how
        )
    except (ValueError, RuntimeError, Warning) as error:
        return str(error)
    return out[0, ids.shape[1] :].tolist()


def batched(model, ids):
    """Continuous batching, whose cache is of a class of its own."""
    from transformers import ContinuousBatchingConfig

    settings = GenerationConfig(max_new_tokens=NEW_TOKENS, do_sample=False, eos_token_id=-1, pad_token_id=0)
    # Unless told how much it needs, it takes most of the machine's memory.
    few = ContinuousBatchingConfig(num_blocks=4, max_batch_tokens=64)
    answers = model.generate_batch([ids[0].tolist()], generation_config=settings, continuous_batching_config=few)
    return next(iter(answers.values())).generated_tokens


@torch.no_grad()
def in_pieces(model, ids, name):
    """The next tokens after a prefill in pieces, with the cache handed over by the user under `name`."""
    try:
        cache = DynamicCache(config=model.config)
        return [model(part, **{name: cache}).logits[0, -1].argmax().item() for part in ids.split(5, dim=1)]
    except (ValueError, RuntimeError, Warning) as error:
        return str(error)


@torch.no_grad()
def read_whole(model, ids):
    """The same without a cache."""
    last = model(ids, use_cache=False).logits[0].argmax(-1).tolist()
    return [last[min(end, len(last)) - 1] for end in range(5, len(last) + 5, 5)]


class Deprecations(logging.Handler):
    """transformers says of some old names that they are old by logging, not by warning."""

    def __init__(self):
        super().__init__()
        self.found = []

    def emit(self, record):
        if "deprecat" in record.getMessage():
            self.found.append(record.getMessage())


torch.Stream = Stream
torch.cuda.default_stream = lambda device=None: Stream()
if host == "dropped":
    drop_the_older_name()
elif host == "renamed":
    change_attention(lambda cache: {"kv_store": cache})
elif host == "hidden":
    change_attention(lambda cache: {})
deprecations = Deprecations()
logging.getLogger("transformers").addHandler(deprecations)
findings = {"transformers": transformers.__version__, "name": NAME, "folders": []}
with warnings.catch_warnings():
    warnings.simplefilter("error")
    for folder in folders:
        model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
        model.generation_config.eos_token_id = None  # a random model may say it at any time
        ids = torch.randint(1, model.config.vocab_size, (1, 23), generator=torch.Generator().manual_seed(5))
        texts = {kind: generated(model, ids, **how) for kind, how in caches(model).items()}
        pieces = {name: in_pieces(model, ids, name) for name in NAMES}
        if host == "real" and NAME == "cache":
            texts["continuous batching"] = batched(model, ids)
        findings["folders"].append({"texts": texts, "whole": read_whole(model, ids), "pieces": pieces})
findings["deprecations"] = deprecations.found
print(json.dumps(findings))
