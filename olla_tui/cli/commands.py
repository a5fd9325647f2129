"""The commands: names, words, flags and one line each. What they do is imported when they are called."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from olla_tui.cli import chat_commands as chat_commands
from olla_tui.cli import screen_commands as screen_commands
from olla_tui.cli.declare import Interval, Words, app, command, read_int
from olla_tui.cli.usage import OllaGroup, Usage
from server.errors import InvalidRequest

__all__ = ["app"]

SERVER_VARIABLES = (
    "OLLAMA_DEBUG",
    "OLLAMA_HOST",
    "OLLAMA_CONTEXT_LENGTH",
    "OLLAMA_KEEP_ALIVE",
    "OLLAMA_MAX_LOADED_MODELS",
    "OLLAMA_MAX_QUEUE",
    "OLLAMA_MODELS",
    "OLLAMA_NUM_PARALLEL",
    "OLLAMA_NOPRUNE",
    "OLLAMA_ORIGINS",
    "OLLAMA_FLASH_ATTENTION",
    "OLLAMA_KV_CACHE_TYPE",
    "OLLAMA_LOAD_TIMEOUT",
)
RUN_VARIABLES = ("OLLAMA_EDITOR", "OLLAMA_HOST", "OLLAMA_NOHISTORY")


Verbose = Annotated[bool, typer.Option("--verbose", help="Show timings for response")]
NoWordWrap = Annotated[
    bool, typer.Option("--nowordwrap", help="Don't wrap words to the next line automatically")
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Use an insecure registry")]
Limit = Annotated[str, typer.Option("--limit", help="Most bytes a second (e.g. 5MB/s)")]
config = typer.Typer(cls=OllaGroup, help="Show settings", rich_markup_mode=None)


@app.callback()
def root(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", "-v", help="Show version information")] = False,
    verbose: Verbose = False,
    nowordwrap: NoWordWrap = False,
) -> None:
    """`olla` alone opens the workstation."""
    if version:
        from olla_tui.cli.version import print_version

        print_version()
        raise typer.Exit()
    if ctx.invoked_subcommand is None:
        from olla_tui.cli.tui import run_workstation
        from server.settings import Settings

        raise typer.Exit(run_workstation(Settings.load()))


@command(Usage("serve", 0, 0, SERVER_VARIABLES, ("start",)), "Start olla")
def serve() -> None:
    """Serve until a signal ends it."""
    from olla_tui.cli.serve import run_server

    run_server()


@command(Usage("create MODEL", 1, 1), "Create a model")
def create(
    model: str,
    file: Annotated[
        str, typer.Option("--file", "-f", help='Name of the Modelfile (default "Modelfile")')
    ] = "",
    quantize: Annotated[
        str, typer.Option("--quantize", "-q", help="Quantize model to this level (e.g. q4_K_M)")
    ] = "",
    draft_quantize: Annotated[
        str, typer.Option("--draft-quantize", help="Quantize draft model to this level")
    ] = "",
) -> None:
    """Make a model from a Modelfile."""
    from olla_tui.cli.create import create_model

    create_model(model, file=file, quantize=quantize, draft_quantize=draft_quantize)


@command(Usage("show MODEL", 1, 1), "Show information for a model")
def show(
    model: str,
    license_: Annotated[bool, typer.Option("--license", help="Show license of a model")] = False,
    modelfile: Annotated[bool, typer.Option("--modelfile", help="Show Modelfile of a model")] = False,
    parameters: Annotated[bool, typer.Option("--parameters", help="Show parameters of a model")] = False,
    template: Annotated[bool, typer.Option("--template", help="Show template of a model")] = False,
    system: Annotated[bool, typer.Option("--system", help="Show system message of a model")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show detailed model information")] = False,
) -> None:
    """Tell all about a model, or one part of it."""
    from olla_tui.cli.models import show_model

    wanted = {
        "license": license_,
        "modelfile": modelfile,
        "parameters": parameters,
        "system": system,
        "template": template,
    }
    show_model(model, [name for name, is_wanted in wanted.items() if is_wanted], verbose=verbose)


@command(Usage("run MODEL [PROMPT]", 1, None, RUN_VARIABLES), "Run a model")
def run(
    words: Words = None,
    keepalive: Annotated[
        str, typer.Option("--keepalive", help="Duration to keep a model loaded (e.g. 5m)")
    ] = "",
    verbose: Verbose = False,
    insecure: Insecure = False,
    nowordwrap: NoWordWrap = False,
    format_: Annotated[str, typer.Option("--format", help="Response format (e.g. json)")] = "",
    think: Annotated[
        str | None,
        typer.Option(
            "--think",
            metavar='string[="true"]',
            help="Enable thinking mode: true/false or high/medium/low for supported models",
        ),
    ] = None,
    hidethinking: Annotated[
        bool, typer.Option("--hidethinking", help="Hide thinking output (if provided)")
    ] = False,
    truncate: Annotated[
        bool | None,
        typer.Option(
            "--truncate/--no-truncate",
            help="For embedding models: truncate inputs exceeding context length (default: true). "
            "Set --truncate=false to error instead",
        ),
    ] = None,
    dimensions: Annotated[
        str,
        typer.Option(
            "--dimensions",
            metavar="int",
            help="Truncate output embeddings to specified dimension (embedding models only)",
        ),
    ] = "",
) -> None:
    """Ask a model once, or talk to it."""
    from olla_tui.cli.run import RunFlags, run_model

    model, *prompts = words or []
    flags = RunFlags(
        keep_alive=keepalive,
        verbose=verbose,
        no_word_wrap=nowordwrap,
        format=format_,
        think=think,
        hide_thinking=hidethinking,
        truncate=truncate,
        n_dimensions=read_int("--dimensions", dimensions),
        insecure=insecure,
    )
    run_model(model, prompts, flags)


@command(Usage("stop MODEL", 1, 1), "Stop a running model")
def stop(model: str) -> None:
    """Unload a model."""
    from olla_tui.cli.models import stop_model

    stop_model(model)


@command(Usage("pull MODEL", 1, 1), "Pull a model from a registry")
def pull(model: str, insecure: Insecure = False, limit: Limit = "") -> None:
    """Fetch a model."""
    from olla_tui.cli.transfers import pull_model

    pull_model(model, insecure=insecure, limit=limit)


@command(Usage("push MODEL", 1, 1), "Push a model to a registry")
def push(model: str, insecure: Insecure = False, limit: Limit = "") -> None:
    """Send a model."""
    from olla_tui.cli.transfers import push_model

    push_model(model, insecure=insecure, limit=limit)


@command(Usage("signin", 0, 0, ()), "Sign in to ollama.com")
def signin() -> None:
    """Say that there is no cloud here."""
    raise InvalidRequest("olla runs models on your own machine and has no cloud to sign in to")


@command(Usage("signout", 0, 0, ()), "Sign out from ollama.com")
def signout() -> None:
    """Say that there is no cloud here."""
    raise InvalidRequest("olla runs models on your own machine and has no cloud to sign out from")


@command(Usage("list", aliases=("ls",)), "List models")
def list_(
    words: Words = None,
    partials: Annotated[bool, typer.Option("--partials", help="List unfinished downloads")] = False,
) -> None:
    """List the models in the store, or what is not whole yet."""
    from olla_tui.cli.models import list_models
    from olla_tui.cli.pulls import list_partials

    (list_partials if partials else list_models)((words or [""])[0])


@command(
    Usage("pulls [pause|resume|cancel|first|limit|discard] [MODEL]"), "List pulls and pushes, or steer one"
)
def pulls(words: Words = None) -> None:
    """List transfers; pause, move, limit or end one; throw away what is unfinished."""
    from olla_tui.cli.pulls import run_pulls

    run_pulls(words or [])


@command(Usage("ps"), "List running models")
def ps(
    words: Words = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show them again and again until q")] = False,
    interval: Interval = "2",
) -> None:
    """List the loaded models."""
    from olla_tui.cli.models import list_running, watch_running

    prefix = (words or [""])[0]
    watch_running(prefix, interval) if watch else list_running(prefix)


@command(Usage("bench MODEL", 1, 1), "Measure how fast a model answers")
def bench(
    model: str,
    clients: Annotated[str, typer.Option("--clients", help="Requests at once, a row for each")] = "1,8",
    prompt: Annotated[str, typer.Option("--prompt", metavar="int", help="Tokens of the prompt")] = "512",
    predict: Annotated[str, typer.Option("--predict", metavar="int", help="Tokens of an answer")] = "128",
    rounds: Annotated[str, typer.Option("--rounds", metavar="int", help="Rounds of each figure")] = "3",
    format_: Annotated[str, typer.Option("--format", help="Response format (e.g. json)")] = "",
) -> None:
    """Measure first token, prefill and decode on this machine."""
    from olla_tui.cli.bench import bench_model, read_clients
    from olla_tui.client.bench import BenchFlags

    flags = BenchFlags(
        clients=read_clients(clients),
        n_prompt=read_int("--prompt", prompt),
        n_predict=read_int("--predict", predict),
        n_rounds=read_int("--rounds", rounds),
        format=format_,
    )
    bench_model(model, flags)


@command(Usage("cp SOURCE DESTINATION", 2, 2), "Copy a model")
def cp(source: str, destination: str) -> None:
    """Give a model a second name."""
    from olla_tui.cli.models import copy_model

    copy_model(source, destination)


@command(Usage("rm MODEL [MODEL...]", 1), "Remove a model")
def rm(models: Words = None) -> None:
    """Remove models from the store."""
    from olla_tui.cli.models import remove_models

    remove_models(models or [])


@command(Usage("gc", 0, 0), "Remove what no model needs from the store")
def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Remove nothing, list what would be")
    ] = False,
    age: Annotated[
        str,
        typer.Option("--age", help='How old it must be, e.g. 30m, 12h, 7d (default "1h", downloads "7d")'),
    ] = "",
) -> None:
    """Collect garbage."""
    from olla_tui.cli.upkeep import collect_garbage, read_age

    collect_garbage(read_age(age), dry_run=dry_run)


@command(Usage("fsck", 0, 0), "Check every model and blob of the store")
def fsck(
    quick: Annotated[
        bool, typer.Option("--quick", help="Don't read the blobs to compare their bytes with their names")
    ] = False,
) -> None:
    """Check the store; exit code 1 when something is broken."""
    from olla_tui.cli.upkeep import check_store

    if not check_store(quick=quick):
        raise typer.Exit(1)


app.add_typer(config, name="config")


@command(
    Usage("show", 0, 0, ("OLLAMA_HOST",)),
    "Show each setting, its value and where it comes from",
    group=config,
)
def config_show() -> None:
    """Show the settings."""
    from olla_tui.cli.config import show_settings

    show_settings()


@command(Usage("help [command]", 0, None, ()), "Help about any command")
def help_(ctx: typer.Context, words: Words = None) -> None:
    """Print the help of a command."""
    main_command: Any = typer.main.get_command(app)
    main_command(args=[*(words or []), "--help"], prog_name="olla", standalone_mode=False)
