"""For Beam's --setup_file, which wants a setup.py, and for the parser in Rust; all else is declared in pyproject.toml."""

from setuptools import setup
from setuptools_rust import Binding, RustExtension

setup(
    rust_extensions=[
        RustExtension(
            "transforms.events._line_parser",
            path="line_parser/Cargo.toml",
            binding=Binding.PyO3,
            py_limited_api=True,
            debug=False,
            # Without Rust, or with one that is too old, lines are parsed in Python.
            optional=True,
        )
    ],
)
