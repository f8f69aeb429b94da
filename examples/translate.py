"""Translate with a trained folder, or with the built-in English-Chinese model.

python examples/translate.py runs/copy "1 2 3"
python examples/translate.py
"""

import sys

import sightline as sl


def main(folder: str | None, texts: list[str]) -> None:
    translator = sl.load(folder)
    for text, translation in zip(texts, translator(texts), strict=True):
        print(f"{text} -> {translation}")
    print("others for the first:")
    for other in translator.beam(texts[0], width=3):
        print(f"  {other.score:8.4f}  {other.text}")


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else None
    main(folder, sys.argv[2:] or ["I love you.", "Where is the station?"])
