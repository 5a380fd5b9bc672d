from __future__ import annotations

from pathlib import Path

import pytest

from tests import models
from tests.analysis.subjects import make_subject, pictures
from xslim.analysis import Report, Subject, analyse


@pytest.fixture(scope="session")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder: Path = tmp_path_factory.mktemp("subject")
    return make_subject(folder, models.conv_net(), pictures(32))


@pytest.fixture(scope="session")
def report(subject: Subject) -> Report:
    return analyse(subject)
