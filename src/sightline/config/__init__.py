"""Typed settings and TOML: every key is checked, and every mistake is shown with its file and line."""

from sightline.config.document import Document as Document
from sightline.config.document import apply_overrides as apply_overrides
from sightline.config.document import read_toml as read_toml
from sightline.config.settings import Settings as Settings
from sightline.config.settings import dump_toml as dump_toml
from sightline.config.settings import parse as parse
