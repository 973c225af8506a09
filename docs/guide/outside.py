"""A preprocessor of mdBook, which takes links to Markdown for links to chapters. Those that leave the book are links to files."""

import json
import re
import sys

if sys.argv[1:2] == ["supports"]:
    sys.exit(0)
_, book = json.load(sys.stdin)
# %64 is `d` to whoever opens the file, and mdBook does not know it for Markdown.
print(re.sub(r"\]\((\.\./[^)#]*)\.md(?=[)#])", r"](\1.m%64", json.dumps(book)))
