"""Key-value buckets that tests of a module share."""

from nats.js import JetStreamContext

from shared import stream_reader


async def delete_keys(js: JetStreamContext, bucket: str, prefix: str) -> None:
    """Delete all keys that begin with `prefix`, which ends with a dot."""
    found = await stream_reader.messages(js, f"KV_{bucket}", f"$KV.{bucket}.{prefix}>", config=stream_reader.latest())
    for message in found:
        if message.data:
            await js.publish(message.subject, b"", headers={"KV-Operation": "DEL"})
