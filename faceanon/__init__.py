__version__ = "0.1.0"

# What a first example needs. Each is imported when it is asked for: `import faceanon` alone brings no torch.
_HOMES = {
    'Anonymizer': ('faceanon.models.anonymizer', 'Anonymizer'),
    'anonymize_video': ('faceanon.video.anonymize', 'anonymize_video'),
    'anonymize_image': ('faceanon.video.images', 'anonymize_image'),
}
__all__ = [*_HOMES]


def __getattr__(name):
    if name not in _HOMES: raise AttributeError(f"module 'faceanon' has no attribute {name!r}")
    from importlib import import_module
    module, attribute = _HOMES[name]
    return getattr(import_module(module), attribute)


def __dir__(): return [*globals(), *_HOMES]
