"""Rights of model-restricted tokens, for requests that do not state their model."""

BATCHES = "batches"
FILES = "files"
STORED = "stored"
TUNING = "tuning"
OTHER = "other"

RIGHTS: dict[str, str] = {
    BATCHES: "batches, whose models are in a file",
    FILES: "files, uploads, vector stores and containers",
    STORED: "stored prompts, assistants, agents, threads and conversations, which have their own model",
    TUNING: "fine-tuning, evals and changes to models",
    OTHER: "endpoints unknown to the gateway, adapters (LoRA) and routers that choose a model",
}
