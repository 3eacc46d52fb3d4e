"""Only commits that are signed with the operator's keys are accepted: real keys, real signatures."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler.clock import Clock
from reconciler.errors import UsageError
from reconciler.repo import verify
from reconciler.repo.verify import Verifier
from tests.repo.signing import LONG_AGO, Signers
from tests.repo.worktree import WorkTree, spec


@dataclass
class Signed:
    """A repository with commits by everybody, and the public keys."""

    tree: WorkTree
    folder: Path
    keys: dict[str, str]
    commits: dict[str, str]

    def refusal(self, commit: str, *keys: str) -> str:
        return Verifier(keys, self.folder, Clock()).refusal(self.tree.top / ".git", self.commits.get(commit, commit))

    def altered(self, commit: str) -> str:
        """The same commit with the same signature and another message."""
        content = self.tree.git("cat-file", "commit", self.commits[commit]).replace("\n\nsigned", "\n\nother") + "\n"
        made = subprocess.run(
            ["git", "-C", self.tree.top, "hash-object", "-t", "commit", "-w", "--stdin"],
            input=content, text=True, capture_output=True, check=True,
        )  # fmt: skip
        return made.stdout.strip()


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    folder = tmp_path_factory.mktemp("signed")
    signers = Signers(folder / "signers")
    tree = WorkTree(folder / "work")
    tree.write({"a.yaml": spec("a")})
    keys = {
        "ann": signers.gpg_key("Ann"),
        "old": signers.gpg_key("Old", "--faked-system-time", LONG_AGO, expires="1d"),
        "gone": signers.gpg_key("Gone"),
        "sue": signers.ssh_key("sue"),
        "tom": signers.ssh_key("tom"),
    }
    commits = {"nobody": tree.commit("unsigned")}
    commits |= {name: signers.commit(tree, gpg=name.title()) for name in ("ann", "gone")}
    commits["old"] = signers.commit(tree, gpg="Old", faked=LONG_AGO)
    commits |= {name: signers.commit(tree, ssh=name) for name in ("sue", "tom")}
    keys["gone"] = signers.revoked("Gone")
    yield Signed(tree, folder, keys, commits)
    signers.close()


def test_a_commit_that_is_signed_with_a_named_key_is_accepted(signed: Signed) -> None:
    for name in ("ann", "sue"):
        (signed.folder / f"{name}.key").write_text(signed.keys[name])
    for name in ("ann", "sue"):
        assert signed.refusal(name, signed.keys["ann"], signed.keys["sue"]) == ""
        assert signed.refusal(name, "ann.key", str(signed.folder / "sue.key")) == ""


def test_several_keys_may_stand_in_one_file_also_as_allowed_signers(signed: Signed) -> None:
    sue, tom = (" ".join(signed.keys[name].split()[:2]) for name in ("sue", "tom"))
    (signed.folder / "many").write_text(f'# ours\nsue@a,*@b namespaces="git" {sue}\n\n{tom}\n')
    assert signed.refusal("sue", "many") == signed.refusal("tom", "many") == ""


def test_a_keyring_that_is_not_armored_is_taken(signed: Signed) -> None:
    import base64

    lines = signed.keys["ann"].split("\n\n", 1)[1].split("\n=")[0]
    (signed.folder / "ann.gpg").write_bytes(base64.b64decode(lines))
    assert signed.refusal("ann", "ann.gpg") == ""


def test_an_unsigned_commit_is_refused(signed: Signed) -> None:
    assert signed.refusal("nobody", signed.keys["ann"]) == "it is not signed"


def test_a_commit_that_is_signed_with_another_key_is_refused_and_the_key_is_named(signed: Signed) -> None:
    foreign = signed.refusal("ann", signed.keys["sue"])
    assert foreign.startswith("it is signed with the key ")
    assert foreign.endswith(", which verify.keys does not hold")
    foreign = signed.refusal("tom", signed.keys["ann"], signed.keys["sue"])
    assert foreign.startswith("it is signed with the ED25519 key SHA256:")
    assert foreign.endswith(", which verify.keys does not hold")


def test_a_signature_of_another_content_is_refused(signed: Signed) -> None:
    found = signed.refusal(signed.altered("ann"), signed.keys["ann"])
    assert found.startswith("its signature is not of this content, although it names the key ")
    assert found.endswith(" Ann <ann@example.com>")
    assert signed.refusal(signed.altered("sue"), signed.keys["sue"]) == "its signature is not of this content"


def test_a_key_that_has_expired_or_was_revoked_counts_no_more(signed: Signed) -> None:
    old, gone = signed.refusal("old", signed.keys["old"]), signed.refusal("gone", signed.keys["gone"])
    assert old.startswith("the key ")
    assert old.endswith(" Old <old@example.com> that signed it has expired")
    assert gone.endswith(" Gone <gone@example.com> that signed it has been revoked")


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ('valid-before="20200101"', "has expired"),
        ("valid-before=202001010000Z", "has expired"),
        ('valid-after="29990101Z"', "is not valid yet"),
        ('valid-after="20200101",valid-before="29990101"', ""),
    ],
)
def test_a_signer_is_allowed_in_his_time_whatever_time_the_commit_claims(
    signed: Signed, option: str, fault: str
) -> None:
    found = signed.refusal("sue", f"sue@example.com {option} {' '.join(signed.keys['sue'].split()[:2])}")
    if fault:
        assert found.startswith("the ED25519 key SHA256:")
        assert found.endswith(f" that signed it {fault}")
    else:
        assert found == ""


def test_a_signature_of_another_kind_is_refused(signed: Signed) -> None:
    content = signed.tree.git("cat-file", "commit", signed.commits["ann"])
    content = content.replace("PGP SIGNATURE", "SIGNED MESSAGE") + "\n"
    made = subprocess.run(
        ["git", "-C", signed.tree.top, "hash-object", "-t", "commit", "-w", "--stdin"],
        input=content, text=True, capture_output=True, check=True,
    )  # fmt: skip
    found = signed.refusal(made.stdout.strip(), signed.keys["ann"])
    assert found == "its signature is of a kind that is not accepted (BEGIN SIGNED MESSAGE); sign with GPG or SSH"


def test_neither_the_repository_nor_the_user_can_name_another_keyring_or_program(
    signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write the repository's settings accepts himself, if git listens to them."""
    yes = signed.folder / "yes"
    yes.write_text("#!/bin/sh\necho '[GNUPG:] GOODSIG 0 x'\necho '[GNUPG:] VALIDSIG 0'\n")
    yes.chmod(0o700)
    for name in ("gpg.program", "gpg.openpgp.program", "gpg.ssh.program", "gpg.x509.program"):
        signed.tree.git("config", name, str(yes))
    signed.tree.git("config", "gpg.ssh.allowedSignersFile", str(signed.folder / "many"))
    monkeypatch.setenv("GNUPGHOME", str(signed.folder / "signers" / "home"))
    assert signed.refusal("ann", signed.keys["sue"]).endswith("which verify.keys does not hold")
    assert signed.refusal("tom", signed.keys["ann"]).endswith("which verify.keys does not hold")


def test_a_commit_in_whose_place_git_shows_another_is_judged_by_its_own_signature(signed: Signed) -> None:
    signed.tree.git("replace", signed.commits["nobody"], signed.commits["ann"])
    assert signed.refusal("nobody", signed.keys["ann"]) == "it is not signed"


def test_keys_are_read_anew_for_each_commit(signed: Signed, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(signed.keys["sue"])
    verifier = Verifier(["keys"], tmp_path, Clock())
    git_dir = signed.tree.top / ".git"
    assert verifier.refusal(git_dir, signed.commits["sue"]) == ""
    file.write_text(signed.keys["tom"])
    assert verifier.refusal(git_dir, signed.commits["sue"]).endswith("which verify.keys does not hold")
    file.unlink()
    assert verifier.refusal(git_dir, signed.commits["sue"]) == (
        "verify.keys[0]: the file 'keys' cannot be read: No such file or directory"
    )


def test_a_commit_that_is_not_there_is_refused(signed: Signed) -> None:
    assert signed.refusal("0" * 40, signed.keys["ann"]) == f"The commit {'0' * 40} cannot be read"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nowhere.asc", "verify.keys[0]: the file 'nowhere.asc' cannot be read: No such file or directory"),
        (".", "verify.keys[0]: the file '.' cannot be read: Is a directory"),
        ("text", "verify.keys[0]: line 1 is no public key, of OpenPGP or SSH, and no allowed signer"),
        ("empty", "verify.keys[0] is no public key, of OpenPGP or SSH"),
        ("large", "verify.keys[0]: the file 'large' is larger than 1 MiB"),
        ("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n", "verify.keys[0] is no public key, of OpenPGP or SSH"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\n", "verify.keys[0] is a private key; name the public one"),
    ],
)
def test_what_is_no_public_key_is_refused_at_the_start(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "text").write_text("ssh-ed25519 AAAA sue@example.com\n")
    (tmp_path / "empty").write_text("")
    (tmp_path / "large").write_bytes(b"x" * (verify.MAX_KEY_BYTES + 1))
    with pytest.raises(UsageError) as caught:
        Verifier([text], tmp_path, Clock())
    assert str(caught.value) == message


def test_a_program_that_is_missing_is_named_with_the_way_to_install_it(
    signed: Signed, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError) as caught:
        Verifier([signed.keys["ann"]], tmp_path, Clock())
    assert str(caught.value) == "verify.keys needs the program gpg; install gnupg"
    with pytest.raises(UsageError) as caught:
        Verifier([signed.keys["sue"]], tmp_path, Clock())
    assert str(caught.value) == "verify.keys needs the program ssh-keygen; install openssh-client"
