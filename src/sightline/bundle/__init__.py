from sightline.bundle.folder import FILES as FILES
from sightline.bundle.folder import Bundle as Bundle
from sightline.bundle.folder import BundleConfig as BundleConfig
from sightline.bundle.folder import load_bundle as load_bundle
from sightline.bundle.folder import named_weights as named_weights
from sightline.bundle.folder import save_bundle as save_bundle
