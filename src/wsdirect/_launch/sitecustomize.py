"""First thing that a Python started by `wsdirect run` (or by its children) runs.

The launcher puts this directory at the head of PYTHONPATH, so `site` imports this module instead
of a `sitecustomize` of the user's.  It readies the switch and then imports the next
`sitecustomize` on the path in its own stead, as if this one were not there.

Any Python that finds PYTHONPATH in its environment comes here, of any age (Python 2 included) and
from any virtual environment: so this is written in the syntax of all of them, and does nothing
where wsdirect is missing.
`python -I`, `-E` and `-S` ignore PYTHONPATH or `site`: such programs stay on TCP.
"""

import os
import sys

if __name__ == "sitecustomize":
    if sys.version_info >= (3, 11):  # noqa: UP036 - see above
        try:
            from wsdirect import _launch
        except ImportError:
            pass  # another environment, or another version: not ours to disturb
        else:
            _launch.start(os.environ)

    # The import system takes the module that stands in sys.modules afterwards, so the user's
    # sitecustomize replaces this one; if there is none, its ImportError is what `site` expects.
    _ours = sys.modules.pop(__name__, None)
    _here = os.path.dirname(os.path.abspath(__file__))
    _places = [_i for _i, _entry in enumerate(sys.path) if os.path.abspath(_entry) == _here]
    for _i in reversed(_places):
        del sys.path[_i]
    try:
        import sitecustomize  # type: ignore[import-not-found]  # noqa: F401
    finally:
        # Back where it was: programs that build their children's PYTHONPATH from sys.path keep it.
        if _places and _here not in sys.path:
            sys.path.insert(_places[0], _here)
