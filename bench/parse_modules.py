# SPDX-License-Identifier: MIT
#
# Parses modules of the standard library into syntax trees and walks them by recursion: deep call paths that hardly
# ever repeat.  Run with PYTHONMALLOC=malloc.  Argument: modules.
import argparse
import ast
import difflib
import inspect
import pickle
import pydoc
import subprocess
import sys
import tarfile
import tempfile
import typing
import unittest.mock

MODULES = [argparse, ast, difflib, inspect, pickle, pydoc, subprocess, tarfile, tempfile, typing, unittest.mock]


def depth(node):
    return 1 + max((depth(child) for child in ast.iter_child_nodes(node)), default=0)


def main(count):
    total = 0
    for module in (MODULES * 99)[:count]:
        with open(module.__file__, encoding="utf-8") as source:
            tree = ast.parse(source.read())
        total += depth(tree) + len(ast.unparse(tree))
        compile(tree, module.__name__, "exec")
    print(total)


main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
