"""Everything that the user can do, in one table: keys, footer, help screen and command palette all come from it."""

from __future__ import annotations

from dataclasses import dataclass

from kvtui.tui.worker.stream_link import CACHE_IS_NOT_OURS, TEXT_IS_NOT_OURS


@dataclass(frozen=True)
class Action:
    """One thing to do.

    Attributes:
        name: of the ``action_…`` method of the app, or of the view that has it.
        keys: as Textual names them, separated by commas.
        shown: the keys as a user would write them.
        title: what the palette calls it.
        help: a sentence.
        brief: what the key line calls it, empty if it is not in there.
        asks: whether it asks something of the model, which another program's stream of events cannot answer: then it is
            not in the key line of such a stream.
        elsewhere: what to say in place of doing it while another program writes; empty if it is done all the same.
        rank: the lower, the further left it stands in the key line, and the longer it stays when that gets narrow. The
            visible view's own have 1; what they can do without, more.
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
        """The key by which the app finds it."""
        return self.keys.split(",")[0]


# In the order of the help screen.
RUNNING: tuple[Action, ...] = (
    Action(
        "toggle_cache",
        "t",
        "t",
        "Toggle the KV cache",
        "Switch the cache off or on. The text stays the same, its price changes. While typing a prompt: ctrl+t or F2.",
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
        "Stop the clock and look, or go on; after the end, write the text again.",
        "Pause",
        rank=0,
    ),
    Action("step", "full_stop", ".", "Step", "Write one token, then pause.", "Step", rank=2),
    Action("slower", "minus", "-", "Slower", "The next lower pace.", "-", rank=2),
    Action("faster", "plus,equals_sign", "+", "Faster", "The next higher pace, at last unlimited.", "Pace", rank=2),
    Action(
        "unlimited",
        "u",
        "u",
        "Unlimited pace",
        "As fast as the model goes; again: back to the pace before.",
        "Unlimited",
        rank=6,
    ),
)
# Not while typing, nor behind another screen; everywhere else no pane takes these keys away.
PAST: tuple[Action, ...] = (
    Action(
        "earlier", "left", "←", "Earlier token", "Look at the token before: all panes show its moment.", "-", rank=4
    ),
    Action(
        "later",
        "right",
        "→",
        "Later token",
        "Look at the token after; after the newest, follow again.",
        "Token",
        rank=4,
    ),
    Action("first_token", "home", "Home", "First token", "Look at the first token that is kept.", "-", rank=4),
    Action(
        "live", "end", "End", "Follow again", "Back to the newest token, and to the end of the text.", "Follow", rank=4
    ),
)
LAB: tuple[Action, ...] = (
    Action(
        "fork",
        "f",
        "f",
        "Fork",
        "Put something else in the place of the token that is looked at, or of the newest, and go on from there: a "
        "candidate of the model, or what you type. The cache is truncated, not rebuilt.",
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
        "What forks have made: compare two texts, go back to one.",
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
        "Run every token without the cache as well and compare the logits. The measured times do not hold that.",
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
        "Write the same prompt again with the same seed: the same text.",
        "Restart",
        rank=5,
    ),
    Action(
        "restart_next",
        "R",
        "R",
        "Restart with the next seed",
        "Write the same prompt again: another text.",
        "Next seed",
        asks=True,
        rank=6,
    ),
    Action(
        "stop", "s", "s", "Stop", "End this text, or a race.", "Stop", asks=True, rank=6, elsewhere=TEXT_IS_NOT_OURS
    ),
    Action("prompt", "p", "p", "Prompt", "Write another prompt.", "Prompt", asks=True, rank=5),
    Action(
        "models",
        "M",
        "M",
        "Model",
        "Choose another model; the same prompt is written with it.",
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
        elsewhere="The tour needs a model that writes here: start kvtui without a stream.",
    ),
    Action(
        "policy",
        "P",
        "P",
        "Cache policy",
        "What the cache keeps: everything, a window, sinks, heavy hitters, fewer bits. The text goes on.",
        "Policy",
        asks=True,
        rank=5,
        elsewhere="This is another program's text: its cache cannot be changed from here.",
    ),
    Action("theme", "d", "d", "Dark or light", "Switch the theme; the palette has more of them.", "Theme", rank=6),
    Action("help", "question_mark,f1", "?", "Help", "Keys, and what each pane shows.", "Help", rank=7),
    Action(
        "quit",
        "q",
        "q",
        "Quit",
        "End the dashboard and the generator process. Also ctrl+q, and ctrl+c.",
        "Quit",
        rank=7,
    ),
)
ACTIONS: tuple[Action, ...] = (*RUNNING, *PAST, *LAB, *DASHBOARD)


def number_keys(count: int) -> tuple[str, ...]:
    """The first ``count`` digits that no action has: for the views, so that one more never takes the key of an action.

    Raises:
        ValueError: there are not so many.
    """
    taken = {key for action in ACTIONS for key in action.keys.split(",")}
    free = tuple(digit for digit in "1234567890" if digit not in taken)
    if count > len(free):
        raise ValueError(f"{count} views, and only {len(free)} digits that no action has")
    return free[:count]


# While the card of the tour is up, and no prompt is being typed.
TOUR: tuple[tuple[str, str, str], ...] = (
    ("space", "tour_on", "Next chapter"),
    ("backspace", "tour_back", "Chapter before"),
    ("escape", "tour_leave", "Leave the tour"),
)

# Keys that work in the prompt as well.
ALWAYS: tuple[tuple[str, str, str], ...] = (
    ("f6", "tour", "Tour"),
    ("ctrl+t,f2", "toggle_cache", "Toggle the KV cache"),
    ("ctrl+q", "quit", "Quit"),
    ("ctrl+c", "interrupt", "Quit with exit status 130"),
)
