"""Counts the words of standard input, the most frequent first."""
import sys
from collections import Counter

for word, count in Counter(sys.stdin.read().split()).most_common():
    print(count, word)
