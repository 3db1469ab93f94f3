"""Password hashing with scrypt; slow by design, so call it in a thread."""

import base64
import hashlib
import hmac
import secrets
import unicodedata

# Length of a chosen password.
SHORTEST = 12
LONGEST = 256

# scrypt parameters: 16 MB and the work factor of OWASP's password storage cheat sheet.
_N = 1 << 14
_R = 8
_P = 5

_SALT_BYTES = 16
_HASH_BYTES = 32
_MEMORY = 64 << 20  # upper limit for the parameters of a stored hash
_DUMMY = f"scrypt${_N}${_R}${_P}${'A' * 22}==${'A' * 43}="  # matches no password, but takes as long


def generated() -> str:
    """Generate a password: 20 unambiguous letters and digits, over 100 bits."""
    letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "".join(secrets.choice(letters) for _ in range(20))


def weakness(password: str) -> str:
    """Why a chosen password is too weak; "" if it is not."""
    if len(password) < SHORTEST:
        return f"a password must have at least {SHORTEST} characters"
    if len(password) > LONGEST:
        return f"a password must have at most {LONGEST} characters"
    return "" if len(set(password)) > 4 else "this password is too simple"


def hashed(password: str, *, n: int = _N, p: int = _P) -> str:
    """Hash a password: scrypt$n$r$p$salt$hash, salt and hash in base64."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return "$".join(["scrypt", str(n), str(_R), str(p), _text(salt), _text(_scrypt(password, salt, n=n, r=_R, p=p))])


def matches(password: str, stored: str) -> bool:
    """Whether a password matches a hash; an invalid hash never does and takes as long."""
    try:
        _, n, r, p, salt, expected = (stored or _DUMMY).split("$")
        actual = _scrypt(password, base64.b64decode(salt, validate=True), n=int(n), r=int(r), p=int(p))
        return hmac.compare_digest(actual, base64.b64decode(expected, validate=True)) and bool(stored)
    except ValueError:
        return stored != "" and matches(password, "")


def _scrypt(password: str, salt: bytes, *, n: int, r: int, p: int) -> bytes:
    normalized = unicodedata.normalize("NFKC", password)[:LONGEST].encode("utf-8", "surrogatepass")
    return hashlib.scrypt(normalized, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=_HASH_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
