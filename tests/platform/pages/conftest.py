from pathlib import Path

import pytest
from monitored import made_champion
from slipway.training.bundle import Bundle


@pytest.fixture
def champion(tmp_path: Path) -> Bundle:
    folder = tmp_path / "champion"
    folder.mkdir()
    return made_champion(folder)
