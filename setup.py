"""For Beam's --setup_file, which wants a setup.py, and for the parser in Rust; all else is declared in pyproject.toml."""

from setuptools import setup

try:
    from setuptools_rust import Binding, RustExtension
except ImportError:
    # Beam's workers install what --setup_file made with the setuptools that they have, and nothing beside it.
    rust = {}
else:
    parser = RustExtension(
        "transforms.events._line_parser",
        path="line_parser/Cargo.toml",
        args=["--locked"],
        binding=Binding.PyO3,
        py_limited_api=True,
        debug=False,
        # Without Rust, or with one that is too old, lines are parsed in Python.
        optional=True,
    )
    rust = {"rust_extensions": [parser], "options": {"bdist_wheel": {"py_limited_api": "cp310"}}}

setup(**rust)
