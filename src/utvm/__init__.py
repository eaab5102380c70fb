"""µTVM: compile int8 neural networks for bare-metal microcontrollers, run and measure them over a debug link."""

__version__ = "0.1.0"
