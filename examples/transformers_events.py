"""Watch a Hugging Face model in kvtui's dashboard. MODEL is a folder, or the name of one downloaded before.

    python examples/transformers_events.py MODEL "Once upon a time" -n 200 | kvtui watch -

Writes the events of docs/events.md. For another engine, write another class like TransformersEngine.
"""

import argparse
import json
import signal
from time import perf_counter


class TransformersEngine:
    """A model and its cache, a DynamicCache or None: everything that touches torch."""

    def __init__(self, model, tokenizer, cache, temperature=1.0):
        import torch

        self.torch, self.model, self.temperature = torch, model.eval(), temperature
        self.cache, self.cached = cache, cache is not None
        self.encode, self.decode, self.stop_id = tokenizer.encode, tokenizer.decode, tokenizer.eos_token_id
        config = model.config.get_text_config()
        self.about = {"name": model.name_or_path.rstrip("/").split("/")[-1] or type(model).__name__}
        self.about |= {"parameters": model.num_parameters(), "context_length": config.max_position_embeddings}
        self.about |= {"num_layers": config.num_hidden_layers, "num_heads": config.num_attention_heads}

    def run(self, ids):
        """Run what the cache does not hold yet, and wait for it: a GPU continues after the call has returned."""
        new = self.torch.tensor([ids[self.cached_positions :]], device=self.model.device)
        with self.torch.inference_mode():
            self.logits = self.model(new, past_key_values=self.cache, use_cache=self.cached).logits
        self.logits = self.logits[0, -1].float().cpu()

    def sample(self):
        """Sample a token, and its log-probability under the model itself, whatever the temperature."""
        token = self.logits.argmax()
        if self.temperature:
            token = self.torch.multinomial((self.logits / self.temperature).softmax(-1), 1)
        return int(token), float(self.logits.log_softmax(-1)[int(token)])

    @property
    def cached_positions(self):
        return self.cache.get_seq_length() if self.cached else 0

    @property
    def cache_bytes(self):
        layers = self.cache.layers if self.cached else []  # measured on the cache's own tensors
        return sum(part.nbytes for layer in layers for part in (layer.keys, layer.values) if part is not None)


def write_text(engine, prompt, count):
    """Yield the events of one text, up to the end of the context. Timed is the engine: sampling and running a token."""
    ids = (engine.encode(prompt) or [engine.stop_id])[-engine.about["context_length"] :]
    count = min(count, engine.about["context_length"] - len(ids))
    first, told = max(len(ids) - 5, 0), len(ids)  # up to `told` has been sent; a few tokens before it set the spaces
    started, total, reason = perf_counter(), 0.0, "length"
    engine.run(ids)
    event = {"event": "prefill", "tokens": len(ids), "seconds": perf_counter() - started, "prompt": prompt}
    yield event | {"cache": engine.cached, "cache_bytes": engine.cache_bytes, "model": engine.about}
    for step in range(count):
        started = perf_counter()
        token, logprob = engine.sample()
        ids.append(token)
        engine.run(ids)
        seconds = perf_counter() - started
        total += seconds
        before, after = engine.decode(ids[first:told]), engine.decode(ids[first:])
        whole = not after.endswith("\ufffd")  # otherwise it ends within a character, which a later token completes
        first, told = (told, len(ids)) if whole else (first, told)
        event = {"event": "token", "step": step, "position": len(ids) - 1, "id": token, "logprob": logprob}
        event |= {"text": after[len(before) :] if whole else "", "seconds": seconds, "cache": engine.cached}
        yield event | {"cached_positions": engine.cached_positions, "cache_bytes": engine.cache_bytes}
        if token == engine.stop_id:
            count, reason = step + 1, "stop"
            break
    event = {"event": "end", "reason": reason, "tokens": count, "seconds": total}
    yield event | {"tokens_per_second": count / total if total else 0.0}


if __name__ == "__main__":
    import transformers as hf

    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # the dashboard may be closed before the text ends
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("prompt")
    parser.add_argument("-n", type=int, default=200, help="tokens to write")
    parser.add_argument("--temperature", type=float, default=1.0, help="0: always the likeliest token")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-cache", action="store_true", help="run the whole text for every token")
    options = parser.parse_args()
    hf.set_seed(options.seed)
    model = hf.AutoModelForCausalLM.from_pretrained(options.model, local_files_only=True)
    tokenizer = hf.AutoTokenizer.from_pretrained(options.model, local_files_only=True)
    cache = None if options.no_cache else hf.DynamicCache()
    engine = TransformersEngine(model, tokenizer, cache, options.temperature)
    for event in write_text(engine, options.prompt, options.n):
        print(json.dumps(event), flush=True)
