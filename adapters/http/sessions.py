"""Who may read: the bearer of the admin token, and browsers that signed in with it or with a one-use link."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping

from adapters.http.admin_token import same_token
from adapters.secret import Secret

COOKIE = "callfold"


class Sessions:
    """One admin token, one session value derived from it: no table, and every session ends with the token."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._links: set[str] = set()
        self.cookie = hmac.new(token.encode(), b"callfold pages", hashlib.sha256).hexdigest()

    def webhook_secret(self, bot: str) -> Secret:
        """What Telegram has to send with each update of this bot (by its key)."""
        return Secret(
            hmac.new(self._token.encode(), f"telegram webhook {bot}".encode(), hashlib.sha256).hexdigest()
        )

    def new_link(self) -> str:
        """A key that signs in once."""
        key = secrets.token_urlsafe(18)
        self._links.add(key)
        return key

    def redeem(self, key: str) -> bool:
        """Use a one-use key, or the admin token itself."""
        if key in self._links:
            self._links.discard(key)
            return True
        return same_token(key, self._token)

    def allows(self, authorization: str, cookies: Mapping[str, str]) -> bool:
        """True for a request that carries the token or a session."""
        scheme, _, told = authorization.partition(" ")
        if scheme.lower() == "bearer" and same_token(told.strip(), self._token):
            return True
        return same_token(cookies.get(COOKIE, ""), self.cookie)
