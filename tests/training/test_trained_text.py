"""What is trained of a file's rows is what stock TRL trains of them, read by `datasets`."""

import copy
import json

import pytest
from datasets import load_dataset
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

from lsw_hf.data.corpus.instructions import load_instructions
from lsw_hf.data.tables import TableConfig, TableGenerator
from lsw_hf.recipes.stage_data import synthetic_tables
from lsw_hf.training.long_sft import LongSFTConfig, LongSFTTrainer

TEMPLATE = (
    "{% if tools %}tools: {{ tools | tojson }} {% endif %}{% for message in messages %}{{ message['role'] }} : "
    "{% generation %}{{ message['content'] or '' }}{% for call in message.tool_calls or [] %}"
    " {{ call.function.name }} {{ call.function.arguments | tojson }}{% endfor %}{% endgeneration %}{{ eos_token }}"
    "{% endfor %}{% if loud %} !{% endif %}{% if add_generation_prompt %}assistant : {% endif %}"
)
USER, END = {"role": "user", "content": "where ?"}, {"role": "assistant", "content": "in the box ."}


def call(**arguments):
    function = {"name": "move", "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}


TOOL = [{"type": "function", "function": {"name": "move", "parameters": {"x": {"type": "int"}}}}]
FORMS = {
    "plain": [{"prompt": "where ?", "completion": " in the box ."}, {"prompt": "a", "completion": " b"}],
    "messages": [{"messages": [USER, END]}, {"messages": [{"role": "system", "content": "no ."}, USER, END]}],
    "conversational": [{"prompt": [USER], "completion": [END]}, {"prompt": [USER, END, USER], "completion": [END]}],
    "calls": [
        {"messages": [USER, call(x=0, y=1), {"role": "tool", "content": "7"}, END]},
        {"messages": [USER, call(text="the key"), {"role": "tool", "content": "8", "name": "m"}, END]},
    ],
    "tools in a later row": [{"messages": [USER, END], "tools": None}, {"messages": [USER, END], "tools": TOOL}],
    "tools as text": [{"messages": [USER, END], "tools": json.dumps(TOOL)}] * 2,
    "template options": [{"messages": [USER, END], "chat_template_kwargs": {"loud": True}}] * 2,
    "prompt with tools": [{"prompt": [USER], "completion": [call(x=[1, 2]), END], "tools": TOOL}] * 2,
}


@pytest.fixture(scope="module")
def letters():
    """A tokenizer of bytes, so that every character of a template counts."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE({letter: place for place, letter in enumerate([*alphabet, "<eos>"])}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<eos>", pad_token="<eos>", chat_template=TEMPLATE
    )


@pytest.fixture
def model(letters):
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(letters),
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=1,
            max_position_embeddings=4_096,
        )
    )


def trained(trainer):
    return [(list(row["input_ids"]), list(row["labels"])) for row in trainer.train_dataset]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("streaming", [False, True])
def test_trained_text_is_that_of_trl(tmp_path, letters, model, arguments, form, streaming):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in FORMS[form]), encoding="utf-8")
    options = {"assistant_only_loss": "messages" in FORMS[form][0]}
    stock = load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "cache"))
    theirs = SFTTrainer(model, arguments(SFTConfig, **options), train_dataset=stock, processing_class=letters)
    rows = load_instructions(file, streaming=streaming)
    ours = LongSFTTrainer(model, arguments(LongSFTConfig, **options), train_dataset=rows, processing_class=letters)
    assert trained(ours) == trained(theirs)
    text = letters.decode(trained(ours)[1][0])
    assert "null" not in text
    assert ("move" in text) == (form in ("calls", "prompt with tools") or "tools" in form)


@pytest.mark.parametrize("form", ["chat", "plain", "begins", "begins and ends"])
def test_own_tables_are_as_long_as_the_trainer_makes_them(letters, model, arguments, form):
    """Tokenizers that add special tokens made them longer than the window, in the last stage of a run."""
    tokenizer = copy.deepcopy(letters)
    if form != "chat":
        tokenizer.chat_template = None
    if form.startswith("begins"):
        ending = " <eos>:1" if form.endswith("ends") else ""
        tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
            f"<eos> $A{ending}", "$A $B", [("<eos>", tokenizer.eos_token_id)]
        )
    chat = tokenizer.chat_template is not None
    config = TableConfig(length=700, row_format="conversational" if chat else "prompt_completion")
    counted = [TableGenerator(tokenizer, config, seed=1).sample(index)["num_tokens"] for index in range(3)]
    assert all(690 < length <= 700 for length in counted)
    tables = synthetic_tables(tokenizer, num_rows=3, longest=700, seed=1)
    trainer = LongSFTTrainer(model, arguments(LongSFTConfig), train_dataset=tables, processing_class=tokenizer)
    assert [len(ids) for ids, _ in trained(trainer)] == counted
