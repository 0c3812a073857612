"""The language BBj: a checker, the driver of its compiler, and the extraction of code from what a model wrote."""

from __future__ import annotations

from bbjspec.bbj.checker import BUILTIN_VERSION, Diagnostic, check
from bbjspec.bbj.compiler import CompileError, Compiler, Verdict, open_compiler
from bbjspec.bbj.extract import EXTRACTOR_VERSION, Extraction, extract

__all__ = [
    "BUILTIN_VERSION",
    "EXTRACTOR_VERSION",
    "CompileError",
    "Compiler",
    "Diagnostic",
    "Extraction",
    "Verdict",
    "check",
    "extract",
    "open_compiler",
]
