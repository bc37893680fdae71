#!/bin/sh
# Draws docs/report.png: the report of a change to the Iris example, as GitHub shows it, with
# its curves unfolded. Needs what make test installs below .cache/node, chromium and an emoji
# font (fonts-noto-color-emoji).
set -eu
cd "$(dirname "$0")/.."
root=$PWD work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export AML_TRAIN_HOME="$work/history" GIT_AUTHOR_DATE=2026-01-02T03:04:05Z GIT_COMMITTER_DATE=2026-01-02T03:04:05Z
cp -R examples/iris "$work/iris"
cd "$work/iris"
commit() { git add -A && git -c user.name=Ada -c user.email=ada@example.com commit -q -m "$1"; }
git init -q -b main
sed -i 's/epochs: 100/epochs: 60/; s/rate: 0.1/rate: 0.01/' job.yml
commit "Train Iris"
"$root/bin/aml-train" run job.yml
git checkout -q -b faster
sed -i 's/epochs: 60/epochs: 100/; s/rate: 0.01/rate: 0.1/' job.yml
commit "Learn faster, and for longer"
"$root/bin/aml-train" run job.yml --markdown "$work/report.md"

modules=$root/.cache/node/node_modules
cat > "$work/page.mjs" <<PAGE
import { readFileSync, writeFileSync } from "node:fs"
import { marked } from "$modules/marked/lib/marked.esm.js"
const report = readFileSync("$work/report.md", "utf8").replace("<details><summary>Curves", "<details open><summary>Curves")
const body = marked(report).replace(/<pre><code class="language-mermaid">([^]*?)<\/code><\/pre>/g, "<pre class=mermaid>\$1</pre>")
writeFileSync("$work/page.html", \`<!doctype html><meta charset=utf-8><style>
body { font: 14px/1.5 -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif; color: #1f2328; margin: 16px }
main { border: 1px solid #d1d9e0; border-radius: 6px; padding: 4px 16px; width: 740px }
table { border-collapse: collapse; margin-bottom: 12px } th, td { border: 1px solid #d1d9e0; padding: 5px 12px }
code { background: #eff1f3; border-radius: 6px; padding: 2px 5px; font: 12px monospace }
pre.mermaid { margin: 0 } details { margin-bottom: 6px } h3 { margin: 14px 0 10px }
</style><main>\${body}</main><script src="file://$modules/mermaid/dist/mermaid.min.js"></script>
<script>mermaid.initialize({ startOnLoad: true })</script>\`)
PAGE
node "$work/page.mjs"
chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --allow-file-access-from-files --user-data-dir="$work/chromium" \
  --virtual-time-budget=20000 --window-size=808,${HEIGHT:-708} --screenshot="$root/docs/report.png" "file://$work/page.html" 2> "$work/chromium.log"
