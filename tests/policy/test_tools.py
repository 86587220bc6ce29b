"""tools.json and policy.schema.json: what is committed is what the code says, and hashes bind definitions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # it ships no types
import msgspec
import pytest
import yaml

from policy import case_file, document
from policy.errors import ConfigurationError
from policy.language import Kind
from policy.schema import policy_schema, schema_json
from policy.tools import ToolInfo, definition_hash, load_tools, tools_json

ROOT = Path(__file__).resolve().parents[2]
TOOL = ToolInfo(
    name="pay",
    kind=Kind.SPEND,
    kit="buy",
    plugin="payments",
    provider="stripe",
    operation="pay",
    description="Pays.",
    arguments={"type": "object", "properties": {"amount": {"type": "string"}}},
)


def test_the_committed_tools_are_current() -> None:
    """Each hash is of its own definition, and the file is in the one form that `tools_json` writes."""
    tools = load_tools()
    assert (ROOT / "tools.json").read_bytes() == tools_json(tools.values())
    assert {"my_status", "domain_register", "refund_payment"} <= tools.keys()


@pytest.mark.parametrize("field", ["name", "kit", "provider", "operation", "description"])
def test_the_definition_hash_binds_every_word_one_relies_on(field: str) -> None:
    """A tool that changed under an approver's hand must be another tool."""
    assert definition_hash(msgspec.structs.replace(TOOL, **{field: "other"})) != definition_hash(TOOL)


def test_the_definition_hash_binds_kind_and_arguments_but_not_the_plugin() -> None:
    """Kind and schema change what a call does; where the code lives does not."""
    replace = msgspec.structs.replace
    assert definition_hash(replace(TOOL, kind=Kind.READ)) != definition_hash(TOOL)
    assert definition_hash(replace(TOOL, arguments={})) != definition_hash(TOOL)
    assert definition_hash(replace(TOOL, plugin="other", definition_hash="x")) == definition_hash(TOOL)
    reordered = {"properties": {"amount": {"type": "string"}}, "type": "object"}
    assert definition_hash(replace(TOOL, arguments=reordered)) == definition_hash(TOOL)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file"),
        (b"[]", "is no list of tools"),
        (b'{"tools": [{}]}', "is no list of tools"),
        (tools_json([TOOL]).replace(b"Pays.", b"Gives."), "the hash of pay is not current"),
    ],
)
def test_a_tools_file_that_cannot_be_relied_on_is_refused(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    """Rules are checked against it, so a stale one would check nothing."""
    path = tmp_path / "tools.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=told):
        load_tools(path)


def test_arguments_without_properties_are_none() -> None:
    """A tool without arguments has an empty schema."""
    assert msgspec.structs.replace(TOOL, arguments={"properties": []}).properties == {}


def test_the_committed_schema_is_current() -> None:
    """Editors underline by it; regenerate with `bursar policy schema > policy.schema.json`."""
    assert (ROOT / "policy.schema.json").read_bytes() == schema_json()


def valid(policy: Any) -> bool:  # noqa: ANN401 - any YAML
    """Say whether an editor would accept it."""
    return bool(jsonschema.Draft202012Validator(policy_schema()).is_valid(policy))


def test_the_schema_takes_the_shipped_policy_and_refuses_slips() -> None:
    """It is the same language: what the loader knows, the editor completes."""
    jsonschema.Draft202012Validator.check_schema(policy_schema())
    shipped = yaml.safe_load((ROOT / "policies.yaml").read_text(encoding="utf-8"))
    assert valid(shipped)
    slips: list[dict[str, Any]] = [
        {"ruls": []},
        {"version": 2},
        {"caps": [{"id": "x"}]},
        {"rules": [{"id": "UP"}]},
    ]
    for slip in slips:
        assert not valid({**shipped, **slip})


def test_every_field_of_every_form_is_in_the_schema() -> None:
    """A field added to a form and not to the schema would be underlined as wrong."""
    text = json.dumps(policy_schema())
    forms = [
        form for form in vars(document).values() if isinstance(form, type) and issubclass(form, document.Form)
    ]
    assert len(forms) > 15
    for form in forms:
        for field in form.__struct_encode_fields__:
            assert f'"{field}":' in text, (form.__name__, field)


def test_the_first_line_of_the_shipped_policy_names_the_schema() -> None:
    """So that an editor finds it without a setting."""
    first = (ROOT / "policies.yaml").read_text(encoding="utf-8").split("\n")[0]
    assert first == "# yaml-language-server: $schema=./policy.schema.json"


def test_every_field_of_both_files_is_in_the_reference() -> None:
    """A field one cannot look up does not exist for its user."""
    page = (ROOT / "docs/reference/policies.md").read_text(encoding="utf-8")
    for module in (document, case_file):
        forms = [form for form in vars(module).values() if isinstance(form, type)]
        for form in forms:
            for field in form.__struct_encode_fields__ if issubclass(form, document.Form) else ():
                assert f"`{field}`" in page or f"{field}:" in page, (form.__name__, field)
