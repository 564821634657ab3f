"""The policy that lets only signed images answer is what Kyverno's published model knows, field by field."""

from collections.abc import Callable
from pathlib import Path

import yaml
from published import complaints, spoilt
from questions import ROOT
from slipway.registry.signing import PUBLIC_KEY

PLATFORM = ROOT / "template" / "vendor" / "slipway"


def test_a_policy_lets_only_signed_images_answer(render: Callable[..., Path]) -> None:
    """The labels are those of the pods that answer, and the Secret is the one that the page makes of the public key."""
    policy = yaml.safe_load((PLATFORM / "kubernetes/signed/policy.yaml").read_text("utf-8"))
    (rule,) = policy["spec"]["rules"]
    (images,) = rule["verifyImages"]
    base = render(target="kubernetes") / "deploy/kubernetes/base/deployment.yaml"
    pod = yaml.safe_load(base.read_text("utf-8"))["spec"]["template"]
    (entry,) = images["attestations"][0]["attestors"][0]["entries"]
    secret = entry["keys"]["secret"]
    made = f"kubectl --namespace {secret['namespace']} create secret generic {secret['name']}"

    assert complaints([policy], "kyverno") == [""]
    assert "" not in complaints([*spoilt(policy)], "kyverno")
    assert rule["match"]["any"][0]["resources"]["selector"]["matchLabels"] == pod["metadata"]["labels"]
    assert f"{made} --from-file=cosign.pub={PUBLIC_KEY}" in (PLATFORM / "docs/kubernetes.md").read_text("utf-8")
    assert images["required"]
    assert images["verifyDigest"]
    assert images["failureAction"] == "Enforce"
