"""Prices computed by hand, each with its arithmetic and its source."""

from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

# Where the prices stand. The library's are transcribed from the providers' pages; they were read there, not computed by it.
ANTHROPIC = "Anthropic's price page, in genai-prices 0.2.3"

OPENAI = "OpenAI's price page, in genai-prices 0.2.3"

GOOGLE = "ai.google.dev/gemini-api/docs/pricing, in genai-prices 0.2.3"

MISTRAL = "Mistral's price page, in genai-prices 0.2.3"

XAI = "docs.x.ai/developers/models, in genai-prices 0.2.3"

XAI_TOOLS = "docs.x.ai/developers/pricing"

RESIDENCY = "developers.openai.com/api/docs/guides/data-residency"

REGIONAL = "docs.mistral.ai/inference/regional-inference"

GROUNDING = "ai.google.dev/gemini-api/docs/pricing, Grounding with Google Search"


class Case(NamedTuple):
    """`sum`: the arithmetic, in USD and tokens a million unless it divides by something else."""

    provider: str
    model: str
    usage: dict[str, Any]
    expected: str
    sum: str
    source: str
    day: date = date(2026, 11, 24)


SONNET, HAIKU, OPUS = "claude-sonnet-5-5-20260901", "claude-haiku-4-5-20251001", "claude-opus-4-8"

TERRA, MINI, FLASH = "gpt-6.1-terra-2026-10-26", "gpt-4o-mini-2024-07-18", "gemini-3.8-flash"

CACHED = {"input": 6169, "cache_read": 4096, "cache_write_5m": 2048, "output": 47}

LONG_WRITES = {"input": 9100, "cache_read": 4096, "cache_write_30m": 1024, "cache_write_12h": 1024, "output": 310}

K = {"input": 1000, "output": 100}


def day(text: str) -> date:
    return date.fromisoformat(text)


CASES = [
    # Anthropic: input without the cache, reads, writes of 5 min and 1 h
    Case("anthropic", SONNET, CACHED, "0.0060496", "(25*2 + 4096*0.10 + 2048*2.50 + 47*10) / 1e6", ANTHROPIC),
    Case("anthropic", SONNET, CACHED, "0.0064592", "(25*2 + 4096*0.20 + 2048*2.50 + 47*10) / 1e6", "its page before 2026-10-07", day("2026-10-06")),
    Case("anthropic", SONNET, CACHED, "0.0060496", "(25*2 + 4096*0.10 + 2048*2.50 + 47*10) / 1e6", "its page since 2026-10-07", day("2026-10-07")),
    Case("anthropic", SONNET, {"input": 1000, "cache_write_1h": 400, "output": 100}, "0.0038", "(600*2 + 400*4 + 100*10) / 1e6", ANTHROPIC),
    Case("anthropic", SONNET, {"input": 1000, "cache_write_5m": 300, "cache_write_1h": 400}, "0.00295", "(300*2 + 300*2.5 + 400*4) / 1e6", ANTHROPIC),
    Case("anthropic", SONNET, K | {"geo": "us"}, "0.0033", "(1000*2 + 100*10) * 1.1 / 1e6", "its page, inference_geo"),
    Case("anthropic", SONNET, CACHED | {"geo": "us"}, "0.00665456", "(25*2 + 4096*0.10 + 2048*2.50 + 47*10) * 1.1 / 1e6", "its page, inference_geo"),
    Case("anthropic", SONNET, K | {"tools": {"web_search": 3, "web_fetch": 9}}, "0.033", "(1000*2 + 100*10) / 1e6 + 3*10/1000", ANTHROPIC),
    Case("anthropic", SONNET, K | {"geo": "us", "tools": {"web_search": 1}}, "0.0133", "(1000*2 + 100*10) * 1.1 / 1e6 + 10/1000", ANTHROPIC),
    Case("anthropic", HAIKU, {"input": 472, "output": 89}, "0.000917", "(472*1 + 89*5) / 1e6", ANTHROPIC),
    Case("anthropic", "claude-haiku-5-5", {"input": 100_000, "output": 1000}, "0.0105", "(100000*0.1 + 1000*0.5) / 1e6", ANTHROPIC),
    Case("anthropic", "claude-haiku-5-5", {"input": 100_001, "output": 1000}, "0.0525005", "(100001*0.5 + 1000*2.5) / 1e6", ANTHROPIC),  # a cliff: all of it
    Case("anthropic", "claude-haiku-5-5", {"input": 100_001, "cache_read": 100_000, "output": 0}, "0.0050005", "(1*0.5 + 100000*0.05) / 1e6", ANTHROPIC),  # cached ones count
    Case("anthropic", "claude-sonnet-4-5-20250929", {"input": 200_001, "output": 10}, "1.200231", "(200001*6 + 10*22.5) / 1e6", ANTHROPIC),
    Case("anthropic", OPUS, K, "0.0075", "(1000*5 + 100*25) / 1e6", ANTHROPIC),
    Case("anthropic", OPUS, K | {"speed": "fast"}, "0.015", "(1000*10 + 100*50) / 1e6", ANTHROPIC),
    Case("anthropic", OPUS, {"input": 1000, "cache_write_1h": 1000, "speed": "fast"}, "0.02", "1000*20 / 1e6", ANTHROPIC),
    Case("anthropic", OPUS, K | {"speed": "fast", "tools": {"web_search": 1}}, "0.025", "(1000*10 + 100*50) / 1e6 + 10/1000", ANTHROPIC),
    Case("anthropic", "claude-opus-5-5-20260922", K, "0.006", "(1000*4 + 100*20) / 1e6", ANTHROPIC),
    Case("anthropic", "claude-fable-5-2", K | {"speed": "fast"}, "0.024", "(1000*16 + 100*80) / 1e6", ANTHROPIC),
    Case("anthropic", "anthropic/claude-opus-4.1", K, "0.0225", "(1000*15 + 100*75) / 1e6", ANTHROPIC),  # a vendor before the name
    Case("anthropic", "claude-3-haiku-20240307", {"input": 1000, "cache_read": 500, "output": 100}, "0.000265", "(500*0.25 + 500*0.03 + 100*1.25) / 1e6", ANTHROPIC),
    # OpenAI: cached tokens are a part of the input, so are written ones
    Case("openai", MINI, {"input": 26, "output": 9}, "0.0000093", "(26*0.15 + 9*0.60) / 1e6", OPENAI),
    Case("openai", "gpt-4o", K | {"cache_read": 400}, "0.003", "(600*2.50 + 400*1.25 + 100*10) / 1e6", OPENAI),
    Case("openai", "gpt-4o", K | {"cache_read": 400, "service_tier": "priority"}, "0.0051", "(600*4.25 + 400*2.125 + 100*17) / 1e6", OPENAI),
    Case("openai", "gpt-4o", K | {"service_tier": "default"}, "0.0035", "(1000*2.50 + 100*10) / 1e6", OPENAI),
    Case("openai", "gpt-4o", K | {"geo": "eu"}, "0.0035", "(1000*2.50 + 100*10) / 1e6", RESIDENCY),  # nothing more for older models
    Case("openai", "openai/gpt-4.1", K, "0.0028", "(1000*2 + 100*8) / 1e6", OPENAI),
    Case("openai", "gpt-4.1", K | {"tools": {"file_search": 4}}, "0.0128", "(1000*2 + 100*8) / 1e6 + 4*2.50/1000", OPENAI),
    Case("openai", "gpt-4.1", K | {"service_tier": "priority", "tools": {"web_search": 1}}, "0.0149", "(1000*3.5 + 100*14) / 1e6 + 10/1000", OPENAI),
    Case("openai", "gpt-5", K | {"service_tier": "flex"}, "0.001125", "(1000*0.625 + 100*5) / 1e6", OPENAI),
    Case("openai", "gpt-5", K | {"reasoning": 64}, "0.00225", "(1000*1.25 + 100*10) / 1e6", OPENAI),  # reasoning is in the output
    Case("openai", "o3", K | {"service_tier": "flex"}, "0.0014", "(1000*1 + 100*4) / 1e6", OPENAI),
    Case("openai", TERRA, LONG_WRITES | {"tools": {"web_search": 1}}, "0.0185508", "(2956*1 + 4096*0.05 + 1024*1.25 + 1024*2.50 + 310*5) / 1e6 + 10/1000", OPENAI),
    Case("openai", TERRA, K | {"service_tier": "flex"}, "0.00075", "(1000*0.50 + 100*2.50) / 1e6", OPENAI),
    Case("openai", TERRA, K | {"service_tier": "fast"}, "0.003", "(1000*2 + 100*10) / 1e6", OPENAI),
    Case("openai", TERRA, K | {"geo": "eu"}, "0.00165", "(1000*1 + 100*5) * 1.1 / 1e6", RESIDENCY),
    Case("openai", TERRA, K | {"geo": "jp", "service_tier": "flex"}, "0.000825", "(1000*0.50 + 100*2.50) * 1.1 / 1e6", RESIDENCY),
    Case("openai", TERRA, {"input": 272_000, "output": 1000}, "0.277", "(272000*1 + 1000*5) / 1e6", OPENAI),
    Case("openai", TERRA, {"input": 272_001, "output": 1000}, "0.551502", "(272001*2 + 1000*7.50) / 1e6", OPENAI),
    Case("openai", "gpt-6-luna", {"input": 1000, "cache_write_30m": 400, "output": 10}, "0.000115", "(600*0.1 + 400*0.125 + 10*0.5) / 1e6", OPENAI),
    Case("openai", "text-embedding-3-small", {"input": 12}, "0.00000024", "12*0.02 / 1e6", OPENAI),
    Case("openai", "gpt-image-2", {"input": 50, "output": 1056, "output_image": 1056}, "0.03193", "(50*5 + 1056*30) / 1e6", OPENAI),
    Case("openai", "gpt-image-1.5", {"input": 350, "input_image": 300, "output": 1056, "output_image": 1056}, "0.036442", "(50*5 + 300*8 + 1056*32) / 1e6", OPENAI),
    Case("openai", "gpt-audio", {"input": 120, "input_audio": 100, "output": 60, "output_audio": 50}, "0.00655", "(20*2.50 + 100*32 + 10*10 + 50*64) / 1e6", OPENAI),
    Case("openai", "gpt-4o-transcribe", {"input": 140, "input_audio": 140, "output": 18}, "0.00102", "(140*6 + 18*10) / 1e6", OPENAI),
    Case("openai", "whisper-1", {"input": None, "output": None, "audio_seconds": Decimal(9)}, "0.0009", "9*0.36/3600", OPENAI),
    Case("openai", "gpt-transcribe", {"input": None, "output": None, "audio_seconds": Decimal("12.8")}, "0.00096", "12.8*0.27/3600", OPENAI),
    Case("openai", "tts-1", {"input": None, "output": None, "characters": 1200}, "0.018", "1200*15 / 1e6", OPENAI),
    Case("openai", "tts-1-hd", {"input": None, "output": None, "characters": 7}, "0.00021", "7*30 / 1e6", OPENAI),
    Case("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc123", K, "0.00042", "(1000*0.30 + 100*1.20) / 1e6", OPENAI),
    # Gemini: thoughts are output; prices rise in 2027
    Case("gemini", FLASH, {"input": 5300, "cache_read": 4096, "output": 420}, "0.0027852", "(1204*0.75 + 4096*0.075 + 420*3.75) / 1e6", GOOGLE),
    Case("gemini", FLASH, K, "0.001125", "(1000*0.75 + 100*3.75) / 1e6", GOOGLE, day("2026-12-31")),
    Case("gemini", FLASH, K, "0.00225", "(1000*1.50 + 100*7.50) / 1e6", GOOGLE, day("2027-01-01")),
    Case("gemini", FLASH, {"input": 31, "output": 96, "tools": {"google_search": 2, "grounded_prompt": 1}}, "0.02838325", "(31*0.75 + 96*3.75) / 1e6 + 2*14/1000", GROUNDING),
    Case("gemini", "gemini-2.5-flash", K | {"tools": {"google_search": 5, "grounded_prompt": 1}}, "0.03555", "(1000*0.30 + 100*2.50) / 1e6 + 35/1000", GROUNDING),
    Case("gemini", "gemini-2.5-flash", {"input": 1000, "input_audio": 600, "output": 100}, "0.00097", "(400*0.30 + 600*1 + 100*2.50) / 1e6", GOOGLE),
    Case("gemini", "gemini-2.5-flash", {"input": 1000, "input_audio": 600, "cache_read": 500, "cache_read_audio": 500, "output": 0}, "0.00027", "(400*0.30 + 100*1 + 500*0.10) / 1e6", GOOGLE),
    Case("gemini", "models/gemini-2.5-pro", {"input": 200_000, "output": 1000}, "0.26", "(200000*1.25 + 1000*10) / 1e6", GOOGLE),
    Case("gemini", "gemini-2.5-pro", {"input": 200_001, "output": 1000}, "0.5150025", "(200001*2.50 + 1000*15) / 1e6", GOOGLE),
    Case("gemini", "gemini-2.5-flash-image", {"input": 100, "output": 1390, "output_image": 1290}, "0.03898", "(100*0.30 + 100*2.50 + 1290*30) / 1e6", GOOGLE),
    Case("gemini", "gemini-2.0-flash-001", K, "0.00014", "(1000*0.10 + 100*0.40) / 1e6", GOOGLE),
    Case("gemini", "gemini-4-argon", K, "0.003", "(1000*2 + 100*10) / 1e6", GOOGLE, day("2026-11-30")),
    Case("gemini", "gemini-4-argon", K, "0.006", "(1000*4 + 100*20) / 1e6", GOOGLE, day("2026-12-01")),
    Case("gemini", "gemini-3.8-flash-tts", K | {"output_audio": 100, "service_tier": "priority"}, "0.00252", "(1000*0.9 + 100*16.2) / 1e6", GOOGLE),
    Case("gemini", "gemini-3.8-flash-tts", K | {"output_audio": 100, "service_tier": "flex"}, "0.0007", "(1000*0.25 + 100*4.5) / 1e6", GOOGLE),
    Case("gemini", "gemini-embedding-2", {"input": 300, "input_image": 258, "output": 0}, "0.0001245", "(42*0.20 + 258*0.45) / 1e6", GOOGLE),
    Case("gemini", "gemini-embedding-2", {"input": 66, "input_video": 66, "output": 0}, "0.000792", "66*12 / 1e6", GOOGLE),
    # Mistral: aliases, pages, minutes
    Case("mistral", "mistral-medium-3.5", {"input": 1040, "cache_read": 896, "output": 12}, "0.0004404", "(144*1.50 + 896*0.15 + 12*7.50) / 1e6", MISTRAL),
    Case("mistral", "mistral-medium-latest", K, "0.0006", "(1000*0.40 + 100*2) / 1e6", MISTRAL, day("2026-06-15")),
    Case("mistral", "mistral-medium-latest", K, "0.00225", "(1000*1.50 + 100*7.50) / 1e6", MISTRAL, day("2026-06-16")),
    Case("mistral", "codestral-latest", {"input": 9, "output": 8}, "0.0000099", "(9*0.30 + 8*0.90) / 1e6", MISTRAL),
    Case("mistral", "mistral-embed", {"input": 11}, "0.0000011", "11*0.10 / 1e6", MISTRAL),
    Case("mistral", "mistral-large-latest", K | {"cache_read": 200}, "0.00056", "(800*0.50 + 200*0.05 + 100*1.50) / 1e6", "Mistral's price page: Large 3"),
    Case("mistral", "mistral-large-latest", K, "0.0026", "(1000*2 + 100*6) / 1e6", "Mistral's price page of then: Large 2", day("2025-12-01")),
    Case("mistral", "mistral-small-latest", K | {"geo": "eu"}, "0.000231", "(1000*0.15 + 100*0.60) * 1.1 / 1e6", REGIONAL),
    Case("mistral", "mistral-ocr-latest", {"input": None, "output": None, "pages": 12}, "0.048", "12*4/1000", MISTRAL),
    Case("mistral", "mistral-ocr-latest", {"input": None, "output": None, "pages": 12, "annotated_pages": 12}, "0.06", "12*5/1000", MISTRAL),
    Case("mistral", "mistral-ocr-latest", {"input": None, "output": None, "pages": 12}, "0.024", "12*2/1000", MISTRAL, day("2026-06-22")),
    Case("mistral", "voxtral-mini-2602", {"input": 4, "output": 635, "audio_seconds": Decimal(203)}, "0.01015", "203*0.18/3600", MISTRAL),
    Case("mistral", "voxtral-small-2507", {"input": 41, "output": 100, "audio_seconds": Decimal(60)}, "0.0040441", "(41*0.10 + 100*0.40) / 1e6 + 60*0.24/3600", MISTRAL),
    # xAI: long requests from 200,000 tokens on, that number included; its own figure beats ours
    Case("grok", "grok-4.7", {"input": 1200, "cache_read": 1000, "output": 350}, "0.003", "(200*2 + 1000*0.50 + 350*6) / 1e6", XAI),
    Case("grok", "grok-4.7", {"input": 199_999, "output": 0}, "0.399998", "199999*2 / 1e6", XAI),
    Case("grok", "grok-4.7", {"input": 200_000, "output": 100}, "0.8012", "(200000*4 + 100*12) / 1e6", XAI),
    Case("grok", "x-ai/grok-4.7-latest", {"input": 200_000, "cache_read": 150_000, "output": 0}, "0.35", "(50000*4 + 150000*1) / 1e6", XAI),
    Case("grok", "grok-4.7", K | {"tools": {"web_search": 2}}, "0.0126", "(1000*2 + 100*6) / 1e6 + 2*5/1000", XAI_TOOLS),
    Case("grok", "grok-4.3", K | {"tools": {"x_search": 1, "code_execution": 1, "collections_search": 2, "attachment_search": 1}}, "0.0265", "(1000*1.25 + 100*2.50) / 1e6 + (5 + 5 + 2*2.50 + 10)/1000", XAI_TOOLS),
    Case("grok", "grok-3-mini", {"input": 1000, "cache_read": 600, "output": 100}, "0.000215", "(400*0.30 + 600*0.075 + 100*0.50) / 1e6", XAI),
]  # fmt: skip
