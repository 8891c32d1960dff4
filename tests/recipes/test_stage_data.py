"""Dialogues in a stage: their answers are trained, and a template that cannot tell them stops the run at once."""

import datasets
import pytest

from lsw_hf.recipes.longskywork import LongSkyworkRecipe
from lsw_hf.recipes.stage_data import answers_only, check_dialogues

ROW = {"messages": [{"role": "user", "content": "where is the key ?"}, {"role": "assistant", "content": "in the box"}]}
PLAIN = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
MARKED = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{% generation %}{{ m['content'] }}{% endgeneration %}"
    "{% else %}{{ m['content'] }} {% endif %}{% endfor %}"
)


@pytest.fixture
def recipe(tiny_llama, tiny_tokenizer, tmp_path):
    tiny_tokenizer.chat_template = None  # the fixture is shared

    def make(**options):
        return LongSkyworkRecipe(
            model=tiny_llama, tokenizer=tiny_tokenizer, context_length=128, output_dir=tmp_path / "run",
            stages=("sft",), options={"sft": {"max_steps": 1, "skip_probability": 1.0, **options}},
        )  # fmt: skip

    yield make
    tiny_tokenizer.chat_template = None


def test_only_answers_are_trained_unless_told_otherwise():
    stream = datasets.Dataset.from_list([ROW]).to_iterable_dataset()
    for rows in ([ROW], datasets.Dataset.from_list([ROW]), stream):
        assert answers_only(rows, {}) == {"assistant_only_loss": True}
        assert answers_only(rows, {"assistant_only_loss": False}) == {}
    assert answers_only([{"prompt": "a", "completion": "b"}], {}) == {}
    assert answers_only(lambda: [ROW], {}) == {}
    assert answers_only(None, {}) == {}


def test_a_run_on_messages_skips_between_question_and_answer(recipe, tiny_tokenizer, monkeypatch):
    tiny_tokenizer.chat_template = MARKED
    batches = []
    from lsw_hf.training.skip_align import SkipAlignTrainer

    step = SkipAlignTrainer.training_step
    monkeypatch.setattr(SkipAlignTrainer, "training_step", lambda *args: batches.append(args[2]) or step(*args))
    recipe().run(instructions=lambda: [ROW] * 8)
    assert (batches[0]["labels"] != -100).sum(dim=-1).tolist() == [3] * 8
    assert int(batches[0]["position_ids"].diff(dim=-1).max()) > 1


def test_a_tokenizer_without_template_is_refused_before_any_work(recipe, tmp_path):
    for row in (ROW, {"prompt": ROW["messages"][:1], "completion": ROW["messages"][1:]}):
        with pytest.raises(
            ValueError, match="Stage sft: the rows are dialogues, and the tokenizer has no chat template"
        ):
            recipe().run(instructions=[row])
    assert not (tmp_path / "run").exists()


def test_a_template_without_marks_is_refused_where_marks_are_needed(recipe, tiny_tokenizer, tmp_path):
    tiny_tokenizer.chat_template = PLAIN
    with pytest.raises(ValueError, match=r"does not mark what the assistant says.*split the rows into prompt"):
        recipe().run(instructions=[ROW])
    assert not (tmp_path / "run").exists()
    check_dialogues("sft", [ROW], {"assistant_only_loss": False}, tiny_tokenizer)
    check_dialogues("sft", [{"prompt": ROW["messages"][:1], "completion": ROW["messages"][1:]}], {}, tiny_tokenizer)


def test_a_template_that_marks_nothing_is_refused(recipe, tiny_tokenizer):
    tiny_tokenizer.chat_template = MARKED.replace("'assistant'", "'model'")
    with pytest.raises(ValueError, match="marks no word of the assistant's"):
        recipe().check(instructions=[ROW])
