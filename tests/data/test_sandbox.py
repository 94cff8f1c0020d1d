"""Chat templates of strangers: what costs too much, and that good ones are as ever."""

import datetime
import re
import time

import pytest
from transformers.utils.chat_template_utils import render_jinja_template

from jaxalign.data import sandbox
from jaxalign.data import tokenizer as tokenizers
from tests.data import chat_templates as known

DAY = datetime.date(2026, 1, 2)
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
TALK = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "sure, 4"},
    {"role": "user", "content": "<thanks> & bye"},
    {"role": "assistant", "content": "of course"},
]
GROWS = "{%% set ns = namespace(x=%s) %%}{%% for i in range(60) %%}%s{%% endfor %%}%s"
TWICE = (
    "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
)
LOOPS = "{%% for i in range(99999) %%}%s{%% endfor %%}"
BIG = "{% set a = 'a' * 9000000 %}"
COSTLY = {
    "nested loops": LOOPS % (LOOPS % ""),
    "nested loops that write": LOOPS % (LOOPS % "text"),
    "a long product": "{{ 'a' * 2000000000 }}",
    "a long list": "{{ ([1] * 2000000000) | length }}",
    "a tower of powers": "{{ 9 ** (9 ** 9) }}",
    "a constant power": "{{ 9 ** 9 ** 9 ** 9 ** 9 ** 9 ** 9 ** 9 }}",
    "squares": LOOPS % "{% set a = 7 ** 9999999 %}",
    "range": "{% for i in range(10 ** 9) %}{% endfor %}",
    "a list of a range": "{{ range(1000000000) | list }}",
    "endless recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recursion that doubles": TWICE + "{{ f(40) }}",
    "a recursive loop": "{% for x in [[1]] recursive %}{{ loop([x]) }}{% endfor %}",
    "doubling by +": GROWS % ("'ab'", "{% set ns.x = ns.x + ns.x %}", ""),
    "doubling by ~": GROWS % ("'ab'", "{% set ns.x = ns.x ~ ns.x %}", ""),
    "doubling a list": GROWS % ("[1]", "{% set ns.x = ns.x + ns.x %}", ""),
    "a list in itself": GROWS % ("[1]", "{% set ns.x = [ns.x, ns.x] %}", "{{ ns.x }}"),
    "a dict in itself": GROWS
    % ("[1]", "{% set ns.x = dict(a=ns.x, b=ns.x) %}", "{{ ns.x | tojson }}"),
    "tuples compared": GROWS
    % ("1", "{% set ns.x = (ns.x, ns.x) %}", "{{ ns.x == (ns.x, ns.x) }}"),
    "namespaces": GROWS
    % ("1", "{% set ns.x = namespace(a=ns.x, b=ns.x) %}", "{{ ns.x }}"),
    "a join": "{{ range(99999) | join('a' * 100000) }}",
    "a method join": "{{ ('a' * 100000).join(['b'] * 100000) }}",
    "replace": "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
    "a method replace": "{{ ('a' * 100000).replace('a', 'b' * 100000) }}",
    "a mapped replace": "{{ (['a' * 9999] * 9) | map('replace', 'a', 'b' * 9999)"
    " | list }}",
    "a wide format": "{{ '%1000000000d' % 1 }}",
    "a precise format": "{{ '%.1000000000f' % 1.5 }}",
    "a format by a value": "{{ '%*d' % (1000000000, 1) }}",
    "the filter format": "{{ '%1000000000d' | format(1) }}",
    "the method format": "{{ '{:>1000000000}'.format(1) }}",
    "a format in a format": "{{ '{:>{}}'.format(1, 1000000000) }}",
    "format_map": "{{ '{a:>1000000000}'.format_map({'a': 1}) }}",
    "a repeated key": "{{ '%(a)s%(a)s%(a)s' % {'a': 'b' * 9999999} }}",
    "center": "{{ 'a' | center(1000000000) }}",
    "ljust": "{{ 'a'.ljust(1000000000) }}",
    "zfill": "{{ 'a'.zfill(1000000000) }}",
    "expandtabs": "{{ '\t'.expandtabs(1000000000) }}",
    "translate": "{{ 'aa'.translate({97: 'b'}) }}",
    "indent": "{{ 'a\nb' | indent(1000000000) }}",
    "indented JSON": "{{ [1, [2]] | tojson(indent=1000000000) }}",
    "batch": "{{ [1] | batch(1000000000, 0) | list }}",
    "round": "{{ 5 | round(-1000000000) }}",
    "lipsum": "{{ lipsum(n=10000000) }}",
    "bytes": "{{ 5 .to_bytes(1000000000, 'big') }}",
    "a wide date": "{{ strftime_now('%1000000000d') }}",
    "long texts compared": BIG + LOOPS % "{% if a == a[1:] + 'a' %}{% endif %}",
    "long texts searched": BIG + LOOPS % "{% if 'b' in a %}{% endif %}",
    "searched by a test": BIG + LOOPS % "{% if 'b' is in a %}{% endif %}",
    "searched by a method": BIG + LOOPS % "{% if a.find('b') %}{% endif %}",
    "slices": BIG + LOOPS % "{% set b = a[1:] %}",
    "kept texts": BIG
    + "{% set ns = namespace(x=[]) %}"
    + LOOPS % "{% set ns.x = ns.x + [a + 'b'] %}",
    "sorts": LOOPS % "{% set b = range(99999) | sort %}",
    "selects": LOOPS % "{% set b = range(99999) | select('odd') | list %}",
    "a set block": LOOPS % ("{% set b %}" + LOOPS % "text" + "{% endset %}"),
    "arguments": "{% macro f() %}{{ varargs | length }}{% endmacro %}"
    + LOOPS % "{{ f(*range(99999)) }}",
    "parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "chance": "{{ [1, 2] | random }}",
    "a dunder": "{{ ''.__class__.__mro__ }}",
}


@pytest.mark.parametrize("name", COSTLY)
def test_what_has_no_bound_ends_at_once(name):
    before = time.process_time()
    # jinja's own errors are of several kinds, and MemoryError would be too late
    with pytest.raises(Exception) as error:  # noqa: PT011, B017
        sandbox.render(COSTLY[name], TALK, today=DAY)
    assert not isinstance(error.value, MemoryError | AttributeError)
    assert time.process_time() - before < 10


def test_the_budget_grows_with_the_text():
    template = "{% for m in messages %}{{ m.content.replace('a', 'bb') }}{% endfor %}"
    long = [{"role": "user", "content": "a" * 10_000_000}] * 3
    assert len(sandbox.render(template, long, today=DAY).text) == 60_000_000


TEMPLATES = {
    name: text
    for name, text in vars(known).items()
    if name.isupper() and isinstance(text, str)
} | {
    "TOY": tokenizers.CHAT_TEMPLATE,
    "CALLS": "{{ ', '.join(messages | map(attribute='role')) }}{{ ' a b'.split() }}"
    "{% set d = {'a': 1} %}{% for k, v in d.items() %}{{ k ~ v }}{% endfor %}"
    "{{ d.get('b', 2) }}{{ '%s|%5d' % ('x', 3) }}{{ '{}-{:>4}'.format(1, 2) }}"
    "{{ [1, 2] | join('-') }}{{ loop_messages is defined }}{{ [3] + [4] }}"
    "{{ messages[0].content | replace('l', 'L') | indent(2) }}{{ 7 * 6 }}{{ 2 ** 5 }}"
    "{{ {'a': '<é>'} | tojson }}{{ messages | tojson(indent=2) }}{{ 7 % 4 }}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
    "{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(f('y')) }}{{ missing }}"
    "{{ messages | map(attribute='content') | join('; ') | upper | trim }}"
    "{% for a in range(9) %}{% if a == 3 %}{% break %}{% endif %}{{ a }}{% endfor %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_good_templates_are_written_as_transformers_writes_them(name):
    template = TEMPLATES[name]
    marks = bool(re.search(r"\{%-?\s*generation", template))
    for talk in (TALK, TALK[:2]):
        (text,), parts = render_jinja_template(
            [talk],
            chat_template=template,
            return_assistant_tokens_mask=marks,
            **SPECIAL,
        )
        if "strftime_now" in template:
            text = text.replace(f"{datetime.date.today():%d %b %Y}", "02 Jan 2026")
        found = sandbox.render(
            template,
            talk,
            today=DAY,
            marks=marks,
            tools=None,
            add_generation_prompt=False,
            **SPECIAL,
        )
        assert found.text == text
        assert list(found.assistant_spans) == (parts[0] if marks else [])


@pytest.mark.slow
def test_good_templates_take_no_longer():
    long = [dict(m, content=m["content"] * 50) for m in TALK] * 2
    for name in ("QWEN25", "LLAMA31", "QWEN3", "GEMMA"):
        template, best = TEMPLATES[name], [9.0, 9.0]
        for _ in range(30):
            for k in (0, 1):
                start = time.process_time()
                for _ in range(20):
                    if k:
                        sandbox.render(template, long, today=DAY, **SPECIAL)
                    else:
                        render_jinja_template([long], chat_template=template, **SPECIAL)
                best[k] = min(best[k], time.process_time() - start)
        assert best[1] < 1.25 * best[0], name  # 0.7 to 1.1, measured
