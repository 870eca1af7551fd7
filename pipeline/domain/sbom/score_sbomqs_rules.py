"""What single items of sbomqs look at, where that is more than one field.

Rules: as `pkg/scorer/v2/extractors` at the commit named in `score_sbomqs` has them, with their corners: a
licence without acknowledgement is declared since CycloneDX 1.6, concluded before; an expression's is not
read.
"""

from __future__ import annotations

from fractions import Fraction

from pipeline.domain.sbom.score_facts import Component, Facts, Licence, entity_of
from pipeline.domain.sbom.score_item import Finding, counted, each, yes_or_no
from pipeline.domain.sbom.score_licences import all_valid, any_copyleft, any_deprecated, means_something

STRONG = frozenset(
    {"SHA224", "SHA256", "SHA384", "SHA512", "SHA3224", "SHA3256", "SHA3384", "SHA3512"}
    | {"BLAKE2B256", "BLAKE2B384", "BLAKE2B512", "BLAKE3", "STREEBOG256", "STREEBOG512"}
)
_WEAK = frozenset({"MD2", "MD4", "MD5", "MD6", "SHA1", "ADLER32"})
PURPOSES = frozenset(
    {"application", "framework", "library", "container", "operating-system", "device", "firmware", "file"}
)
VERSIONS = frozenset({"1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6"})


def supplied(facts: Facts) -> bool:
    """Tell whether the document names its supplier, and how to reach it."""
    supplier = entity_of(facts.metadata.get("supplier"))
    return bool(supplier.name and (supplier.url or supplier.email))


def tooled(facts: Facts) -> Finding:
    """Find a tool with its version; a name alone earns half."""
    if any(name and version for name, version in facts.tools):
        return yes_or_no(True, "")
    named = any(name for name, _ in facts.tools)
    reason = "no tool has a version" if named else "no tool is named"
    return Finding(have=0, total=1, share=Fraction(int(named), 2), reason=reason)


def not_weak_alone(facts: Facts) -> Finding:
    """Find, among components with any hash, those with a strong one; without any hash nothing is earned."""
    weak = [one.label for one in facts.components if one.hashes & _WEAK and not one.hashes & STRONG]
    strong = sum(1 for one in facts.components if one.hashes & STRONG)
    if not strong and not weak:
        return Finding(
            have=0, total=len(facts.components), share=Fraction(), reason="no component has a hash"
        )
    return counted("only a weak hash", strong, weak)


def signed(facts: Facts) -> Finding:
    """Find a signature inside the document; half, since nothing here verifies it."""
    if not facts.signed:
        return yes_or_no(False, "no signature inside the document; one beside it does not count here")
    return Finding(have=0, total=1, share=Fraction(1, 2), reason="the signature inside is not verified here")


def dependencies_complete(facts: Facts) -> Finding:
    """Find, of the image and its direct dependencies that have some themselves, those declared complete."""
    known = facts.by_ref
    if facts.root is None or facts.root.ref not in known:
        return yes_or_no(False, "the image has no bom-ref")
    direct = [ref for ref in facts.depends.get(facts.root.ref, ()) if ref in known]
    if not direct:
        return yes_or_no(False, "the image depends on nothing")
    asked = [ref for ref in (facts.root.ref, *dict.fromkeys(direct)) if _leads(facts, ref, known)]
    claimed = {ref for one in facts.compositions if one.aggregate == "complete" for ref in one.dependencies}
    without = [known[ref].label for ref in asked if ref not in claimed]
    return counted("dependencies not declared complete", len(asked) - len(without), without)


def _leads(facts: Facts, ref: str, known: dict[str, Component]) -> bool:
    return any(target in known for target in facts.depends.get(ref, ()))


def declared_complete(facts: Facts) -> bool:
    """Tell whether the document says of itself, as a whole, that it is complete."""
    return any(one.everywhere and one.aggregate == "complete" for one in facts.compositions)


def _concluded(component: Component, facts: Facts) -> list[Licence]:
    """Return licences taken as concluded; the acknowledgement of an expression is not read there."""
    told = _acknowledged(component, "concluded")
    if told or _acknowledged(component, "declared") or _declares_by_default(facts):
        return told
    return list(component.licences)


def _declared(component: Component, facts: Facts) -> list[Licence]:
    told = _acknowledged(component, "declared")
    if told or _acknowledged(component, "concluded") or not _declares_by_default(facts):
        return told
    return list(component.licences)


def _acknowledged(component: Component, how: str) -> list[Licence]:
    return [one for one in component.licences if not one.expression and one.acknowledgement == how]


def _declares_by_default(facts: Facts) -> bool:
    """Tell whether licences without acknowledgement are declared (since CycloneDX 1.6) or concluded."""
    return facts.spec_version not in VERSIONS - {"1.6"}


def has_concluded(facts: Facts) -> Finding:
    """Find components with a concluded licence, whatever it is."""
    return each(lambda one: _any_meant(_concluded(one, facts)), facts, "no concluded licence")


def _any_meant(licences: list[Licence]) -> bool:
    return any(means_something(one.text) for one in licences)


def valid_licences(facts: Facts) -> Finding:
    """Find components whose concluded licences are all on a list or written as LicenseRef."""
    return each(
        lambda one: all_valid(_concluded(one, facts)), facts, "no concluded licence, or one of no list"
    )


def has_declared(facts: Facts) -> Finding:
    """Find components with a declared licence, whatever it is."""
    return each(lambda one: _any_meant(_declared(one, facts)), facts, "no declared licence")


def without_deprecated(facts: Facts) -> Finding:
    """Find components without a deprecated licence id; nothing concluded anywhere earns nothing."""
    return _once_concluded(
        facts, each(lambda one: not any_deprecated(_concluded(one, facts)), facts, "a deprecated licence id")
    )


def without_copyleft(facts: Facts) -> Finding:
    """Find components without a copyleft licence; nothing concluded anywhere earns nothing."""
    return _once_concluded(
        facts,
        each(lambda one: not any_copyleft(_concluded(one, facts)), facts, "a copyleft or restricted licence"),
    )


def _once_concluded(facts: Facts, finding: Finding) -> Finding:
    if not finding.applies or any(_any_meant(_concluded(one, facts)) for one in facts.components):
        return finding
    return Finding(have=0, total=finding.total, share=Fraction(), reason="no licence is concluded")
