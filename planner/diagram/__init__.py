"""An environment as one picture: what it is made of, where that lies, and what flows between.

    picture(inventory)     what is drawn: boxes in boxes, and flows; pure data
    layout(picture)        where: flexbox by taffy, then paths between the boxes
    svg, png, mermaid      how

The first reads a plan; the others know only the picture.
"""

from planner.diagram.layout import layout
from planner.diagram.mermaid import mermaid
from planner.diagram.picture import Box, Flow, Picture, Row
from planner.diagram.reading import picture
from planner.diagram.svg import png, svg

__all__ = ["Box", "Flow", "Picture", "Row", "layout", "mermaid", "picture", "png", "svg"]
