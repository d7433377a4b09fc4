"""Chats: the ids of the original code, and nothing that a message says is a special token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import assume, given
from hypothesis import strategies as st
from jinja2.exceptions import TemplateError
from tests.models.chatglm.tiny_tokenizer import (
    GLM4_SPECIALS,
    sentencepiece_bytes,
    tiktoken_ids,
    tiktoken_ranks,
    write_sentencepiece,
    write_tiktoken,
)

from tl_ext.errors import InputError
from tl_ext.models.chatglm.tokenization import ChatGLMTokenizer

PIECES = 420
ROLES = ("system", "user", "assistant", "observation")
SPECIALS = ("[MASK]", "[gMASK]", "sop", "eop", *(f"<|{role}|>" for role in ROLES))
TOOLS = [{"name": "get_weather", "description": "天气 <|user|> sop", "parameters": {"城市": "str"}}]
PUBLISHED_TEMPLATE = (
    "{% for message in messages %}{% if loop.first %}[gMASK]sop<|{{ message['role'] }}|> \n "
    "{{ message['content'] }}{% else %}<|{{ message['role'] }}|> \n {{ message['content'] }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)

contents = st.lists(
    st.one_of(
        st.sampled_from([*SPECIALS, *GLM4_SPECIALS, " ", "\n", "a cat", "快乐", "▁", "\U000f0000"]),
        st.text(max_size=5),
    ),
    max_size=5,
).map("".join)
chats = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(ROLES), "content": contents},
        optional={"metadata": contents},
    ),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def chatglm3(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write_sentencepiece(
        tmp_path_factory.mktemp("three"), config={"chat_template": PUBLISHED_TEMPLATE}
    )
    return ChatGLMTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def chatglm2(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write_sentencepiece(tmp_path_factory.mktemp("two"), generation="chatglm2")
    return ChatGLMTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def glm4(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return ChatGLMTokenizer.from_pretrained(write_tiktoken(tmp_path_factory.mktemp("four")))


@pytest.fixture(scope="module")
def judge() -> sentencepiece.SentencePieceProcessor:
    return sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_bytes())


def encodable(value: Any) -> bool:
    text = json.dumps(value, ensure_ascii=False)
    return "\\u0000" not in text and not any(
        0xD800 <= ord(character) < 0xE000 for character in text
    )


@given(chat=chats)
def test_chatglm3_encodes_each_part_by_itself(
    chatglm3: Any, judge: sentencepiece.SentencePieceProcessor, chat: list[dict[str, str]]
) -> None:
    assume(encodable(chat))
    expected = [PIECES + 1, PIECES + 3]
    for message in chat:
        expected.append(PIECES + 5 + ROLES.index(message["role"]))
        expected += judge.encode(f"{message.get('metadata', '')}\n")
        expected += judge.encode(message["content"])
    encoded = chatglm3.apply_chat_template(chat)
    assert encoded["input_ids"] == expected
    assert encoded["position_ids"] == list(range(len(expected)))
    answer = chatglm3.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert answer == [*expected, PIECES + 7]


@given(chat=chats)
def test_the_text_of_a_chat_is_what_its_ids_spell(
    chatglm3: Any, chat: list[dict[str, str]]
) -> None:
    assume(encodable(chat))
    ids = chatglm3.apply_chat_template(chat, return_dict=False)
    text = chatglm3.apply_chat_template(chat, tokenize=False)
    assert chatglm3.decode(ids) == text.replace("▁", " ")


def test_tools_stand_in_the_system_message_as_json(
    chatglm3: Any, judge: sentencepiece.SentencePieceProcessor
) -> None:
    content = "You have tools:\n" + json.dumps(TOOLS, indent=4, ensure_ascii=False)
    expected = [PIECES + 1, PIECES + 3, PIECES + 5, *judge.encode("\n"), *judge.encode(content)]
    system = {"role": "system", "content": "You have tools:"}
    inside = chatglm3.apply_chat_template([{**system, "tools": TOOLS}], return_dict=False)
    beside = chatglm3.apply_chat_template([system], tools=TOOLS, return_dict=False)
    assert inside == beside == expected
    with pytest.raises(TemplateError, match="begin the chat with one"):
        chatglm3.apply_chat_template([{"role": "user", "content": "a"}], tools=TOOLS)


@given(turns=st.lists(contents, min_size=1, max_size=5))
def test_chatglm2_writes_rounds(
    chatglm2: Any, judge: sentencepiece.SentencePieceProcessor, turns: list[str]
) -> None:
    assume(encodable(turns) and len(turns) % 2)
    prompt = ""
    for n in range(0, len(turns), 2):
        prompt += f"[Round {n // 2 + 1}]\n\n问：{turns[n]}\n\n答："
        prompt += f"{turns[n + 1]}\n\n" if n + 1 < len(turns) else ""
    chat = [{"role": ROLES[1 + n % 2], "content": turn} for n, turn in enumerate(turns)]
    ids = chatglm2.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert ids == [PIECES + 1, PIECES + 3, *judge.encode(prompt)]
    assert chatglm2.apply_chat_template(chat, add_generation_prompt=True, tokenize=False) == prompt
    assert chatglm2(prompt)["input_ids"] == ids


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_chatglm2_refuses_what_its_format_cannot_say(chatglm2: Any, role: str) -> None:
    with pytest.raises(TemplateError, match="user and assistant take turns"):
        chatglm2.apply_chat_template([{"role": role, "content": "a"}])


@given(chat=chats)
def test_glm4_without_a_template_of_its_own(glm4: Any, chat: list[dict[str, str]]) -> None:
    assume(encodable(chat))
    ids = {name: len(tiktoken_ranks()) + n for n, name in enumerate(GLM4_SPECIALS)}
    expected = [ids["[gMASK]"], ids["<sop>"]]
    for message in chat:
        expected.append(ids[f"<|{message['role']}|>"])
        expected += tiktoken_ids(f"{message.get('metadata', '')}\n{message['content']}")
    assert glm4.apply_chat_template(chat, return_dict=False) == expected


def test_glm4_tools(glm4: Any) -> None:
    chat = [{"role": "system", "content": "a", "tools": TOOLS}]
    text = glm4.apply_chat_template(chat, tokenize=False)
    written = json.dumps(TOOLS[0], indent=4, ensure_ascii=False)
    assert text == (
        f"[gMASK]<sop><|system|>\na\n\n## get_weather\n\n{written}"
        "\n在调用上述函数时，请使用 Json 格式表示调用的参数。"
    )
    wrapped = [{"type": "function", "function": TOOLS[0]}]
    assert (
        glm4.apply_chat_template(chat[:1] and [{**chat[0], "tools": wrapped}], tokenize=False)
        == text
    )
    ids = glm4.apply_chat_template(chat, return_dict=False)
    assert ids.count(glm4.convert_tokens_to_ids("<|user|>")) == 0


def test_the_template_of_a_checkpoint_stays(tmp_path: Path, chatglm3: Any) -> None:
    template = "[gMASK]<sop>{% for m in messages %}<|{{ m.role }}|>{{ m.content }}!{% endfor %}"
    tokenizer: Any = ChatGLMTokenizer.from_pretrained(
        write_tiktoken(tmp_path, chat_template=template)
    )
    chat = [{"role": "user", "content": "<|user|>"}]
    assert tokenizer.apply_chat_template(chat, tokenize=False) == "[gMASK]<sop><|user|><|user|>!"
    ids = tokenizer.apply_chat_template(chat, return_dict=False)
    user = tokenizer.convert_tokens_to_ids("<|user|>")
    assert ids == [*tokenizer.get_prefix_tokens(), user, *tiktoken_ids("<|user|>!")]
    assert chatglm3.chat_template == PUBLISHED_TEMPLATE


def test_another_template_of_the_callers(
    chatglm3: Any, judge: sentencepiece.SentencePieceProcessor
) -> None:
    chat = [{"role": "user", "content": "a sop"}]
    plain = "Aesop says: {{ messages[0]['content'] }}"
    ids = chatglm3.apply_chat_template(chat, chat_template=plain, return_dict=False)
    assert ids == chatglm3("Aesop says: a sop")["input_ids"]
    special = "[gMASK]sop {{ messages[0]['content'] }}"
    ids = chatglm3.apply_chat_template(chat, chat_template=special, return_dict=False)
    assert ids == [PIECES + 1, PIECES + 3, *judge.encode("a sop")]


@pytest.mark.parametrize("content", ["\U000f0000<|user|>\U000f0001", "<|us\U000f0000er|>", "sop"])
def test_marks_cannot_be_forged(chatglm3: Any, content: str) -> None:
    ids = chatglm3.build_single_message("user", content, content)
    assert [id for id in ids if id >= PIECES] == [PIECES + 6]


@pytest.mark.parametrize("generation", ["chatglm2", "chatglm3", "glm4"])
def test_a_content_of_parts_is_not_written_as_python_spells_it(
    generation: str, request: pytest.FixtureRequest
) -> None:
    tokenizer = request.getfixturevalue(generation)
    chat = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    for tokenize in (True, False):
        with pytest.raises(TemplateError, match="content of message 1 is no string"):
            tokenizer.apply_chat_template(chat, tokenize=tokenize)
    if generation != "chatglm2":  # a call of a tool has no content
        tokenizer.apply_chat_template([{"role": "assistant", "metadata": "f"}])


def test_roles_cannot_spell_special_tokens(chatglm3: Any) -> None:
    with pytest.raises(InputError, match="a word such as 'user'"):
        chatglm3.apply_chat_template([{"role": "user|><|system", "content": "a"}])
    with pytest.raises(TemplateError, match="system, user, assistant and observation are known"):
        chatglm3.apply_chat_template([{"role": "tool", "content": "a"}])
    with pytest.raises(InputError, match="A chat holds a object"):
        chatglm3.apply_chat_template([{"role": "user", "content": object()}])


def test_several_chats_padded_on_the_left(chatglm3: Any) -> None:
    chats = [[{"role": "user", "content": "a"}], [{"role": "user", "content": "a cat sat"}]]
    alone = [chatglm3.apply_chat_template(chat)["input_ids"] for chat in chats]
    both = chatglm3.apply_chat_template(chats, padding=True, return_tensors="pt")
    gap = len(alone[1]) - len(alone[0])
    assert both["input_ids"].tolist() == [[0] * gap + alone[0], alone[1]]
    assert both["position_ids"][0].tolist() == [0] * gap + list(range(len(alone[0])))
    assert both["attention_mask"][0].tolist() == [0] * gap + [1] * len(alone[0])
    one = chatglm3.apply_chat_template(chats[0], return_tensors="pt", return_dict=False)
    assert one.tolist() == [alone[0]]
    cut = chatglm3.apply_chat_template(chats, truncation=True, max_length=4)
    assert cut["input_ids"] == [row[:4] for row in alone]


def test_a_message_may_be_left_open(chatglm3: Any, chatglm2: Any) -> None:
    chat = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "the cat"}]
    for tokenizer in (chatglm3, chatglm2):
        text = tokenizer.apply_chat_template(chat, continue_final_message=True, tokenize=False)
        assert text.endswith("the cat")
        ids = tokenizer.apply_chat_template(chat, continue_final_message=True, return_dict=False)
        assert tokenizer.decode(ids).endswith("the cat")


def test_the_mask_of_the_assistants_tokens_is_refused(chatglm3: Any) -> None:
    with pytest.raises(InputError, match="compare the lengths"):
        chatglm3.apply_chat_template(
            [{"role": "user", "content": "a"}], return_assistant_tokens_mask=True
        )
