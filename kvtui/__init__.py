"""An oscilloscope for transformer decoding: :mod:`kvtui.core` decodes, :mod:`kvtui.tui` shows it."""
