"""Cases and manifests as the tests of manifests make them."""

from tests.manifests.conftest import abdomen5, make_case, make_manifest, save_manifest

__all__ = ["abdomen5", "make_case", "make_manifest", "save_manifest"]
