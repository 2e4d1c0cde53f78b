"""What an analysis finds, a module a source of evidence."""

from tidegate.rollout.findings.decisions import decision_findings
from tidegate.rollout.findings.ops import ops_findings
from tidegate.rollout.findings.platform import platform_findings
from tidegate.rollout.findings.quality import quality_findings

__all__ = ["decision_findings", "ops_findings", "platform_findings", "quality_findings"]
