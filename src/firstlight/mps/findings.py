"""The result of a dry run."""

from collections import Counter
from dataclasses import dataclass, field

from firstlight.mps.memory import MemoryEstimate
from firstlight.mps.rules import Finding, FindingKind


@dataclass
class DryRunReport:
    """The result of a dry run.

    Attributes:
        findings: Errors and warnings, each with its location.
        operators: Number of calls of each operator in a step of "training" and of "evaluation".
        nondeterministic: Operators whose results differ between runs.
        peaks: Bytes at the peak of "training" and "evaluation" by memory category.
        memory_estimate: Peak memory as a function of the batch size; None if the dry run did not complete.
    """

    findings: list[Finding] = field(default_factory=list)
    operators: dict[str, Counter[str]] = field(default_factory=dict)
    nondeterministic: list[str] = field(default_factory=list)
    peaks: dict[str, dict[str, int]] = field(default_factory=dict)
    memory_estimate: MemoryEstimate | None = None

    def format_messages(self, kind: FindingKind) -> list[str]:
        """Return the messages of all errors or of all warnings, each with its first location and the fix."""
        locations: dict[tuple[str, str], list[str]] = {}
        for finding in self.findings:
            if finding.kind == kind:
                locations.setdefault((finding.problem, finding.fix), []).append(finding.location)
        messages = []
        for (problem, fix), (first, *others) in locations.items():
            where = [f"in {first}"] if first else []
            where += [f"and {len(others)} more"] if others else []
            sentence = f"{problem} ({', '.join(where)})." if where else f"{problem}."
            messages.append(f"{sentence} {fix}".rstrip())
        return messages
