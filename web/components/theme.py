"""Light or dark: Streamlit's theme, which the user may choose, not what the system prefers."""

from typing import Final

IS_DARK: Final = """
function isDark(element) {
  const color = getComputedStyle(element).getPropertyValue("--st-background-color").trim();
  const canvas = new OffscreenCanvas(1, 1).getContext("2d");
  canvas.fillStyle = color || "#ffffff";
  canvas.fillRect(0, 0, 1, 1);
  const [red, green, blue] = canvas.getImageData(0, 0, 1, 1).data;
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue < 128;
}
"""
