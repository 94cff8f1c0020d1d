"""Who may enter: names with tokens in a file, and signed cookies.

Without a token file whoever reaches the page enters a name; a page that others than
this machine can reach needs one.
"""

import base64
import hashlib
import hmac
import os
import secrets
import unicodedata
from pathlib import Path
from typing import NamedTuple

SECRET_FILE = ".cookie-secret"
MIN_TOKEN = 16  # characters
MAX_NAME = 64  # characters


class Account(NamedTuple):
    """Somebody who may enter.

    Attributes:
      name: of the annotator.
      token: a secret; "" where none is asked for.
      admin: whether the dashboard is shown.
    """

    name: str
    token: str = ""
    admin: bool = False


def read_tokens(path: Path) -> list[Account]:
    """The accounts of a token file: lines `NAME TOKEN` or `NAME TOKEN admin`.

    Raises:
      OSError: no such file.
      ValueError: a malformed line, a short token, or a name or token that comes twice;
        names the line, and never the token.
    """
    accounts: list[Account] = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        where = f"{path}:{number}"
        if len(words) not in (2, 3) or words[2:] not in ([], ["admin"]):
            raise ValueError(f"{where}: expected NAME TOKEN, or NAME TOKEN admin")
        if len(words[1]) < MIN_TOKEN:
            raise ValueError(
                f"{where}: the token of {words[0]} is short: use {MIN_TOKEN} or more "
                "random characters, such as of python -c 'import secrets; "
                "print(secrets.token_urlsafe())'"
            )
        account = Account(check_name(words[0], where), words[1], len(words) == 3)
        for other in accounts:
            if other.name == account.name or other.token == account.token:
                raise ValueError(f"{where}: name or token of {other.name} comes twice")
        accounts.append(account)
    if not accounts:
        raise ValueError(f"{path} holds no NAME TOKEN")
    return accounts


def check_name(text: str, where: str = "") -> str:
    """A name without spaces around it, in one form of Unicode.

    Raises:
      ValueError: it is empty, long, or has characters that cannot be seen.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not 0 < len(name) <= MAX_NAME or not name.isprintable():
        prefix = f"{where}: " if where else ""
        raise ValueError(
            f"{prefix}a name has 1 to {MAX_NAME} letters, digits, signs or spaces"
        )
    return name


class Sessions:
    """Cookies that say who somebody is, and cannot be made by others.

    Args:
      folder: of the study, which keeps the secret, so that a restart logs nobody out.
      accounts: of the token file; None where anybody enters.
    """

    def __init__(self, folder: Path, accounts: list[Account] | None) -> None:
        self.secret = read_secret(folder / SECRET_FILE)
        self.accounts = accounts
        self.cookie = "study_" + hashlib.sha256(self.secret).hexdigest()[:8]

    def enter(self, name: str, token: str) -> Account | None:
        """The account of a token, or of a name where no tokens are asked for.

        All tokens are compared, each in constant time.

        Raises:
          ValueError: the name is malformed.
        """
        if self.accounts is None:
            return Account(check_name(name), admin=True)
        entered = None
        for account in self.accounts:
            same = hmac.compare_digest(
                hashlib.sha256(account.token.encode()).digest(),
                hashlib.sha256(token.encode("utf-8", "replace")).digest(),
            )
            entered = account if same else entered
        return entered

    def sign(self, account: Account) -> str:
        """The value of the cookie of an account."""
        name = base64.urlsafe_b64encode(account.name.encode()).decode().rstrip("=")
        return f"{name}.{self.signature(account)}"

    def verify(self, value: str) -> Account | None:
        """The account of a cookie; None of one that was not signed here.

        A token that has left the file, or has changed, ends its sessions.
        """
        encoded, _, signature = value.partition(".")
        try:
            padded = encoded + "=" * (-len(encoded) % 4)
            name = base64.urlsafe_b64decode(padded.encode("ascii")).decode()
        except ValueError:
            return None
        account = self.account(name)
        if account is None:
            return None
        own = self.signature(account).encode()
        same = hmac.compare_digest(own, signature.encode("utf-8", "replace"))
        return account if same else None

    def account(self, name: str) -> Account | None:
        """The account of a name."""
        if self.accounts is None:
            return Account(name, admin=True)
        return next((a for a in self.accounts if a.name == name), None)

    def signature(self, account: Account) -> str:
        """What only the holder of the secret can compute of an account."""
        text = f"{account.name}\0{account.token}".encode()
        return hmac.new(self.secret, text, hashlib.sha256).hexdigest()


def read_secret(path: Path) -> bytes:
    """The secret of a study, which is made at its first start."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        secret = path.read_bytes()
        if len(secret) == 32:
            return secret
        path.unlink()  # of a start that was killed
        return read_secret(path)
    with os.fdopen(handle, "wb") as file:
        file.write(secret := secrets.token_bytes(32))
    return secret
