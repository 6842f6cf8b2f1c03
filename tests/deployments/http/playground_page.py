"""What tests do and read on the playground's page."""

from __future__ import annotations

import json
from typing import Any

from tests.deployments.http.browser import Tab

IDLE = "document.querySelector('#run').textContent === 'Rerank'"
RANKED = f"document.querySelectorAll('#after li').length && {IDLE}"

# Contrast of every visible text with what lies behind it (WCAG 2), where it is below 4.5.
FAINT = """
(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => [r, g, b].map((value) => value / 255)
    .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = rgba(getComputedStyle(element).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const faint = [];
  while (texts.nextNode()) {
    const element = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !element.checkVisibility() || element.closest(".hidden, option, noscript"))
      continue;
    const colours = [rgba(getComputedStyle(element).color), behind(element)];
    const [light, dark] = colours.map(luminance).sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < 4.5) faint.push(`${ratio.toFixed(2)}: ${texts.currentNode.data.trim().slice(0, 40)}`);
  }
  return faint;
})()
"""


def rerank(page: Tab, **fields: str) -> None:
    for field, value in fields.items():
        page.evaluate(f"document.getElementById('{field}').value = {json.dumps(value)}")
    page.press("Enter", ctrl=True)


def shown(page: Tab, selector: str) -> list[str]:
    texts: list[str] = page.evaluate(
        f"[...document.querySelectorAll({json.dumps(selector)})].map(e => e.textContent)"
    )
    return texts


def sent(page: Tab) -> list[Any]:
    """Bodies of the calls that the page made, oldest first."""
    requests = [event["params"]["request"] for event in page.events if "request" in event["params"]]
    return [json.loads(request["postData"]) for request in requests if request["method"] == "POST"]


def numbers(answer: Any) -> list[float]:
    """The scores of an answer of any dialect."""
    if isinstance(answer, list):
        return [number for item in answer for number in numbers(item)]
    if not isinstance(answer, dict):
        return []
    own = [answer[name] for name in ("score", "relevance_score", "logit") if isinstance(answer.get(name), float)]
    return own + [number for value in answer.values() for number in numbers(value)]
