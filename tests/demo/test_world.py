"""The demo's world: readable, exact in length, and with nothing of the evaluation in its training texts."""

import re

import numpy as np
import pytest

from lsw_hf.data.windows.dataset import interleave_dataset
from lsw_hf.demo.needle_task import TinyNeedleTask
from lsw_hf.demo.recipe import tiny_data, tiny_recipe
from lsw_hf.demo.world import DEEDS, NAMES, WORDS, TinyWorld, build_tokenizer, held_out_pairs
from lsw_hf.training.continual_pretraining import ContinualPretrainingConfig


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(512)


def facts_in(text):
    return set(re.findall(r"Yesterday (\w+) (\w+) \.", text))


def test_words_are_distinct_and_each_is_one_token(tokenizer):
    assert len(set(WORDS)) == len(WORDS)
    assert (len(NAMES), len(DEEDS)) == (1024, 64)
    for word in WORDS[4:]:
        assert len(tokenizer(word, add_special_tokens=False)["input_ids"]) == 1


def test_text_survives_the_tokenizer(tokenizer):
    text = TinyWorld().document(11, 3, 3, np.random.default_rng(0))
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == 1 + 2 + 4 * 11
    assert tokenizer.decode(ids, skip_special_tokens=True).split() == text.split()
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids[:-2]) + tokenizer.decode(ids[-2:]) == tokenizer.decode(ids)


def test_questions_are_answered_by_the_story():
    text = TinyWorld().document(40, 7, 9, np.random.default_rng(1))
    asked = re.findall(r"Recall (\w+) (\w+) \.", text)
    assert len(asked) == 9
    assert set(asked) <= facts_in(text)


def test_dialogue_trains_exactly_the_answers(tokenizer):
    messages = TinyWorld().dialogue(20, 4, 3, np.random.default_rng(2))
    encoded = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
    trained = [token for token, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    answers = " ".join(message["content"] for message in messages if message["role"] == "assistant")
    assert tokenizer.decode(trained).split() == answers.split()
    assert len(encoded["input_ids"]) == 1 + 4 * 20


def test_dialogue_asks_after_each_part_about_what_was_told():
    """Every answer stands before its question, and some answers stand near, some far."""
    messages = TinyWorld().dialogue(120, 40, 24, np.random.default_rng(6))
    told, distances, parts = [], [], 0
    for message in messages:
        if message["role"] == "user":
            words = message["content"].split()
            parts += len(words) > 2
            told += words
            asked = words[-1]
        else:
            place = max(index for index, word in enumerate(told) if word == asked and told[index - 1] == "Yesterday")
            assert told[place + 1] == message["content"].split()[0]
            distances.append(len(told) - place)
    assert parts == 4
    assert min(distances) < 4 * 120 / 10
    assert max(distances) > 4 * 120 / 2


@pytest.mark.parametrize(("sentences", "facts", "questions"), [(5, 1, 1), (9, 1, 3), (30, 2, 2), (31, 17, 11)])
def test_small_dialogues_keep_their_size(tokenizer, sentences, facts, questions):
    for seed in range(20):
        messages = TinyWorld().dialogue(sentences, facts, questions, np.random.default_rng(seed))
        assert sum(message["role"] == "user" for message in messages) == questions
        encoded = tokenizer.apply_chat_template(messages, return_dict=True)
        assert len(encoded["input_ids"]) == 1 + 4 * sentences


def test_evaluation_facts_occur_in_no_training_text():
    held_out = held_out_pairs()
    assert held_out.sum(axis=1).tolist() == [8] * 1024
    training = set()
    world = TinyWorld()
    for row in world.documents(20, 120, (4, 60), 20, seed=5):
        training |= facts_in(row["text"])
    for row in world.dialogues(20, 120, (4, 60), 20, seed=6):
        training |= facts_in(" ".join(message["content"] for message in row["messages"]))
    evaluated = {
        (fact.question.split()[1], fact.answer) for fact in TinyNeedleTask().facts(np.random.default_rng(0), 800)
    }
    assert len(training) > 1000
    assert not training & evaluated
    assert all(held_out[NAMES.index(name), DEEDS.index(deed)] for name, deed in evaluated)


def test_names_of_a_story_are_distinct_and_too_many_are_refused():
    names, _ = TinyWorld().facts(1024, np.random.default_rng(0))
    assert len(set(names.tolist())) == 1024
    with pytest.raises(ValueError, match="between 1 and 1024 facts"):
        TinyWorld().facts(1025, np.random.default_rng(0))


def test_every_allowed_deed_is_drawn_about_equally_often():
    """Chi-square over the 56 deeds that training may use for each name."""
    from math import sqrt

    world, generator = TinyWorld(), np.random.default_rng(4)
    counts = np.zeros((1024, 64))
    for _ in range(60):
        names, deeds = world.facts(1024, generator)
        counts[names, deeds] += 1
    allowed = ~held_out_pairs()
    assert counts[~allowed].sum() == 0
    by_deed = counts.sum(axis=0)
    statistic = ((by_deed - by_deed.mean()) ** 2 / by_deed.mean()).sum()
    assert statistic < 63 + 5 * sqrt(2 * 63)


def test_a_document_fills_a_window_and_answers_its_own_questions(tokenizer):
    """Windows that drift against the documents cut questions off from their story, and nothing is learned."""
    recipe = tiny_recipe(output_dir="unused")
    args = ContinualPretrainingConfig("unused", **recipe.stage_options("pretraining"), bf16=False, report_to="none")
    rows = tiny_data(recipe)["pretraining_documents"]().select(range(9))
    config = args.window_config(tokenizer.eos_token_id)
    windows = list(interleave_dataset(rows, config, tokenizer=tokenizer, num_shards=1))
    assert len(windows) == 9
    for window in windows:
        text = tokenizer.decode(window["input_ids"]).strip()
        assert text.startswith("<s>")
        assert text.endswith("</s>")
        asked = set(re.findall(r"Recall (\w+) (\w+) \.", text))
        assert asked
        assert asked <= facts_in(text)
