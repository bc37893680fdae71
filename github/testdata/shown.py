"""Say of comments, as GitHub's own cmark-gfm shows them, which lines of text begin with /train.

From standard input, a JSON list of comments; to standard output, a JSON list of lists of lines:
those of paragraphs that stand in nothing else, as far as they have no markup.
"""

import json
import re
import sys
from html.parser import HTMLParser

import cmarkgfm
from cmarkgfm.cmark import Options


class Shown(HTMLParser):
    void = {"br", "hr", "img", "input", "wbr", "area", "base", "col", "embed", "link", "meta", "source", "track"}

    def __init__(self):
        super().__init__()
        self.open, self.text, self.plain, self.lines = [], "", True, []

    def handle_starttag(self, tag, attrs):
        if tag == "p" and not self.open:
            self.text, self.plain = "", True
        elif self.open and tag != "br":
            self.plain = False
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag == "p" and self.open == ["p"] and self.plain:
            self.lines += [line for line in self.text.split("\n") if re.match(r"/train(?![\w-])", line)]
        if tag in self.open:
            while self.open.pop() != tag:
                pass

    def handle_data(self, data):
        if self.open == ["p"]:
            self.text += data


answers = []
for text in json.load(sys.stdin):
    page = Shown()
    options = Options.CMARK_OPT_UNSAFE | Options.CMARK_OPT_FOOTNOTES
    page.feed(cmarkgfm.github_flavored_markdown_to_html(text, options))
    page.close()
    answers.append(page.lines)
json.dump(answers, sys.stdout)
