"""The page: whole in one file, nothing to fetch, everything escaped, and readable also after a crash."""

from __future__ import annotations

import base64
import html
import io
import json
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from histories import exploding, history, record, recurrent, save, vanishing
from PIL import Image

from isometry.reports.html import write_report

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Tags with attributes, and the text; fails on a tag that is not closed in its turn."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data + "\n"

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def picture(path: Path) -> None:
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Of a run that came to its end; every name and text in it is hostile."""
    folder = tmp_path / "run <b>&"
    folder.mkdir()
    made = vanishing()
    first, *others = made.profiles[-1].layers
    hostile = replace(first, name="<b>&", nonfinite=0, saturated=0.25, dead=None)
    made.profiles[-1] = replace(
        made.profiles[-1], layers=(hostile, *others), unseen={"<i>": "<script src=http://example.test/x.js></script>"}
    )
    for one in exploding().nonfinite:
        made.append(replace(one, module="<u>", file='"><img src=http://example.test/x.png>'))
    save(folder, made)
    summary = {"test/acc": 0.98765, "steps": 2100, "duration_s": 96.44, "state_digest": "ab" * 32, "val/acc": 0.5}
    summary |= {"git_commit": "c" * 40 + "+", "samples_per_s": 1452.3, "fingerprint": {"torch": "<2>"}}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "config.yaml").write_text("model:\n  name: '</pre><script>alert(1)</script>'\n")
    (folder / "overrides.yaml").write_text("- model.depth=30\n")
    for name in ("predictions", "gradient_norms", "depth_ribbon", "a <b>"):
        picture(folder / f"{name}.png")
    return folder


def test_the_sentence_and_the_facts_stand_at_the_top(folder: Path) -> None:
    path = write_report(folder)
    assert path == folder / "report.html"
    page = Page(path)
    assert page.text.index("gradient ×0.71 per layer, 4.4 decades lost over 30 layers (theory ×0.71)") < 100
    for key, value in (
        ("test/acc", "98.77%"), ("val/acc", "50.00%"), ("steps", "2,100"), ("duration_s", "96.44"),
        ("samples_per_s", "1,452"), ("state_digest", "ab" * 6), ("git_commit", "c" * 12 + "+"), ("torch", "<2>"),
    ):  # fmt: skip
        assert f"\n{key}\n{value}\n" in page.text, key
    assert "No " not in page.text


def test_nothing_is_fetched_and_no_script_runs(folder: Path) -> None:
    page = Page(write_report(folder))
    sources = [value for _, attributes in page.tags for key, value in attributes.items() if key in ("src", "href")]
    assert len(sources) == 4
    assert all(str(source).startswith("data:image/png;base64,") for source in sources)
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    policy = {
        "http-equiv": "Content-Security-Policy",
        "content": "default-src 'none'; img-src data:; style-src 'unsafe-inline'",
    }
    assert policy in page.all("meta")
    assert "url(" not in (folder / "report.html").read_text()
    assert "@import" not in (folder / "report.html").read_text()


def test_every_text_is_escaped(folder: Path) -> None:
    page = Page(write_report(folder))
    assert not {"b", "i", "u", "2"} & {tag for tag, _ in page.tags if tag != "b"}
    assert len(page.all("b")) == 1  # the name of the one unseen layer, in bold
    for text in ("<b>&", "<i>", "<script src=http://example.test/x.js></script>", "<u>", "run <b>&", "A <b>",
                 '"><img src=http://example.test/x.png>', "name: '</pre><script>alert(1)</script>'"):  # fmt: skip
        assert text in page.text, text


def test_pictures_come_in_reading_order_each_with_its_words_and_decode(folder: Path) -> None:
    page = Page(write_report(folder))
    assert [image["alt"] for image in page.all("img")] == [
        "Through the depth", "Size of the weights' gradients", "A <b>", "Predictions"
    ]  # fmt: skip
    for image in page.all("img"):
        data = base64.b64decode(str(image["src"]).partition(",")[2])
        assert Image.open(io.BytesIO(data)).size == (4, 3)
    assert "blind to textbook vanishing" in page.text.replace("\n", " ")


def rows(page: Page, heading: str) -> list[str]:
    return page.text[page.text.index(heading) :].splitlines()


def test_the_table_has_every_number_of_the_last_profile(folder: Path) -> None:
    page = Page(write_report(folder))
    lines = [line for line in rows(page, "Layers at step 450") if line]
    start = lines.index("network.layer29")
    assert lines[start : start + 10] == [
        "network.layer29", "30", "64", "1", "0", "0.01", "0.707", "0.001", "12.5%", "0"
    ]  # fmt: skip
    assert len(page.all("tr")) == (1 + 30) + (1 + 1)


def test_events_and_unseen_layers_are_told(folder: Path) -> None:
    page = Page(write_report(folder))
    event = [line for line in rows(page, "NaN and infinities") if line]
    assert event[7:13] == ["100", "<u>", "network.layer0.weight", "5, 9", "no", '"><img src=http://example.test/x.png>']
    assert "Not seen" in page.text


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        ("summary.json", "No summary.json: the run has not come to its end."),
        ("config.yaml", "No config.yaml: the run ended before its network was built."),
        ("gradients.jsonl", "No gradients.jsonl: the monitor was off, or the run ended before its first logged step."),
    ],
)
def test_what_is_missing_is_said(gone: str, words: str, folder: Path) -> None:
    (folder / gone).unlink()
    assert words in Page(write_report(folder)).text


def test_a_summary_that_cannot_be_read_and_an_error_are_shown(folder: Path) -> None:
    (folder / "summary.json").write_text('{"test/acc": 0.')
    (folder / "error.log").write_text("Traceback: <lost>")
    page = Page(write_report(folder))
    assert "summary.json cannot be read" in page.text
    assert "Traceback: <lost>" in page.text


def test_an_empty_folder_has_a_page_too(tmp_path: Path) -> None:
    page = Page(write_report(tmp_path))
    assert page.text.count("No ") == 4
    save(tmp_path, history(record(0, [1.0])))
    assert "No depth profile in gradients.jsonl: no step was probed." in Page(write_report(tmp_path)).text


def test_a_kill_in_the_middle_of_a_line_costs_that_line_alone(tmp_path: Path) -> None:
    save(tmp_path, recurrent())
    with open(tmp_path / "gradients.jsonl", "a") as file:
        file.write('{"kind": "step", "st')
    assert "gradient through time in network.forward falls tenfold in 6 steps" in Page(write_report(tmp_path)).text


def open_in_chromium(path: Path, net_log: Path) -> tuple[str, list[str]]:
    """The document as the browser has it, and what it asked the network for on behalf of the page."""
    quiet = ("--disable-gpu", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND")
    command = ["chromium", "--headless", "--no-sandbox", *quiet, f"--user-data-dir={net_log.parent / 'profile'}"]
    call = [*command, f"--log-net-log={net_log}", "--dump-dom", path.resolve().as_uri()]
    dom = subprocess.run(call, capture_output=True, text=True, timeout=60, check=True).stdout
    events: list[dict[str, Any]] = [event.get("params", {}) for event in json.loads(net_log.read_text())["events"]]
    asked = [
        event["url"]
        for event in events
        if "url" in event and event.get("initiator", "not an origin") != "not an origin"
    ]
    return dom, asked


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium")
def test_a_browser_shows_it_without_the_network(folder: Path, tmp_path: Path) -> None:
    path = write_report(folder)
    planted = path.read_text().replace("<main>", '<main><img src="http://example.test/x.png">')
    path.write_text(planted)
    dom, asked = open_in_chromium(path, tmp_path / "net.json")
    assert "gradient ×0.71 per layer, 4.4 decades lost over 30 layers (theory ×0.71)" in html.unescape(dom)
    assert asked == []  # the page's own policy forbids even what was planted
    path.write_text(planted.replace("Content-Security-Policy", "X"))
    _, asked = open_in_chromium(path, tmp_path / "net.json")
    assert asked == ["http://example.test/x.png"]  # without it: the planted one, and nothing of the page's own
