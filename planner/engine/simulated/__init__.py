"""A cloud that does not exist: made-up resources and answers in the formats of the real ones, cloud by cloud.

`made` makes names, `*_resources` the outputs of resources, and the other modules answer invokes. All of it is a
function of its arguments alone, so that the same program gets the same cloud every time.
"""
