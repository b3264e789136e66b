"""What the site makes of the pages: equations as MathML, included programs, no link to outside."""

import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files
from mkdocs.structure.pages import Page

CODE = re.compile(r"(^```.*?^```$|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
DISPLAYED = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INLINE = re.compile(r"(?<![\\$\w])\$(?! )([^$\n]+?)(?<! )\$(?![\w$])")
INCLUDED = re.compile(r"^<!-- include: (\S+) -->$", re.MULTILINE)
LINK = re.compile(r"\[([^]]+)\]\(((?:\.\./)+[^)#]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Return the page with equations that a browser draws, and no link that leaves the site."""
    del files
    docs = Path(config.docs_dir)
    folder = (docs / page.file.src_uri).parent
    markdown = INCLUDED.sub(
        lambda found: f"```python\n{(docs.parent / found[1]).read_text('utf-8')}```", markdown
    )
    parts = CODE.split(_without_links_to_code(markdown, folder, docs))
    parts[::2] = [_equations(text) for text in parts[::2]]
    return "".join(parts)


def _without_links_to_code(markdown: str, folder: Path, docs: Path) -> str:
    """Name the files of the repository that a page links to, which are not in the site."""

    def told(found: re.Match[str]) -> str:
        words, target = found[1], (folder / found[2]).resolve()
        if docs.resolve() in target.parents:
            return found[0]
        path = target.relative_to(docs.resolve().parent).as_posix()
        return words if path in words else f"{words} (`{path}`)"

    return LINK.sub(told, markdown)


def _equations(text: str) -> str:
    text = DISPLAYED.sub(lambda found: f"\n\n{convert(found[1], display='block')}\n\n", text)
    return INLINE.sub(lambda found: convert(found[1]), text)
