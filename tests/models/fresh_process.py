"""Run by `test_remote_code.py` with some Python: loads saved folders as a stranger would and prints JSON findings.

Usage: python fresh_process.py trust|package FOLDER [FOLDER ...]

With `trust` the package is shut out, and the first folder is also asked for without trust.

Each folder holds a saved model, a tokenizer, and `expected.json` with prompt ids, logits and a generated text.
"""

# ruff: noqa: E402 - the package is let in or shut out before anything may import it

import json
import sys
import tempfile

how, folders = sys.argv[1], sys.argv[2:]
if how == "package":
    import lsw_hf  # noqa: F401 - registers the classes
else:
    sys.modules["lsw_hf"] = None  # any import of the package fails from here on

import torch
import transformers
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)

trust = {"trust_remote_code": True} if how == "trust" else {}
findings = {"transformers": transformers.__version__, "folders": []}
if how == "trust":
    try:
        AutoModelForCausalLM.from_pretrained(folders[0], trust_remote_code=False)
    except ValueError as error:
        findings["refused"] = str(error)
for folder in folders:
    with open(f"{folder}/expected.json") as file:
        expected = json.load(file)
    ids, truth = torch.tensor(expected["ids"]), torch.tensor(expected["logits"])

    # One Auto class at a time, each as the first thing that is loaded from the folder.
    classifier = AutoModelForSequenceClassification.from_pretrained(folder, **trust)
    model = AutoModelForCausalLM.from_pretrained(folder, **trust)
    tokenizer = AutoTokenizer.from_pretrained(folder, **trust)
    with tempfile.TemporaryDirectory() as again:
        model.save_pretrained(again)
        resaved = AutoModelForCausalLM.from_pretrained(again, **trust)
        with open(f"{again}/config.json") as file:
            resaved_config = json.load(file)
    with torch.no_grad():
        logits = model(ids).logits
        resaved_difference = (resaved(ids).logits - logits).abs().max().item()
    generate = pipeline("text-generation", model=folder, **trust)
    answer = generate(expected["prompt"], max_new_tokens=6, do_sample=False, return_full_text=False)
    findings["folders"].append(
        {
            "classes": [
                type(AutoConfig.from_pretrained(folder, **trust)).__name__,
                type(AutoModel.from_pretrained(folder, **trust)).__name__,
                type(model).__name__,
                type(classifier).__name__,
            ],
            "relative_difference": ((logits - truth).abs().max() / truth.abs().max()).item(),
            "resaved_difference": resaved_difference,
            "resaved_auto_map": resaved_config["auto_map"],
            "resaved_rope": [resaved_config[key] for key in ("rope_parameters", "rope_theta", "rope_scaling")],
            "round_trip": tokenizer.decode(tokenizer(expected["prompt"])["input_ids"]),
            "answer": answer[0]["generated_text"],
            "inv_freq_after_cast": str(model.to(torch.bfloat16).model.rotary_emb.inv_freq.dtype),
        }
    )
print(json.dumps(findings))
