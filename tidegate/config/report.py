"""The report section: what the report may show."""

from pydantic import Field

from tidegate.config.section import Section


class ReportConfig(Section):
    """What the report may show."""

    texts: bool = Field(
        False, description="show the texts of the rows that the model gets most confidently wrong"
    )
