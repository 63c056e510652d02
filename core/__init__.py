"""The model and everything that needs no terminal."""

from kvtui.core.cache import Cache, FullCache, KVCache
from kvtui.core.config import ModelConfig
from kvtui.core.control import GenerationLoop, generate
from kvtui.core.errors import KvtuiError
from kvtui.core.generation import Generation
from kvtui.core.loading import load
from kvtui.core.model import Model
from kvtui.core.sampling import SamplingSettings
from kvtui.core.settings import GenerationSettings
from kvtui.core.tokenizer import CharTokenizer, Tokenizer

__all__ = [
    "Cache",
    "CharTokenizer",
    "FullCache",
    "Generation",
    "GenerationLoop",
    "GenerationSettings",
    "KVCache",
    "KvtuiError",
    "Model",
    "ModelConfig",
    "SamplingSettings",
    "Tokenizer",
    "generate",
    "load",
]
