"""Rights that a token confined to models needs for requests whose model does not stand in the request."""

BATCHES = "batches"
FILES = "files"
STORED = "stored"
TUNING = "tuning"
OTHER = "other"

RIGHTS: dict[str, str] = {
    BATCHES: "batches, whose models stand in a file",
    FILES: "files, uploads, vector stores and containers",
    STORED: "stored prompts, assistants, agents, threads and conversations, which name a model of their own",
    TUNING: "fine-tuning, evals and changes to models",
    OTHER: "endpoints that the gateway does not know",
}
