"""What the models of the configuration are made of: their base, and the types of fields that several have."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from stacks import accepted

Text = Annotated[str, AfterValidator(accepted.text)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Days = Annotated[int, Field(ge=1, le=3650)]
Place = Annotated[str, AfterValidator(accepted.place)]
Cidr = Annotated[str, AfterValidator(accepted.region_cidr)]
OpenCidr = Annotated[str, AfterValidator(accepted.client_cidr)]
Purpose = Literal["training", "serving"]


class Part(BaseModel):
    """A part of the configuration: camelCase in files, nothing unknown in it, and nothing guessed."""

    # strict: a number in quotes or a yes for a number is a slip of the pen, not a value to guess at
    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )
