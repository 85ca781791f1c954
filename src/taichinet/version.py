"""Version of the package. It has its own module, because the package itself refers to every layer."""

__version__ = "0.2.0"
