"""Compiled programs are kept in a folder that only the user can open, or not at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = "--hidden-sizes 6 --latent-size 2 --batch-size 16 --num-epochs 1 --no-pictures".split()


@pytest.fixture
def train(idx_folder, tmp_path):
    def train(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "jaxgen", "train", "vae_mnist", *SMALL]
        command += ["--dataset", f"idx:{idx_folder}", "--workdir", str(tmp_path / "run")]
        chosen = {"JAXGEN_CACHE_DIR": str(tmp_path / "cache"), **environment}
        return subprocess.run(
            [*command, *words],
            env=os.environ | chosen,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return train


@pytest.mark.slow
def test_programs_are_kept_where_only_the_user_can_read_and_write(train, tmp_path):
    compiled = tmp_path / "cache" / "compiled"
    compiled.mkdir(parents=True, mode=0o777)
    compiled.chmod(0o777)
    train()
    assert stat.S_IMODE(compiled.stat().st_mode) == 0o700
    assert list(compiled.iterdir())


@pytest.mark.slow
def test_programs_are_not_kept_where_that_is_asked_for(train, tmp_path):
    train("--no-compilation-cache", JAX_COMPILATION_CACHE_DIR=str(tmp_path / "own"))
    assert not (tmp_path / "cache" / "compiled").exists()
    assert not (tmp_path / "own").exists()


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_the_folder_of_another_user_is_not_used(train, tmp_path):
    compiled: Path = tmp_path / "cache" / "compiled"
    compiled.mkdir(parents=True)
    os.chown(compiled, 12345, -1)
    train()
    assert list(compiled.iterdir()) == []
