"""The page in a real browser: at desk and phone width, switched, pointed at, without its script."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path

import pytest

from trainer.report import read_history, render_page

_BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(_BROWSER is None, reason="needs chromium")

_PROBE = """
<!doctype html><body><script>
addEventListener("load", () => {
  const page = document.querySelector("iframe").contentDocument;
  const view = page.defaultView, out = {};
  const line = () => page.querySelector("[data-series='1'] polyline").getAttribute("points");
  const pick = (name, value) => {
    const box = page.querySelector(`[name=${name}][value='${value}']`);
    if (box) box.click();
  };
  out.width = [page.documentElement.scrollWidth, view.innerWidth];
  out.columns = new Set([...page.querySelectorAll("figure")].map((f) => f.offsetLeft)).size;
  out.font = view.getComputedStyle(page.querySelector("svg text")).fontSize;
  const svg = page.querySelector("svg"), box = svg.getBoundingClientRect();
  out.label = parseFloat(out.font) * box.width / svg.viewBox.baseVal.width;
  const controls = page.querySelector(".controls");
  out.controls = view.getComputedStyle(controls).display;
  out.before = line();
  pick("x", "seconds");
  out.seconds = line();
  out.ticks = [...page.querySelectorAll("figure:first-child .ticks")]
    .filter((t) => t.getAttribute("visibility") === "visible").map((t) => t.dataset.axis);
  pick("x", "steps");
  pick("y", "log");
  out.log = line();
  pick("y", "linear");
  out.after = line();
  pick("run", "0");
  out.hidden = page.querySelector("[data-series='1']").getAttribute("visibility");
  pick("run", "0");
  const tip = page.querySelector(".tip");
  const at = { clientX: box.left + box.width * 0.6, clientY: box.top + box.height / 2 };
  svg.dispatchEvent(new view.PointerEvent("pointermove", { ...at, bubbles: true }));
  out.tip = tip.hidden ? null : tip.innerText;
  svg.dispatchEvent(new view.PointerEvent("pointerleave", {}));
  out.gone = tip.hidden;
  const told = document.createElement("pre");
  told.textContent = JSON.stringify(out);
  document.body.append(told);
});
</script><iframe style="border:0;width:WIDTHpx;height:900px" srcdoc="PAGE"></iframe></body>
"""


def _browse(page: str, folder: Path, *, width: int) -> dict:
    probe = folder / "probe.html"
    content = _PROBE.replace("WIDTH", str(width))
    probe.write_text(content.replace("PAGE", escape(page, quote=True)), encoding="utf-8")
    quiet = ["background-networking", "component-update", "sync", "gpu", "dev-shm-usage"]
    command = [_BROWSER, "--headless", "--no-sandbox", *(f"--disable-{name}" for name in quiet)]
    command += [f"--user-data-dir={folder / 'profile'}", "--window-size=1500,1000"]
    command += ["--virtual-time-budget=3000", "--dump-dom", probe.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    [text] = re.findall(r"<pre>(\{.*?\})</pre>", done.stdout, re.DOTALL)
    return json.loads(unescape(text))


@pytest.mark.parametrize(("width", "num_columns"), [(1280, 2), (375, 1)])
def test_page_works_at_desk_and_phone_width(
    write_run: Callable[..., Path], tmp_path: Path, width: int, num_columns: int
) -> None:
    histories = [read_history(write_run("a")), read_history(write_run("b", seed=1, end=3.5))]
    seen = _browse(render_page(histories), tmp_path, width=width)
    assert seen["width"][0] <= seen["width"][1] == width, "nothing sticks out"
    assert seen["columns"] == num_columns
    assert seen["label"] >= 9, "labels are readable"
    assert seen["controls"] == "flex"
    assert len({seen["before"], seen["log"]}) == 2 and seen["after"] == seen["before"]
    assert seen["seconds"] == seen["before"], "time runs evenly here"
    assert seen["ticks"] == ["linear", "seconds"]
    assert seen["hidden"] == "hidden"
    assert re.match(r"step \d+, [\d,]+ tokens", seen["tip"])
    assert "a, training: 3." in seen["tip"] and "b, validation: 3." in seen["tip"]
    assert seen["gone"] is True
