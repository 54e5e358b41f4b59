"""The contract between device and hub: topics, messages, codec, manifest.

Everything here is pure (standard library and msgspec only) and may be imported by
every package. Decoders ignore unknown fields, so a newer peer can add optional ones;
anything else needs a new protocol version. See ``PROTOCOL.md``.
"""
