#!/usr/bin/env python3
"""Reads YAML files with PyYAML and prints one JSON object: file name to list of documents."""

import json
import sys

import yaml

found = {}
for name in sys.argv[1:]:
    with open(name, encoding="utf-8") as text:
        found[name] = list(yaml.safe_load_all(text))
print(json.dumps(found))
