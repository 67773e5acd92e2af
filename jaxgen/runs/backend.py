"""What a run asks of JAX: a device, and compiled programs kept from one process to the next."""

from typing import Any

import jax

from jaxgen._files import reason
from jaxgen.data.storage.cache import directory, private_folder
from jaxgen.errors import UserError


def first_device() -> Any:
    """The device that computations run on.

    Raises:
      UserError: JAX finds none on the platform that JAX_PLATFORMS asks for.
    """
    try:
        return jax.devices()[0]
    except (RuntimeError, AssertionError) as error:
        asked = jax.config.jax_platforms  # pyright: ignore[reportAttributeAccessIssue]
        # For a platform that is known and not installed JAX raises an AssertionError without words.
        why = reason(error) if str(error) else "no such device, or no plugin for it"
        raise UserError(
            f"expected JAX to find a device on {asked or 'any platform'} ({why}): install "
            "JAX for this device, or unset JAX_PLATFORMS"
        ) from error


def keep_compiled_programs() -> None:
    """Lets the next run of the same configuration start without compiling.

    Compiling vae_mnist takes longer than an epoch of it. The cache runs what it holds, so its
    folder is the user's own. Where the user has chosen a folder (JAX_COMPILATION_CACHE_DIR), or
    none can be had, JAX's configuration stays as it is.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # pyright: ignore[reportAttributeAccessIssue]
        return
    try:
        folder = private_folder(directory() / "compiled")
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def keep_no_compiled_programs() -> None:
    """Has every program compiled in this process, also where JAX_COMPILATION_CACHE_DIR is set."""
    jax.config.update("jax_enable_compilation_cache", False)
