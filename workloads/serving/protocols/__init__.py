"""The models of a running Triton behind other servers' protocols, so that their existing clients can ask them.

`triton` asks Triton and knows its models' signatures; `tensors` and `rows` turn JSON into arrays and back; `refusal`
says what goes wrong in a protocol's own terms; `tensorflow` and `kserve` (with `kserve_requests` and `generating`) are
the protocols; `listening` is the rest of a server, `common` the commands' options.

The two protocols are two servers, each on its own port. Their paths are the same and mean different things: of
`/v1/models/NAME`, KServe's clients want `ready` and a 503 while it is not, TensorFlow Serving's the states of all
versions; `/v1/models` is a list in one and an error in the other. One server for both would be right for neither, and
whoever has clients of one does not need the other's packages.
"""
