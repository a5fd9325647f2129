"""The chat: transcript, prompt, and the chips between them."""

from __future__ import annotations

from operator import is_
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.widgets import Static

from olla_tui.actions import bindings_for
from olla_tui.bridge import Bridge
from olla_tui.messages import ActionChosen, DialogWanted, Noticed
from olla_tui.panes.base import Pane
from olla_tui.panes.chat_desk import ChatDesk
from olla_tui.panes.chat_turns import TurnViews, continues
from olla_tui.state import turns
from olla_tui.state.conversation import TEMPERATURES, THINK_CHOICES, Conversation, Turn, next_choice
from olla_tui.state.graphs import ASCII
from olla_tui.state.rows import fit_row
from olla_tui.text.styles import ASCII_GLYPHS, UNICODE_GLYPHS
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.composer import Composer, is_written
from olla_tui.widgets.transcript import Transcript

PLACEHOLDER = "Ask something"


class WelcomeBoard(LineBoard, can_focus=True):
    """The card in an empty chat; takes the focus when there is no model to write to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "bundled", "Chat with the model in the package", id="welcome.start")
    ]

    class Typed(Message):
        """The user writes here; the text belongs into the prompt."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def action_bundled(self) -> None:
        """As the chat's own action."""
        self.post_message(ActionChosen("chat.bundled"))

    def on_key(self, event: events.Key) -> None:
        """Hand on what is written."""
        if is_written(event):
            event.stop()
            self.post_message(self.Typed(event.character or ""))

    def on_paste(self, event: events.Paste) -> None:
        """Hand on what is pasted."""
        event.stop()
        self.post_message(self.Typed(event.text))


class ChatPane(Pane):
    """One chat at a time; the others go on answering behind it."""

    pane_id = "chat"
    HELP = (
        "A chat with a model. Enter sends, ctrl+j starts a new line, ctrl+e opens the prompt in your editor. "
        "Escape or ctrl+c stops an answer. Several chats may answer at once; they are kept and come back."
    )
    BINDINGS: ClassVar[list[BindingType]] = [*bindings_for("chat")]
    DEFAULT_CSS = """
    ChatPane #chat-title { height: 1; }
    ChatPane Transcript { height: 1fr; }
    ChatPane WelcomeBoard { height: 1fr; display: none; }
    ChatPane.-welcome WelcomeBoard { display: block; }
    ChatPane.-welcome Transcript { display: none; }
    ChatPane #prompt-row { layout: horizontal; height: auto; max-height: 12; border-top: solid $olla-faint; }
    ChatPane #prompt-mark { width: 3; height: 1; color: $accent; text-style: bold; padding-left: 1; }
    ChatPane #chips { height: 1; }
    """

    def __init__(
        self, bridge: Bridge, desk: ChatDesk, *, editor: str = "vi", low_bandwidth: bool = False
    ) -> None:
        super().__init__(bridge)
        self.desk = desk
        self._editor = editor
        self._low_bandwidth = low_bandwidth
        self._shown_chat: Conversation | None = None
        self._shown_version = -1
        self._shown: tuple[Turn, ...] = ()
        self._last_turn_id = -1  # in the transcript
        self.set_class(not self.chat.turns, "-welcome", update=False)

    def compose(self) -> ComposeResult:
        yield LineBoard(id="chat-title")
        yield Transcript(glyphs=ASCII_GLYPHS if self.state.glyphs is ASCII else UNICODE_GLYPHS)
        yield WelcomeBoard(id="welcome")
        with PromptRow(id="prompt-row"):
            yield Static(self.state.glyphs.prompt, id="prompt-mark", markup=False)
            yield Composer(editor=self._editor, id="composer")
        yield LineBoard(id="chips")

    def on_mount(self) -> None:
        self.transcript.set_low_bandwidth(self._low_bandwidth)

    @property
    def transcript(self) -> Transcript:
        """The conversation."""
        return self.query_one(Transcript)

    @property
    def composer(self) -> Composer:
        """The prompt."""
        return self.query_one("#composer", Composer)

    @property
    def chat(self) -> Conversation:
        """The chat that is shown."""
        return self.desk.current

    def focus_inside(self) -> None:
        (self.query_one("#welcome") if self._invites else self.composer).focus()

    @property
    def _invites(self) -> bool:
        """Whether the card asks for its key: there is no model to write to, and nothing is written."""
        return self.state.models is not None and not self.chat.model and not self.composer.text

    def refresh_from(self, parts: frozenset[str]) -> None:
        if "models" in parts:
            self.desk.settle_model()
        if "link" in parts:
            self.transcript.set_low_bandwidth(self.state.low_bandwidth)
        self._allow_writing()
        self._show_turns()
        self._show_lines()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        chat = self.chat
        if action == "stop":
            return chat.is_answering
        if action in ("regenerate", "edit"):
            return bool(chat.turns) and not chat.is_answering
        if action in ("rename", "delete"):
            return bool(chat.turns)
        if action == "bundled":
            return any(not model.installed for model in self.state.bundled)
        if action == "think":
            model = self.state.model(chat.model)
            return model is None or "thinking" in model.capabilities
        return True

    # --- drawing ---

    def _show_lines(self) -> None:
        chat, width = self.chat, self.columns
        title = fit_row(turns.title_row(self.state, chat, width), width)
        self.query_one("#chat-title", LineBoard).show([title])
        self._show_chips()
        self.set_class(not chat.turns, "-welcome")
        if not chat.turns:
            self.query_one("#welcome", LineBoard).show(turns.welcome_rows(self.state, chat))

    def _show_chips(self) -> None:
        width, has_text = self.columns, bool(self.composer.text)
        chips = turns.chips_row(self.state, self.chat, width, has_text=has_text)
        self.query_one("#chips", LineBoard).show([chips])

    def _allow_writing(self) -> None:
        reason = turns.blocked_reason(self.state, self.chat)
        composer = self.composer
        if reason:
            composer.block(reason)
        else:
            composer.allow(PLACEHOLDER)
        welcome = self.query_one("#welcome")
        if composer.has_focus if self._invites else welcome.has_focus:
            self.focus_inside()

    def _show_turns(self) -> None:
        """Bring the transcript up to the conversation: only the last turn of those shown may have changed."""
        chat = self.chat
        if chat is self._shown_chat and chat.version == self._shown_version:
            return
        shown, current = self._shown, tuple(chat.turns)
        n_same = max(len(shown) - 1, 0)
        if (
            chat is self._shown_chat
            and len(current) >= len(shown)
            and all(map(is_, shown[:n_same], current))
            and (not shown or continues(shown[-1], current[n_same]))
        ):
            if shown and shown[-1] is not current[n_same]:
                self._update(self._last_turn_id, shown[-1], current[n_same])
            for turn in current[len(shown) :]:
                self._begin(turn)
        else:
            self._load(chat)
        self._shown_chat, self._shown_version, self._shown = chat, chat.version, current

    def _load(self, chat: Conversation) -> None:
        ended = chat.turns[:-1] if chat.is_answering else chat.turns
        ids = self.transcript.load(TurnViews(ended))
        self._last_turn_id = ids[-1] if ids else -1
        for turn in chat.turns[len(ended) :]:
            self._begin(turn)

    def _begin(self, turn: Turn) -> None:
        transcript = self.transcript
        streaming = turn.role == "assistant"
        key = transcript.begin_turn(
            turn.role,
            turns.title_of(turn),
            content="" if streaming else turn.content,
            stats=turns.stats_of(turn),
            streaming=streaming,
        )
        self._last_turn_id = key
        if turn.role == "user":
            transcript.follow()
        if streaming:
            self._update(key, Turn(role="assistant", state="waiting"), turn)

    def _update(self, key: int, before: Turn, after: Turn) -> None:
        transcript = self.transcript
        if len(after.thinking) > len(before.thinking):
            transcript.append_thinking(key, after.thinking[len(before.thinking) :])
        if len(after.content) > len(before.content):
            transcript.append_content(key, after.content[len(before.content) :])
        note = turns.thinking_note_of(after)
        if note and note != turns.thinking_note_of(before):
            transcript.set_thinking_note(key, note)
        stats = turns.stats_of(after)
        if after.state not in ("waiting", "streaming"):
            transcript.end_turn(key, stats=stats, error=turns.error_of(after))
        elif stats != turns.stats_of(before):
            transcript.set_stats(key, stats)

    # --- events ---

    def on_composer_prompt_submitted(self, event: Composer.PromptSubmitted) -> None:
        event.stop()
        chat = self.chat
        if chat.is_answering:
            self.composer.text = event.text
            self.post_message(Noticed("The answer is still coming; escape stops it.", severity="warning"))
            return
        self.bridge.send(chat, event.text)

    def on_composer_refused(self, event: Composer.Refused) -> None:
        event.stop()
        if event.is_empty and self.check_action("bundled", ()) and not self.chat.model:
            self.action_bundled()
        elif not event.is_empty:
            self.post_message(Noticed(f"Not sent yet: {event.reason}.", severity="warning"))

    def on_text_area_changed(self) -> None:
        self._show_chips()

    def on_welcome_board_typed(self, event: WelcomeBoard.Typed) -> None:
        event.stop()
        self.write(event.text)

    def on_composer_editor_failed(self, event: Composer.EditorFailed) -> None:
        event.stop()
        self.post_message(Noticed(event.reason, severity="error"))

    def on_click(self, event: events.Click) -> None:
        if event.widget is not None and event.widget.id in ("prompt-row", "prompt-mark"):
            self.composer.focus()

    def write(self, text: str) -> None:
        """Put text where the cursor of the prompt is, and go there."""
        self.composer.insert(text)
        self.composer.focus()

    def write_example(self, number: int) -> None:
        """Put one of the examples into the prompt."""
        self.composer.put(turns.EXAMPLES[number])
        self.composer.focus()

    # --- actions ---

    def action_new(self) -> None:
        """Start a new chat."""
        self.desk.new()
        self.composer.focus()

    def action_switch(self) -> None:
        """Switch to another chat."""
        self.post_message(DialogWanted("switch_chat"))

    def action_rename(self) -> None:
        """Rename this chat."""
        self.post_message(DialogWanted("rename_chat", self.chat.id))

    def action_delete(self) -> None:
        """Delete this chat, after a question."""
        self.post_message(DialogWanted("delete_chat", self.chat.id))

    def action_model(self) -> None:
        """Choose the model."""
        self.post_message(DialogWanted("pick_model", self.chat.model))

    def action_think(self) -> None:
        """Go through the ways to think."""
        self.chat.think = next_choice(THINK_CHOICES, self.chat.think)
        self.bridge.touch("chat")

    def action_temperature(self) -> None:
        """Go through the temperatures."""
        self.chat.temperature = next_choice(TEMPERATURES, self.chat.temperature)
        self.bridge.touch("chat")

    def action_regenerate(self) -> None:
        """Answer the last question again."""
        if self.chat.drop_answer():
            self.bridge.answer(self.chat)

    def action_edit(self) -> None:
        """Take the last question back into the prompt."""
        if not self.chat.is_answering:
            text = self.chat.take_back()
            if text is not None:
                self.composer.put(text)
                self.composer.focus()
                self.bridge.touch("chat")

    def action_stop(self) -> None:
        """Stop the answer."""
        self.bridge.stop(self.chat)

    def action_read(self) -> None:
        """Move the focus between the prompt and the transcript."""
        if self.composer.has_focus:
            self.transcript.focus()
        else:
            self.focus_inside()

    def action_bundled(self) -> None:
        """Install the model that ships with olla and chat with it."""
        for model in self.state.bundled:
            if not model.installed:
                self.bridge.order(self._install(model.name), f"{model.name} is ready")
                return

    async def _install(self, name: str) -> None:
        services = self.bridge.services
        await services.models.install_bundled(name)
        found = await services.models.list_models()
        self.state.fold_models(found, await services.models.bundled())
        names = [model.name for model in found]
        tagged = name if name in names else f"{name}:latest"
        self.desk.new(tagged if tagged in names else self.state.default_model())
        self.bridge.touch("models", "chat")


class PromptRow(Static):
    """Holds the mark and the prompt in one line."""
