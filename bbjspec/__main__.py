from bbjspec.cli import entry

entry()
