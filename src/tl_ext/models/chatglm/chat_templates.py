"""How the published generations write a chat, as jinja templates.

A space stands where the tokenizer puts one before a part of a message, so that a template renders what
the original tokenizer decodes to.

Source: `build_prompt` of chatglm2-6b's tokenization_chatglm.py, `build_single_message` and
`build_chat_input` of chatglm3-6b's and of the first revision of glm-4-9b-chat's.
"""

from __future__ import annotations

_KNOWN_ROLE = (
    "{%- if message['role'] not in ['system', 'user', 'assistant', 'observation'] %}"
    "{{- raise_exception('The role of a message is ' ~ message['role'] ~ '; system, user, assistant "
    "and observation are known.') }}"
    "{%- endif %}"
)
# Written out, the list of parts that other chats are made of would be Python's spelling of it.
_TEXT_ALONE = (
    "{%- if message['content'] is defined and message['content'] is iterable "
    "and message['content'] is not string %}"
    "{{- raise_exception('The content of message ' ~ loop.index ~ ' is no string, and nothing else is "
    "read here: give the text alone.') }}"
    "{%- endif %}"
)
_TOOLS_NEED_SYSTEM = (
    "{%- if tools and messages[0]['role'] != 'system' %}"
    "{{- raise_exception('Tools are told in a system message: begin the chat with one.') }}"
    "{%- endif %}"
)
_TOOLS_OF_MESSAGE = (
    "{%- set offered = message['tools'] if message['tools'] is defined "
    "else (tools if loop.first and tools else none) %}"
)

CHATGLM2 = (
    "{%- if tools %}{{- raise_exception('ChatGLM2 knows no tools.') }}{%- endif %}"
    "{%- for message in messages %}"
    f"{_TEXT_ALONE}"
    "{%- if message['role'] != ['user', 'assistant'][loop.index0 % 2] %}"
    "{{- raise_exception('In a chat with ChatGLM2 user and assistant take turns and the user begins; "
    "message ' ~ loop.index ~ ' is of ' ~ message['role'] ~ '.') }}"
    "{%- endif %}"
    "{%- if message['role'] == 'user' %}"
    "{{- '[Round ' ~ (loop.index0 // 2 + 1) ~ ']\\n\\n问：' ~ message['content'] ~ '\\n\\n' }}"
    "{%- else %}"
    "{{- '答：' ~ message['content'] ~ '\\n\\n' }}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '答：' }}{%- endif %}"
)

CHATGLM3 = (
    f"{_TOOLS_NEED_SYSTEM}"
    "{{- '[gMASK]sop' }}"
    "{%- for message in messages %}"
    f"{_KNOWN_ROLE}{_TEXT_ALONE}{_TOOLS_OF_MESSAGE}"
    "{%- set content = message['content'] or '' %}"
    "{%- if message['role'] == 'system' and offered is not none %}"
    "{%- set content = content ~ '\\n' ~ (offered | tojson(indent=4)) %}"
    "{%- endif %}"
    "{{- '<|' ~ message['role'] ~ '|> ' ~ (message['metadata'] or '') ~ '\\n' }}"
    "{{- ' ' ~ content if content else '' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)

GLM4 = (
    f"{_TOOLS_NEED_SYSTEM}"
    "{{- '[gMASK]<sop>' }}"
    "{%- for message in messages %}"
    f"{_KNOWN_ROLE}{_TEXT_ALONE}{_TOOLS_OF_MESSAGE}"
    "{{- '<|' ~ message['role'] ~ '|>' ~ (message['metadata'] or '') ~ '\\n' }}"
    "{{- message['content'] or '' }}"
    "{%- if message['role'] == 'system' and offered is not none %}"
    "{%- for tool in offered %}"
    "{%- set function = tool['function'] if tool['function'] is defined else tool %}"
    "{{- '\\n\\n## ' ~ function['name'] ~ '\\n\\n' ~ (function | tojson(indent=4)) }}"
    "{{- '\\n在调用上述函数时，请使用 Json 格式表示调用的参数。' }}"
    "{%- endfor %}"
    "{%- endif %}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|assistant|>' }}{%- endif %}"
)
