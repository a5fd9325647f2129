"""The texts around calls as models write them, for grammars that make a model call."""

from __future__ import annotations

from typing import NamedTuple


class Marked(NamedTuple):
    """A call whose arguments stand one by one between texts: name, then key and value of each, then the end.

    Attributes:
        name, key: texts around the tool's name, and around each argument's.
        text_mark, json_mark: stand between key and value, where a form tells texts from JSON.
        value_end: behind each value.
        end: behind the last.
    """

    name: tuple[str, str]
    key: tuple[str, str]
    value_end: str
    end: str = ""
    text_mark: str = ""
    json_mark: str = ""


class CallSyntax(NamedTuple):
    """How a model writes its calls, and its parser reads them.

    A call is a JSON object with a name and arguments; with `head` it is the name between two texts and the
    object of the arguments; with `marked` every argument stands between texts of its own.

    Attributes:
        opening, closing: around each call, or around the whole list.
        name_key, arguments_key: keys of a call's object.
        is_list: all calls stand in one JSON list.
        is_keyed: a call's object has the tool's name as its key and the arguments as its value.
        between: between two calls that are not in a list.
        repeats: there can be several calls, with `between` or nothing between them.
        before, after: around all calls.
    """

    opening: str = ""
    closing: str = ""
    arguments_key: str = "arguments"
    is_list: bool = False
    between: str = ""
    name_key: str = "name"
    is_keyed: bool = False
    repeats: bool = False
    before: str = ""
    after: str = ""
    head: tuple[str, str] | None = None
    marked: Marked | None = None


def functions_syntax(opening: str, closing: str) -> CallSyntax:
    """The form of Qwen3-Coder."""
    marked = Marked(("<function=", ">\n"), ("<parameter=", ">\n"), "\n</parameter>\n", "</function>")
    return CallSyntax(f"{opening}\n", f"\n{closing}", between="\n", repeats=True, marked=marked)


def pairs_syntax(suffix: str = "") -> CallSyntax:
    """The form of GLM."""
    marked = Marked(
        ("", "\n"),
        (f"<arg_key{suffix}>", f"</arg_key{suffix}>\n<arg_value{suffix}>"),
        f"</arg_value{suffix}>\n",
    )
    return CallSyntax(
        f"<tool_call{suffix}>", f"</tool_call{suffix}>", between="\n", repeats=True, marked=marked
    )


def invokes_syntax(opening: str, closing: str, prefix: str = "", *, tells_texts: bool = False) -> CallSyntax:
    """The form of MiniMax and, with `tells_texts`, of DeepSeek from V3.2 on."""
    ending = '"' if tells_texts else '">'
    marked = Marked(
        (f'<{prefix}invoke name="', '">\n'),
        (f'<{prefix}parameter name="', ending),
        f"</{prefix}parameter>\n",
        f"</{prefix}invoke>\n",
        ' string="true">' if tells_texts else "",
        ' string="false">' if tells_texts else "",
    )
    return CallSyntax(before=f"{opening}\n", after=closing, repeats=True, marked=marked)


def headed_syntax(
    before: str, head: tuple[str, str], closing: str, after: str, *, between: str = ""
) -> CallSyntax:
    """The name in front of the object of the arguments."""
    return CallSyntax(closing=closing, between=between, repeats=True, before=before, after=after, head=head)


HERMES = CallSyntax("<tool_call>\n", "\n</tool_call>", between="\n", repeats=True)
MISTRAL = CallSyntax("[TOOL_CALLS]", is_list=True)
LLAMA3 = CallSyntax(arguments_key="parameters")
COHERE = CallSyntax("<|START_ACTION|>", "<|END_ACTION|>", "parameters", is_list=True, name_key="tool_name")
ACTIONS = CallSyntax("Action:\n```json\n", "\n```", "parameters", is_list=True, name_key="tool_name")
APERTUS = CallSyntax("<|tools_prefix|>", "<|tools_suffix|>", is_list=True, is_keyed=True)
ELEMENTS = CallSyntax(
    repeats=True,
    marked=Marked(('<function name="', '">'), ('<param name="', '">'), "</param>", "</function>"),
)
RECIPIENTS = headed_syntax("", ("", "\n"), "", "", between=">>>")
"""The prompt ends with the first mark."""
HARMONY = CallSyntax(
    head=("<|channel|>commentary to=functions.", " <|constrain|>json<|message|>"),
)
"""One call: the token behind it ends the answer."""
