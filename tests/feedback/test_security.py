"""What is refused: strangers, guesses, other sites, large bodies, hostile texts."""

import json

import pytest

pytest.importorskip("starlette", reason="the extra feedback is not installed")
pytest.importorskip("httpx2", reason="httpx2 is not installed")

from jaxalign.feedback import markup, serve, store
from jaxalign.feedback.security import MAX_BODY
from jaxalign.feedback.tokens import Account, Sessions, check_name, read_tokens
from tests.feedback.studies import answer, make_items, served

TOKENS = [Account("ann", "a" * 20), Account("boss", "b" * 20, admin=True)]
JSON = {"content-type": "application/json"}


def test_strangers_see_nothing(tmp_path):
    with served(tmp_path, make_items(2)) as client:
        nobody = client()
        for path in ("/", "/dashboard", "/arena", "/state", "/dashboard/tables"):
            reply = nobody.get(path, follow_redirects=False)
            assert reply.status_code in (303, 404), path
            assert "question" not in reply.text
        for path in ("/answer", "/undo"):
            assert nobody.post(path, json={"ticket": "x"}).status_code == 401
        for cookie in ("", "x", "YW5u.", "YW5u." + "0" * 64, "é.é", "." * 5000):
            header = {"cookie": f"{client.study and nobody_cookie(client)}={cookie}"}
            header = {"cookie": header["cookie"].encode("latin-1", "replace")}
            assert nobody.post("/answer", json={}, headers=header).status_code == 401


def nobody_cookie(client):
    return Sessions(client.study.store.folder, None).cookie


def test_tokens_and_who_may_see_the_dashboard(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxalign.feedback.app.TRY_DELAY", 0.0)
    with served(tmp_path, make_items(2), app={"accounts": TOKENS}) as client:
        for token in ("", "wrong", "a" * 19, "a" * 21, "A" * 20, "ü" * 20, "\0"):
            reply = client().post("/login", data={"token": token, "name": "boss"})
            assert reply.status_code == 403 and "not known" in reply.text
        ann, boss = client("", "a" * 20), client("", "b" * 20)
        assert answer(ann, 1).status_code == 200
        assert store.judgements(tmp_path)[0].annotator == "ann"
        assert ann.get("/dashboard").status_code == 403
        assert ann.get("/dashboard/tables").status_code == 403
        assert "ann" in boss.get("/dashboard").text
        (cookie,) = ann.cookies.jar
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "strict"
    # a token that has changed ends the session
    accounts = [TOKENS[0]._replace(token="c" * 20)]
    assert Sessions(tmp_path, TOKENS).verify(cookie.value) == TOKENS[0]
    assert Sessions(tmp_path, accounts).verify(cookie.value) is None
    assert (tmp_path / ".cookie-secret").stat().st_mode & 0o077 == 0


def test_tickets_of_others_and_guesses(tmp_path):
    with served(tmp_path, make_items(4)) as client:
        ann, bob = client("ann"), client("bob")
        ticket = ann.get("/state").json()["cards"][0]["ticket"]
        for guess in (ticket, "x", "", "é" * 50, "0", "i0"):
            assert answer(bob, 1, guess or " ").status_code == 404
        for guess in (None, 3, [ticket], {}, True):
            body = {"ticket": guess, "value": 1, "seconds": 1}
            assert bob.post("/answer", json=body).status_code == 422
        assert bob.post("/undo", json={"ticket": ticket}).status_code == 409
        assert store.judgements(tmp_path) == []


def test_bodies_that_are_no_answers(tmp_path):
    with served(tmp_path, make_items(2)) as client:
        ann = client("ann")
        send = lambda body, **headers: ann.post(
            "/answer", content=body, headers=JSON | headers
        )
        assert send(b"x" * 10_000_000).status_code == 413
        chunks = (b"x" * 10_000 for _ in range(1000))  # without a length
        assert send(chunks).status_code == 413
        assert send(b"x", **{"content-length": "-1"}).status_code == 413
        for body in (b"", b"{", b"[]", b"1", b"[" * 30_000, b"\xff\xfe", b"null"):
            assert send(body).status_code == 400, body[:10]
        plain = {"content-type": "text/plain"}
        assert ann.post("/answer", content=b"{}", headers=plain).status_code == 415
        ticket = ann.get("/state").json()["cards"][0]["ticket"]
        for field, value in {
            "seconds": [float("nan"), float("inf"), -1, "1", None, True],
            "comment": ["x" * 5000, 3, None, "\ud800"],
            "value": [10**30, {"a": 1}, "skip\0", "both_bad"],
        }.items():
            for one in value:
                body = {"ticket": ticket, "value": 1, "seconds": 1, field: one}
                text = json.dumps(body)
                assert send(text).status_code in (400, 422), (field, one)
        assert store.judgements(tmp_path) == []
        assert answer(ann, 1, ticket, comment="x" * 4000).status_code == 200
        assert MAX_BODY < 100_000


def test_other_sites_and_other_names(tmp_path):
    with served(tmp_path, make_items(2)) as client:
        ann = client("ann")
        ticket = ann.get("/state").json()["cards"][0]["ticket"]
        for headers in (
            {"origin": "http://evil.example"},
            {"origin": "null"},
            {"origin": "http://localhost:81"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            body = {"ticket": ticket, "value": 1, "seconds": 1}
            assert ann.post("/answer", json=body, headers=headers).status_code == 403
        for host in ("evil.example", "localhost.evil.example", "", "[", "127.0.0.2"):
            assert ann.get("/state", headers={"host": host}).status_code == 421, host
        own = {"origin": "http://localhost", "sec-fetch-site": "same-origin"}
        body = {"ticket": ticket, "value": 1, "seconds": 1}
        assert ann.post("/answer", json=body, headers=own).status_code == 200
        headers = ann.get("/").headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        for name in ("../app.py", "..%2fapp.py", "x.js", "%2e%2e/study.py"):
            assert ann.get(f"/static/{name}").status_code == 404


def test_a_page_for_other_machines_has_any_name(tmp_path):
    app = {"accounts": TOKENS, "local": False}
    with served(tmp_path, make_items(2), app=app) as client:
        ann = client("", "a" * 20)
        state = ann.get("/state", headers={"host": "study.example:8765"})
        assert state.status_code == 200
        other = {"host": "study.example:8765", "origin": "http://other.example"}
        assert ann.post("/undo", json={}, headers=other).status_code == 403


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "[x](javascript:alert(1)) [y](JaVaScRiPt:alert(1)) [z](data:text/html,x)",
        "![x](http://example.com/track.png)",
        "<a href='javascript:alert(1)'>x</a>",
        "```\n</code></pre><script>alert(1)</script>\n```",
        '```"><script>alert(1)</script>\nx\n```',
        "<style>*{display:none}</style><iframe src=//x></iframe>",
        "&lt;script&gt;alert(1)&lt;/script&gt; &#60;img src=x&#62;",
        "[a]: javascript:alert(1) 'x'\n\n[a]",
        "</div></section><form action=//evil><input name=q>",
        "> " * 3000,
        "[" * 5000,
        "*" * 20_000,
        "x" * 60_000 + "<script>",
    ],
)
def test_no_text_becomes_a_script_a_picture_or_a_form(text):
    html = markup.to_html(text).lower()
    for tag in ("<script", "<img", "<iframe", "<style", "<form", "<input", "<svg"):
        assert tag not in html
    for part in html.split("<")[1:]:
        tag = part.partition(">")[0]
        assert " on" not in tag and "style=" not in tag, tag
        if tag.startswith("a "):
            assert 'href="http' in tag or "href" not in tag, tag


def test_markdown_is_shown():
    html = markup.to_html("# A\n\n**b** `c`\n\n- d\n\n| e |\n|---|\n| f |")
    for piece in ("<h4>A</h4>", "<strong>b</strong>", "<code>c</code>", "<td>f</td>"):
        assert piece in html
    # HTML stands as it is, and a picture is a link
    assert "&lt;b&gt;x&lt;/b&gt;" in markup.to_html("<b>x</b>")
    assert "&lt;div&gt;x&lt;/div&gt;" in markup.to_html("<div>x</div>")
    assert 'href="http://h/x.png"' in markup.to_html("![x](http://h/x.png)")
    assert "(empty)" in markup.to_html("  \n")
    message = {"role": "assistant", "content": "", "tool_calls": [{"x": "<b>"}]}
    assert "&lt;b&gt;" in markup.message_html(message)


def test_names(tmp_path):
    assert check_name("  A\u030ann ") == "Ånn"  # one form
    for bad in ("", "  ", "x" * 65, "a\nb", "a\u202eb", "a\0"):
        with pytest.raises(ValueError, match="a name has 1 to 64"):
            check_name(bad)
    with served(tmp_path, make_items(1)) as client:
        assert client().post("/login", data={"name": "a\nb"}).status_code == 403
        odd = client("日本 <b>&\"'</b>")
        assert "日本 &lt;b&gt;&amp;" in odd.get("/").text
        assert answer(odd, 1).status_code == 200
        assert store.judgements(tmp_path)[0].annotator == "日本 <b>&\"'</b>"
        assert "<b>&" not in odd.get("/dashboard").text


def test_a_token_file(tmp_path):
    path = tmp_path / "tokens"
    path.write_text(f"# who\n\nann {'a' * 20}\nboss {'b' * 20} admin\n")
    assert read_tokens(path) == TOKENS
    for text, message in (
        ("ann", "tokens:1: expected NAME TOKEN"),
        ("ann short", "tokens:1: the token of ann is short"),
        (f"ann {'a' * 20} root", "expected NAME TOKEN, or NAME TOKEN admin"),
        (f"ann {'a' * 20}\nann {'b' * 20}", "tokens:2: name or token of ann comes"),
        (f"ann {'a' * 20}\nbob {'a' * 20}", "tokens:2: name or token of ann comes"),
        ("", "holds no NAME TOKEN"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message) as error:
            read_tokens(path)
        assert "aaa" not in str(error.value)  # no token on the screen


def test_hosts():
    with serve.bind("127.0.0.1", 0) as one:
        port = one.getsockname()[1]
        assert serve.address(one) == f"http://127.0.0.1:{port}/"
        with pytest.raises(ValueError, match=f"--port {port}: .*in use"):
            serve.bind("127.0.0.1", port)
    assert not serve.is_loopback("192.168.0.1") and not serve.is_loopback("example")
    assert serve.is_loopback("::1")
