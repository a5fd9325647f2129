"""A table of many lines: a shorter or longer list lays out nothing but itself."""

from textual.app import App, ComposeResult

from olla_tui.state.rows import Span
from olla_tui.widgets.filter import SteadyInput
from olla_tui.widgets.table import Column, LineTable
from tests.support.workstation import wait_until


class Shown(App[None]):
    n_layouts = 0

    def compose(self) -> ComposeResult:
        yield SteadyInput()
        yield LineTable([Column("name", 0)])

    def get_theme_variable_defaults(self) -> dict[str, str]:
        from olla_tui.theme import default_variables

        return default_variables()


def listed(app: Shown, n_lines: int) -> list[str]:
    table = app.query_one(LineTable)
    keys = [f"{at:04}" for at in range(n_lines)]
    table.show(keys, lambda key: [(Span(f"line {key}"),)])
    return keys


def rows(app: Shown) -> list[str]:
    return [strip.text.strip() for strip in app.screen._compositor.render_strips()]


async def test_a_list_of_another_length_is_shown_without_a_layout(monkeypatch):
    app = Shown()
    async with app.run_test(size=(40, 12)) as pilot:
        listed(app, 5000)
        table = app.query_one(LineTable)
        await pilot.pause()
        table.action_edge(1)
        await wait_until(pilot, lambda: any("line 4999" in row for row in rows(app)))
        lays_out = []
        with monkeypatch.context() as patch:
            patch.setattr(table, "refresh", lambda *_, **how: lays_out.append(how.get("layout", False)))
            listed(app, 100)
        assert lays_out and not any(lays_out)
        assert table.virtual_size.height == 101 and table.max_scroll_y == table.scroll_offset.y
        table.refresh()
        await wait_until(pilot, lambda: any("line 0099" in row for row in rows(app)))


async def test_a_scrollbar_comes_and_goes_with_the_lines():
    app = Shown()
    async with app.run_test(size=(40, 12)) as pilot:
        table = app.query_one(LineTable)
        for n_lines, has_bar in ((5, False), (500, True), (3, False)):
            listed(app, n_lines)
            width = 40 - has_bar
            await wait_until(pilot, lambda width=width: table.scrollable_content_region.width == width)
            assert table.show_vertical_scrollbar is has_bar
