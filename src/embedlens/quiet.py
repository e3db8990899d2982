"""Import Keras without TensorFlow's notices of start-up: for notebooks and commands.

No log level silences the notices that no GPU was found: they come before TensorFlow's logging
starts. So what is written to stderr below Python is hidden while it starts. Errors are
unaffected: they reach Python as exceptions.
"""

import contextlib
import os


@contextlib.contextmanager
def _stderr_of_c_code_hidden():
    try:
        kept = os.dup(2)
    except OSError:  # stderr is closed: there is nothing to hide
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


with _stderr_of_c_code_hidden():
    import keras

    if keras.backend.backend() == "tensorflow":
        import tensorflow

        tensorflow.config.list_physical_devices()
