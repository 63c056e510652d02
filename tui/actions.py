"""All actions of the user in one table: keys, footer, help screen and command palette are derived from it."""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.tui.worker.stream_link import CACHE_IS_NOT_OURS, TEXT_IS_NOT_OURS

MODEL_IS_ELSEWHERE = "this needs the model, which runs in another program."


@dataclass(frozen=True)
class Action:
    """One action.

    Attributes:
        name: of the ``action_…`` method of the app, or of the view that defines it.
        keys: Textual's names, separated by commas.
        shown: the keys as the screen shows them.
        title: its name in the palette.
        help: one sentence.
        brief: its name in the key line; empty if it is not shown there.
        asks: whether it needs the model, which a stream from another program cannot provide. It is then left out of the
            key line, and its key only says why.
        elsewhere: the message to show then, if ``MODEL_IS_ELSEWHERE`` is not enough.
        rank: the lower, the further left in the key line, and the longer it stays when space runs out. Actions of the
            visible view have 1; less important ones have more.
    """

    name: str
    keys: str
    shown: str
    title: str
    help: str
    brief: str = ""
    asks: bool = False
    rank: int = 1
    elsewhere: str = ""

    @property
    def first_key(self) -> str:
        """The id by which the app finds it."""
        return self.keys.split(",")[0]


# In the order of the help screen.
RUNNING: tuple[Action, ...] = (
    Action(
        "toggle_cache",
        "t",
        "t",
        "Toggle the KV cache",
        "Switch the cache off or on: same text, different cost. While typing a prompt: ctrl+t or F2.",
        "Cache",
        asks=True,
        rank=0,
        elsewhere=CACHE_IS_NOT_OURS,
    ),
    Action(
        "pause",
        "space",
        "Space",
        "Pause or resume",
        "Pause to look, or resume; after the end, write the text again.",
        "Pause",
        rank=0,
    ),
    Action("step", "full_stop", ".", "Step", "Write one token, then pause.", "Step", rank=2),
    Action("slower", "minus", "-", "Slower", "The next lower pace.", "-", rank=2),
    Action("faster", "plus,equals_sign", "+", "Faster", "The next higher pace, finally unlimited.", "Pace", rank=2),
    Action(
        "unlimited",
        "u",
        "u",
        "Unlimited pace",
        "As fast as possible; again: back to the previous pace.",
        "Unlimited",
        rank=6,
    ),
)
# Not while typing or on another screen; elsewhere, no pane uses these keys.
PAST: tuple[Action, ...] = (
    Action(
        "earlier", "left", "←", "Earlier token", "Look at the previous token: all panes show its moment.", "-", rank=4
    ),
    Action(
        "later",
        "right",
        "→",
        "Later token",
        "Look at the next token; after the newest, follow again.",
        "Token",
        rank=4,
    ),
    Action("first_token", "home", "Home", "First token", "Look at the first token still kept.", "-", rank=4),
    Action("live", "end", "End", "Follow again", "Back to the newest token and the end of the text.", "Follow", rank=4),
)
LAB: tuple[Action, ...] = (
    Action(
        "fork",
        "f",
        "f",
        "Fork",
        "Replace the selected token, or the newest, and continue from there: with another candidate of the model, or "
        "with what you type. The cache is truncated, not recomputed.",
        "Fork",
        asks=True,
        rank=4,
        elsewhere=TEXT_IS_NOT_OURS,
    ),
    Action(
        "branches",
        "b",
        "b",
        "Branches",
        "The texts made by forks: compare two of them, or switch to one.",
        "Branches",
        asks=True,
        rank=4,
        elsewhere=TEXT_IS_NOT_OURS,
    ),
    Action(
        "verify",
        "v",
        "v",
        "Verify",
        "Also run every token without the cache and compare the logits. This is not part of the measured times.",
        "Verify",
        asks=True,
        rank=4,
        elsewhere=CACHE_IS_NOT_OURS,
    ),
)
DASHBOARD: tuple[Action, ...] = (
    Action(
        "restart",
        "r",
        "r",
        "Restart",
        "Write the same prompt again with the same seed: same text.",
        "Restart",
        rank=5,
    ),
    Action(
        "restart_next",
        "R",
        "R",
        "Restart with the next seed",
        "Write the same prompt again with another seed: another text.",
        "Next seed",
        asks=True,
        rank=6,
        elsewhere="Another program writes this text and has chosen its seed. r shows it again from the start.",
    ),
    Action("stop", "s", "s", "Stop", "End this text or race.", "Stop", asks=True, rank=6, elsewhere=TEXT_IS_NOT_OURS),
    Action(
        "prompt",
        "p",
        "p",
        "Prompt",
        "Write from another prompt.",
        "Prompt",
        asks=True,
        rank=5,
        elsewhere="Another program writes this text from its own prompt: none can be sent from here.",
    ),
    Action(
        "models",
        "M",
        "M",
        "Model",
        "Choose another model; it writes from the same prompt.",
        "Model",
        asks=True,
        rank=6,
        elsewhere=TEXT_IS_NOT_OURS,
    ),
    Action(
        "tour",
        "6",
        "6",
        "Tour",
        "A guided tour in short chapters. While typing a prompt: F6.",
        "Tour",
        asks=True,
        rank=5,
        elsewhere="The tour needs a model: start kvtui without a stream.",
    ),
    Action(
        "policy",
        "P",
        "P",
        "Cache policy",
        "What the cache keeps: everything, a window, sinks, heavy hitters, fewer bits. The text continues.",
        "Policy",
        asks=True,
        rank=5,
        elsewhere="Another program writes this text: its cache cannot be changed from here.",
    ),
    Action("theme", "d", "d", "Dark or light", "Switch the theme; the palette lists more.", "Theme", rank=6),
    Action("help", "question_mark,f1", "?", "Help", "Keys, and what each pane shows.", "Help", rank=7),
    Action(
        "quit",
        "q",
        "q",
        "Quit",
        "Quit the dashboard and the generator process. Also ctrl+q, and ctrl+c; ctrl+z suspends both.",
        "Quit",
        rank=7,
    ),
)
ACTIONS: tuple[Action, ...] = (*RUNNING, *PAST, *LAB, *DASHBOARD)


def number_keys(count: int) -> tuple[str, ...]:
    """The first ``count`` digits not used by any action: for the views, so that a new one never takes an action's key.

    Raises:
        ValueError: there are too few.
    """
    taken = {key for action in ACTIONS for key in action.keys.split(",")}
    free = tuple(digit for digit in "1234567890" if digit not in taken)
    if count > len(free):
        raise ValueError(f"{count} views, but only {len(free)} digits not used by actions")
    return free[:count]


# While the tour is open and no prompt is being typed.
TOUR: tuple[tuple[str, str, str], ...] = (
    ("space", "tour_on", "Next chapter"),
    ("backspace", "tour_back", "Previous chapter"),
    ("escape", "tour_leave", "Leave the tour"),
)

# Keys that also work in the prompt.
ALWAYS: tuple[tuple[str, str, str], ...] = (
    ("f6", "tour", "Tour"),
    ("ctrl+t,f2", "toggle_cache", "Toggle the KV cache"),
    ("ctrl+q", "quit", "Quit"),
    ("ctrl+c", "interrupt", "Quit with exit status 130"),
    ("ctrl+z", "suspend", "Suspend, until fg in the shell"),
)
