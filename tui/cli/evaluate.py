"""``kvtui eval``: how well a model predicts a text."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from kvtui.core import KvtuiError
from kvtui.core.measure.evaluation import evaluate
from kvtui.core.tokenizer import start_of_texts
from kvtui.tui.cli.loading import load_model
from kvtui.tui.cli.options import Real, model_option
from kvtui.tui.cli.progress import counting_bar
from kvtui.tui.cli.streams import read_text, write, write_json

LARGEST_LOSS = 700.0  # nats: its perplexity is still a number


@click.command("eval", short_help="Loss and perplexity of a text.")
@click.argument("textfile", type=click.Path(path_type=Path))
@model_option
@click.option(
    "--last",
    type=Real(0, 1, above=True),
    default=1.0,
    metavar="SHARE",
    help="Score only this last share of the text; the rest is context.  [default: 1, all of it]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")
def evaluate_text(textfile: Path, model: str | None, last: float, as_json: bool) -> None:
    """Loss of a text in nats per token, and perplexity.

    The trainer holds back the last tenth of a text; '--last 0.1' scores exactly that. If the model's texts begin with a
    token of their own, such as <s>, every window of the text does.

    \b
      kvtui generate "ROMEO:" -n 2000 > sample.txt
      kvtui eval sample.txt
      kvtui eval tinyshakespeare.txt --last 0.1
    """
    text = read_text(textfile)
    decoder = load_model(model)
    ids = np.array(decoder.tokenizer.encode(text))
    with counting_bar("tokens") as on_progress:
        first = len(ids) - int(len(ids) * last)
        result = evaluate(decoder, ids, first, on_progress, start_of_texts(decoder.tokenizer))
    if not result.loss < LARGEST_LOSS:
        raise KvtuiError(f"{decoder.name}: the loss is {result.loss}: the weights overflow, or the model is damaged")
    if as_json:
        write_json(
            {
                "model": decoder.name,
                "text": str(textfile),
                "last": last,
                "loss": result.loss,
                "perplexity": result.perplexity,
                "tokens": result.tokens,
                "seconds": result.seconds,
                "method": result.method,
            }
        )
        return
    write(
        f"loss        {result.loss:.4f} nats per token\n"
        f"perplexity  {result.perplexity:.3f}\n"
        f"scored      {result.tokens:,} of {len(ids):,} tokens in {result.seconds:.1f} s\n"
        f"method      {result.method}\n"
    )
