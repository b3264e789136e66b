"""Navigation of the site: a folder in `nav` stands for all pages in it, by their titles."""

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import Files


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Write the pages of each folder into the configuration, those that are made now too."""
    pages = sorted(file.src_uri for file in files.documentation_pages())
    config.nav = [_filled(entry, pages) for entry in config.nav or ()]
    return files


def _filled(entry: str | dict[str, str], pages: list[str]) -> str | dict[str, list[str]]:
    if isinstance(entry, str):
        return entry
    return {
        title: [page for page in pages if page.startswith(f"{folder}/")]
        for title, folder in entry.items()
    }
