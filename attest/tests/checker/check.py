#!/usr/bin/env python3
"""check.py FOLDER: verifies each file of evidence that the tests have kept there, by code of its
own, and compares the verdicts. Python 3 and its standard library; written from
docs/attestation.md, kernel/INTERFACE.md, the TPM 2.0 Library and the kernel's documentation."""

import collections
import json
import multiprocessing
import pathlib
import sys

sys.dont_write_bytecode = True

from verify import Verifier


def difference(file):
    """What differs, and the conclusion."""
    case = json.loads(file.read_bytes())
    theirs = case["verdict"]
    verifier = Verifier(case)
    conclusion = verifier.verdict()
    answers = {question: answer["answer"] for question, answer in theirs["answers"].items()}
    found = []
    if conclusion != theirs["conclusion"]:
        found.append(f"{conclusion} here, {theirs['conclusion']} there")
    for question in sorted(answers.keys() | verifier.answers.keys()):
        here, there = verifier.answers.get(question), answers.get(question)
        if here != there:
            found.append(f"{question}: {here} here, {there} there")
    return found, conclusion


def main(folder):
    files = sorted(pathlib.Path(folder).glob("*.json"))
    counts, different = collections.Counter(), 0
    with multiprocessing.Pool() as pool:
        for file, (found, conclusion) in zip(files, pool.imap(difference, files, 16)):
            counts[conclusion] += 1
            different += bool(found)
            for line in found[:8]:
                print(f"{file.name}: {line}")
    told = ", ".join(f"{count} {conclusion}" for conclusion, count in sorted(counts.items()))
    print(f"{len(files)} files of evidence: {told}; {different} differences")
    return 1 if different or not files else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
