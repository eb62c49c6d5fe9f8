"""What a dry run found."""

from collections import Counter
from dataclasses import dataclass, field

from firstlight.mps.memory import MemoryEstimate
from firstlight.mps.rules import Finding


@dataclass
class DryRunReport:
    """What a dry run found."""

    findings: list[Finding] = field(default_factory=list)
    # Calls of each operator in a step of "training" and of "evaluation".
    operators: dict[str, Counter[str]] = field(default_factory=dict)
    # Operators whose result varies from run to run.
    nondeterministic: list[str] = field(default_factory=list)
    # Bytes at the peak by part.
    peaks: dict[str, dict[str, int]] = field(default_factory=dict)
    memory_estimate: MemoryEstimate | None = None

    def format_messages(self, kind: str) -> list[str]:
        """Return the sentences of the "fault"s or the "warning"s, each with its first place."""
        places: dict[str, list[str]] = {}
        for each in self.findings:
            if each.kind == kind:
                places.setdefault(each.text, []).append(each.where)
        more = {text: f" (and {len(where) - 1} more)" if len(where) > 1 else "" for text, where in places.items()}
        return [f"{text}{where[0] and ', in '}{where[0]}{more[text]}" for text, where in places.items()]
