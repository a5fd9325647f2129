"""The chat: transcript, prompt, and the chips between them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import Static

from olla_tui.actions import bindings_for
from olla_tui.bridge import Bridge
from olla_tui.messages import DialogWanted, Noticed
from olla_tui.panes.base import Pane
from olla_tui.panes.chat_completion import CompletionBoard
from olla_tui.panes.chat_desk import ChatDesk
from olla_tui.panes.chat_feed import TranscriptFeed
from olla_tui.panes.chat_sending import ChatSender
from olla_tui.panes.chat_welcome import WelcomeBoard
from olla_tui.state import turns
from olla_tui.state.conversation import TEMPERATURES, THINK_CHOICES, Conversation, next_choice
from olla_tui.state.rows import fit_row
from olla_tui.state.workstation import ANSWER_ONLY
from olla_tui.text.styles import ASCII_GLYPHS, UNICODE_GLYPHS
from olla_tui.widgets.board import LineBoard
from olla_tui.widgets.composer import Composer
from olla_tui.widgets.transcript import Transcript

PLACEHOLDER = "Ask something   @file  /command"


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
    ChatPane #waiting { display: none; height: auto; max-height: 5; }
    ChatPane #waiting.-open { display: block; }
    ChatPane #prompt-row { layout: horizontal; height: auto; max-height: 12; border-top: solid $olla-faint; }
    ChatPane #prompt-mark { width: 3; height: 1; color: $accent; text-style: bold; padding-left: 1; }
    ChatPane #chips { height: 1; }
    """

    def __init__(
        self,
        bridge: Bridge,
        desk: ChatDesk,
        *,
        editor: str = "vi",
        low_bandwidth: bool = False,
        shell: bool = True,
    ) -> None:
        super().__init__(bridge)
        self.desk = desk
        self._editor = editor
        self._placeholder = PLACEHOLDER + ("  !shell" if shell else "")
        self._low_bandwidth = low_bandwidth
        self.sender = ChatSender(
            bridge, desk, lambda: self.composer, self.post_message, root=Path.cwd(), shell=shell
        )
        self.set_class(not self.chat.turns, "-welcome", update=False)

    def compose(self) -> ComposeResult:
        yield LineBoard(id="chat-title")
        transcript = Transcript(glyphs=UNICODE_GLYPHS if self.state.glyphs.braille else ASCII_GLYPHS)
        self._feed = TranscriptFeed(transcript)
        yield transcript
        yield WelcomeBoard(id="welcome")
        composer = Composer(editor=self._editor, id="composer")
        completions = CompletionBoard(composer, lambda: self.state.glyphs, root=self.sender.root)
        composer.take_key = completions.take_key
        yield LineBoard(id="waiting")
        yield completions
        with PromptRow(id="prompt-row"):
            yield Static(self.state.glyphs.prompt, id="prompt-mark", markup=False)
            yield composer
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
        self.screen.set_focus(self.query_one("#welcome") if self._invites else self.composer)

    @property
    def _invites(self) -> bool:
        """Whether the card asks for its key: there is no model to write to, and nothing is written."""
        return self.state.models is not None and not self.chat.model and not self.composer.text

    def refresh_from(self, parts: frozenset[str]) -> None:
        if parts == ANSWER_ONLY:
            self._feed.show(self.chat)
            return
        if "models" in parts:
            self.desk.settle_model()
        if "link" in parts:
            self.transcript.set_low_bandwidth(self.state.low_bandwidth)
        self._allow_writing()
        self._feed.show(self.chat)
        self._show_lines()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        chat = self.chat
        if action == "stop":
            return chat.is_answering or bool(chat.editing)
        if action in ("regenerate", "edit", "sibling"):
            return bool(chat.turns) and not chat.is_answering
        if action == "unqueue":
            return bool(chat.queue)
        if action in ("rename", "delete", "export"):
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
        self._show_waiting()
        mark = self.query_one("#prompt-mark", Static)
        if mark.content != self.state.glyphs.prompt:
            mark.update(self.state.glyphs.prompt, layout=False)
        self.set_class(not chat.turns, "-welcome")
        if not chat.turns:
            self.query_one("#welcome", LineBoard).show(turns.welcome_rows(self.state, chat))

    def _show_waiting(self) -> None:
        board = self.query_one("#waiting", LineBoard)
        rows = turns.waiting_rows(self.state, self.chat, self.columns)
        if len(rows) != len(board.rows):
            board.set_class(bool(rows), "-open")
            board.refresh(layout=True)
        board.show(rows)

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
            composer.allow(self._placeholder)
        welcome = self.query_one("#welcome")
        if composer.has_focus if self._invites else welcome.has_focus:
            self.focus_inside()

    # --- events ---

    def on_composer_prompt_submitted(self, event: Composer.PromptSubmitted) -> None:
        event.stop()
        self.sender.submit(event.text)

    def on_composer_blank_submitted(self, event: Composer.BlankSubmitted) -> None:
        event.stop()
        self.sender.send_next()

    def on_composer_refused(self, event: Composer.Refused) -> None:
        event.stop()
        if event.is_empty and self.check_action("bundled", ()) and not self.chat.model:
            self.action_bundled()
        elif not event.is_empty:
            self.post_message(Noticed(f"Not sent yet: {event.reason}.", severity="warning"))

    def on_text_area_changed(self) -> None:
        self._show_chips()
        self.query_one(CompletionBoard).look()

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
        """Answer again: the question before the answer that the cursor stands on, or the last one."""
        chat, at = self.chat, self._cursor_position()
        key = chat.turns[at].key if at >= 0 and chat.turns[at].role == "assistant" else 0
        if chat.drop_answer(key) or chat.turns[-1].role == "user":
            self.bridge.answer(chat)

    def action_edit(self) -> None:
        """Take the turn that the cursor stands on, or the last question, into the prompt."""
        chat, at = self.chat, self._cursor_position()
        turn = chat.turns[at] if at >= 0 else chat.last_question()
        text = chat.edit(turn.key) if turn else None
        if text is not None:
            self.composer.put(text)
            self.composer.focus()
            self.bridge.touch("chat")

    def action_sibling(self, step: int) -> None:
        """Show another way on: of the turn that the cursor stands on, or of the last one that has any."""
        chat, at = self.chat, self._cursor_position()
        forks = [turn for turn in chat.turns if chat.sibling_place(turn).total > 1]
        turn = chat.turns[at] if at >= 0 else forks[-1] if forks else None
        if turn is not None and chat.show_sibling(turn.key, step):
            self.bridge.order(self.desk.save(chat))
            self.bridge.touch("chat")

    def _cursor_position(self) -> int:
        """Position of the turn that the block cursor stands on, -1 without one."""
        key = self.transcript.cursor_turn
        return -1 if key is None else self.transcript.model.position(key)

    def action_stop(self) -> None:
        """Stop the answer, or leave the turn that is edited as it is."""
        if not self.bridge.stop(self.chat) and self.chat.drop_edit():
            self.composer.put("")
            self.bridge.touch("chat")

    def action_unqueue(self, index: int) -> None:
        """Take a prompt that waits back into the field."""
        self.sender.take_back(index)

    def action_options(self) -> None:
        """Change the system prompt and the options."""
        self.post_message(DialogWanted("chat_options", self.chat.id))

    def action_export(self) -> None:
        """Write this chat to a file."""
        self.post_message(DialogWanted("export_chat"))

    def action_compare(self) -> None:
        """Ask several models the same."""
        self.post_message(DialogWanted("compare", self.composer.text.strip()))

    def action_paste_image(self) -> None:
        """Put the picture of the clipboard into the prompt."""
        self.bridge.order(self.sender.paste_image())

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
