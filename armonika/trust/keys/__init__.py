"""Keys: root provider, keyring of compartments and epochs, credentials of doors."""

from armonika.trust.keys.credentials import CompartmentKeys, Credentials
from armonika.trust.keys.keyring import Keyring
from armonika.trust.keys.providers import RootKeyError

__all__ = ["CompartmentKeys", "Credentials", "Keyring", "RootKeyError"]
