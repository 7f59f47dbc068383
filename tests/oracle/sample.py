#!/usr/bin/python3
"""sample.py COUNT REGEX: of the cases on stdin whose id matches, COUNT (0: all), spread over the families by their size."""
import hashlib, json, re, sys

count, only = int(sys.argv[1]), re.compile(sys.argv[2])
families = {}
for line in sys.stdin:
    case = json.loads(line)["id"]
    if only.search(case):
        families.setdefault(case.split("/")[0], []).append((hashlib.sha1(case.encode()).hexdigest(), line))
total = sum(map(len, families.values()))
for cases in families.values():
    cases.sort()
    share = len(cases) if not count else max(1, len(cases) * count // total)
    sys.stdout.writelines(line for _, line in cases[:share])
