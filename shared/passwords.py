"""Passwords in, scrypt hashes out, and whether a password is the one of a hash; slow by intent: call it in a thread."""

import base64
import hashlib
import hmac
import secrets
import unicodedata

SHORTEST, LONGEST = 12, 256  # characters of a password that somebody chooses
_N, _R, _P = 1 << 14, 8, 5  # 16 MB and the work that OWASP's password storage sheet asks for
_SALT_BYTES, _HASH_BYTES = 16, 32
_MEMORY = 64 << 20  # what a stored hash may ask for at most
_NOBODY = f"scrypt${_N}${_R}${_P}${'A' * 22}==${'A' * 43}="  # of no password: costs what a real one costs


def generated() -> str:
    """A fresh password: 20 letters and digits that are not mistaken for each other, over 100 bits."""
    letters = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
    return "".join(secrets.choice(letters) for _ in range(20))


def weakness(password: str) -> str:
    """What is wrong with a chosen password, in words; "" when nothing is."""
    if len(password) < SHORTEST:
        return f"a password has at least {SHORTEST} characters"
    if len(password) > LONGEST:
        return f"a password has at most {LONGEST} characters"
    return "" if len(set(password)) > 4 else "this password is too simple"


def hashed(password: str, *, n: int = _N, p: int = _P) -> str:
    """What is stored of a password: scrypt$n$r$p$salt$hash, salt and hash in base64."""
    salt = secrets.token_bytes(_SALT_BYTES)
    return "$".join(["scrypt", str(n), str(_R), str(p), _text(salt), _text(_scrypt(password, salt, n=n, r=_R, p=p))])


def matches(password: str, stored: str) -> bool:
    """Whether it is the password of a stored hash. An empty or unreadable hash is nobody's and takes as long."""
    try:
        _, n, r, p, salt, wanted = (stored or _NOBODY).split("$")
        found = _scrypt(password, base64.b64decode(salt, validate=True), n=int(n), r=int(r), p=int(p))
        return hmac.compare_digest(found, base64.b64decode(wanted, validate=True)) and bool(stored)
    except ValueError:
        return stored != "" and matches(password, "")


def _scrypt(password: str, salt: bytes, *, n: int, r: int, p: int) -> bytes:
    known = unicodedata.normalize("NFKC", password)[:LONGEST].encode("utf-8", "surrogatepass")
    return hashlib.scrypt(known, salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=_HASH_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
