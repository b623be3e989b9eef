# SPDX-License-Identifier: MIT
#
# JSON out and in, and regular expressions over the text: deep call stacks and short-lived blocks.
# Run with PYTHONMALLOC=malloc, so that every object is a block of its own.  Argument: rounds.
import json
import random
import re
import sys

WORD = re.compile(r"\b([a-z]{2})([a-z]*)\b")
PAIR = re.compile(r'"(?P<key>\w+)":\s*(?P<value>-?\d+(?:\.\d+)?)')


def record(chance, depth):
    words = ["".join(chance.choices("abcdefgh", k=chance.randint(2, 9))) for _ in range(4)]
    item = {"id": chance.randrange(10**6), "name": " ".join(words), "score": chance.random(), "tags": words}
    if depth > 0:
        item["children"] = [record(chance, depth - 1) for _ in range(3)]
    return item


def main(rounds):
    chance = random.Random(1337)
    tree = record(chance, 5)
    checksum = 0
    for _ in range(rounds):
        text = json.dumps(tree, indent=1, sort_keys=True)
        tree = json.loads(text)
        checksum += sum(len(match.group("key")) for match in PAIR.finditer(text))
        checksum += len(WORD.sub(lambda match: match.group(2) + match.group(1), text))
        checksum += len({tuple(word.split("a")) for word in text.split()})
    print(checksum)


main(int(sys.argv[1]) if len(sys.argv) > 1 else 20)
