"""`wsdirect env`: every setting with its value, where that is from, its default and its meaning."""

from __future__ import annotations

import argparse
import os
import sys

from wsdirect import settings
from wsdirect.tools.text import paint, print_json

__all__ = ["main"]


def main(words: list[str]) -> int:
    """Print the settings; SettingError if one is bad."""
    parser = argparse.ArgumentParser(
        prog="wsdirect env",
        description="List the settings: value, where it is from, default, meaning.",
        allow_abbrev=False,
    )
    parser.add_argument("--json", action="store_true", help="as data")
    options = parser.parse_args(words)

    settings.load()  # finds names that do not exist
    found = [(setting, *setting.read(os.environ)[1:]) for setting in settings.ALL]
    if options.json:
        print_json(
            [
                {
                    "name": setting.name,
                    "value": text,
                    "source": source,
                    "default": setting.default,
                    "valid": setting.valid,
                    "doc": setting.doc,
                }
                for setting, text, source in found
            ]
        )
        return 0
    for setting, text, source in found:
        name = f"{setting.name}={text}"
        print(paint(name, "bold", sys.stdout) if source == "environment" else name)
        default = f"default {setting.default}" if setting.default else "default: none"
        print(f"    {setting.doc}")
        print(f"    {source}; {default}; valid: {setting.valid}")
    return 0
