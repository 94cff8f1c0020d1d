"""Serves a study in a process of its own, with models that answer from a list.

python -m tests.feedback.serve_study FOLDER '{"items": 12, "kind": "pairwise"}'
"""

import json
import sys
import time
from pathlib import Path

from jaxalign.feedback import serve, store
from jaxalign.feedback.app import make_app
from jaxalign.feedback.progress import Table
from jaxalign.feedback.settings import Settings
from jaxalign.feedback.study import Study
from tests.feedback.studies import begin, make_items


def answerer(name):
    def answer(conversation):
        text = conversation[-1]["content"]
        for word in f"**{name[::-1]}** says: {text} <b>bold</b>".split(" "):
            yield word + " "
            time.sleep(0.01)

    return answer


def statistics(items, judgements):
    row = ("Krippendorff's alpha, ordinal", "0.62 ± 0.05", f"{len(judgements)} labels")
    return [Table("Agreement", ("", "Value", "On"), [row])]


def main(folder, options):
    options = {**options}
    count, answers = options.pop("items", 0), options.pop("answers", 2)
    port = options.pop("port", 0)
    kind = options.get("kind", "pairwise")
    if not store.is_study(folder):
        items = make_items(count, kind, answers) if kind != "arena" else []
        begin(folder, items, **options)
    study = Study(folder, Settings(**options))
    models = {name: answerer(name) for name in ("tiny", "large")}
    listener = serve.bind("127.0.0.1", port)
    print(serve.address(listener), flush=True)
    app = make_app(
        study, answerers=models if kind == "arena" else {}, statistics=statistics
    )
    serve.serve(app, listener)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
